//! A member as the target of its commits.

use std::fmt;
use std::sync::Arc;

use super::client::{GroupClient, MemberEpoch};
use crate::consumer::commits::{CommitError, CommitTarget, PartitionCommit};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Where the commits of a [`Consumer`](super::Consumer) go: to its group, in the epoch that it is in
/// when they are made.
pub struct MemberTarget<G> {
    shared: Arc<Shared<G>>,
}

struct Shared<G> {
    client: G,
    sender: Mutex<Sender>,
}

/// Who commits. Receipts make commits on threads of their own, and look here.
struct Sender {
    member: MemberEpoch,
    now_ms: i64,
}

impl<G> MemberTarget<G> {
    pub(super) fn new(client: G, member: MemberEpoch, now_ms: i64) -> MemberTarget<G> {
        let sender = Mutex::new(Sender { member, now_ms });
        MemberTarget { shared: Arc::new(Shared { client, sender }) }
    }

    pub(super) fn client(&self) -> &G {
        &self.shared.client
    }

    pub(super) fn set_now(&self, now_ms: i64) {
        self.sender().now_ms = now_ms;
    }

    pub(super) fn set_member(&self, member: &MemberEpoch) {
        self.sender().member.clone_from(member);
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.shared.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G> Clone for MemberTarget<G> {
    fn clone(&self) -> MemberTarget<G> {
        MemberTarget { shared: Arc::clone(&self.shared) }
    }
}

impl<G: GroupClient> CommitTarget for MemberTarget<G> {
    type Durable = G::Durable;

    fn commit(&self, commits: &[PartitionCommit<'_>]) -> Result<G::Durable, CommitError> {
        // Under the lock, so that none is sent in an epoch that the member has left behind.
        let Sender { member, now_ms } = &*self.sender();
        self.client().commit(*now_ms, member, commits)
    }
}

impl<G> fmt::Debug for MemberTarget<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberTarget")
            .field("member", &self.sender().member)
            .finish_non_exhaustive()
    }
}
