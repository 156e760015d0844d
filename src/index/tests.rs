//! The index as a whole: what it promises one by one, under concurrent readers, and with hostile
//! input.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::key::{NextOffset, Seq};

/// So many steps, or a few of them where each takes a thousand times as long.
pub(super) fn steps(count: u64, under_miri: u64) -> u64 {
    if cfg!(miri) { under_miri } else { count }
}

pub(super) fn value(seq: u64) -> Value<'static> {
    let timestamp_ms = 1_700_000_000_000 + seq as i64;
    Value {
        offset: seq as i64,
        leader_epoch: Some(1),
        timestamp_ms,
        expire_at_ms: None,
        metadata: "",
        seq,
    }
}

/// Sets a value as the engine does it, with a new topic if the old one is gone.
pub(super) fn set(
    index: &Index,
    writer: &mut Writer,
    key: Key<'_>,
    value: Value<'_>,
) -> Arc<Topic> {
    loop {
        let topic = index.resolve(key.group(), key.topic());
        if index.set(writer, &topic, topic.spot(key.partition()), value) {
            return topic;
        }
    }
}

/// Everything that a visit of the group gives.
pub(super) fn scan(index: &Index, group: &str) -> Vec<(String, i32, CommittedOffset)> {
    let mut all = Vec::new();
    index.visit_group(group, |topic, partition, value| {
        all.push((topic.to_owned(), partition, value.clone()));
    });
    all
}

/// What reading gives after `value` was set.
pub(super) fn as_read(value: &Value<'_>) -> CommittedOffset {
    CommittedOffset {
        offset: NextOffset(value.offset),
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.to_owned(),
        commit_timestamp_ms: value.timestamp_ms,
        expire_at_ms: value.expire_at_ms,
        seq: Seq(value.seq),
        durable: false,
    }
}

#[test]
fn every_value_comes_back() {
    let (index, mut writer) = Index::new(1);
    let mut seq = 0;
    let base = 1_577_836_800_000;
    let long = "ä".repeat(32_767) + "b";
    let timestamps =
        [0, base - 1, base, base + (1 << 41) - 1, base + (1 << 41), i64::MIN, i64::MAX];
    let epochs =
        [None, Some(0), Some((1 << 22) - 2), Some((1 << 22) - 1), Some(i32::MAX), Some(-1)];
    let texts = [
        "",
        "x",
        "8 bytes.",
        "9 bytes..",
        "a text that needs more than one unit of the arena",
        &long,
    ];
    for timestamp_ms in timestamps {
        for leader_epoch in epochs {
            for metadata in texts {
                for (offset, expire_at_ms) in
                    [(0, None), (1, Some(-1)), (i64::MAX, Some(i64::MAX)), (2, None)]
                {
                    seq += 1;
                    let value =
                        Value { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata, seq };
                    let topic = set(&index, &mut writer, Key::new("g", "t", 3), value);
                    assert_eq!(index.read(Key::new("g", "t", 3)), Some(as_read(&value)));
                    assert_eq!(topic.offset(3), Some(offset));
                }
            }
        }
    }
    assert_eq!(index.keys(), 1);
    assert!(index.memory_bytes() < 600_000, "{}", index.memory_bytes());
}

#[test]
fn the_newest_seq_wins() {
    let (index, mut writer) = Index::new(1);
    let key = Key::new("g", "t", 0);
    let topic = set(&index, &mut writer, key, value(5));
    set(&index, &mut writer, Key::new("g", "t", 1), value(1));
    for stale in [0, 4, 5, u64::MAX] {
        assert!(index.set(&mut writer, &topic, topic.spot(0), Value { offset: 9, ..value(stale) }));
        assert!(stale == u64::MAX || !index.delete(&mut writer, &topic, 0, stale));
        assert_eq!(topic.offset(0), Some(5));
    }
    assert!(index.delete(&mut writer, &topic, 0, 7));
    assert!(!index.delete(&mut writer, &topic, 0, 8));
    set(&index, &mut writer, key, value(8));
    assert_eq!(index.read(key), None);
    set(&index, &mut writer, key, value(9));
    assert_eq!(topic.offset(0), Some(9));
    assert_eq!(index.delete_topic(&mut writer, &topic, 8), 1);
    assert_eq!(scan(&index, "g").len(), 1);
}

#[test]
fn a_detached_topic_takes_nothing() {
    let (index, mut writer) = Index::new(1);
    let key = Key::new("g", "t", 0);
    let old = set(&index, &mut writer, key, value(1));
    assert!(index.delete(&mut writer, &old, 0, 2));
    assert!(old.is_detached());
    assert!(!index.set(&mut writer, &old, old.spot(0), value(3)));
    assert!(!index.delete(&mut writer, &old, 0, 4));
    assert_eq!(index.delete_topic(&mut writer, &old, 5), 0);
    let new = set(&index, &mut writer, key, value(6));
    index.discard_if_empty(&mut writer, &old);
    // The new topic has taken over the memory of the old one.
    assert_eq!((old.offset(0), new.offset(0)), (None, Some(6)));
    assert!(
        !old.read(0, &mut CommittedOffset::default())
            && new.read(0, &mut CommittedOffset::default())
    );
    assert_eq!(index.read(key).map(|value| value.seq), Some(Seq(6)));

    let empty = index.resolve("g2", "t");
    assert!(index.groups() == ["g"] && index.group_count() == 1);
    assert_eq!(index.with_topic("g2", "t", |topic| topic.live()), Some(0));
    index.discard_if_empty(&mut writer, &empty);
    assert_eq!(index.with_topic("g2", "t", |topic| topic.live()), None);
    assert!(empty.is_detached() && !new.is_detached());
}

#[test]
fn names_are_kept_once() {
    let (index, mut writer) = Index::new(1);
    let a = set(&index, &mut writer, Key::new("g1", "t", 0), value(1));
    let b = set(&index, &mut writer, Key::new("g2", "t", 0), value(2));
    let c = set(&index, &mut writer, Key::new("g2", "u", 0), value(3));
    assert_eq!(a.name().as_ptr(), b.name().as_ptr());
    assert_eq!(b.group().as_ptr(), c.group().as_ptr());
    c.set_tag(7);
    assert_eq!((a.tag(), c.tag()), (0, 7));
    assert_eq!(index.groups(), ["g1", "g2"]);
    let topics = index.group_topics("g2");
    assert!(topics.len() == 2 && Arc::ptr_eq(&topics[0], &b) && Arc::ptr_eq(&topics[1], &c));
}

#[test]
fn hostile_partitions_cost_little() {
    let (index, mut writer) = Index::new(1);
    let empty = index.memory_bytes();
    let mut model = BTreeMap::new();
    let mut seq = 0;
    for start in [1, 63, 64, 65, 127, 128, 129, 255, 1000] {
        let mut partition = start;
        while partition > 0 {
            for near in [partition, partition - 1, i32::MAX - seq as i32] {
                seq += 1;
                set(&index, &mut writer, Key::new("g", "t", near), value(seq));
                model.insert(near, seq);
            }
            partition = partition.wrapping_mul(2);
        }
    }
    let found = scan(&index, "g").into_iter().map(|(_, partition, value)| (partition, value.seq.0));
    assert!(found.eq(model.clone()));
    assert_eq!(index.keys(), model.len() as u64);
    assert!(index.memory_bytes() - empty < 200_000, "{}", index.memory_bytes());
    assert_eq!(index.read(Key::new("g", "t", -1)), None);
}

#[test]
fn many_partitions_in_any_order() {
    let count = steps(10_000, 500);
    for step in [1, 4999, 10_007] {
        let (index, mut writer) = Index::new(1);
        let empty = index.memory_bytes();
        let mut topic = index.resolve("g", "t");
        for i in 0..count {
            topic = set(
                &index,
                &mut writer,
                Key::new("g", "t", (i * step % 10_009) as i32),
                value(i + 1),
            );
        }
        for i in 0..count {
            assert_eq!(topic.offset((i * step % 10_009) as i32), Some(i as i64 + 1));
        }
        let scanned = scan(&index, "g");
        assert!(
            scanned.len() as u64 == count
                && scanned.is_sorted_by_key(|(_, partition, _)| *partition)
        );
        assert!(index.memory_bytes() - empty < 700_000);
        assert_eq!(u64::from(index.delete_topic(&mut writer, &topic, 20_000)), count);
        assert_eq!((index.keys(), index.group_count()), (0, 0));
    }
}

#[test]
fn what_is_deleted_is_used_again() {
    let (index, mut writer) = Index::new(1);
    let (mut seq, mut reached) = (0, 0);
    let text = "metadata ".repeat(50);
    for round in 0..steps(20_000, 600) {
        let group = format!("group {round}");
        for partition in [0, 5, 70, 130, 1_000_000] {
            for metadata in ["", &text[..round as usize % text.len()]] {
                seq += 1;
                let value = Value { metadata, ..value(seq) };
                set(&index, &mut writer, Key::new(&group, &group[2..], partition), value);
            }
        }
        let topic = index.resolve(&group, &group[2..]);
        seq += 1;
        if round % 2 == 0 {
            assert_eq!(index.delete_topic(&mut writer, &topic, seq), 5);
        } else {
            for partition in [70, 130, 0, 1_000_000, 5] {
                assert!(index.delete(&mut writer, &topic, partition, seq));
            }
        }
        assert!(topic.is_detached() && index.group_topics(&group).is_empty());
        if round == 500 {
            reached = index.memory_bytes();
        }
    }
    assert_eq!(index.memory_bytes(), reached);
    assert_eq!((index.topics.len(), index.groups.len(), index.topic_names.len()), (0, 0, 0));
}

/// The value that every key has at `seq` in the concurrent test, so that a mixture of two values,
/// or a value of another key, does not go unnoticed.
fn derived(topic: &str, partition: i32, seq: u64, text: &mut String) -> CommittedOffset {
    let mix = (seq ^ (partition as u64) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    text.clear();
    if mix >> 60 > 3 {
        let times = if mix >> 60 > 10 { 100 } else { mix >> 40 & 3 } as usize;
        text.push_str(&format!("{topic}-{partition}@{seq};").repeat(times));
    }
    let far = mix >> 59 & 1 == 0;
    CommittedOffset {
        offset: NextOffset((mix >> 1) as i64),
        leader_epoch: (mix & 6 != 0).then_some(if far { mix as i32 } else { (mix & 1023) as i32 }),
        metadata: text.clone(),
        commit_timestamp_ms: if far {
            mix as i64
        } else {
            1_700_000_000_000 + (mix & 65535) as i64
        },
        expire_at_ms: (mix >> 20 & 3 == 0).then_some(!mix as i64),
        seq: Seq(seq),
        durable: false,
    }
}

#[test]
fn readers_see_whole_values_that_never_go_back() {
    const TOPICS: [&str; 3] = ["a", "b", "c"];
    const PARTITIONS: [i32; 6] = [0, 1, 4, 127, 130, i32::MAX];
    let (index, mut writer) = Index::new(1);
    let done = AtomicBool::new(false);
    let check = |topic: &str, partition, value: &CommittedOffset, last: &mut u64| {
        assert_eq!(*value, derived(topic, partition, value.seq.0, &mut String::new()));
        assert!(value.seq.0 >= *last, "{} after {last}", value.seq);
        *last = value.seq.0;
    };
    let by_key = || {
        let mut last = BTreeMap::new();
        let mut seen = 0u64;
        while !done.load(Ordering::Relaxed) {
            for topic in TOPICS {
                for partition in PARTITIONS {
                    if let Some(value) = index.read(Key::new("g", topic, partition)) {
                        check(
                            topic,
                            partition,
                            &value,
                            last.entry((topic, partition)).or_default(),
                        );
                        seen += 1;
                    }
                }
            }
        }
        seen
    };
    let by_group_and_handle = || {
        let mut last = BTreeMap::new();
        let mut out = CommittedOffset::default();
        let mut seen = 0u64;
        while !done.load(Ordering::Relaxed) {
            let mut before = None;
            index.visit_group("g", |topic, partition, value| {
                let at = (TOPICS.into_iter().find(|name| *name == topic).unwrap_or(""), partition);
                assert!(before.is_none_or(|before| before < at));
                before = Some(at);
                check(topic, partition, value, last.entry(at).or_default());
                seen += 1;
            });
            // These are held for long enough to be detached and see their slots used again.
            for topic in index.group_topics("g") {
                for partition in PARTITIONS.repeat(50) {
                    if topic.read(partition, &mut out) {
                        let at =
                            (TOPICS[usize::from(topic.name().as_bytes()[0] - b'a')], partition);
                        check(topic.name(), partition, &out, last.entry(at).or_default());
                        seen += 1;
                    }
                }
            }
        }
        seen
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(by_key), scope.spawn(by_group_and_handle)];
        let mut random = 1u64;
        let mut text = String::new();
        for seq in 1..steps(200_000, 3_000) {
            // Now and then bursts that change two keys over and over: they overtake slow readers.
            if seq % 64 < 32 || random >> 60 == 0 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            }
            let topic = TOPICS[(random >> 33) as usize % 3];
            let partition = PARTITIONS[((random >> 40) + seq % 2) as usize % 6];
            let value = derived(topic, partition, seq, &mut text);
            let value = Value {
                offset: value.offset.0,
                leader_epoch: value.leader_epoch,
                timestamp_ms: value.commit_timestamp_ms,
                expire_at_ms: value.expire_at_ms,
                metadata: &text,
                seq,
            };
            // Another group takes over the memory of what is deleted in the first one.
            let group = if random >> 50 & 7 == 0 { "h" } else { "g" };
            let at = set(&index, &mut writer, Key::new(group, topic, partition), value);
            match (random >> 54).wrapping_mul(seq | 1) & 127 {
                0 => {
                    index.delete_topic(&mut writer, &at, seq);
                }
                1 => {
                    index.delete(&mut writer, &at, partition, seq + 1);
                }
                _ => {}
            }
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().is_ok_and(|seen| seen > 100));
        }
    });
}

#[test]
fn commits_that_race_with_deletes_are_not_lost() {
    let (index, writer) = Index::new(1);
    let log = Mutex::new((0u64, writer));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (index, log) = (&index, &log);
            scope.spawn(move || {
                for _ in 0..steps(20_000, 100) {
                    // As the engine does it: resolve first, then lock.
                    let mut topic = index.resolve("g", "t");
                    let mut log = log.lock().unwrap();
                    let (seq, writer) = &mut *log;
                    *seq += 1;
                    while !index.set(writer, &topic, topic.spot(thread), value(*seq)) {
                        topic = index.resolve("g", "t");
                    }
                    assert_eq!(
                        index.read(Key::new("g", "t", thread)).map(|v| v.seq),
                        Some(Seq(*seq))
                    );
                    assert!(index.delete(writer, &topic, thread, *seq + 1));
                    *seq += 1;
                    let empty = index.resolve("g", "other");
                    index.discard_if_empty(writer, &empty);
                }
            });
        }
    });
    assert_eq!((index.keys(), index.topics.len(), index.groups.len()), (0, 0, 0));
}

#[test]
fn many_values_at_once_are_set_as_one_by_one() {
    let (one, mut one_writer) = Index::new(1);
    let (many, mut many_writer) = Index::new(1);
    let names = ["a", "b", "c"];
    let mut random = 1u64;
    let mut topics: Vec<_> =
        names.iter().map(|name| Target::Topic(many.resolve("g", name))).collect();
    for round in 0..steps(200, 20) {
        let sets: Vec<_> = (0..round)
            .map(|i| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let partition =
                    [(random >> 33) as i32 % 200, i32::MAX - 1][usize::from(i % 9 == 0)];
                // A place behind the list, and seqs that are older than those before.
                let topic = (random >> 50) as u32 % 4;
                Set { topic, partition, value: value(1 + (random >> 20) % (10 * (round + 1))) }
            })
            .collect();
        many.set_many(&mut many_writer, &mut topics, &sets);
        for Set { topic, partition, value } in &sets {
            if let Some(name) = names.get(*topic as usize) {
                set(&one, &mut one_writer, Key::new("g", name, *partition), *value);
            }
        }
        assert_eq!(scan(&many, "g"), scan(&one, "g"));
        assert_eq!(many.keys(), one.keys());
        if round % 7 == 0 {
            // The topic leaves the index, and its slots go to others.
            let name = names[round as usize % 3];
            let gone = one.resolve("g", name);
            one.delete_topic(&mut one_writer, &gone, u64::MAX - 1);
            let topic = many.unpacked(&mut topics[round as usize % 3]);
            many.delete_topic(&mut many_writer, &topic, u64::MAX - 1);
        }
    }
}

#[test]
fn all_topics_are_listed_once_while_others_come() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for round in 0..steps(200, 3) {
        let (index, mut writer) = Index::new(round);
        let live: Vec<_> = (0..4).map(|i| index.resolve(&format!("live-{i}"), "t")).collect();
        for topic in &live {
            let metadata = "";
            let value = Value {
                offset: 1,
                leader_epoch: None,
                timestamp_ms: 0,
                expire_at_ms: None,
                metadata,
                seq: 1,
            };
            assert!(index.set(&mut writer, topic, topic.spot(0), value));
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Groups without a key are not listed; they only make the table grow.
                for i in 0..steps(500, 60) {
                    index.resolve(&format!("empty-{i}"), "t");
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let mut names: Vec<_> =
                    index.topics().iter().map(|topic| topic.group().to_owned()).collect();
                names.sort();
                assert_eq!(names, ["live-0", "live-1", "live-2", "live-3"]);
            }
        });
    }
}
