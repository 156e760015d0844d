//! What salvage has found so far: of each key the newest value, and up to where that is known.

mod states;

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::entry::{Entries, Entry, EntryError};
use crate::format::snapshot::{State, Values};
use crate::index::StateId;
use crate::key::Content;

use super::recover::entry_error;
pub(super) use states::{HarvestedStates, Left};

/// A value that was read.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) offset: i64,
    pub(super) leader_epoch: Option<i32>,
    /// None if what it counts from could not be read.
    pub(super) timestamp_ms: Option<i64>,
    pub(super) expire_at_ms: Option<i64>,
    pub(super) metadata: String,
}

impl Kept {
    fn new(content: Content<'_>, knows_time: bool) -> Kept {
        let Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata } = content;
        let timestamp_ms = knows_time.then_some(timestamp_ms);
        Kept { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata: metadata.to_owned() }
    }
}

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Known {
    seq: u64,
    /// There was no newer value up to this seq.
    until: u64,
    /// None if it was deleted.
    value: Option<Kept>,
}

/// What is known of a topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// The seq at which all of it was deleted the last time.
    deleted: u64,
    keys: BTreeMap<i32, Known>,
}

impl Topic {
    /// The keys that were named, by partition.
    pub(super) fn keys(&self) -> impl Iterator<Item = (i32, &Known)> {
        self.keys.iter().map(|(partition, known)| (*partition, known))
    }

    /// The value of a key, unless it was deleted.
    pub(super) fn value<'a>(&self, known: &'a Known) -> Option<&'a Kept> {
        known.value.as_ref().filter(|_| known.seq > self.deleted)
    }

    /// Up to which seq the key is known.
    pub(super) fn known(&self, known: &Known) -> u64 {
        known.until.max(self.deleted)
    }

    /// The seq at which all of it was deleted the last time.
    pub(super) fn deleted(&self) -> u64 {
        self.deleted
    }

    fn put(&mut self, partition: i32, seq: u64, until: u64, value: Option<Kept>) {
        match self.keys.get_mut(&partition) {
            Some(known) if known.seq > seq => known.until = known.until.max(until),
            Some(known) if known.seq == seq => {
                known.until = known.until.max(until);
                // The same record from two places: the one that knows the time is the better one.
                let has_time = |kept: &Kept| kept.timestamp_ms.is_some();
                if !known.value.as_ref().is_some_and(has_time) {
                    known.value = value;
                }
            }
            Some(known) => *known = Known { seq, until: until.max(known.until), value },
            None => {
                self.keys.insert(partition, Known { seq, until, value });
            }
        }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    topics: BTreeMap<(String, String), Topic>,
    states: HarvestedStates,
}

impl Harvest {
    /// All topics, by group and name.
    pub(super) fn topics(&self) -> impl Iterator<Item = ((&str, &str), &Topic)> {
        self.topics.iter().map(|((group, name), topic)| ((group.as_str(), name.as_str()), topic))
    }

    /// All states.
    pub(super) fn states(&self) -> &HarvestedStates {
        &self.states
    }

    /// Notes that there was such a topic.
    pub(super) fn name(&mut self, group: &str, topic: &str) {
        self.topic(group, topic);
    }

    fn topic(&mut self, group: &str, topic: &str) -> &mut Topic {
        self.topics.entry((group.to_owned(), topic.to_owned())).or_default()
    }

    /// Takes the values of a snapshot that covers the history up to `covers`. False if some of them
    /// cannot be read.
    pub(super) fn values(
        &mut self,
        values: Values<'_>,
        covers: u64,
        knows_time: bool,
    ) -> Result<bool> {
        let topic = self.topic(values.group, values.topic);
        for value in values {
            match value {
                Ok((seq, partition, content)) => {
                    let kept = Kept::new(content, knows_time);
                    topic.put(partition, seq, seq.max(covers), Some(kept));
                }
                Err(error @ EntryError::UnknownShape(_)) => return Err(entry_error(error)),
                Err(EntryError::Malformed) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes a state of a snapshot that covers the history up to `covers`.
    pub(super) fn state(&mut self, state: &State<'_>, covers: u64) {
        self.states.state(state, covers);
    }

    /// Takes the changes of a batch, and counts those whose name is not known.
    pub(super) fn batch(
        &mut self,
        entries: Entries<'_>,
        seq: u64,
        names: &BTreeMap<u32, (String, String)>,
        knows_time: bool,
    ) -> Result<u64> {
        let mut lost = 0;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error @ EntryError::UnknownShape(_)) => return Err(entry_error(error)),
                Err(EntryError::Malformed) => return Ok(lost + 1),
            };
            let Some((group, name)) = names.get(&entry.name()) else {
                lost += 1;
                continue;
            };
            let topic = self.topic(group, name);
            match entry {
                Entry::Set { partition, content, .. } => {
                    topic.put(partition, seq, seq, Some(Kept::new(content, knows_time)));
                }
                Entry::Delete { partition, .. } => topic.put(partition, seq, seq, None),
                Entry::DeleteTopic { .. } => topic.deleted = topic.deleted.max(seq),
                Entry::State { part, owner, change, .. } => {
                    self.states.change(StateId { group, owner, name, part }, change, seq);
                }
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::{push_value, put_names};

    const KEY: i32 = 3;

    fn content(offset: u64) -> Content<'static> {
        Content {
            offset: offset as i64,
            leader_epoch: None,
            timestamp_ms: 1000 + offset as i64,
            expire_at_ms: None,
            metadata: "",
        }
    }

    /// A record of some seq, read with its time or without.
    #[derive(Clone, Copy, Debug)]
    enum Read {
        Set(u64, bool),
        Delete(u64),
        DeleteTopic(u64),
        /// A value of this seq in a snapshot that covers the history up to there.
        Snapshot(u64, u64),
    }

    fn add(harvest: &mut Harvest, read: Read) {
        let names = BTreeMap::from([(0, ("g".to_owned(), "t".to_owned()))]);
        let (entry, seq, knows_time) = match read {
            Read::Set(seq, knows_time) => {
                let set = Entry::Set { name: 0, partition: KEY, content: content(seq) };
                (set, seq, knows_time)
            }
            Read::Delete(seq) => (Entry::Delete { name: 0, partition: KEY }, seq, true),
            Read::DeleteTopic(seq) => (Entry::DeleteTopic { name: 0 }, seq, true),
            Read::Snapshot(seq, covers) => {
                let mut body = Vec::new();
                put_names(&mut body, "g", "t");
                push_value(&mut body, seq, KEY, content(seq), 0);
                let values = Values::decode(&body, 0).unwrap();
                assert!(harvest.values(values, covers, true).unwrap());
                return;
            }
        };
        let mut body = Vec::new();
        entry.encode(&mut body, 0);
        assert_eq!(harvest.batch(Entries::new(&body, 0), seq, &names, knows_time).unwrap(), 0);
    }

    /// The offset and the time of the key, if it has a value, and up to where that is known.
    fn known(reads: &[Read]) -> (Option<(i64, Option<i64>)>, u64) {
        let mut harvest = Harvest::default();
        reads.iter().for_each(|read| add(&mut harvest, *read));
        let (names, topic) = harvest.topics().next().unwrap();
        assert_eq!((names, harvest.topics().count()), (("g", "t"), 1));
        match topic.keys().next() {
            Some((partition, known)) => {
                assert_eq!((partition, topic.keys().count()), (KEY, 1));
                let value = topic.value(known).map(|kept| (kept.offset, kept.timestamp_ms));
                (value, topic.known(known))
            }
            None => (None, topic.deleted()),
        }
    }

    /// What is known must not depend on the order in which files are read.
    fn expect(reads: &[Read], value: Option<u64>, until: u64) {
        let value = value.map(|seq| (seq as i64, Some(1000 + seq as i64)));
        for turn in 0..reads.len() {
            let mut reads = reads.to_vec();
            reads.rotate_left(turn);
            assert_eq!(known(&reads), (value, until), "{reads:?}");
            reads.reverse();
            assert_eq!(known(&reads), (value, until), "{reads:?}");
        }
    }

    #[test]
    fn the_newest_record_counts_in_whatever_order_they_are_read() {
        use Read::{Delete, DeleteTopic, Set, Snapshot};
        expect(&[Set(5, true)], Some(5), 5);
        expect(&[Set(5, true), Set(7, true), Delete(6)], Some(7), 7);
        expect(&[Set(5, true), Set(7, true), Delete(8)], None, 8);
        expect(&[Set(5, true), DeleteTopic(6)], None, 6);
        expect(&[Set(6, true), DeleteTopic(6)], None, 6);
        expect(&[Set(7, true), DeleteTopic(6), DeleteTopic(2)], Some(7), 7);
        expect(&[DeleteTopic(6)], None, 6);
        // A snapshot knows that nothing newer was there when it was written.
        expect(&[Snapshot(5, 20)], Some(5), 20);
        expect(&[Snapshot(5, 20), Set(5, true)], Some(5), 20);
        expect(&[Snapshot(5, 20), Set(3, true)], Some(5), 20);
        expect(&[Snapshot(5, 20), Set(30, true)], Some(30), 30);
        expect(&[Snapshot(5, 20), Snapshot(5, 9), Set(2, true)], Some(5), 20);
        expect(&[Snapshot(5, 20), Set(7, true)], Some(7), 20);
        // The same record twice: where its time is known counts.
        expect(&[Set(5, true), Set(5, false)], Some(5), 5);
        assert_eq!(known(&[Set(5, false)]), (Some((5, None)), 5));
        expect(&[Set(4, false), Set(5, true)], Some(5), 5);
    }

    #[test]
    fn what_has_no_name_or_no_sense_is_counted() {
        let names = BTreeMap::from([(0, ("g".to_owned(), "t".to_owned()))]);
        let mut body = Vec::new();
        for name in [0, 1, 0, 2] {
            Entry::Delete { name, partition: 1 }.encode(&mut body, 0);
        }
        let mut harvest = Harvest::default();
        let mut lost = |body: &[u8]| harvest.batch(Entries::new(body, 0), 5, &names, true).unwrap();
        assert_eq!(lost(&body), 2);
        assert_eq!(lost(&body[..body.len() - 1]), 2, "the last one is cut");
        assert_eq!(lost(&body[..1]), 1);
        assert_eq!(lost(&[]), 0);
        harvest.name("g", "never used");
        let names: Vec<_> = harvest.topics().map(|(name, _)| name).collect();
        assert_eq!(names, [("g", "never used"), ("g", "t")]);
    }
}
