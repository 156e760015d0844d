//! What is known of a member.

use std::collections::BTreeSet;

use super::config::ServerAssignor;
use super::partitions::Partitions;
use super::request::{HeartbeatRequest, JOIN_EPOCH, STATIC_LEAVE_EPOCH};

/// How far a member is on its way from the assignment that it has to the one that it shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It has all that the target assignment of its epoch gives to it.
    Stable,
    /// It has to give up partitions, and stays in its epoch until it says that it did.
    UnrevokedPartitions,
    /// It has given up what it had to, and waits for others to do the same.
    UnreleasedPartitions,
}

/// What a member says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: u32,
    pub(super) topics: BTreeSet<String>,
    pub(super) assignor: Option<ServerAssignor>,
}

impl Member {
    /// Whether a heartbeat says nothing that is not known.
    pub(super) fn knows(&self, request: &HeartbeatRequest) -> bool {
        let has_topics = |topics: &Vec<String>| {
            topics.iter().collect::<BTreeSet<_>>().into_iter().eq(&self.topics)
        };
        request.client_id == self.client_id
            && request.client_host == self.client_host
            && request.rebalance_timeout_ms.is_none_or(|ms| ms == self.rebalance_timeout_ms)
            && request.assignor.is_none_or(|assignor| Some(assignor) == self.assignor)
            && request.topics.as_ref().is_none_or(has_topics)
    }

    /// What it is after a heartbeat. `before` is `None` for a new one.
    pub(super) fn after(before: Option<&Member>, request: &HeartbeatRequest) -> Member {
        let topics = request.topics.as_ref().map(|topics| topics.iter().cloned().collect());
        let known =
            |of: fn(&Member) -> &Option<String>| before.and_then(|member| of(member).clone());
        Member {
            group_instance_id: request
                .group_instance_id
                .clone()
                .or_else(|| known(|member| &member.group_instance_id)),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout_ms: request
                .rebalance_timeout_ms
                .or(before.map(|member| member.rebalance_timeout_ms))
                .unwrap_or_default(),
            topics: topics
                .or_else(|| before.map(|member| member.topics.clone()))
                .unwrap_or_default(),
            assignor: request.assignor.or(before.and_then(|member| member.assignor)),
        }
    }
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    pub(super) state: MemberState,
    pub(super) epoch: i32,
    /// The epoch before, which the member may still believe to be in.
    pub(super) previous_epoch: i32,
    /// What it may own.
    pub(super) assigned: Partitions,
    /// What it has to give up, and has not said that it did.
    pub(super) revoking: Partitions,
}

impl CurrentAssignment {
    /// That of a member that joins with what it may still own: nothing, unless it takes the place of
    /// another.
    pub(super) fn joining(assigned: Partitions) -> CurrentAssignment {
        CurrentAssignment {
            state: MemberState::Stable,
            epoch: JOIN_EPOCH,
            previous_epoch: JOIN_EPOCH,
            assigned,
            revoking: Partitions::new(),
        }
    }

    /// That of a static member that left for a while: what it may own is kept for its return, what it
    /// had to give up is given up.
    pub(super) fn left_for_a_while(&self) -> CurrentAssignment {
        CurrentAssignment {
            state: MemberState::Stable,
            epoch: STATIC_LEAVE_EPOCH,
            previous_epoch: STATIC_LEAVE_EPOCH,
            assigned: self.assigned.clone(),
            revoking: Partitions::new(),
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.epoch == STATIC_LEAVE_EPOCH
    }

    /// Everything that nobody else may own.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, i32)> {
        self.assigned.iter().chain(self.revoking.iter())
    }
}
