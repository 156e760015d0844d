//! What salvage has found so far: of each key the newest value, and up to where that is known.

mod states;

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::entry::{Entries, Entry, EntryError};
use crate::format::snapshot::{State, Values};
use crate::index::StateId;

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
                Ok((seq, entry)) => {
                    if let Some((partition, kept)) = kept(entry, knows_time) {
                        topic.put(partition, seq, seq.max(covers), Some(kept));
                    }
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
                Entry::Set { .. } => {
                    if let Some((partition, kept)) = kept(entry, knows_time) {
                        topic.put(partition, seq, seq, Some(kept));
                    }
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

fn kept(entry: Entry<'_>, knows_time: bool) -> Option<(i32, Kept)> {
    let Entry::Set {
        partition, offset, leader_epoch, timestamp_ms, expire_at_ms, metadata, ..
    } = entry
    else {
        return None;
    };
    let timestamp_ms = knows_time.then_some(timestamp_ms);
    Some((
        partition,
        Kept { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata: metadata.to_owned() },
    ))
}
