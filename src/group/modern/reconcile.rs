//! The steps of one member from the assignment that it has to the one that it shall have (KIP-848).
//!
//! A member first gives up what it shall not have, then moves on to the epoch of the target
//! assignment, and gets there what it shall have and nobody else holds, at once or bit by bit.

use super::member::{CurrentAssignment, MemberState};
use super::partitions::Partitions;

/// What a member shall have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) epoch: i32,
    pub(super) partitions: &'a Partitions,
}

/// The next step, or what it is if there is none to take yet.
///
/// `owned` is what the member itself says that it owns, if it does, in the epoch that it is in. Only
/// that shows that it has given something up. `is_held_by_others` says of a partition whether another
/// member may own it.
pub(super) fn reconcile(
    current: &CurrentAssignment,
    target: Target<'_>,
    owned: Option<&Partitions>,
    is_held_by_others: impl Fn(&str, i32) -> bool,
) -> CurrentAssignment {
    let has_given_up = |what: &Partitions| owned.is_some_and(|owned| !owned.intersects(what));
    let waits = match current.state {
        MemberState::Stable => current.epoch == target.epoch,
        MemberState::UnrevokedPartitions => !has_given_up(&current.revoking),
        MemberState::UnreleasedPartitions => false,
    };
    if waits {
        return current.clone();
    }
    let is_target = |topic: &str, partition| target.partitions.contains(topic, partition);
    let (kept, revoking) = current.assigned.split(is_target);
    if !revoking.is_empty() && !has_given_up(&revoking) {
        return CurrentAssignment {
            state: MemberState::UnrevokedPartitions,
            epoch: current.epoch,
            previous_epoch: current.previous_epoch,
            assigned: kept,
            revoking,
        };
    }
    let (unreleased, free) = target.partitions.split(is_held_by_others);
    let is_complete = unreleased.is_empty();
    let is_same_epoch = current.epoch == target.epoch;
    CurrentAssignment {
        state: if is_complete { MemberState::Stable } else { MemberState::UnreleasedPartitions },
        epoch: target.epoch,
        previous_epoch: if is_same_epoch { current.previous_epoch } else { current.epoch },
        assigned: free,
        revoking: Partitions::new(),
    }
}

#[cfg(test)]
mod tests;
