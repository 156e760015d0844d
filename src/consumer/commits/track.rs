//! The commits of one partition on their way: what is stored, what is under way, what comes next.

use super::target::CommitError;
use crate::key::{Commit, NextOffset};
use crate::state::StateChange;

/// What is committed for a partition, in memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) offset: NextOffset,
    pub(super) leader_epoch: Option<i32>,
    pub(super) metadata: String,
    pub(super) state: StateEdit,
}

impl Value {
    pub(super) fn commit(&self) -> Commit<'_> {
        let commit = Commit::new(self.offset).metadata(&self.metadata);
        self.leader_epoch.map_or(commit, |epoch| commit.leader_epoch(epoch))
    }

    /// Takes what an older commit was to do to the state and did not do.
    fn follow(&mut self, older: Value) {
        let newer = std::mem::replace(&mut self.state, older.state);
        self.state.then(newer);
    }
}

/// What is to happen to the bytes that are kept beside an offset. At first it is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StateEdit {
    replaces: bool,
    bytes: Vec<u8>,
}

impl StateEdit {
    pub(super) fn put(bytes: &[u8]) -> StateEdit {
        StateEdit { replaces: true, bytes: bytes.to_vec() }
    }

    pub(super) fn append(bytes: &[u8]) -> StateEdit {
        StateEdit { replaces: false, bytes: bytes.to_vec() }
    }

    /// Makes both of this and what is newer. A state that is replaced needs nothing that was before.
    pub(super) fn then(&mut self, newer: StateEdit) {
        if newer.replaces {
            *self = newer;
        } else {
            self.bytes.extend(newer.bytes);
        }
    }

    pub(super) fn change(&self) -> Option<StateChange<'_>> {
        match self.replaces {
            true => Some(StateChange::Put(&self.bytes)),
            false if !self.bytes.is_empty() => Some(StateChange::Append(&self.bytes)),
            false => None,
        }
    }
}

/// The stages of a partition's commits. A newer commit supersedes an older one in the same stage.
#[derive(Debug)]
pub(super) struct Track {
    /// What the target is known to have.
    pub(super) stored: Option<Value>,
    /// What the target has taken, and may have or not.
    pub(super) under_way: Option<Value>,
    /// What was asked for since.
    pub(super) next: Option<Value>,
    /// What was asked for and failed, with nothing newer behind it.
    pub(super) failed: Option<(Value, CommitError)>,
}

impl Track {
    pub(super) fn new(stored: Option<Value>) -> Track {
        Track { stored, under_way: None, next: None, failed: None }
    }

    /// Whether a commit says something that is not there or on its way already. After a failure
    /// nobody knows what is there.
    pub(super) fn lacks(&self, commit: &Commit<'_>) -> bool {
        let on_its_way = self.next.as_ref().or(self.under_way.as_ref());
        let is_failed = on_its_way.is_none() && self.failed.is_some();
        let newest = on_its_way.or(self.stored.as_ref());
        is_failed || newest.is_none_or(|newest| newest.commit() != *commit)
    }

    /// Whether the target is known to have a commit.
    pub(super) fn has_stored(&self, commit: &Commit<'_>) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.commit() == *commit)
    }

    /// Asks for a commit.
    pub(super) fn ask(&mut self, mut value: Value) {
        if let Some(older) = self.next.take().or(self.failed.take().map(|(value, _)| value)) {
            value.follow(older);
        }
        self.next = Some(value);
    }

    /// Asks once more for what failed.
    pub(super) fn ask_again(&mut self) {
        if let Some((value, _)) = self.failed.take() {
            self.next = Some(value);
        }
    }

    /// The target takes what is next.
    pub(super) fn start(&mut self) {
        self.under_way = self.next.take();
    }

    /// What was under way is durable.
    pub(super) fn succeed(&mut self) {
        if let Some(mut value) = self.under_way.take() {
            value.state = StateEdit::default();
            self.stored = Some(value);
        }
    }

    /// What was under way failed.
    pub(super) fn fail(&mut self, error: &CommitError) {
        if let Some(value) = self.under_way.take() {
            match &mut self.next {
                Some(next) => next.follow(value),
                None => self.failed = Some((value, error.clone())),
            }
        }
    }

    /// What was asked for and is not known to be stored, with the reason if there is one.
    pub(super) fn unstored(&self) -> Option<(&Value, Option<&CommitError>)> {
        let on_its_way = self.next.as_ref().or(self.under_way.as_ref()).map(|value| (value, None));
        on_its_way.or(self.failed.as_ref().map(|(value, error)| (value, Some(error))))
    }
}
