//! States: what is kept for a group beside its offsets, as readers see it.

use crate::error::Result;
use crate::index::{Index, StateId};
use crate::state::StateOwner;

use super::Engine;
use super::changes::{Changes, StateEdit};

impl Engine {
    /// Changes states of one group in one record, whoever owns them.
    pub(super) fn change_states(&self, states: &[StateEdit<'_>]) -> Result<u64> {
        self.log()?.append(&self.index, Changes { keys: &[], states }, self.durable())
    }

    /// The bytes of a state.
    pub(crate) fn state(
        &self,
        group: &str,
        owner: StateOwner,
        name: &str,
        part: i32,
    ) -> Option<Vec<u8>> {
        read_state(&self.index, group, owner, name, part)
    }

    /// Visits the states of a group that an owner has.
    pub(crate) fn visit_states(
        &self,
        group: &str,
        owner: StateOwner,
        visit: impl FnMut(&str, i32, &[u8]),
    ) {
        visit_states(&self.index, group, owner, visit);
    }

    /// The groups that have a state of an owner.
    pub(crate) fn groups_with_state(&self, owner: StateOwner) -> Vec<String> {
        self.index.states().groups_of(owner.number())
    }
}

/// The bytes of a state in an index.
pub(super) fn read_state(
    index: &Index,
    group: &str,
    owner: StateOwner,
    name: &str,
    part: i32,
) -> Option<Vec<u8>> {
    let id = StateId { group, owner: owner.number(), name, part };
    index.states().get(id).map(|(_, bytes)| bytes.to_vec())
}

/// Visits the states of a group in an index that an owner has. No lock is held meanwhile.
pub(super) fn visit_states(
    index: &Index,
    group: &str,
    owner: StateOwner,
    mut visit: impl FnMut(&str, i32, &[u8]),
) {
    for state in index.states().of_owner(group, owner.number()) {
        visit(&state.name, state.part, &state.bytes);
    }
}
