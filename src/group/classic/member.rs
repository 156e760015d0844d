//! A member, and what members agree on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::request::{JoinRequest, MemberIdentity, Protocol};

/// A member: what it said when it joined, and what it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id that a static member gave itself.
    pub group_instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// After how much silence it is removed.
    pub session_timeout_ms: i32,
    /// How long it may need to join.
    pub rebalance_timeout_ms: i32,
    /// The assignors that it supports, the preferred one first.
    pub protocols: Vec<Protocol>,
    /// What the leader assigned to it; empty before.
    pub assignment: Arc<[u8]>,
}

impl Member {
    pub(super) fn new(join: &JoinRequest) -> Member {
        Member {
            group_instance_id: join.group_instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols.clone(),
            assignment: Arc::default(),
        }
    }

    /// Takes over what a member may say anew when it joins again.
    pub(super) fn update(&mut self, join: &JoinRequest) {
        self.session_timeout_ms = join.session_timeout_ms;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms;
        self.protocols.clone_from(&join.protocols);
    }

    pub(super) fn identity(&self, member_id: &str) -> MemberIdentity {
        let group_instance_id = self.group_instance_id.clone();
        MemberIdentity { member_id: member_id.into(), group_instance_id }
    }

    pub(super) fn metadata(&self, protocol: &str) -> Option<Arc<[u8]>> {
        metadata_for(protocol, &self.protocols).map(Arc::clone)
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|candidate| candidate.name == protocol)
    }
}

/// What is said for one of the protocols.
pub(super) fn metadata_for<'a>(name: &str, protocols: &'a [Protocol]) -> Option<&'a Arc<[u8]>> {
    protocols.iter().find(|protocol| protocol.name == name).map(|protocol| &protocol.metadata)
}

/// Whether all members support one of the protocols.
pub(super) fn agree_on_one_of(members: &BTreeMap<String, Member>, protocols: &[Protocol]) -> bool {
    protocols.iter().any(|protocol| members.values().all(|member| member.supports(&protocol.name)))
}

/// The protocol that most members prefer among those that all of them support. Of two with as many
/// votes it is the one whose name sorts first, so that the choice can be repeated.
pub(super) fn vote(members: &BTreeMap<String, Member>) -> Option<String> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    let first = members.values().next()?;
    let is_candidate = |protocol: &&Protocol| members.values().all(|m| m.supports(&protocol.name));
    let candidates: Vec<_> = first.protocols.iter().filter(is_candidate).collect();
    for member in members.values() {
        let is_candidate = |name: &str| candidates.iter().any(|candidate| candidate.name == name);
        let choice = member.protocols.iter().find(|protocol| is_candidate(&protocol.name))?;
        *votes.entry(&choice.name).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    let (winner, _) = votes.into_iter().find(|(_, count)| *count == most)?;
    Some(winner.into())
}
