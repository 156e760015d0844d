//! The store that is measured, and what is done to it.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pagemark::{CommitBatch, Durability, Key, NextOffset, OffsetStore, Slot};

use super::limits::{RawFile, RawMemory};
use super::measure::{Latencies, Slice, measure};
use super::rows::{BATCH, GROUPS, KEYS, PARTITIONS, PIPELINED, Row, TOPICS, Verb};
use crate::random::Random;

/// A store with all keys in it, and the limits beside it on the same disk.
pub(super) struct Subject {
    raw_file: RawFile,
    raw_memory: RawMemory,
    names: Names,
    /// One for each group.
    batches: Vec<CommitBatch>,
    dir: PathBuf,
    store: OffsetStore,
    /// One for each key of the open store.
    slots: Vec<Slot>,
    /// Another one for each slice, so that no two have their keys in the same order.
    seed: u64,
}

struct Names {
    groups: Vec<String>,
    topics: Vec<String>,
}

impl Names {
    fn key(&self, number: usize) -> Key<'_> {
        let group = &self.groups[number / BATCH];
        let topic = &self.topics[number / PARTITIONS % TOPICS];
        Key::new(group, topic, (number % PARTITIONS) as i32)
    }

    fn batch(&self, group: &str) -> CommitBatch {
        let mut batch = CommitBatch::new(group);
        for topic in &self.topics {
            for partition in 0..PARTITIONS as i32 {
                batch.commit(topic, partition, NextOffset(1));
            }
        }
        batch
    }
}

impl Subject {
    /// Makes the files and fills the store.
    pub(super) fn create(ground: &Path) -> Result<Subject> {
        let names = Names {
            groups: (0..GROUPS).map(|i| format!("consumer-group-{i:07}")).collect(),
            topics: (0..TOPICS).map(|i| format!("orders-by-region-{i:03}")).collect(),
        };
        let batches = names.groups.iter().map(|group| names.batch(group)).collect();
        let dir = ground.join("store");
        let mut subject = Subject {
            raw_file: RawFile::create(ground)?,
            raw_memory: RawMemory::new(KEYS),
            names,
            batches,
            store: OffsetStore::open(&dir)?,
            dir,
            slots: Vec::new(),
            seed: 0,
        };
        subject.fill()?;
        Ok(subject)
    }

    /// Gives every key a value. Behind an open, this has the values unpacked as those of a store that
    /// has been open for a while are, which otherwise the first commit to each of them does.
    fn fill(&mut self) -> Result<()> {
        for batch in &self.batches {
            self.store.commit_batch_with(batch, Durability::Buffered)?;
        }
        self.store.sync()?;
        let slot = |number| self.store.slot(self.names.key(number));
        self.slots = (0..KEYS).map(slot).collect::<pagemark::Result<_>>()?;
        Ok(())
    }

    /// Does what a row says for so long.
    pub(super) fn run(&mut self, row: Row, time: Duration) -> Result<Slice> {
        self.seed += 1;
        let turns = Turns { row, time, seed: self.seed };
        let Subject { raw_file, raw_memory, names, batches, store, slots, .. } = self;
        let buffered = Durability::Buffered;
        match row.verb {
            Verb::RawFlush => turns.run(|_, number| raw_file.flush(number as u64)),
            Verb::Synced => turns.run(|key, number| {
                done(store.commit_with(names.key(key), NextOffset(number), Durability::Synced))
            }),
            Verb::Pipelined => turns.run(|key, number| pipeline(store, names, key, number)),
            Verb::RawMemory => turns.run_alone(|key, number| raw_memory.commit(key, number)),
            Verb::ByNames => turns.run(|key, number| {
                done(store.commit_with(names.key(key), NextOffset(number), buffered))
            }),
            Verb::BySlot => {
                turns.run(|key, number| done(slots[key].commit_with(NextOffset(number), buffered)))
            }
            Verb::Batch => {
                turns.run(|key, _| done(store.commit_batch_with(&batches[key / BATCH], buffered)))
            }
            Verb::FetchByNames => turns.run(|key, _| found(store.fetch(names.key(key)))),
            Verb::FetchBySlot => turns.run(|key, _| found(slots[key].fetch())),
            Verb::Open => self.reopen(),
        }
    }

    /// Closes the store and times the open that follows.
    fn reopen(&mut self) -> Result<Slice> {
        // They hold the store open.
        self.slots.clear();
        self.store.clone().close()?;
        let started = Instant::now();
        self.store = OffsetStore::open(&self.dir)?;
        let elapsed = started.elapsed();
        let mut latencies = Latencies::new();
        latencies.add(elapsed);
        self.fill()?;
        Ok(Slice { operations: 1, elapsed, latencies })
    }
}

/// Commits as many as may be under way, and waits until all of them are durable.
fn pipeline(store: &OffsetStore, names: &Names, key: usize, number: i64) -> Result<()> {
    let mut last = store.durable_seq();
    for i in 0..PIPELINED {
        // Keys of other groups each time.
        let key = names.key((key + i * (KEYS / PIPELINED)) % KEYS);
        last = store.commit_with(key, NextOffset(number), Durability::Buffered)?.seq();
    }
    Ok(store.wait_durable(last, None)?)
}

fn done<T>(result: pagemark::Result<T>) -> Result<()> {
    black_box(result?);
    Ok(())
}

fn found<T>(value: Option<T>) -> Result<()> {
    black_box(value.context("a key that was committed is not there")?);
    Ok(())
}

/// Calls with keys in an order that looks random, and with numbers that rise.
struct Turns {
    row: Row,
    time: Duration,
    seed: u64,
}

impl Turns {
    /// Calls in as many threads as the row says.
    fn run(&self, work: impl Fn(usize, i64) -> Result<()> + Sync) -> Result<Slice> {
        let operation = |thread| {
            let (mut keys, mut number, work) = (self.keys(thread), 0, &work);
            move || {
                number += 1;
                work(keys.below(KEYS), number)
            }
        };
        let operations = (0..self.row.threads).map(operation).collect();
        measure(self.time, self.row.verb.sampling(), operations)
    }

    /// Calls in one thread.
    fn run_alone(&self, mut work: impl FnMut(usize, i64) + Send) -> Result<Slice> {
        let (mut keys, mut number) = (self.keys(0), 0);
        let operation = move || {
            number += 1;
            work(keys.below(KEYS), number);
            Ok(())
        };
        measure(self.time, self.row.verb.sampling(), vec![operation])
    }

    fn keys(&self, thread: usize) -> Random {
        Random::new(self.seed << 32 | thread as u64)
    }
}
