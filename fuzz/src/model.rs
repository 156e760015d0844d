//! The store against a model of it, on a disk that fills up, fails and loses power.

use std::io;

use pagemark::testkit::{Op, SimDisk};
use pagemark::{CommitBatch, Durability, Error, ErrorKind, OffsetStore, Options, Receipt};

use crate::input::Input;
use crate::support::{State, Step, apply, commit_of, observe, options};

const MOST_OPERATIONS: usize = 64;
/// The kinds of operations that are made to fail.
const FAULTS: [Op; 7] =
    [Op::Create, Op::Open, Op::Rename, Op::SyncDir, Op::SyncFile, Op::Write, Op::Read];

/// Plays operations on a store and on a model, and compares after each of them.
///
/// # Panics
///
/// If the store shows something else than the model, loses what was durable, hands out a seq twice,
/// or fails with an error that nothing has caused.
pub fn model(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut run = Run::new();
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        run.operation(&mut input);
        if run.disk.is_frozen() {
            run.power_cut(input.seed());
        }
    }
    run.process_crash();
    run.power_cut(0);
}

/// A state, and the seq of the last record that it contains.
type Point = (u64, State);

struct Run {
    disk: SimDisk,
    options: Options,
    store: Option<OffsetStore>,
    /// What the store may show after a power cut: the durable state and all that came after it. The
    /// last one is what it shows now.
    history: Vec<Point>,
    /// What a call was about to make of the last state when it failed: it may come true on reopening.
    maybe: Option<State>,
    /// Since a call failed, so that all later ones do.
    poisoned: bool,
    /// Since anything but room was lacking: what is not durable may be gone from the page cache.
    failed: bool,
    /// The highest seq that was handed out.
    highest: u64,
}

impl Run {
    fn new() -> Run {
        let (disk, options) = (SimDisk::new(), options(1));
        let store = options.open_in(disk.dir()).expect("an empty disk takes a store");
        Run {
            disk,
            options,
            store: Some(store),
            history: vec![(0, State::new())],
            maybe: None,
            poisoned: false,
            failed: false,
            highest: 0,
        }
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        match input.below(26) {
            0..12 => {
                let durability =
                    if input.below(4) == 3 { Durability::Synced } else { Durability::Buffered };
                self.change(&input.change(), durability);
            }
            12 | 13 => self.sync(),
            14 => self.reopen(),
            15 | 16 => self.power_cut(input.seed()),
            17 => self.process_crash(),
            18 | 19 => {
                let (op, n) = (FAULTS[input.below(FAULTS.len())], input.below(4) as u64);
                self.disk.fail_nth(op, n, io::ErrorKind::Other);
            }
            20 => self.disk.capacity(Some(self.disk.used() + (input.below(3) << 14) as u64)),
            21 => self.disk.capacity(None),
            22 => self.disk.copy_on_write(input.below(2) == 1),
            23 | 24 => self.compact(),
            _ => {
                let at = self.disk.operations() + input.below(16) as u64;
                self.disk.freeze_in_write(at, input.below(256));
            }
        }
    }

    fn store(&self) -> &OffsetStore {
        self.store.as_ref().expect("a store is open between operations")
    }

    fn newest(&self) -> &State {
        &self.history.last().expect("there is always a state").1
    }

    fn change(&mut self, step: &Step, durability: Durability) {
        let mut next = self.newest().clone();
        apply(&mut next, step);
        let result = take(self.store(), step, durability);
        let shown = observe(self.store());
        match result {
            Ok(receipt) => {
                assert!(!self.poisoned, "a change was taken after a failure");
                assert_eq!(shown, next, "after {step:?}");
                let seq = receipt.seq().get();
                let is_record = matches!(step, Step::Batch { .. }) || next != *self.newest();
                if is_record {
                    assert!(seq > self.highest, "seq {seq} after {}", self.highest);
                    self.highest = seq;
                }
                self.history.push((seq, next));
            }
            Err(error) => {
                self.expect_failure(&error);
                if shown != *self.newest() {
                    // It is in the log, and its flush failed. Its seq was not told.
                    assert_eq!((&shown, error.kind()), (&next, ErrorKind::Io), "{error}");
                    self.history.push((self.highest + 1, next));
                } else if error.kind() == ErrorKind::Io {
                    // It may come true on reopening. Any other error had no effect.
                    self.maybe = Some(next);
                }
            }
        }
        self.forget_what_is_durable();
    }

    fn sync(&mut self) {
        match self.store().sync() {
            // After a failure too, if there is nothing to flush.
            Ok(durable) => {
                assert_eq!(durable, self.store().durable_seq());
                self.forget_what_is_durable();
                assert_eq!(self.history.len(), 1, "a sync covers everything");
            }
            Err(error) => self.expect_failure(&error),
        }
        assert_eq!(&observe(self.store()), self.newest());
    }

    fn compact(&mut self) {
        match self.store().compact() {
            Ok(_) => {
                assert!(!self.poisoned, "a compaction was taken after a failure");
                self.forget_what_is_durable();
                assert_eq!(self.history.len(), 1, "a compaction makes everything durable");
            }
            // Only if it was the log that could not be written, commits end.
            Err(error) if error.kind() == ErrorKind::Io => {
                self.poisoned |= self.store().stats().poisoned.is_some();
                self.failed |= self.poisoned;
            }
            Err(error) => self.expect_failure(&error),
        }
        self.forget_what_is_durable();
        assert_eq!(&observe(self.store()), self.newest());
    }

    /// Notes a failure, which must be one that the disk has caused.
    fn expect_failure(&mut self, error: &Error) {
        match error.kind() {
            ErrorKind::Full => assert!(!self.poisoned, "{error}"),
            ErrorKind::Io => {
                assert!(!self.poisoned, "tried again after a failure: {error}");
                (self.poisoned, self.failed) = (true, true);
            }
            ErrorKind::Poisoned => assert!(self.poisoned, "{error}"),
            _ => panic!("{error:?}"),
        }
    }

    fn forget_what_is_durable(&mut self) {
        let durable = self.store().durable_seq().get();
        let at = self.history.iter().rposition(|(seq, _)| *seq <= durable).unwrap_or(0);
        self.history.drain(..at);
    }

    /// Closes the store in order and opens it again.
    fn reopen(&mut self) {
        let store = self.store.take().expect("a store is open between operations");
        match store.close() {
            Ok(()) => self.history.drain(..self.history.len() - 1).for_each(drop),
            Err(error) => self.expect_failure(&error),
        }
        self.open(false);
    }

    fn process_crash(&mut self) {
        self.crash(SimDisk::process_crash);
        self.open(false);
    }

    fn power_cut(&mut self, lots: u64) {
        self.crash(|disk| disk.power_cut(lots));
        self.open(true);
    }

    fn crash(&mut self, leave: impl Fn(&SimDisk) -> SimDisk) {
        let disk = leave(&self.disk);
        // Dropping a store closes it, which the new disk must not see.
        drop(self.store.take());
        self.disk = disk;
    }

    /// Opens the store, and finds out which of the possible states it shows.
    fn open(&mut self, lost_power: bool) {
        let store = self.open_at_last();
        let found = observe(&store);
        let may_lose = lost_power || self.failed;
        let first = if may_lose { 0 } else { self.history.len() - 1 };
        let durable = store.durable_seq().get();
        let known =
            self.history[first..].iter().any(|(seq, state)| *state == found && durable >= *seq);
        assert!(
            known || self.maybe.as_ref() == Some(&found),
            "the store shows {} up to seq {durable}, and not one of {:#?} or {:?}",
            brief(&found),
            self.history[first..].iter().map(|(seq, s)| (seq, brief(s))).collect::<Vec<_>>(),
            self.maybe.as_ref().map(brief)
        );
        self.history = vec![(durable, found)];
        self.highest = self.highest.max(durable);
        (self.maybe, self.poisoned, self.failed) = (None, false, false);
        self.store = Some(store);
    }

    /// Opens the store as soon as the disk lets it: each planned fault fires once.
    fn open_at_last(&mut self) -> OffsetStore {
        for _ in 0..MOST_OPERATIONS {
            match self.options.open_in(self.disk.dir()) {
                Ok(store) => return store,
                Err(error) if error.kind() == ErrorKind::Full => self.disk.capacity(None),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                    self.failed = true;
                    if self.disk.is_frozen() {
                        self.disk = self.disk.power_cut(0);
                    }
                }
            }
        }
        panic!("the store cannot be opened although nothing fails any longer");
    }
}

/// A state without its long texts.
fn brief(state: &State) -> String {
    let keys = state.iter().map(|((group, topic, partition), (offset, metadata))| {
        format!("{group}/{topic}/{partition}={offset}+{}", metadata.len())
    });
    keys.collect::<Vec<_>>().join(" ")
}

fn take(store: &OffsetStore, step: &Step, durability: Durability) -> Result<Receipt, Error> {
    match step {
        Step::DeleteGroup(group) => store.delete_group(group),
        Step::DeleteTopic(group, topic) => store.delete_topic(group, topic),
        Step::Batch { group, changes } => {
            let mut batch = CommitBatch::new(group);
            for (topic, partition, value) in changes {
                match value {
                    Some((offset, metadata)) => {
                        batch.commit(topic, *partition, commit_of(*offset, metadata))
                    }
                    None => batch.delete(topic, *partition),
                };
            }
            store.commit_batch_with(&batch, durability)
        }
        Step::Sync | Step::Compact | Step::Reopen => {
            unreachable!("these are operations of their own")
        }
    }
}
