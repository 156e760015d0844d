//! What the threads of a child commit, step by step. Both processes work it out for themselves, so
//! that a line in the pipe needs no more than a number.

use std::collections::BTreeMap;

use pagemark::{Commit, CommitBatch, Key, NextOffset, OffsetStore, Seq};

use crate::support::{Lots, mix};

/// The key that all threads commit to.
pub(crate) const SHARED: Key<'static> = Key::new("shared", "t", 0);

const TOPICS: [&str; 3] = ["orders", "payments", "audit-log-of-everything"];
const PARTITIONS: i32 = 3;

/// One step of one thread, on keys of a group that no other thread uses.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sets each of these keys to the number of the step, or deletes it. A batch has several.
    Batch(Vec<(&'static str, i32, bool)>),
    /// Sets one key, by its names or by a slot.
    Commit {
        topic: &'static str,
        partition: i32,
        slot: bool,
    },
    Delete(&'static str, i32),
    DeleteTopic(&'static str),
    DeleteGroup,
    /// Sets the key that all threads share.
    Shared,
}

/// What a thread's group holds: topic and partition to the number of the step that set them.
pub(crate) type Held = BTreeMap<(String, i32), i64>;

/// The group of a thread.
pub(crate) fn group(thread: u64) -> String {
    format!("group-{thread}")
}

/// Text that belongs to one step of one thread. Long ones fill a small segment within a few commits.
pub(crate) fn metadata(thread: u64, number: i64) -> String {
    let lot = mix(thread ^ mix(number as u64));
    let len = [0, 0, 12, 40, 300, 900][(lot % 6) as usize];
    format!("{thread}-{number} ").repeat(300)[..len].to_owned()
}

/// The offset that a step commits to the shared key.
pub(crate) fn shared_offset(thread: u64, number: i64) -> i64 {
    number * 64 + thread as i64
}

/// The step of a thread with a number.
pub(crate) fn step(thread: u64, number: i64) -> Step {
    let mut lots = Lots(mix(number as u64) ^ thread);
    let topic = TOPICS[lots.below(3) as usize];
    let partition = lots.below(PARTITIONS as u64) as i32;
    match lots.below(24) {
        0 => Step::DeleteGroup,
        1 => Step::DeleteTopic(topic),
        2 => Step::Delete(topic, partition),
        3..6 => Step::Shared,
        6..10 => Step::Commit { topic, partition, slot: lots.below(2) == 0 },
        _ => {
            let mut keys = Vec::new();
            for topic in TOPICS {
                for partition in 0..PARTITIONS {
                    match lots.below(8) {
                        0..4 => keys.push((topic, partition, true)),
                        4 => keys.push((topic, partition, false)),
                        _ => {}
                    }
                }
            }
            // An empty batch would be no record.
            keys.push((topic, PARTITIONS, true));
            Step::Batch(keys)
        }
    }
}

/// Takes a step on a store.
pub(crate) fn take(store: &OffsetStore, thread: u64, number: i64) -> pagemark::Result<Seq> {
    let (group, metadata) = (group(thread), metadata(thread, number));
    let commit = Commit::new(NextOffset(number)).metadata(&metadata);
    let receipt = match step(thread, number) {
        Step::Batch(keys) => {
            let mut batch = CommitBatch::new(&group);
            for (topic, partition, set) in keys {
                match set {
                    true => batch.commit(topic, partition, commit),
                    false => batch.delete(topic, partition),
                };
            }
            store.commit_batch(&batch)
        }
        Step::Commit { topic, partition, slot: true } => {
            store.slot(Key::new(&group, topic, partition))?.commit(commit)
        }
        Step::Commit { topic, partition, slot: false } => {
            store.commit(Key::new(&group, topic, partition), commit)
        }
        Step::Delete(topic, partition) => store.delete(Key::new(&group, topic, partition)),
        Step::DeleteTopic(topic) => store.delete_topic(&group, topic),
        Step::DeleteGroup => store.delete_group(&group),
        Step::Shared => store.commit(SHARED, NextOffset(shared_offset(thread, number))),
    };
    receipt.map(|receipt| receipt.seq())
}

/// What a step makes of its thread's group. False if there was nothing to do, so that the step leaves
/// no record and has no seq of its own.
pub(crate) fn apply(held: &mut Held, thread: u64, number: i64) -> bool {
    let before = held.len();
    match step(thread, number) {
        Step::Batch(keys) => {
            for (topic, partition, sets) in keys {
                match sets {
                    true => held.insert((topic.to_owned(), partition), number),
                    false => held.remove(&(topic.to_owned(), partition)),
                };
            }
            return true;
        }
        Step::Commit { topic, partition, .. } => {
            held.insert((topic.to_owned(), partition), number);
            return true;
        }
        Step::Shared => return true,
        Step::Delete(topic, partition) => {
            held.remove(&(topic.to_owned(), partition));
        }
        Step::DeleteTopic(topic) => held.retain(|key, _| key.0 != topic),
        Step::DeleteGroup => held.clear(),
    }
    held.len() < before
}
