//! What a log behind a snapshot sets, patched into packs, against the same set in slots.

use std::convert::Infallible;

use proptest::prelude::*;

use super::tests::{scan, value};
use super::*;

/// Topics of two groups, with partitions from 0 on, and one far away from them.
const TOPICS: usize = 12;
const PARTITIONS: i32 = 9;

fn name(topic: usize) -> (&'static str, String) {
    (["g", "h"][topic % 2], format!("t{:02}", topic / 2))
}

fn partition(number: i32) -> i32 {
    if number + 1 == PARTITIONS { i32::MAX } else { number }
}

/// An index with packs of a few topics. Every third key of the later topics is missing.
fn built(pack: usize) -> (Index, Writer) {
    let mut builder = Builder::with_packs(1, pack);
    let mut names: Vec<_> = (0..TOPICS).map(name).collect();
    names.sort_unstable();
    for (number, (group, topic)) in names.iter().enumerate() {
        assert!(builder.topic(group, topic));
        let text = if number % 3 == 0 { "text" } else { "" };
        let there = (0..PARTITIONS).filter(|at| number < TOPICS / 2 || at % 3 != 1);
        let values = there.map(|at| {
            Ok((
                partition(at),
                Value { metadata: text, ..value(5 + (number as u64 + at as u64) % 7) },
            ))
        });
        assert!(builder.set_all(values).unwrap_or_else(|never: Infallible| match never {}));
    }
    builder.finish()
}

#[derive(Clone, Debug)]
enum Op {
    Set { topic: usize, at: i32, seq: u64, text: usize, expires: bool },
    Delete { topic: usize, at: i32, seq: u64 },
    DeleteTopic { topic: usize, seq: u64 },
    Tag { topic: usize },
}

fn ops() -> impl Strategy<Value = Op> {
    // Some topics are new.
    let topic = || 0..TOPICS + 2;
    let key = || (topic(), 0..PARTITIONS, 1..40u64);
    prop_oneof![
        20 => (key(), 0..5usize, any::<bool>())
            .prop_map(|((topic, at, seq), text, expires)| Op::Set { topic, at, seq, text, expires }),
        2 => key().prop_map(|(topic, at, seq)| Op::Delete { topic, at, seq }),
        1 => (topic(), 1..40u64).prop_map(|(topic, seq)| Op::DeleteTopic { topic, seq }),
        2 => topic().prop_map(|topic| Op::Tag { topic }),
    ]
}

/// Does what a replay does, with targets that are found at first use and kept.
fn replay(index: &Index, writer: &mut Writer, ops: &[Op]) {
    let target = |topic: usize| {
        let (group, topic) = name(topic);
        index.target(index.hash(group, &topic), group, &topic)
    };
    let mut targets: Vec<Target> = (0..TOPICS + 2).map(target).collect();
    for (number, op) in ops.iter().enumerate() {
        match *op {
            Op::Set { topic, at, seq, text, expires } => {
                let expire_at_ms = expires.then_some(number as i64);
                let value = Value {
                    offset: number as i64,
                    metadata: &"text"[..text],
                    expire_at_ms,
                    ..value(seq)
                };
                let set = Set { topic: topic as u32, partition: partition(at), value };
                index.set_many(writer, &mut targets, &[set, set]);
            }
            Op::Delete { topic, at, seq } => {
                let topic = index.unpacked(&mut targets[topic]);
                index.delete(writer, &topic, partition(at), seq);
            }
            Op::DeleteTopic { topic, seq } => {
                let topic = index.unpacked(&mut targets[topic]);
                index.delete_topic(writer, &topic, seq);
            }
            Op::Tag { topic } => {
                if targets[topic].topic().is_none_or(|topic| !topic.is_detached()) {
                    index.set_tag(&targets[topic], number as u64);
                }
            }
        }
    }
    for topic in targets.iter().filter_map(Target::topic) {
        index.discard_if_empty(writer, topic);
    }
}

/// All that can be told of an index, tags last, which unpacks everything.
fn content(index: &Index) -> impl PartialEq + std::fmt::Debug + use<> {
    let scans = [scan(index, "g"), scan(index, "h")];
    let read = |topic| {
        let (group, topic) = name(topic);
        let of = |at| index.read(Key::new(group, &topic, partition(at)));
        (0..PARTITIONS).map(of).collect::<Vec<_>>()
    };
    let reads: Vec<_> = (0..TOPICS + 2).map(read).collect();
    let counts = (index.keys(), index.group_count(), index.groups());
    let tags = index.topics().iter().map(|topic| topic.tag()).collect::<Vec<_>>();
    assert_eq!(scans, [scan(index, "g"), scan(index, "h")], "unpacking changes nothing");
    (scans, reads, counts, tags)
}

proptest! {
    #[test]
    fn patched_packs_hold_what_slots_would(
        ops in prop::collection::vec(ops(), 0..120),
        pack in 1..40usize,
    ) {
        let (in_slots, mut writer) = built(pack);
        replay(&in_slots, &mut writer, &ops);
        let (patched, mut writer) = built(pack);
        patched.begin_patches(0);
        replay(&patched, &mut writer, &ops);
        patched.publish();
        prop_assert!(content(&patched) == content(&in_slots));
    }
}

#[test]
fn few_values_leave_a_pack_packed_and_many_do_not() {
    let (index, mut writer) = built(1000);
    index.begin_patches(0);
    let (group, topic) = name(0);
    let target = index.target(index.hash(group, &topic), group, &topic);
    let mut targets = [target];
    let keys = index.keys() as usize;
    let most = keys.div_ceil(8);
    let mut done = 0;
    for number in (0..TOPICS).filter(|number| number % 2 == 0) {
        let (group, topic) = name(number);
        targets[0] = index.target(index.hash(group, &topic), group, &topic);
        for at in 0..PARTITIONS {
            let set = Set { topic: 0, partition: partition(at), value: value(100) };
            if index.read(Key::new(group, &topic, partition(at))).is_none() {
                continue;
            }
            index.set_many(&mut writer, &mut targets, &[set]);
            done += 1;
            // Again, and what is older, takes nothing more.
            let older = Set { value: value(99), ..set };
            index.set_many(&mut writer, &mut targets, &[set, older]);
            assert_eq!(targets[0].topic().is_none(), done <= most, "{done} of {keys}");
        }
    }
    assert!(done > most);
}

#[test]
fn no_pack_takes_patches_when_more_is_to_come_than_they_take() {
    let keys = built(1000).0.keys();
    for (values, is_patched) in [(keys / 8, true), (keys / 8 + 1, false), (u64::MAX, false)] {
        let (index, mut writer) = built(1000);
        index.begin_patches(values);
        let (group, topic) = name(0);
        let mut targets = [index.target(index.hash(group, &topic), group, &topic)];
        let set = Set { topic: 0, partition: partition(0), value: value(100) };
        index.set_many(&mut writer, &mut targets, &[set]);
        assert_eq!(targets[0].topic().is_none(), is_patched, "{values} of {keys}");
    }
}

#[test]
fn a_tag_is_found_where_the_topic_is() {
    let (index, mut writer) = built(1000);
    index.begin_patches(0);
    let target = |number: usize| {
        let (group, topic) = name(number);
        index.target(index.hash(group, &topic), group, &topic)
    };
    // Packed, unpacked behind the back of its target, and new.
    let targets = [target(0), target(2), target(TOPICS)];
    index.set_tag(&targets[0], 7);
    let mut unpacked = [target(2)];
    assert!(targets[1].topic().is_none());
    index.unpacked(&mut unpacked[0]);
    index.set_tag(&targets[1], 8);
    index.set_tag(&targets[2], 9);
    let set = Set { topic: 0, partition: 0, value: value(50) };
    index.set_many(&mut writer, &mut [target(TOPICS)], &[set]);
    for (number, tag) in [(0, 7), (2, 8), (TOPICS, 9)] {
        let (group, topic) = name(number);
        assert_eq!(index.with_topic(group, &topic, |topic| topic.tag()), Some(tag), "{topic}");
    }
}

#[test]
fn patches_are_counted_in_the_memory_that_is_stated() {
    let (index, mut writer) = built(1000);
    index.begin_patches(0);
    let before = index.memory_bytes();
    let (group, topic) = name(0);
    let mut targets = [index.target(index.hash(group, &topic), group, &topic)];
    let sets = (0..PARTITIONS - 1).map(|at| Set { topic: 0, partition: at, value: value(100) });
    index.set_many(&mut writer, &mut targets, &sets.collect::<Vec<_>>());
    assert!(targets[0].topic().is_none(), "nothing is unpacked");
    index.publish();
    let patches = PARTITIONS as u64 - 1;
    let least = size_of::<(u32, super::pack::Patch)>() as u64 * patches;
    let grown = index.memory_bytes().saturating_sub(before);
    assert!((least..4 * least).contains(&grown), "{grown} bytes for {patches} patches");
}
