//! The workload of all benches: 1,000 groups of 10 topics of 10 partitions, picked uniformly.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

use pagemark::{Commit, CommitBatch, Durability, Key, NextOffset, OffsetStore, Options};

pub const GROUPS: usize = 1_000;
pub const TOPICS: usize = 10;
pub const PARTITIONS: usize = 10;
pub const TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// The names of all groups and topics, and an order in which keys are picked.
pub struct Workload {
    groups: Vec<String>,
    topics: Vec<String>,
    picks: Vec<u32>,
    next: usize,
}

impl Workload {
    pub fn new() -> Workload {
        let groups = (0..GROUPS).map(|i| format!("consumer-group-{i:07}")).collect();
        let topics = (0..TOPICS).map(|i| format!("orders-by-region-{i:03}")).collect();
        let mut state = 42_u64;
        let picks = (0..1 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 33) % (GROUPS * TOPICS * PARTITIONS) as u64) as u32
            })
            .collect();
        Workload { groups, topics, picks, next: 0 }
    }

    /// The next key, and a number that rises.
    pub fn pick(&mut self) -> (Key<'_>, i64) {
        self.next += 1;
        let pick = self.picks[self.next % self.picks.len()] as usize;
        (self.key(pick), self.next as i64)
    }

    pub fn key(&self, number: usize) -> Key<'_> {
        let group = &self.groups[number / (TOPICS * PARTITIONS)];
        let topic = &self.topics[number / PARTITIONS % TOPICS];
        Key::new(group, topic, (number % PARTITIONS) as i32)
    }

    /// A batch of the 100 keys of a group.
    pub fn batch(&self, group: usize, offset: i64) -> CommitBatch {
        let mut batch = CommitBatch::new(&self.groups[group]);
        for topic in &self.topics {
            for partition in 0..PARTITIONS as i32 {
                batch.commit(topic, partition, commit(offset));
            }
        }
        batch
    }

    /// Gives every key a value.
    pub fn fill(&self, store: &OffsetStore) {
        for group in 0..GROUPS {
            store.commit_batch_with(&self.batch(group, 0), Durability::Buffered).unwrap();
        }
    }
}

/// A commit as a consumer makes it; every tenth has metadata.
pub fn commit(offset: i64) -> Commit<'static> {
    let commit =
        Commit::new(NextOffset(offset)).leader_epoch(7).timestamp_ms(TIMESTAMP_MS + offset);
    match offset % 10 {
        0 => commit.metadata("consumer-7f9a at host-42"),
        _ => commit,
    }
}

/// A buffered store with all keys in it.
pub fn filled(dir: &tempfile::TempDir, workload: &Workload) -> OffsetStore {
    let store = Options::new().durability(Durability::Buffered).open(dir.path()).unwrap();
    workload.fill(&store);
    store
}
