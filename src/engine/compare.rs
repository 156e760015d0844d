//! A snapshot beside the index, topic by topic and state by state, before anything that it replaces is given up.

use std::iter::Peekable;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::snapshot::{State, Values};
use crate::index::{self, StateId, States, Topic};
use crate::key::CommittedOffset;

/// Walks through a snapshot and the topics that it was written from, in the same order.
///
/// Commits go on meanwhile. A value that is as old as the snapshot must stand in it; a value that
/// stands in it must be that of the index, or the index must have a newer one or none any more.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    rest: std::slice::Iter<'a, Arc<Topic>>,
    current: Option<&'a Topic>,
    /// Partition and seq of the values of the current topic that have to come, in order.
    expected: std::iter::Peekable<std::vec::IntoIter<(i32, u64)>>,
    covered: u64,
    found: CommittedOffset,
}

impl<'a> Comparison<'a> {
    /// Values up to the seq `covered` have to be there.
    pub(super) fn new(topics: &'a [Arc<Topic>], covered: u64) -> Comparison<'a> {
        Comparison {
            rest: topics.iter(),
            current: None,
            expected: Vec::new().into_iter().peekable(),
            covered,
            found: CommittedOffset::default(),
        }
    }

    /// Takes the next record of the snapshot.
    pub(super) fn values(&mut self, values: Values<'_>) -> Result<()> {
        let (group, name) = (values.group, values.topic);
        let topic = loop {
            match self.current {
                Some(topic) if topic.name() == name && topic.group() == group => break topic,
                _ => self.next_topic()?.ok_or_else(|| differs(group, name, "is not in memory"))?,
            };
        };
        for value in values {
            let Ok((seq, partition, content)) = value else {
                return Err(differs(group, name, "has a value that cannot be read"));
            };
            if let Some((missing, _)) = self.expected.next_if(|(next, _)| *next < partition) {
                return Err(differs(group, name, &format!("lacks partition {missing}")));
            }
            let expected = self.expected.next_if(|(next, _)| *next == partition);
            let is_expected = expected.is_none_or(|(_, expected)| expected == seq);
            let is_there = topic.read(partition, &mut self.found);
            let same = self.found.content() == content;
            let agrees = !is_there || self.found.seq.0 > seq || (self.found.seq.0 == seq && same);
            if !is_expected || !agrees {
                let what = format!("has another value of partition {partition}");
                return Err(differs(group, name, &what));
            }
        }
        Ok(())
    }

    /// Checks that nothing is missing at the end.
    pub(super) fn finish(mut self) -> Result<()> {
        while self.next_topic()?.is_some() {}
        Ok(())
    }

    /// Goes on to the next topic, if everything of this one was there.
    fn next_topic(&mut self) -> Result<Option<&'a Topic>> {
        if let (Some(topic), Some((missing, _))) = (self.current, self.expected.next()) {
            let what = format!("lacks partition {missing}");
            return Err(differs(topic.group(), topic.name(), &what));
        }
        self.current = self.rest.next().map(|topic| &**topic);
        let mut expected = Vec::new();
        if let Some(topic) = self.current {
            topic.visit(&mut self.found, |partition, value| {
                if value.seq.0 <= self.covered {
                    expected.push((partition, value.seq.0));
                }
            });
        }
        self.expected = expected.into_iter().peekable();
        Ok(self.current)
    }
}

/// Walks through the states of a snapshot and those of the index that it was written from, by the same
/// rules.
pub(super) struct StateComparison<'a> {
    states: &'a States,
    /// The states that have to come, in order.
    expected: Peekable<Box<dyn Iterator<Item = (Arc<str>, index::State)> + 'a>>,
}

impl<'a> StateComparison<'a> {
    /// States up to the seq `covered` have to be there.
    pub(super) fn new(states: &'a States, covered: u64) -> StateComparison<'a> {
        let of_group = move |group: Arc<str>| {
            let of_group = states.of_group(&group).into_iter();
            of_group.filter(move |state| state.seq <= covered).map(move |s| (group.clone(), s))
        };
        let expected: Box<dyn Iterator<Item = _>> =
            Box::new(states.all_groups().into_iter().flat_map(of_group));
        StateComparison { states, expected: expected.peekable() }
    }

    /// Takes the next state of the snapshot.
    pub(super) fn state(&mut self, found: &State<'_>) -> Result<()> {
        let State { seq, group, owner, name, part, bytes } = *found;
        let id = StateId { group, owner, name, part };
        if let Some((group, missing)) = self.expected.next_if(|(group, next)| next.id(group) < id) {
            return Err(lacks(&group, &missing));
        }
        let expected = self.expected.next_if(|(group, next)| next.id(group) == id);
        let is_expected = expected.is_none_or(|(_, expected)| expected.seq == seq);
        let agrees = self
            .states
            .get(id)
            .is_none_or(|(now, held)| now > seq || now == seq && held.as_slice() == bytes);
        if is_expected && agrees {
            return Ok(());
        }
        Err(differs(group, name, &format!("has another state of owner {owner}, part {part}")))
    }

    /// Checks that nothing is missing at the end.
    pub(super) fn finish(mut self) -> Result<()> {
        self.expected.next().map_or(Ok(()), |(group, missing)| Err(lacks(&group, &missing)))
    }
}

fn lacks(group: &str, state: &index::State) -> Error {
    let what = format!("lacks the state of owner {}, part {}", state.owner, state.part);
    differs(group, &state.name, &what)
}

/// Memory or the device has changed bits: whichever it was, the log is not given up for this file.
fn differs(group: &str, name: &str, what: &str) -> Error {
    Error::corrupt(format!(
        "the snapshot that was just written differs from memory: group {group:?}, name {name:?} {what}; \
         it was not used"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::{push_value, put_names};
    use crate::index::{Index, Value};
    use crate::key::Content;
    use crate::state::StateChange;

    const COVERED: u64 = 10;

    /// A value of a key, as it is committed.
    fn value(seq: u64) -> Value<'static> {
        Value {
            offset: 100 + seq as i64,
            leader_epoch: Some(3),
            timestamp_ms: 5,
            expire_at_ms: Some(7),
            metadata: "m",
            seq,
        }
    }

    /// A value of a snapshot: the partition, the value, and its seq.
    type Kept = (i32, Value<'static>);

    /// What is found wrong with the records of a snapshot of what is in memory: topic `a` with the
    /// partitions 0, 2 and 4, `b` with 5, and `new`, which was committed behind the snapshot.
    fn compare(records: &[(&str, &[Kept])]) -> Option<String> {
        let (index, mut writer) = Index::new(1);
        let topics: Vec<Arc<Topic>> =
            [("a", &[(0, 1), (2, 2), (4, 3)][..]), ("b", &[(5, 4)]), ("new", &[(0, COVERED + 5)])]
                .map(|(name, values)| {
                    let topic = index.resolve("g", name);
                    for (partition, seq) in values {
                        assert!(index.set(
                            &mut writer,
                            &topic,
                            topic.spot(*partition),
                            value(*seq)
                        ));
                    }
                    topic
                })
                .to_vec();
        let mut comparison = Comparison::new(&topics, COVERED);
        let result = records.iter().try_for_each(|(topic, kept)| {
            let mut body = Vec::new();
            put_names(&mut body, "g", topic);
            for (partition, value) in *kept {
                push_value(&mut body, value.seq, *partition, content(value), 0);
            }
            comparison.values(Values::decode(&body, 0).unwrap())
        });
        result.and_then(|()| comparison.finish()).err().map(|error| error.to_string())
    }

    fn content(value: &Value<'static>) -> Content<'static> {
        let Value { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata, .. } = *value;
        Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata }
    }

    const A: fn() -> [Kept; 3] = || [(0, value(1)), (2, value(2)), (4, value(3))];
    const B: fn() -> [Kept; 1] = || [(5, value(4))];

    #[test]
    fn a_snapshot_that_says_what_is_in_memory_is_right() {
        assert_eq!(compare(&[("a", &A()), ("b", &B())]), None);
        let a = A();
        assert_eq!(compare(&[("a", &a[..1]), ("a", &a[1..]), ("b", &B())]), None);
        let new = (0, value(COVERED + 5));
        assert_eq!(compare(&[("a", &a), ("b", &B()), ("new", &[new])]), None);
        // What memory has is newer, or gone: the log behind the snapshot says so.
        let older = (0, Value { offset: 1, ..value(9) });
        assert_eq!(compare(&[("a", &a), ("b", &B()), ("new", &[older])]), None);
        let deleted = [a[0], (1, value(6)), a[1], (3, value(7)), a[2], (9, value(8))];
        assert_eq!(compare(&[("a", &deleted), ("b", &B())]), None);
    }

    #[test]
    fn each_difference_is_noticed() {
        let (a, b, good) = (A(), B(), value(2));
        for other in [
            Value { offset: 1, ..good },
            Value { leader_epoch: None, ..good },
            Value { leader_epoch: Some(4), ..good },
            Value { timestamp_ms: 6, ..good },
            Value { expire_at_ms: None, ..good },
            Value { expire_at_ms: Some(8), ..good },
            Value { metadata: "", ..good },
            Value { metadata: "n", ..good },
            Value { seq: 1, ..good },
            Value { seq: 3, ..good },
        ] {
            let found = compare(&[("a", &[a[0], (2, other), a[2]]), ("b", &b)]);
            assert!(found.unwrap().contains("another value of partition 2"), "{other:?}");
        }
        // Newer than what memory has of a key that the snapshot need not have.
        let newer = (0, value(COVERED + 6));
        let found = compare(&[("a", &a), ("b", &b), ("new", &[newer])]).unwrap();
        assert!(found.contains("another value of partition 0"), "{found}");
        for missing in 0..3 {
            let mut kept = a.to_vec();
            let (partition, _) = kept.remove(missing);
            let found = compare(&[("a", &kept), ("b", &b)]).unwrap();
            assert!(found.contains(&format!("lacks partition {partition}")), "{found}");
        }
        let found = compare(&[("b", &b)]).unwrap();
        assert!(found.contains("name \"a\" lacks partition 0"), "{found}");
        let found = compare(&[("a", &a)]).unwrap();
        assert!(found.contains("name \"b\" lacks partition 5"), "{found}");
        for records in [[("a", &a[..]), ("x", &b[..])], [("x", &b[..]), ("a", &a[..])]] {
            assert!(compare(&records).is_some(), "a topic that is not in memory");
        }
    }
    /// What is found wrong with these states of a snapshot, by name, seq and bytes. In memory are `a`
    /// and `b`, and `new`, which was changed behind the snapshot.
    fn compare_states(found: &[(&str, u64, &[u8])]) -> Option<String> {
        let (index, _) = Index::new(1);
        let id = |name| StateId { group: "g", owner: 1, name, part: 2 };
        for (name, seq) in [("a", 3), ("b", 5), ("new", COVERED + 2)] {
            assert!(index.states().change(id(name), StateChange::Put(name.as_bytes()), seq));
        }
        let mut comparison = StateComparison::new(index.states(), COVERED);
        let result = found.iter().try_for_each(|(name, seq, bytes)| {
            let StateId { group, owner, name, part } = id(name);
            comparison.state(&State { seq: *seq, group, owner, name, part, bytes })
        });
        result.and_then(|()| comparison.finish()).err().map(|error| error.to_string())
    }

    #[test]
    fn states_that_are_in_memory_or_were_are_right() {
        let (a, b) = (("a", 3, &b"a"[..]), ("b", 5, &b"b"[..]));
        assert_eq!(compare_states(&[a, b]), None);
        assert_eq!(compare_states(&[a, b, ("new", 7, b"what it was before")]), None);
        assert_eq!(compare_states(&[a, b, ("new", COVERED + 2, b"new")]), None);
        let gone = |name| (name, 4, &b"bytes"[..]);
        assert_eq!(compare_states(&[gone("0"), a, gone("aa"), b, gone("c")]), None);
    }

    #[test]
    fn each_difference_of_a_state_is_noticed() {
        let (a, b) = (("a", 3, &b"a"[..]), ("b", 5, &b"b"[..]));
        for other in [("a", 3, &b"b"[..]), ("a", 3, b""), ("a", 2, b"a"), ("a", 4, b"a")] {
            let found = compare_states(&[other, b]).unwrap();
            assert!(found.contains("has another state of owner 1, part 2"), "{other:?}: {found}");
        }
        let newer = ("new", COVERED + 3, &b"new"[..]);
        assert!(compare_states(&[a, b, newer]).unwrap().contains("\"new\" has another state"));
        for (found, missing) in [(&[b][..], "a"), (&[a], "b"), (&[], "a")] {
            let wrong = format!("name {missing:?} lacks the state of owner 1, part 2");
            assert!(compare_states(found).unwrap().contains(&wrong), "{found:?}");
        }
    }
}
