//! The tail of the log and everything that happens under its lock.
//!
//! Appending is serialised on purpose: a record is whole, in the file and in the index, before the
//! next one begins, so a process that dies in the middle of its copy leaves no hole in front of
//! somebody else's acknowledged commit. The lock is never held across a flush.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::entry::Entry;
use crate::format::record::{MAX_RECORD_LEN, Name, RecordBuffer, Seal, Start};
use crate::format::snapshot::Base;
use crate::index::{Index, Spot, Topic, Value, Writer};
use crate::io::Dir;
use crate::io::latch::Latch;
use crate::key::Content;
use crate::observe;
use crate::segment::{Appender, End, NameTag, Segment};

use super::changes::{Change, Changes, StateEdit, StateNames};
use super::compact::Compaction;
use super::numbers::Counts;
use super::quota::Quotas;
use super::spare::Spare;

/// The size of a new store's first segment, unless the limit is lower.
pub(crate) const FIRST_SEGMENT_SIZE: u64 = 64 << 10;

/// What the log needs to begin the next segment.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) dir: Arc<dyn Dir>,
    pub(crate) spare: Arc<Spare>,
    pub(crate) latch: Arc<Latch>,
    pub(crate) compaction: Arc<Compaction>,
    /// The size that segments grow to at most.
    pub(crate) segment_size: u64,
    /// Whether sealed segments are replaced by a snapshot without being asked.
    pub(crate) auto_compact: bool,
    pub(crate) quotas: Quotas,
}

/// A sealed segment that is not flushed yet, and where it ended.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: End,
}

/// A sealed segment that no snapshot covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    pub(crate) first_seq: u64,
    pub(crate) size: u64,
}

/// The part of the log in front of the active segment.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The sealed segments, oldest first.
    pub(crate) segments: Vec<Behind>,
    /// Where the newest of them ended, or the snapshot that stands for them, and its salt.
    pub(crate) end: Option<(End, u64)>,
}

/// What a flush has to cover, taken in one moment.
#[derive(Debug)]
pub(crate) struct FlushTarget {
    /// The last data record that is covered.
    pub(crate) last_seq: u64,
    /// Sealed segments, oldest first.
    pub(crate) sealed: Vec<Sealed>,
    /// Whether the active segment has a name that is not durable yet.
    pub(crate) new_name: bool,
    pub(crate) active: Arc<Segment>,
    /// Where the active segment ends.
    pub(crate) end: End,
}

/// The state that the log's lock protects.
#[derive(Debug)]
pub(crate) struct Log {
    appender: Appender,
    /// Where batches are built.
    batch: RecordBuffer,
    writer: Writer,
    /// The ids of the names of states.
    state_names: StateNames,
    surroundings: Surroundings,
    unflushed: Vec<Sealed>,
    past: Past,
    /// Bytes of records in segments that this process has sealed.
    sealed_bytes: u64,
    /// What the first segment had when the store was opened.
    found_bytes: u64,
    counts: Counts,
    new_name: bool,
    closed: bool,
}

impl Log {
    pub(crate) fn new(
        appender: Appender,
        past: Past,
        writer: Writer,
        surroundings: Surroundings,
    ) -> Log {
        let found_bytes = u64::from(appender.end().position);
        Log {
            appender,
            batch: RecordBuffer::default(),
            writer,
            state_names: StateNames::default(),
            surroundings,
            unflushed: Vec::new(),
            past,
            sealed_bytes: 0,
            found_bytes,
            counts: Counts::default(),
            new_name: false,
            closed: false,
        }
    }

    /// The seq of the newest data record.
    pub(crate) fn last_seq(&self) -> u64 {
        self.appender.end().last_seq
    }

    /// Refuses every later change.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Fails if no change may be made.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed { Err(Error::closed()) } else { self.surroundings.latch.check() }
    }

    /// Gives up a topic that was resolved for a change that then failed.
    pub(crate) fn discard(&mut self, index: &Index, topic: &Arc<Topic>) {
        index.discard_if_empty(&mut self.writer, topic);
    }

    /// Takes what has to be flushed to make everything so far durable.
    pub(crate) fn flush_target(&mut self) -> FlushTarget {
        FlushTarget {
            last_seq: self.last_seq(),
            sealed: std::mem::take(&mut self.unflushed),
            new_name: std::mem::take(&mut self.new_name),
            active: Arc::clone(self.appender.segment()),
            end: self.appender.end(),
        }
    }

    /// Bytes of records that were appended since the store was opened, and what the first segment
    /// had before.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.sealed_bytes + u64::from(self.appender.end().position)
    }

    /// Bytes by which the log has grown since the store was opened.
    pub(crate) fn grown_bytes(&self) -> u64 {
        self.appended_bytes().saturating_sub(self.found_bytes)
    }

    /// What was appended since the store was opened.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts deletes that were just appended as those of an expiry.
    pub(crate) fn count_as_expired(&mut self, keys: u64) {
        self.counts.deletes -= keys;
        self.counts.expirations += keys;
    }

    /// How many segments there are and the size of their files.
    pub(crate) fn segments(&self) -> (u64, u64) {
        let active = self.appender.segment().header().size;
        let sealed: u64 = self.past.segments.iter().map(|segment| segment.size).sum();
        (self.past.segments.len() as u64 + 1, sealed + active)
    }

    /// Asks for a compaction if the sealed segments have grown large enough.
    pub(crate) fn consider_compaction(&self, index: &Index) {
        let sealed = self.past.segments.iter().map(|segment| segment.size).sum();
        self.surroundings.compaction.consider(sealed, index);
    }

    /// Whether the active segment has data that could be sealed.
    pub(crate) fn has_unsealed_data(&self) -> bool {
        let sealed = self.past.end.map_or(0, |(end, _)| end.last_seq);
        self.last_seq() > sealed || self.appender.is_sealed()
    }

    /// Goes on in a new segment.
    pub(crate) fn seal(&mut self, index: &Index, durable: u64) -> Result<()> {
        self.roll(room_for(Changes::of_keys(&[]), 0), self.least_size(index), durable)
    }

    /// Bytes that an open has to read behind the snapshot, about.
    pub(crate) fn tail_bytes(&self) -> u64 {
        let sealed: u64 = self.past.segments.iter().map(|segment| segment.size).sum();
        sealed + u64::from(self.appender.end().position)
    }

    /// Goes on in a new segment if anything is not in a sealed one, or no sealed one is behind the
    /// snapshot. Returns those that are, and the last record in them.
    pub(crate) fn seal_all(&mut self, index: &Index, durable: u64) -> Result<(Vec<Behind>, u64)> {
        self.check_open()?;
        if self.past.segments.is_empty() || self.has_unsealed_data() {
            self.seal(index, durable)?;
        }
        self.consider_compaction(index);
        Ok((self.past.segments.clone(), self.last_seq()))
    }

    /// The place in the history where the sealed part of the log ends.
    pub(crate) fn sealed_end(&self, base_ms: i64) -> Option<Base> {
        self.past.end.map(|(end, salt)| Base {
            last_seq: end.last_seq,
            next_seq: end.next_seq,
            salt,
            chain: end.chain,
            base_ms,
            epoch: end.epoch,
        })
    }

    /// Gives up the sealed segments in front of `next_seq`.
    pub(crate) fn retire(&mut self, next_seq: u64) -> Vec<Behind> {
        let kept = self.past.segments.partition_point(|segment| segment.first_seq < next_seq);
        self.past.segments.drain(..kept).collect()
    }

    /// Gives a sealed segment to the next flush again.
    pub(crate) fn put_back(&mut self, sealed: Sealed) {
        self.unflushed.push(sealed);
    }

    /// Appends the changes as one record, applies them to the index, and returns their seq.
    ///
    /// After an error nothing has changed, in the log or in the index. `durable` is the durable seq
    /// as of now. No topic may be detached, and no key may be named twice.
    pub(crate) fn append(
        &mut self,
        index: &Index,
        changes: Changes<'_>,
        durable: u64,
    ) -> Result<u64> {
        self.check_open()?;
        self.surroundings.quotas.check(index, changes.keys)?;
        changes.check(index)?;
        self.state_names.trim();
        loop {
            let (len, unnamed) = self.encode(changes);
            if unnamed == 0 && self.appender.has_room(len) {
                break;
            }
            let names: usize = self.unnamed(changes).map(|(g, n)| Name::record_len(g, n)).sum();
            if unnamed > 0 && self.appender.has_room(names + len) && self.appender.has_ids(unnamed)
            {
                self.append_names(changes, durable)?;
            } else {
                self.roll(room_for(changes, len), self.next_size(index), durable)?;
                self.consider_compaction(index);
            }
        }
        let appended = self.appender.append_batch(&mut self.batch, durable);
        let seq = appended.map_err(|error| self.failed(error))?;
        self.counts.batches += 1;
        let mut deletes = false;
        for change in changes.keys {
            match *change {
                Change::Set { topic, spot, content } => {
                    self.set(index, topic, spot, content, seq);
                }
                Change::Delete { .. } | Change::DeleteTopic { .. } => deletes = true,
            }
        }
        if deletes {
            // A delete may empty its topic, which then leaves the index: not before the batch has set
            // what it sets there.
            changes.keys.iter().for_each(|change| self.delete(index, change, seq));
        }
        for edit in changes.states {
            let applied = index.states().change(edit.id, edit.change, seq);
            debug_assert!(applied, "the length was checked under the lock");
        }
        if self.appender.is_half_full() && !self.surroundings.spare.is_wanted() {
            self.surroundings.spare.want(self.next_size(index));
        }
        Ok(seq)
    }

    /// Encodes the batch with the ids that its names have now, and counts those that have none. An
    /// id has the same length as the lack of one, so the length is right in any case.
    fn encode(&mut self, changes: Changes<'_>) -> (usize, u32) {
        let mut unnamed = 0;
        let base_ms = self.appender.base_ms();
        let body = self.batch.start();
        for change in changes.keys {
            let tag = NameTag(change.topic().tag());
            let name = self.appender.name_id(tag).unwrap_or_else(|| {
                unnamed += 1;
                0
            });
            let entry = match *change {
                Change::Set { spot, content, .. } => {
                    Entry::Set { name, partition: spot.partition(), content }
                }
                Change::Delete { partition, .. } => Entry::Delete { name, partition },
                Change::DeleteTopic { .. } => Entry::DeleteTopic { name },
            };
            entry.encode(body, base_ms);
        }
        for StateEdit { id, change } in changes.states {
            let tag = self.state_names.get(id.group, id.name);
            let name = tag.and_then(|tag| self.appender.name_id(tag)).unwrap_or_else(|| {
                unnamed += 1;
                0
            });
            let (part, owner, change) = (id.part, id.owner, *change);
            Entry::State { name, part, owner, change }.encode(body, base_ms);
        }
        (self.batch.len(), unnamed)
    }

    /// The names that have no id in the active segment. One that stands in several places of the
    /// batch may come several times.
    fn unnamed<'a>(&self, changes: Changes<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let topics = changes.topics().filter(|topic| self.id_of_topic(topic).is_none());
        let names = changes.state_names();
        let names = names.filter(|(group, name)| self.id_of_state(group, name).is_none());
        topics.map(|topic| (topic.group(), topic.name())).chain(names)
    }

    fn id_of_topic(&self, topic: &Topic) -> Option<u32> {
        self.appender.name_id(NameTag(topic.tag()))
    }

    fn id_of_state(&self, group: &str, name: &str) -> Option<u32> {
        self.appender.name_id(self.state_names.get(group, name)?)
    }

    fn append_names(&mut self, changes: Changes<'_>, durable: u64) -> Result<()> {
        for topic in changes.topics() {
            if self.id_of_topic(topic).is_none() {
                let tag = self.append_name(topic.group(), topic.name(), durable)?;
                topic.set_tag(tag.0);
            }
        }
        for (group, name) in changes.state_names() {
            if self.id_of_state(group, name).is_none() {
                let tag = self.append_name(group, name, durable)?;
                self.state_names.set(group, name, tag);
            }
        }
        Ok(())
    }

    fn append_name(&mut self, group: &str, name: &str, durable: u64) -> Result<NameTag> {
        let appended = self.appender.append_name(group, name, durable);
        appended.map_err(|error| self.failed(error))
    }

    #[inline]
    fn set(
        &mut self,
        index: &Index,
        topic: &Arc<Topic>,
        spot: Spot<'_>,
        content: Content<'_>,
        seq: u64,
    ) {
        let applied = index.set(&mut self.writer, topic, spot, Value::new(content, seq));
        debug_assert!(applied, "the caller resolved the topic under the lock");
        self.counts.commits += 1;
    }

    fn delete(&mut self, index: &Index, change: &Change<'_>, seq: u64) {
        let deleted = match *change {
            Change::Set { .. } => 0,
            Change::Delete { topic, partition } => {
                u64::from(index.delete(&mut self.writer, topic, partition, seq))
            }
            Change::DeleteTopic { topic } => {
                u64::from(index.delete_topic(&mut self.writer, topic, seq))
            }
        };
        self.counts.deletes += deleted;
    }

    /// Goes on in a new segment that has room for `needed` bytes of records, in the one that is
    /// prepared or else in one of `size`.
    ///
    /// Each step can fail for want of room, and leaves a log that a later call can go on from.
    fn roll(&mut self, needed: usize, size: u64, durable: u64) -> Result<()> {
        let largest = self.surroundings.segment_size;
        let (needed, most) = (needed as u64, largest.min(MAX_RECORD_LEN as u64));
        if needed > most {
            return Err(Error::invalid(format!(
                "the batch needs {needed} bytes of a segment, and can have {most}"
            )));
        }
        let size = size.max(needed.next_power_of_two()).min(largest);
        let Surroundings { dir, spare, .. } = &self.surroundings;
        let segment = spare.take(needed, size).map_err(|error| self.failed(error))?;
        let now_ms = spare.now_ms();
        if !self.appender.is_sealed() {
            self.appender.append_seal(durable).map_err(|error| self.failed(error))?;
        }
        let end = self.appender.end();
        let start = Start {
            first_seq: end.next_seq,
            previous_salt: self.appender.segment().header().salt,
            previous_chain: end.chain,
            base_ms: now_ms,
        };
        let ordinal = self.appender.ordinal() + 1;
        let begun = Appender::begin(Arc::new(segment), ordinal, start, end.last_seq, durable)
            .and_then(|next| {
                next.segment().publish(&**dir, start.first_seq)?;
                spare.published();
                Ok(next)
            });
        let next = begun.map_err(|error| self.failed(error))?;
        let sealed = std::mem::replace(&mut self.appender, next);
        let segment = Arc::clone(sealed.segment());
        self.past
            .segments
            .push(Behind { first_seq: segment.first_seq(), size: segment.header().size });
        self.past.end = Some((end, segment.header().salt));
        self.sealed_bytes += u64::from(end.position);
        self.unflushed.push(Sealed { segment, end });
        self.new_name = true;
        observe::rolled(self.surroundings.dir.path(), start.first_seq, size);
        Ok(())
    }

    /// The size of the segment after the active one.
    ///
    /// Twice as large if this one fills quickly, so that a busy store rolls over rarely, and as large
    /// otherwise, so that a store with little to do stays small for years. With much that lives, small
    /// segments would only be many.
    fn next_size(&self, index: &Index) -> u64 {
        /// A segment that takes longer than this to fill is large enough.
        const QUICKLY_MS: i64 = 60_000;
        let size = self.appender.segment().header().size;
        let age_ms = self.surroundings.spare.now_ms().saturating_sub(self.appender.base_ms());
        let quickly = self.appender.is_half_full() && age_ms < QUICKLY_MS;
        let wanted = if quickly { size.saturating_mul(2) } else { size };
        wanted.min(self.largest_size(index)).max(self.least_size(index))
    }

    /// The size that segments grow to: a few times what lives, if a snapshot of that takes their place.
    /// A store that commits to few keys over and over then takes little room, and little time to open
    /// again, and a snapshot still is small beside the log that it replaces.
    fn largest_size(&self, index: &Index) -> u64 {
        /// Smaller ones come so often that their names cost flushes.
        const SMALL: u64 = 8 << 20;
        let Surroundings { compaction, segment_size, auto_compact, .. } = &self.surroundings;
        if !auto_compact {
            return *segment_size;
        }
        let twice = compaction.live_bytes(index).saturating_mul(2).min(*segment_size);
        twice.next_power_of_two().max(SMALL).min(*segment_size)
    }

    /// The size of a segment that may be for a log that just begins again.
    pub(crate) fn least_size(&self, index: &Index) -> u64 {
        let Surroundings { compaction, segment_size, .. } = &self.surroundings;
        let share = compaction.live_bytes(index) / 8;
        share.next_power_of_two().max(FIRST_SEGMENT_SIZE).min(*segment_size)
    }

    /// Remembers a failed write, if it is one to be remembered.
    fn failed(&self, error: Error) -> Error {
        self.surroundings.latch.failed_write(error)
    }
}

/// The size of a segment that has room for the changes, their names, and what every segment has.
fn room_for(changes: Changes<'_>, len: usize) -> usize {
    RECORDS_START as usize + Start::RECORD_LEN + changes.len_of_names() + len + Seal::RECORD_LEN
}
