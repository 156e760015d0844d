//! What the tests share: the names of the test kit, and a player of histories for tests that look at
//! a store between the steps.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test program uses a part of it"
)]

use pagemark::testkit::{FixedEnvironment, SimDisk, apply_to_store};
use pagemark::{Durability, Error, Key, OffsetReader, OffsetStore, Options, StateOwner};

pub use pagemark::testkit::{Lots, State, Step, commit_of, history, mix, observe, states};

/// The options under which a test is the same every time.
pub fn options(seed: u64) -> Options {
    Options::new()
        .segment_size(16 << 10)
        .background(false)
        .durability(Durability::Buffered)
        .environment(FixedEnvironment::new(seed))
}

/// Everything that a reader shows.
pub fn observe_reader(reader: &OffsetReader) -> State {
    let mut state = State::new();
    for group in reader.groups() {
        for (key, value) in reader.fetch_group(&group) {
            let by_key = reader.fetch(Key::new(&group, key.topic(), key.partition())).unwrap();
            assert_eq!(by_key, value, "the two ways to fetch agree");
            assert_eq!(value.is_durable(), value.seq() <= reader.durable_seq());
            let value = (value.offset().0, value.metadata().to_owned());
            state.offsets.insert((group.clone(), key.topic().to_owned(), key.partition()), value);
        }
    }
    for owner in StateOwner::ALL {
        for group in reader.groups_with_state(owner) {
            reader.visit_states(&group, owner, |name, part, bytes| {
                assert_eq!(reader.state(&group, owner, name, part).unwrap(), bytes);
                state.states.insert((group.clone(), owner, name.to_owned(), part), bytes.to_vec());
            });
        }
    }
    state
}

/// A store on a simulated disk that a history is played on.
#[derive(Debug)]
pub struct Player {
    pub disk: SimDisk,
    pub options: Options,
    pub store: Option<OffsetStore>,
    /// The number of steps that succeeded.
    pub done: usize,
    /// The number of leading steps that are durable for certain.
    pub durable: usize,
}

impl Player {
    pub fn new(disk: SimDisk, options: Options) -> Player {
        Player { disk, options, store: None, done: 0, durable: 0 }
    }

    /// Plays the history until a call fails. A call that failed may or may not have happened.
    pub fn play(&mut self, history: &[Step]) -> Result<(), Error> {
        if self.store.is_none() {
            self.store = Some(self.options.open_in(self.disk.dir())?);
            self.durable = self.done;
        }
        for step in history {
            if *step == Step::Reopen {
                self.store.take().unwrap().close()?;
                self.store = Some(self.options.open_in(self.disk.dir())?);
            }
            apply_to_store(self.store.as_ref().unwrap(), step)?;
            self.done += 1;
            if matches!(step, Step::Sync | Step::Compact | Step::Reopen) {
                self.durable = self.done;
            }
        }
        Ok(())
    }
}

/// [`pagemark::testkit::check_files`] of a disk.
pub fn check_files(disk: &SimDisk, context: &dyn std::fmt::Debug) {
    if let Err(wrong) = pagemark::testkit::check_files(&disk.files()) {
        panic!("{context:?}: {wrong}");
    }
}

/// Where the records of a file begin and end, read as `docs/format.md` says.
pub fn record_bounds(bytes: &[u8]) -> Vec<usize> {
    let mut bounds = vec![4096];
    let mut at = 4096;
    // A segment may be full to its last byte, and a snapshot always is.
    while bytes.get(at + 4).is_some_and(|kind| *kind != 0) {
        let words = u32::from_le_bytes([bytes[at + 5], bytes[at + 6], bytes[at + 7], 0]);
        at += words as usize * 4;
        bounds.push(at);
    }
    bounds
}
