//! What the driver runs: the store, or a program's own wrapper around it.

use std::fmt;
use std::sync::Arc;

use super::step::{Change, Edit, State, StateStep, Step, commit_of, expiry_of};
use super::{Dir, FixedEnvironment, SimDisk};
use crate::batch::CommitBatch;
use crate::error::{Error, ErrorKind};
use crate::key::{Durability, Key};
use crate::options::Options;
use crate::state::StateOwner;
use crate::store::OffsetStore;

/// Something that keeps offsets in a directory, as the [`Driver`](super::Driver) sees it.
///
/// It must do the same on every run: no clock, no random numbers but those of the seed, and no
/// threads that touch the disk.
pub trait Subject: Sync {
    /// What is open.
    type Open;

    /// Opens what is in the directory, or creates it. What [`observe`](Subject::observe) shows from
    /// here on has to be durable. Random numbers come from the seed, which is another one for each
    /// disk.
    fn open(&self, dir: Arc<dyn Dir>, seed: u64) -> Result<Self::Open, Failed>;

    /// Does what the step says, and returns what is promised of all that was done up to now:
    /// [`Synced`](Durability::Synced) if it survives power loss. The steps that end the process or
    /// close the subject are never passed.
    fn apply(&self, open: &mut Self::Open, step: &Step) -> Result<Durability, Failed>;

    /// Everything that is shown.
    fn observe(&self, open: &Self::Open) -> State;

    /// Closes in order. Everything is durable then.
    fn close(&self, open: Self::Open) -> Result<(), Failed>;

    /// Whatever else has to hold of an open subject and its files, asked after each recovery.
    fn inspect(&self, _open: &Self::Open, _disk: &SimDisk) -> Result<(), String> {
        Ok(())
    }
}

/// Why a call of a [`Subject`] failed, and what that means for the subject. From an [`Error`] of the
/// store it is made by `?`.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The call had no effect, and the subject goes on.
    Refused(String),
    /// The call may or may not have happened. The subject is dropped and opened again.
    Broken(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        match error.kind() {
            ErrorKind::Full
            | ErrorKind::InvalidArgument
            | ErrorKind::KeyTooLong
            | ErrorKind::MetadataTooLarge
            | ErrorKind::StateTooLarge
            | ErrorKind::QuotaExceeded => Failed::Refused(error.to_string()),
            _ => Failed::Broken(error.to_string()),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Refused(why) | Failed::Broken(why) => f.write_str(why),
        }
    }
}

/// The store itself.
#[derive(Clone, Debug)]
pub struct StoreSubject {
    options: Options,
}

impl StoreSubject {
    /// The store with these options, but for the background threads, which do not run, and for the
    /// environment, which is a [`FixedEnvironment`].
    pub fn new(options: Options) -> StoreSubject {
        StoreSubject { options: options.background(false) }
    }
}

impl Subject for StoreSubject {
    type Open = OffsetStore;

    fn open(&self, dir: Arc<dyn Dir>, seed: u64) -> Result<OffsetStore, Failed> {
        Ok(self.options.clone().environment(FixedEnvironment::new(seed)).open_in(dir)?)
    }

    fn apply(&self, store: &mut OffsetStore, step: &Step) -> Result<Durability, Failed> {
        apply_to_store(store, step).map_err(|error| match step {
            // The log is as it was, unless it was the log that failed.
            Step::Compact if store.stats().poisoned.is_none() => Failed::Refused(error.to_string()),
            // A part of it may have been done.
            Step::Expire => Failed::Broken(error.to_string()),
            _ => error.into(),
        })?;
        Ok(match step {
            Step::Sync | Step::Compact => Durability::Synced,
            _ => self.options.durability,
        })
    }

    fn observe(&self, store: &OffsetStore) -> State {
        observe(store)
    }

    fn close(&self, store: OffsetStore) -> Result<(), Failed> {
        Ok(store.close()?)
    }

    fn inspect(&self, _: &OffsetStore, disk: &SimDisk) -> Result<(), String> {
        check_files(&disk.files())
    }
}

/// Does to an open store what a step says. Steps that end its session do nothing.
///
/// # Errors
///
/// Those of the store.
pub fn apply_to_store(store: &OffsetStore, step: &Step) -> Result<(), Error> {
    match step {
        Step::Batch { group, changes, states } => {
            store.commit_batch(&batch_of(group, changes, states)).map(drop)
        }
        Step::DeleteGroup(group) => store.delete_group(group).map(drop),
        Step::DeleteTopic(group, topic) => store.delete_topic(group, topic).map(drop),
        Step::Expire => store.expire().map(drop),
        Step::Sync => store.sync().map(drop),
        Step::Compact => store.compact().map(drop),
        Step::Reopen | Step::PowerCut(_) | Step::Kill => Ok(()),
    }
}

/// The changes of a step as a batch.
pub fn batch_of(group: &str, changes: &[Change], states: &[StateStep]) -> CommitBatch {
    let mut batch = CommitBatch::new(group);
    for (topic, partition, value) in changes {
        match value {
            Some((offset, metadata)) => {
                batch.commit(topic, *partition, commit_of(*offset, metadata))
            }
            None => batch.delete(topic, *partition),
        };
    }
    for (owner, name, part, edit) in states {
        match edit {
            Edit::Put(bytes) => batch.put_state(*owner, name, *part, bytes),
            Edit::Append(bytes) => batch.append_state(*owner, name, *part, bytes),
            Edit::Delete => batch.delete_state(*owner, name, *part),
        };
    }
    batch
}

/// Everything that a store shows.
///
/// # Panics
///
/// If a value differs by the way in which it is fetched, or does not expire as its
/// [commit](commit_of) said.
pub fn observe(store: &OffsetStore) -> State {
    let mut state = State::new();
    for group in store.groups() {
        for (key, value) in store.fetch_group(&group) {
            let by_key = store.fetch(Key::new(&group, key.topic(), key.partition()));
            assert_eq!(by_key.as_ref(), Some(&value), "the two ways to fetch agree");
            let expected = expiry_of(value.offset().0, value.metadata());
            assert_eq!(value.expire_at_ms(), expected, "{group:?} {key}");
            let value = (value.offset().0, value.metadata().to_owned());
            state.offsets.insert((group.clone(), key.topic().to_owned(), key.partition()), value);
        }
    }
    for owner in StateOwner::ALL {
        for group in store.groups_with_state(owner) {
            store.visit_states(&group, owner, |name, part, bytes| {
                let by_name = store.state(&group, owner, name, part);
                assert_eq!(by_name.as_deref(), Some(bytes), "the two ways to read agree");
                state.states.insert((group.clone(), owner, name.to_owned(), part), bytes.to_vec());
            });
        }
    }
    state
}

/// Checks that the directory of an open store has no file that nobody will ever delete: no unfinished
/// one, one snapshot at most, and no segment that it stands for.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_files(files: &[String]) -> Result<(), String> {
    let seqs = |end| {
        let stems = files.iter().filter_map(move |name| name.strip_suffix(end));
        stems.filter_map(|stem| stem.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let (snapshots, segments) = (seqs(".snapshot"), seqs(".log"));
    let covered = segments.iter().any(|seq| snapshots.iter().any(|covers| covers >= seq));
    // The rest is the lock file.
    let known = 1 + snapshots.len() + segments.len();
    if covered || snapshots.len() > 1 || files.len() != known {
        return Err(format!("the directory has files that nobody needs: {files:?}"));
    }
    Ok(())
}
