//! The driver of the test kit: what is sound passes, and what breaks a promise is found and made small.

use std::sync::Arc;

use pagemark::testkit::{
    Dir, Driver, Failed, SimDisk, State, Step, StoreSubject, Subject, apply_to_store, check_files,
    history, observe, rough_history, states,
};
use pagemark::{Durability, OffsetStore, Options};

fn store() -> StoreSubject {
    let options = Options::new().segment_size(16 << 10).durability(Durability::Buffered);
    StoreSubject::new(options)
}

/// A wrapper around the store that breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broken {
    /// Says of every commit that it is synced.
    Boasts,
    /// Commits the changes of a batch one by one.
    TearsBatches,
    /// Keeps commits in memory until something else is to be done.
    KeepsInMemory,
    /// Leaves a file behind that nobody needs.
    Litters,
    /// Opens the store again after a failure, and says that all went well.
    GoesOn,
    /// Panics if a tail was cut.
    Panics,
}

/// What is open, and what it has not passed on yet.
struct Wrapped {
    store: OffsetStore,
    dir: Arc<dyn Dir>,
    seed: u64,
    waiting: Vec<Step>,
}

impl Wrapped {
    fn pass_on(&mut self) -> Result<(), Failed> {
        for step in self.waiting.drain(..) {
            apply_to_store(&self.store, &step)?;
        }
        Ok(())
    }
}

impl Subject for Broken {
    type Open = Wrapped;

    fn open(&self, dir: Arc<dyn Dir>, seed: u64) -> Result<Wrapped, Failed> {
        let store = store().open(Arc::clone(&dir), seed)?;
        if *self == Broken::Panics && store.recovery_report().cut.is_some() {
            panic!("a tail was cut");
        }
        if *self == Broken::Litters {
            drop(dir.create("copy", 1));
        }
        Ok(Wrapped { store, dir, seed, waiting: Vec::new() })
    }

    fn apply(&self, open: &mut Wrapped, step: &Step) -> Result<Durability, Failed> {
        let mut level = if *step == Step::Sync { Durability::Synced } else { Durability::Buffered };
        match (self, step) {
            (Broken::Boasts, _) => {
                apply_to_store(&open.store, step)?;
                level = Durability::Synced;
            }
            (Broken::TearsBatches, Step::Batch { group, changes, states }) => {
                let part = |changes: &[_], states: &[_]| {
                    let (changes, states) = (changes.to_vec(), states.to_vec());
                    Step::Batch { group: group.clone(), changes, states }
                };
                for change in changes.chunks(1) {
                    apply_to_store(&open.store, &part(change, &[]))?;
                }
                apply_to_store(&open.store, &part(&[], states))?;
            }
            (Broken::KeepsInMemory, Step::Batch { .. }) => {
                open.pass_on()?;
                open.waiting.push(step.clone());
            }
            (Broken::GoesOn, _) => {
                if apply_to_store(&open.store, step).is_err() {
                    // It frees the directory also if it fails.
                    let _ = open.store.clone().close();
                    open.store = store().open(Arc::clone(&open.dir), open.seed)?;
                }
            }
            _ => {
                open.pass_on()?;
                apply_to_store(&open.store, step)?;
            }
        }
        Ok(level)
    }

    fn observe(&self, open: &Wrapped) -> State {
        let mut state = observe(&open.store);
        open.waiting.iter().for_each(|step| step.apply(&mut state));
        state
    }

    fn close(&self, mut open: Wrapped) -> Result<(), Failed> {
        open.pass_on()?;
        Ok(open.store.close()?)
    }

    fn inspect(&self, _: &Wrapped, disk: &SimDisk) -> Result<(), String> {
        check_files(&disk.files())
    }
}

/// What the driver finds, after how many histories at most, and the steps that it takes.
fn expect(broken: Broken, histories: u64, expected: &[&str]) {
    let driver = Driver::new().faults(broken == Broken::GoesOn);
    let draw = |seed| history(seed, 10);
    let failure = driver.run(&broken, 0..100, draw).unwrap_err();
    let text: Vec<_> = failure.history().iter().map(ToString::to_string).collect();
    assert_eq!(text, expected, "{broken:?}: {failure}");
    assert!(failure.histories() <= histories, "{broken:?}: {failure}");
    let again = driver.check(&broken, failure.history()).unwrap_err();
    assert_eq!(again.history(), failure.history(), "it replays, and is as small as it gets");
    driver.run(&broken, failure.seed()..failure.seed() + 1, draw).unwrap_err();
}

#[test]
fn each_broken_promise_is_found_and_made_small() {
    expect(Broken::Boasts, 1, &["Step::commit(\"billing\", \"orders\", 2147483647, 1)"]);
    let batch = "Step::commit(\"billing\", \"orders\", 2147483647, 1)\
                 .with(StateOwner::Application, \"t\", 2147483647, Edit::Append(vec![0, 0]))";
    expect(Broken::TearsBatches, 1, &[batch]);
    expect(Broken::KeepsInMemory, 1, &["Step::commit(\"billing\", \"orders\", 2147483647, 1)"]);
    expect(Broken::Litters, 1, &[]);
    expect(Broken::GoesOn, 1, &["Step::commit(\"a\", \"orders\", 1, 8)"]);

    expect(Broken::Panics, 1, &["Step::commit(\"a\", \"t\", 0, 20)"]);
}

#[test]
fn expiries_of_drawn_histories_delete_something_in_many_of_them() {
    let deletes = |seed: &u64| {
        let history = rough_history(*seed, 14);
        let after = states(&history);
        let mut expiries = history.iter().zip(after.windows(2));
        expiries.any(|(step, pair)| {
            *step == Step::Expire && pair[1].offsets.len() < pair[0].offsets.len()
        })
    };
    let count = (0..1_000).filter(deletes).count();
    assert!(count > 100, "{count} of 1,000");
}

#[test]
fn a_run_is_the_same_every_time_and_on_any_number_of_threads() {
    let runs = [1, 1, 3].map(|threads| {
        let driver = Driver::new().threads(threads);
        let seen = driver.run(&store(), 0..12, |seed| rough_history(seed, 10)).unwrap();
        (seen.images(), seen.images_in_recovery(), seen.process_deaths())
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
}
