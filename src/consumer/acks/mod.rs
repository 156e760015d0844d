//! Which records of a partition are complete, when they are completed out of order.

mod bytes;
mod done;
mod fresh;
mod limits;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::ops::Range;

pub use self::limits::AckLimits;

use self::bytes::{Form, Head, Runs};
use self::done::Done;
use self::fresh::Fresh;
use crate::error::{Error, Result};
use crate::key::NextOffset;

/// After how many deltas [`AckTracker::needs_state`] asks for a state: as many as Kafka's share groups
/// write between two snapshots (`share.coordinator.snapshot.update.records.per.snapshot`, KIP-932).
pub const DELTAS_PER_STATE: u32 = 500;

/// Completions of one partition: records are handed out in order and completed in any order, and the
/// **watermark** is what may be committed, the offset below which everything is complete.
///
/// ```
/// use pagemark::NextOffset;
/// use pagemark::consumer::{AckLimits, AckTracker};
///
/// let mut acks = AckTracker::new(NextOffset(10), AckLimits::new())?;
/// for offset in 10..15 {
///     assert!(acks.hand_out(offset)?);
/// }
/// acks.complete(10)?;
/// acks.complete(13)?;
/// assert_eq!(acks.watermark(), NextOffset(11));
/// assert_eq!(acks.gaps().collect::<Vec<_>>(), [11..13, 14..15]);
///
/// let mut bytes = Vec::new();
/// acks.encode_state(&mut bytes);
/// let mut acks = AckTracker::decode_state(&bytes, AckLimits::new())?;
/// assert!(acks.hand_out(11)?);
/// assert!(acks.hand_out(12)?);
/// assert!(!acks.hand_out(13)?, "it was completed before the restart");
/// # Ok::<(), pagemark::Error>(())
/// ```
///
/// # Offsets without a record
///
/// The offsets of a log have holes where records were compacted away and where transactions ended. An
/// offset that [`hand_out`](AckTracker::hand_out) skips holds no record and counts as complete, so a
/// hole never holds the watermark back.
///
/// # What is stored
///
/// A **state** is all of the tracker, a **delta** what was completed since the last encoding of either
/// form. Both carry the watermark. The intended use is a state, deltas behind it, and again a state
/// when [`needs_state`](AckTracker::needs_state) says so.
///
/// - Deltas of one state may be applied in any order, more than once, and after a later state: they
///   only add completions that were made and not forgotten.
/// - A lost delta costs what only it held: those records are delivered again, none is skipped. Nor is
///   what it said about the watermark lost, since the next one says it anew.
/// - [`rewind`](AckTracker::rewind) forgets completions, which a delta cannot say. It begins a new
///   **epoch**, and a state has to be stored first. A delta of an earlier epoch is left out, one of a
///   later epoch is refused: what was forgotten cannot come back.
///
/// A new tracker begins at epoch 0. Deltas of an earlier tracker of the partition say nothing about
/// it, and whoever stores them leaves them out.
///
/// The bytes carry no checksum of their own, as the record that they are stored in has one; without
/// one, a flipped bit may become a completion that was never made. Equal trackers of equal epoch have
/// equal bytes.
#[derive(Clone)]
pub struct AckTracker {
    limits: AckLimits,
    /// Everything below it is complete, and the record at it is not.
    watermark: u64,
    /// The lowest offset that was not handed out since the start or the last rewind. Below the
    /// watermark when records that were completed in an earlier life are still to be read past.
    next: u64,
    /// What is complete above the watermark.
    done: Done,
    /// How many runs `done` has.
    ranges: u64,
    /// What of `done` no encoding has said yet.
    fresh: Fresh,
    /// How often completions were forgotten.
    epoch: u64,
    /// Whether something changed that no encoding has said yet.
    is_changed: bool,
    /// Whether a delta could not say what changed.
    is_unstated: bool,
    /// Deltas since the last state.
    deltas: u32,
}

impl AckTracker {
    /// A tracker that has everything below `start` as complete and nothing above: what to begin with
    /// where only a committed offset is stored.
    pub fn new(start: impl Into<NextOffset>, limits: AckLimits) -> Result<AckTracker> {
        let start = next_offset(start.into())?;
        Ok(AckTracker::restored(Head { epoch: 0, watermark: start }, limits))
    }

    fn restored(head: Head, limits: AckLimits) -> AckTracker {
        let Head { epoch, watermark } = head;
        AckTracker {
            limits,
            watermark,
            next: watermark,
            done: Done::new(watermark),
            ranges: 0,
            fresh: Fresh::new(watermark),
            epoch,
            is_changed: true,
            is_unstated: true,
            deltas: 0,
        }
    }

    /// The offset below which everything is complete: what may be committed.
    pub fn watermark(&self) -> NextOffset {
        NextOffset(self.watermark as i64)
    }

    /// Notes that a record is handed out, and says whether it is still to be processed: it is not if
    /// it was completed before a restart.
    ///
    /// Offsets rise. Those that are left out hold no record and count as complete. To hand out a
    /// record once more, [`rewind`](AckTracker::rewind).
    pub fn hand_out(&mut self, offset: i64) -> Result<bool> {
        let at = record_offset(offset)?;
        if at < self.next {
            let message = format!("offset {offset} is below {}, which is the next one", self.next);
            return Err(Error::invalid(message));
        }
        let hole = self.next.max(self.watermark)..at;
        // With nothing in flight a hole moves the watermark, however wide it is.
        let from = if hole.start > self.watermark { self.watermark } else { at };
        self.limits.check_span(from, at + 1)?;
        self.add(hole)?;
        self.next = at + 1;
        Ok(!self.has(at))
    }

    /// Completes a record, and says whether that is news: it is not if it was complete already.
    ///
    /// A record that was not handed out is refused: a completion that comes late, after a
    /// [`rewind`](AckTracker::rewind), must not stand for one that is still to come.
    pub fn complete(&mut self, offset: i64) -> Result<bool> {
        let at = record_offset(offset)?;
        Ok(self.complete_all(at..at + 1)? > 0)
    }

    /// Completes records, all of them or in case of an error none, and says how many of the offsets
    /// were not complete before.
    pub fn complete_range(&mut self, offsets: Range<i64>) -> Result<u64> {
        if offsets.is_empty() {
            return Ok(0);
        }
        self.complete_all(record_offset(offsets.start)?..record_offset(offsets.end - 1)? + 1)
    }

    /// Whether the record at `offset` is complete. No negative offset is.
    pub fn is_complete(&self, offset: i64) -> bool {
        u64::try_from(offset).is_ok_and(|at| self.has(at))
    }

    /// What is still to do, in order: the offsets from the watermark to the highest that was handed
    /// out or is known to be complete, without those that are complete.
    pub fn gaps(&self) -> impl Iterator<Item = Range<i64>> {
        let end = self.end();
        let mut at = self.watermark;
        std::iter::from_fn(move || {
            let start = self.done.next_clear(at);
            at = self.done.next_set(start..end).unwrap_or(end);
            (start < end).then(|| to_offsets(start..at))
        })
    }

    /// The completed ranges beyond the watermark, in order. They do not touch each other.
    pub fn ranges(&self) -> impl Iterator<Item = Range<i64>> {
        self.done.runs().map(to_offsets)
    }

    /// How many [`ranges`](AckTracker::ranges) there are. It is counted already.
    pub fn range_count(&self) -> u64 {
        self.ranges
    }

    /// Goes back: forgets every completion from `to` on, and expects the record at `to` next. Says
    /// how many offsets were complete and are to be done again.
    ///
    /// This is the only call that takes the watermark back. It is for records that are to be
    /// processed once more, and for a log that was truncated and filled anew. It never goes forward.
    pub fn rewind(&mut self, to: impl Into<NextOffset>) -> Result<u64> {
        let to = next_offset(to.into())?;
        if to > self.end() {
            let message = format!("{to} lies ahead of {}: a rewind only goes back", self.end());
            return Err(Error::invalid(message));
        }
        self.next = self.next.min(to);
        let forgotten = self.watermark.saturating_sub(to) + self.done.count(to..u64::MAX);
        if forgotten > 0 {
            self.watermark = self.watermark.min(to);
            self.done.truncate(to);
            self.ranges = self.done.starts(0..to);
            self.epoch += 1;
            self.is_changed = true;
            self.is_unstated = true;
            self.fresh.reset(self.watermark);
        }
        Ok(forgotten)
    }

    /// Goes forward: everything below `to` counts as complete, and the record at `to` is expected
    /// next, if a later one is not already. It never goes back.
    ///
    /// This is for records that are not there any more, as after a log dropped its oldest ones, and
    /// for those that nobody wants to see.
    pub fn skip_to(&mut self, to: impl Into<NextOffset>) -> Result<()> {
        let to = next_offset(to.into())?;
        self.next = self.next.max(to);
        if to > self.watermark {
            self.is_changed = true;
            self.advance(to);
        }
        Ok(())
    }

    /// What the tracker takes beyond itself, in bytes. It follows the widest span of what was completed
    /// in the tracker's life, not the number of records, and is nothing while records complete in order.
    /// What was decoded takes 32 bytes a range at most, until records behind it are completed.
    pub fn memory_bytes(&self) -> usize {
        self.done.memory_bytes() + self.fresh.memory_bytes()
    }

    /// Whether anything changed since the last encoding.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Whether a state should be encoded next: always before the first delta of a new tracker and
    /// after a [`rewind`](AckTracker::rewind) that forgot something, and after every
    /// [`DELTAS_PER_STATE`] deltas.
    pub fn needs_state(&self) -> bool {
        self.is_unstated || self.deltas >= DELTAS_PER_STATE
    }

    /// Appends all of the tracker to `out`. If it cannot be stored, encode a state again.
    pub fn encode_state(&mut self, out: &mut Vec<u8>) {
        bytes::encode(out, Form::State, self.head(), self.done.runs());
        self.is_unstated = false;
        self.deltas = 0;
        self.settle();
    }

    /// Appends what was completed since the last encoding to `out`. If it cannot be stored, encode a
    /// state next: without it, what this delta held may be delivered again.
    ///
    /// Refused where only a state can say what happened, see
    /// [`needs_state`](AckTracker::needs_state); after many deltas it is not.
    pub fn encode_delta(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.is_unstated {
            return Err(Error::invalid(
                "a state has to be encoded before the first delta behind it",
            ));
        }
        bytes::encode(out, Form::Delta, self.head(), self.fresh.runs());
        self.deltas = self.deltas.saturating_add(1);
        self.settle();
        Ok(())
    }

    /// Makes the tracker that [`encode_state`](AckTracker::encode_state) was called on, as it is after
    /// a restart: the record at the watermark is expected next.
    ///
    /// Any bytes are safe to give: what is not an encoding is an error. The whole of it is checked
    /// before memory is taken, and that is some tens of times the length of the bytes at most,
    /// whatever offsets they state. A state beyond the limits is refused with
    /// [`ErrorKind::BackPressure`](crate::ErrorKind::BackPressure) and can be read with higher ones.
    pub fn decode_state(bytes: &[u8], limits: AckLimits) -> Result<AckTracker> {
        let (head, runs) = bytes::decode(bytes, Form::State)?;
        let mut acks = AckTracker::restored(head, limits);
        acks.apply(head.watermark, runs)?;
        (acks.is_changed, acks.is_unstated) = (false, false);
        Ok(acks)
    }

    /// [`decode_state`](AckTracker::decode_state) of a state to which deltas were appended.
    pub fn restore(bytes: &[u8], limits: AckLimits) -> Result<AckTracker> {
        let (state, mut deltas) = bytes::split(bytes)?;
        let mut acks = AckTracker::decode_state(state, limits)?;
        while !deltas.is_empty() {
            let (delta, rest) = bytes::split(deltas)?;
            acks.apply_delta(delta)?;
            deltas = rest;
        }
        Ok(acks)
    }

    /// Adds what a delta says, and says whether it did: a delta of an earlier epoch holds what was
    /// forgotten since, and is left out. In case of an error nothing changed.
    ///
    /// A delta of a later epoch is refused as
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt), since the state before it is missing.
    /// Other errors are those of [`decode_state`](AckTracker::decode_state).
    pub fn apply_delta(&mut self, bytes: &[u8]) -> Result<bool> {
        let (head, runs) = bytes::decode(bytes, Form::Delta)?;
        if head.epoch > self.epoch {
            return Err(Error::corrupt(format!(
                "a delta of epoch {} behind a state of epoch {}: a state is missing",
                head.epoch, self.epoch
            )));
        }
        if head.epoch < self.epoch {
            check(runs)?;
            return Ok(false);
        }
        self.apply(head.watermark, runs)?;
        self.deltas = self.deltas.saturating_add(1);
        Ok(true)
    }

    /// Adds what was read: nothing if any of it is wrong or goes beyond the limits.
    fn apply(&mut self, watermark: u64, runs: Runs<'_>) -> Result<()> {
        let watermark = watermark.max(self.watermark);
        // All runs have a gap before them, so each decides for itself how many ranges it joins.
        let mut ranges = self.ranges - self.done.starts(self.watermark..watermark + 1);
        let mut end = watermark;
        for run in runs.clone() {
            let run = run?;
            self.limits.check_span(watermark, run.end)?;
            end = run.end.max(end);
            ranges = self.ranges_with(ranges, watermark, &above(watermark, run));
        }
        self.limits.check_ranges(ranges)?;
        self.advance(watermark);
        // Where ranges are so close that a word has one or more, bits take less.
        let is_dense = (end - watermark) / u64::from(u64::BITS) < ranges;
        let add = if is_dense { Done::insert } else { Done::restore };
        for run in runs {
            self.put(above(self.watermark, run?), add);
        }
        Ok(())
    }

    fn complete_all(&mut self, range: Range<u64>) -> Result<u64> {
        if range.end > self.next.max(self.watermark) {
            let message = format!("offset {} was not handed out", range.end - 1);
            return Err(Error::invalid(message));
        }
        self.add(above(self.watermark, range))
    }

    /// Adds a range that does not begin below the watermark, and says how much of it is new.
    fn add(&mut self, range: Range<u64>) -> Result<u64> {
        if range.is_empty() {
            return Ok(0);
        }
        let new = range.end - range.start - self.done.count(range.clone());
        if new == 0 {
            return Ok(0);
        }
        self.limits.check_ranges(self.ranges_with(self.ranges, self.watermark, &range))?;
        self.is_changed = true;
        if range.start > self.watermark {
            self.fresh.insert(range.clone());
        }
        self.put(range, Done::insert);
        Ok(new)
    }

    /// Adds a range that does not begin below the watermark, come what may.
    fn put(&mut self, range: Range<u64>, add: impl FnOnce(&mut Done, Range<u64>)) {
        if range.is_empty() {
            return;
        }
        if range.start == self.watermark {
            self.advance(range.end);
        } else {
            self.ranges = self.ranges_with(self.ranges, self.watermark, &range);
            add(&mut self.done, range);
        }
    }

    /// How many ranges there are when one more is added to `ranges` of them: it joins those that it
    /// covers or touches, and is none if it touches the watermark.
    fn ranges_with(&self, ranges: u64, watermark: u64, range: &Range<u64>) -> u64 {
        if range.is_empty() {
            return ranges;
        }
        let is_alone = range.start > watermark && !self.done.contains(range.start - 1);
        ranges + u64::from(is_alone) - self.done.starts(range.start..range.end + 1)
    }

    /// Moves the watermark up to `to` and past what is complete there.
    fn advance(&mut self, to: u64) {
        let to = self.done.next_clear(to);
        self.ranges -= self.done.starts(self.watermark..to);
        self.watermark = to;
        self.done.raise(to);
        self.fresh.raise(to);
    }

    fn has(&self, at: u64) -> bool {
        at < self.watermark || self.done.contains(at)
    }

    fn end(&self) -> u64 {
        self.next.max(self.watermark).max(self.done.end())
    }

    fn head(&self) -> Head {
        Head { epoch: self.epoch, watermark: self.watermark }
    }

    fn settle(&mut self) {
        self.is_changed = false;
        self.fresh.reset(self.watermark);
    }
}

impl fmt::Debug for AckTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckTracker")
            .field("watermark", &self.watermark)
            .field("next", &self.next)
            .field("ranges", &self.ranges)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// The offset of a record. There is none at `i64::MAX`, since no offset comes after it.
fn record_offset(offset: i64) -> Result<u64> {
    if offset == i64::MAX {
        return Err(Error::invalid(format!("offset {offset} has no next one")));
    }
    next_offset(NextOffset(offset))
}

fn next_offset(offset: NextOffset) -> Result<u64> {
    u64::try_from(offset.0).map_err(|_| Error::invalid(format!("offset {offset} is negative")))
}

/// Nothing that a tracker holds lies above `i64::MAX`.
fn to_offsets(range: Range<u64>) -> Range<i64> {
    range.start as i64..range.end as i64
}

fn above(watermark: u64, range: Range<u64>) -> Range<u64> {
    range.start.max(watermark)..range.end
}

fn check(mut runs: Runs<'_>) -> Result<()> {
    runs.try_for_each(|run| run.map(drop))
}
