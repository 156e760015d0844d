//! What a record of the log changes, before it has ids and a seq.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::record::Name;
use crate::index::{Index, Spot, StateId, Topic};
use crate::key::Content;
use crate::segment::NameTag;
use crate::state::{MAX_STATE_BYTES, StateChange};

/// Changes of one group that become one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    /// No key is named twice.
    pub(crate) keys: &'a [Change<'a>],
    /// No state is named twice, and those of one name stand together.
    pub(crate) states: &'a [StateEdit<'a>],
}

impl<'a> Changes<'a> {
    /// Changes of keys alone.
    #[inline]
    pub(crate) fn of_keys(keys: &'a [Change<'a>]) -> Changes<'a> {
        Changes { keys, states: &[] }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.states.is_empty()
    }

    /// Refuses changes after which a state would be too long. Under the log's lock, so that nobody
    /// appends to one meanwhile.
    #[inline]
    pub(crate) fn check(&self, index: &Index) -> Result<()> {
        for edit in self.states {
            let bytes = index.states().len_after(edit.id, edit.change);
            if bytes > MAX_STATE_BYTES {
                return Err(Error::state_too_large(edit.id.name, bytes));
            }
        }
        Ok(())
    }

    /// The topics, each once where its changes stand together.
    pub(crate) fn topics(self) -> impl Iterator<Item = &'a Arc<Topic>> {
        let keys = self.keys;
        keys.iter().enumerate().filter_map(|(i, change)| {
            let topic = change.topic();
            let repeated = i > 0 && Arc::ptr_eq(topic, keys[i - 1].topic());
            (!repeated).then_some(topic)
        })
    }

    /// The groups and names of the states, each once where its changes stand together.
    pub(crate) fn state_names(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let states = self.states;
        states.iter().enumerate().filter_map(|(i, StateEdit { id, .. })| {
            let repeated = i > 0 && states[i - 1].id.name == id.name;
            (!repeated).then_some((id.group, id.name))
        })
    }

    /// The length of the records that name everything.
    pub(crate) fn len_of_names(&self) -> usize {
        let topics = self.topics().map(|topic| Name::record_len(topic.group(), topic.name()));
        let states = self.state_names().map(|(group, name)| Name::record_len(group, name));
        topics.sum::<usize>() + states.sum::<usize>()
    }
}

/// One change of a key, or of all keys of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// Sets the value of a partition. The seq of the value is given by the log.
    Set { topic: &'a Arc<Topic>, spot: Spot<'a>, content: Content<'a> },
    /// Deletes a partition's value.
    Delete { topic: &'a Arc<Topic>, partition: i32 },
    /// Deletes the values of all partitions.
    DeleteTopic { topic: &'a Arc<Topic> },
}

impl<'a> Change<'a> {
    pub(crate) fn topic(&self) -> &'a Arc<Topic> {
        match *self {
            Change::Set { topic, .. }
            | Change::Delete { topic, .. }
            | Change::DeleteTopic { topic } => topic,
        }
    }
}

/// One change of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateEdit<'a> {
    pub(crate) id: StateId<'a>,
    pub(crate) change: StateChange<'a>,
}

/// The ids that names of states have in the active segment. Topics keep their own.
#[derive(Debug, Default)]
pub(crate) struct StateNames {
    tags: BTreeMap<Box<str>, BTreeMap<Box<str>, NameTag>>,
    count: usize,
}

impl StateNames {
    /// The tag of a name, if it was ever given one.
    pub(crate) fn get(&self, group: &str, name: &str) -> Option<NameTag> {
        self.tags.get(group)?.get(name).copied()
    }

    /// Keeps the tag of a name.
    pub(crate) fn set(&mut self, group: &str, name: &str, tag: NameTag) {
        let of_group = match self.tags.get_mut(group) {
            Some(of_group) => of_group,
            None => self.tags.entry(group.into()).or_default(),
        };
        self.count += usize::from(of_group.insert(name.into(), tag).is_none());
    }

    /// Forgets all of them if they are many: names may come and go for ever. One that comes again
    /// costs a record.
    pub(crate) fn trim(&mut self) {
        const MANY: usize = 1 << 16;
        if self.count > MANY {
            *self = StateNames::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit<'a>(group: &'a str, name: &'a str, part: i32) -> StateEdit<'a> {
        StateEdit {
            id: StateId { group, owner: 1, name, part },
            change: StateChange::Put(b"bytes"),
        }
    }

    #[test]
    fn names_that_stand_together_count_once() {
        let states =
            [edit("g", "a", 0), edit("g", "a", 1), edit("g", "bcdef", 0), edit("g", "a", 2)];
        let changes = Changes { keys: &[], states: &states };
        let names = [("g", "a"), ("g", "bcdef"), ("g", "a")];
        assert_eq!(changes.state_names().collect::<Vec<_>>(), names);
        let index = Index::new(1).0;
        let topics = [index.resolve("g", "t"), index.resolve("g", "uvwxyz")];
        let delete = |topic: usize, partition| Change::Delete { topic: &topics[topic], partition };
        let keys = [delete(0, 0), delete(0, 1), delete(1, 0), delete(0, 2)];
        let changes = Changes { keys: &keys, ..changes };
        let topics: Vec<_> = changes.topics().map(|topic| topic.name()).collect();
        assert_eq!(topics, ["t", "uvwxyz", "t"]);
        let lens = names.map(|(group, name)| Name::record_len(group, name));
        let topics = topics.iter().map(|topic| Name::record_len("g", topic));
        assert_eq!(changes.len_of_names(), lens.iter().sum::<usize>() + topics.sum::<usize>());
    }

    #[test]
    fn names_are_forgotten_when_they_are_too_many() {
        let mut names = StateNames::default();
        let known = |names: &StateNames| names.get("g", "0") == Some(NameTag(7));
        for i in 0..=1 << 16 {
            names.trim();
            assert_eq!(known(&names), i > 0, "{i} names");
            // Twice: it is the names that are counted.
            names.set("g", &i.to_string(), NameTag(7));
            names.set("g", &i.to_string(), NameTag(7));
        }
        names.trim();
        assert!(!known(&names));
    }
}
