//! Any sequence of changes, against a model of maps.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::tests::{as_read, scan, set};
use super::{Builder, Index, Value, Writer};
use crate::key::{CommittedOffset, Key};

#[derive(Clone, Debug)]
enum Op {
    Set {
        at: (usize, usize, i32),
        seq: u64,
        offset: i64,
        epoch: Option<i32>,
        time: i64,
        len: usize,
    },
    Delete {
        at: (usize, usize, i32),
        seq: u64,
    },
    DeleteTopic {
        at: (usize, usize),
        seq: u64,
    },
    Resolve {
        at: (usize, usize),
    },
    Discard {
        at: (usize, usize),
    },
    /// Build another index out of what the index has, as loading a snapshot does.
    Rebuild {
        pack: usize,
    },
}

const NAMES: [&str; 4] = ["a", "b", "ab", "ä"];
const TEXT: &str =
    "a text that is cut to the length that is wanted, and a little longer than one unit";

fn ops() -> impl Strategy<Value = Op> {
    let partition = || prop_oneof![0..9i32, 60..140i32, Just(1000), (i32::MAX - 1)..=i32::MAX];
    let name = || 0..NAMES.len();
    let seq = || 1..60u64;
    let time = prop_oneof![Just(1_700_000_000_000i64), any::<i64>()];
    let epoch = prop_oneof![Just(None), (0..9i32).prop_map(Some), any::<Option<i32>>()];
    let rest = (0..=i64::MAX, epoch, time, prop_oneof![Just(0), 0..TEXT.len()]);
    prop_oneof![
        8 => ((name(), name(), partition()), seq(), rest).prop_map(|(at, seq, rest)| {
            let (offset, epoch, time, len) = rest;
            Op::Set { at, seq, offset, epoch, time, len }
        }),
        4 => ((name(), name(), partition()), seq()).prop_map(|(at, seq)| Op::Delete { at, seq }),
        1 => ((name(), name()), seq()).prop_map(|(at, seq)| Op::DeleteTopic { at, seq }),
        1 => (name(), name()).prop_map(|at| Op::Resolve { at }),
        1 => (name(), name()).prop_map(|at| Op::Discard { at }),
        1 => (1..9usize).prop_map(|pack| Op::Rebuild { pack }),
    ]
}

/// What the index should hold: by names, then by partition, the newest seq and the value, if any.
type Model = BTreeMap<(&'static str, &'static str), BTreeMap<i32, (u64, Option<CommittedOffset>)>>;

fn model_delete(
    model: &mut Model,
    at: (&'static str, &'static str),
    partition: Option<i32>,
    seq: u64,
) -> u32 {
    let Some(topic) = model.get_mut(&at) else { return 0 };
    let mut deleted = 0;
    for (_, (newest, value)) in
        topic.iter_mut().filter(|(at, _)| partition.is_none_or(|p| p == **at))
    {
        // A topic's deletion concerns its values, a key's deletion also what was deleted before.
        if seq > *newest && (value.is_some() || partition.is_some()) {
            deleted += u32::from(value.take().is_some());
            *newest = seq;
        }
    }
    if topic.values().all(|(_, value)| value.is_none()) {
        model.remove(&at);
    }
    deleted
}

/// An index with the same values, built in order, of packs of about `pack` values.
fn rebuild(index: &Index, pack: usize) -> (Index, Writer) {
    let mut builder = Builder::with_packs(9, pack);
    for topic in index.topics() {
        topic.visit(&mut CommittedOffset::default(), |partition, value| {
            // A topic may be gone on with at any of its values.
            assert!(builder.topic(topic.group(), topic.name()));
            let value = Value {
                offset: value.offset.0,
                leader_epoch: value.leader_epoch,
                timestamp_ms: value.commit_timestamp_ms,
                expire_at_ms: value.expire_at_ms,
                metadata: &value.metadata,
                seq: value.seq.0,
            };
            let value: Result<_, Infallible> = Ok((partition, value));
            assert!(builder.set_all([value].into_iter()).unwrap());
        });
    }
    builder.finish()
}

proptest! {
    #[test]
    fn any_sequence_of_changes_gives_what_the_model_gives(ops in prop::collection::vec(ops(), 1..150)) {
        let (mut index, mut writer) = Index::new(9);
        let mut model = Model::new();
        for op in ops {
            match op {
                Op::Set { at: (group, topic, partition), seq, offset, epoch, time, len } => {
                    let (group, topic) = (NAMES[group], NAMES[topic]);
                    let metadata = &TEXT[..len];
                    let expire_at_ms = (offset % 3 == 0).then_some(time ^ offset);
                    let value = Value {
                        offset,
                        leader_epoch: epoch,
                        timestamp_ms: time,
                        expire_at_ms,
                        metadata,
                        seq,
                    };
                    set(&index, &mut writer, Key::new(group, topic, partition), value);
                    let newest = model.entry((group, topic)).or_default().entry(partition);
                    let newest = newest.or_insert((0, None));
                    if seq > newest.0 {
                        *newest = (seq, Some(as_read(&value)));
                    }
                }
                Op::Delete { at: (group, topic, partition), seq } => {
                    let (group, topic) = (NAMES[group], NAMES[topic]);
                    let found = index.resolve(group, topic);
                    let deleted = index.delete(&mut writer, &found, partition, seq);
                    prop_assert_eq!(u32::from(deleted), model_delete(&mut model, (group, topic), Some(partition), seq));
                }
                Op::DeleteTopic { at: (group, topic), seq } => {
                    let (group, topic) = (NAMES[group], NAMES[topic]);
                    let found = index.resolve(group, topic);
                    let deleted = index.delete_topic(&mut writer, &found, seq);
                    prop_assert_eq!(deleted, model_delete(&mut model, (group, topic), None, seq));
                }
                Op::Resolve { at: (group, topic) } => {
                    let found = index.resolve(NAMES[group], NAMES[topic]);
                    prop_assert!(!found.is_detached());
                }
                Op::Discard { at: (group, topic) } => {
                    let found = index.resolve(NAMES[group], NAMES[topic]);
                    index.discard_if_empty(&mut writer, &found);
                    prop_assert_eq!(found.is_detached(), !model.contains_key(&(NAMES[group], NAMES[topic])));
                }
                Op::Rebuild { pack } => {
                    (index, writer) = rebuild(&index, pack);
                    // Deletions are not remembered.
                    let is_live = |_: &i32, value: &mut (u64, Option<CommittedOffset>)| value.1.is_some();
                    model.values_mut().for_each(|topic| topic.retain(is_live));
                }
            }
            let live = |(_, value): &&(u64, Option<CommittedOffset>)| value.is_some();
            let keys = model.values().flat_map(|topic| topic.values()).filter(live).count();
            prop_assert_eq!(index.keys(), keys as u64);
        }
        let mut groups: Vec<&str> = model.keys().map(|(group, _)| *group).collect();
        groups.dedup();
        prop_assert_eq!(index.group_count(), groups.len() as u64);
        prop_assert_eq!(index.groups(), groups);
        for group in NAMES {
            let topics = model.iter().filter(|((of, _), _)| *of == group);
            let expected: Vec<_> = topics
                .flat_map(|((_, topic), partitions)| {
                    partitions.iter().filter_map(|(partition, (_, value))| {
                        value.clone().map(|value| ((*topic).to_owned(), *partition, value))
                    })
                })
                .collect();
            for (topic, partition, value) in &expected {
                let read = index.read(Key::new(group, topic, *partition));
prop_assert_eq!(read.as_ref(), Some(value));
            }
            prop_assert_eq!(scan(&index, group), expected);
        }
        // Nothing is kept for what is gone.
        for (group, topic) in NAMES.iter().flat_map(|group| NAMES.map(|topic| (*group, topic))) {
            let found = index.resolve(group, topic);
            index.delete_topic(&mut writer, &found, u64::MAX - 1);
            index.discard_if_empty(&mut writer, &found);
        }
        prop_assert_eq!((index.topics.len(), index.groups.len(), index.topic_names.len()), (0, 0, 0));
    }
}
