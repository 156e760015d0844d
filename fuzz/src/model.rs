//! The store against a model of it, on a disk that fills up, fails and loses power.

use std::io;

use pagemark::testkit::{Crash, Op, Oracle, SimDisk, State, Step, batch_of, observe};
use pagemark::{Durability, Error, ErrorKind, OffsetStore, Options, Receipt};

use crate::input::Input;
use crate::support::options;

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

struct Run {
    disk: SimDisk,
    options: Options,
    store: Option<OffsetStore>,
    /// What the store may show after a crash.
    oracle: Oracle,
    /// What it shows now.
    shown: State,
    /// The seqs that were handed out since it was opened, and the states that they led to.
    seqs: Vec<(u64, u64)>,
    /// Since a call failed, so that all later ones do.
    poisoned: bool,
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
            oracle: Oracle::new(),
            shown: State::new(),
            seqs: Vec::new(),
            poisoned: false,
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
                match input.below(4) {
                    3 => self.disk.fail_from(op, n, io::ErrorKind::Other),
                    _ => self.disk.fail_nth(op, n, io::ErrorKind::Other),
                }
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

    fn change(&mut self, step: &Step, durability: Durability) {
        let mut next = self.shown.clone();
        step.apply(&mut next);
        self.oracle.begin(step);
        let result = take(self.store(), step, durability);
        let shown = observe(self.store());
        match result {
            Ok(receipt) => {
                assert!(!self.poisoned, "a change was taken after a failure");
                assert_eq!(shown, next, "after {step:?}");
                let seq = receipt.seq().get();
                if matches!(step, Step::Batch { .. }) || next != self.shown {
                    assert!(seq > self.highest, "seq {seq} after {}", self.highest);
                    self.highest = seq;
                }
                // Deletes promise what the store does by default.
                let is_batch = matches!(step, Step::Batch { .. });
                self.oracle.returned(if is_batch { durability } else { Durability::Buffered });
                self.seqs.push((seq, self.oracle.number()));
            }
            Err(error) => {
                // Once it is in the log, it is shown, also if its flush fails.
                let is_shown = shown == next && error.kind() == ErrorKind::Io;
                assert!(shown == self.shown || is_shown, "after {step:?}: {error}");
                match error.kind() {
                    ErrorKind::Io => self.oracle.failed(),
                    _ => self.oracle.refused(),
                }
                self.expect_failure(&error);
            }
        }
        self.shown = shown;
        self.forget_what_is_durable();
    }

    fn sync(&mut self) {
        match self.store().sync() {
            // After a failure too, if there is nothing to flush.
            Ok(durable) => {
                assert_eq!(durable, self.store().durable_seq());
                self.forget_what_is_durable();
                assert!(self.oracle.is_durable(), "a sync covers everything");
            }
            Err(error) => self.expect_failure(&error),
        }
        assert_eq!(observe(self.store()), self.shown);
    }

    fn compact(&mut self) {
        match self.store().compact() {
            Ok(_) => {
                assert!(!self.poisoned, "a compaction was taken after a failure");
                self.forget_what_is_durable();
                assert!(self.oracle.is_durable(), "a compaction makes everything durable");
            }
            // Only if it was the log that could not be written, commits end.
            Err(error) if error.kind() == ErrorKind::Io => {
                if self.store().stats().poisoned.is_some() {
                    self.poisoned = true;
                    self.oracle.failed();
                }
            }
            Err(error) => self.expect_failure(&error),
        }
        self.forget_what_is_durable();
        assert_eq!(observe(self.store()), self.shown);
    }

    /// Notes a failure, which must be one that the disk has caused.
    fn expect_failure(&mut self, error: &Error) {
        match error.kind() {
            ErrorKind::Full => assert!(!self.poisoned, "{error}"),
            ErrorKind::Io => {
                assert!(!self.poisoned, "tried again after a failure: {error}");
                self.poisoned = true;
                self.oracle.failed();
            }
            ErrorKind::Poisoned => assert!(self.poisoned, "{error}"),
            _ => panic!("{error:?}"),
        }
    }

    fn forget_what_is_durable(&mut self) {
        let durable = self.store().durable_seq().get();
        if let Some((_, number)) = self.seqs.iter().rfind(|(seq, _)| *seq <= durable) {
            self.oracle.durable(*number);
        }
    }

    /// Closes the store in order and opens it again.
    fn reopen(&mut self) {
        let store = self.store.take().expect("a store is open between operations");
        match store.close() {
            Ok(()) => self.oracle.durable(self.oracle.number()),
            Err(error) => self.expect_failure(&error),
        }
        self.open();
    }

    fn process_crash(&mut self) {
        self.crash(SimDisk::process_crash);
        self.open();
    }

    fn power_cut(&mut self, lots: u64) {
        self.crash(|disk| disk.power_cut(lots));
        self.oracle.failed();
        self.open();
    }

    fn crash(&mut self, leave: impl Fn(&SimDisk) -> SimDisk) {
        let disk = leave(&self.disk);
        // Dropping a store closes it, which the new disk must not see.
        drop(self.store.take());
        self.disk = disk;
    }

    /// Opens the store, and finds out which of the possible states it shows.
    fn open(&mut self) {
        let store = self.open_at_last();
        let shown = observe(&store);
        assert!(self.oracle.allows(Crash::Process, &shown), "{shown:?}: {:#?}", self.oracle);
        for group in store.groups() {
            let values = store.fetch_group(&group);
            assert!(values.iter().all(|(_, value)| value.is_durable()), "what is shown is durable");
        }
        self.highest = self.highest.max(store.durable_seq().get());
        self.oracle.opened(shown.clone());
        self.shown = shown;
        self.seqs.clear();
        self.poisoned = false;
        self.store = Some(store);
    }

    /// Opens the store as soon as the disk lets it. A fault that lasts ends with the power.
    fn open_at_last(&mut self) -> OffsetStore {
        for attempt in 0..MOST_OPERATIONS {
            match self.options.open_in(self.disk.dir()) {
                Ok(store) => return store,
                Err(error) if error.kind() == ErrorKind::Full => self.disk.capacity(None),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                    self.oracle.failed();
                    if self.disk.is_frozen() || attempt > MOST_OPERATIONS / 2 {
                        self.disk = self.disk.power_cut(0);
                    }
                }
            }
        }
        panic!("the store cannot be opened although nothing fails any longer");
    }
}

fn take(store: &OffsetStore, step: &Step, durability: Durability) -> Result<Receipt, Error> {
    match step {
        Step::DeleteGroup(group) => store.delete_group(group),
        Step::DeleteTopic(group, topic) => store.delete_topic(group, topic),
        Step::Batch { group, changes, states } => {
            store.commit_batch_with(&batch_of(group, changes, states), durability)
        }
        _ => unreachable!("these are operations of their own"),
    }
}
