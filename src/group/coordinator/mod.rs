//! All consumer groups of one store: members, commits that are fenced by membership, and claims.
//!
//! A [`Coordinator`] keeps a [`ClassicGroup`](super::classic::ClassicGroup) or a
//! [`ConsumerGroup`](super::modern::ConsumerGroup) for each group that has members, and their records
//! as states of its [`OffsetStore`]. Requests come in with the time, answers go out. It has no thread,
//! no clock and no randomness, so the same calls have the same outcome; its calls may come from many
//! threads.
//!
//! ```
//! use pagemark::group::classic::{CommitRequest, JoinRequest, MemberIdentity, Protocol, Reply,
//!                                RequestId, SyncRequest};
//! use pagemark::group::coordinator::{CoordinatorConfig, PartitionCommit};
//! use pagemark::group::{Coordinator, GroupError};
//! use pagemark::{NextOffset, OffsetStore};
//!
//! # let dir = tempfile::tempdir()?;
//! let store = OffsetStore::open(dir.path())?;
//! let coordinator = Coordinator::open(store, CoordinatorConfig::new(), 0)?;
//!
//! // A member of the classic protocol joins; three seconds later the first generation begins.
//! let join = JoinRequest {
//!     request: RequestId(1),
//!     member_id: String::new(),
//!     group_instance_id: Some("reader-1".into()),
//!     client_id: "billing".into(),
//!     client_host: "10.0.0.7".into(),
//!     session_timeout_ms: 45_000,
//!     rebalance_timeout_ms: 300_000,
//!     protocol_type: "consumer".into(),
//!     protocols: vec![Protocol { name: "range".into(), metadata: (*b"orders").into() }],
//!     requires_member_id: true,
//!     can_skip_assignment: true,
//! };
//! assert!(coordinator.join(0, "billing", join, 0x5eed).effects.is_empty(), "it waits for others");
//! let now = coordinator.next_deadline().unwrap();
//! let answers = coordinator.tick(now);
//! let Reply::Join(Ok(joined)) = &answers.effects[0].reply else { unreachable!() };
//!
//! let member = MemberIdentity::fixed(&joined.member_id, "reader-1");
//! let answers = coordinator.sync(now, "billing", SyncRequest {
//!     request: RequestId(2),
//!     member: member.clone(),
//!     generation: 1,
//!     protocol_type: None,
//!     protocol: None,
//!     assignments: vec![(joined.member_id.clone(), (*b"orders: 0").into())],
//! });
//! assert_eq!(answers.effects.len(), 1);
//!
//! // What it commits is fenced by its generation.
//! let by = |generation| CommitRequest { member: member.clone(), generation, is_transactional: false };
//! let offset = [PartitionCommit::new("orders", 0, NextOffset(42))];
//! assert!(coordinator.commit(now, "billing", &by(1), &offset)?[0].is_ok());
//! let stale = coordinator.commit(now, "billing", &by(0), &offset).unwrap_err();
//! assert_eq!(stale.group_error(), GroupError::IllegalGeneration);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is stored, and when it is told
//!
//! The records of a step are one batch of states, and flushed, whatever the store does with commits,
//! before any answer goes out that relies on them: what a member was told survives a power cut. The
//! same goes for refusals, and for what [`describe`](Coordinator::describe) and
//! [`list`](Coordinator::list) show: the group as it is when they are called, once that is durable.
//! Meanwhile other requests of the group go on, and all who wait share flushes.
//!
//! If the records cannot be stored, everybody who waits is told
//! [`CoordinatorNotAvailable`](super::GroupError::CoordinatorNotAvailable), and the group goes on from
//! what is stored. After a failed flush nobody knows what that is, so nothing that is new is told any
//! more until the store was opened anew.
//!
//! # Which protocol a group has
//!
//! A group has the protocol of its members. A group without members takes that of the next one; what
//! it had goes in the same batch that the new member is stored in. Members of the other protocol are
//! refused as Kafka refuses them: a join to members of the newer protocol as
//! [`InconsistentGroupProtocol`](super::GroupError::InconsistentGroupProtocol), a heartbeat of the
//! newer protocol to members of the classic one as
//! [`GroupIdNotFound`](super::GroupError::GroupIdNotFound).
//!
//! A name that only offsets are stored for is a group, too: of the classic type, empty, and open to
//! commits of anyone without a generation.
//!
//! # Commits
//!
//! A commit is checked and appended under the lock of its group, so nothing happens to the membership
//! in between; its flush is waited for outside of it. A [`Committer`] remembers what was checked. It
//! has the lock, a look at a number, and the append of a [`Slot`](crate::Slot).
//!
//! # Claims
//!
//! [`claim`](Coordinator::claim) fences one partition, which no group protocol does: see
//! [`claims`](super::claims).
//!
//! # Looking on
//!
//! Other processes see the groups of a store as they are [`stored`].

mod admin;
mod cell;
mod commit;
mod config;
mod deadlines;
mod error;
mod groups;
mod member;
mod membership;
#[cfg(test)]
mod model_tests;
mod ownership;
mod settle;
#[cfg(all(test, shuttle))]
mod shuttle;
pub mod stored;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use admin::{GroupDescription, GroupType, ListFilter, ListedGroup};
pub use commit::{Committed, PartitionCommit};
pub use config::CoordinatorConfig;
pub use error::{CoordinatorError, PartitionRefusal};
pub use member::{Committer, FencedSlot};
pub use membership::{Answers, Failure};

use self::cell::{Cell, Held, Locked, Membership};
use self::deadlines::Deadlines;
use self::groups::Groups;
use crate::error::Result;
use crate::group::GroupError;
use crate::key::check_name;
use crate::state::StateOwner;
use crate::store::OffsetStore;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The coordinator of all groups of one store. Handles are cheap to clone and stand for the same one.
///
/// A store has one coordinator at a time, and what is committed for a group goes through it: what is
/// written to the store directly is fenced by nobody.
#[derive(Clone, Debug)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: OffsetStore,
    config: CoordinatorConfig,
    groups: Mutex<Groups>,
    deadlines: Deadlines,
    /// The number of partitions of each topic, once somebody has said so.
    topics: Mutex<Option<Arc<BTreeMap<String, i32>>>>,
    /// Whether another coordinator may have taken over.
    is_stopped: AtomicBool,
}

impl Coordinator {
    /// Takes over the groups of a store, as its last coordinator has left them. All members have a
    /// whole session from now on.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if what is stored of a group is not what a group
    /// stores, [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) if a newer version has
    /// stored it; those of [`OffsetStore::sync`].
    pub fn open(store: OffsetStore, config: CoordinatorConfig, now_ms: i64) -> Result<Coordinator> {
        let inner = Inner {
            store,
            config,
            groups: Mutex::new(Groups::new()),
            deadlines: Deadlines::new(),
            topics: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        };
        let coordinator = Coordinator { inner: Arc::new(inner) };
        for owner in [StateOwner::Membership, StateOwner::Claims] {
            for name in coordinator.store().groups_with_state(owner) {
                if coordinator.known(&name).is_none() {
                    let cell = Cell::new(&name);
                    drop(coordinator.lock(&cell, now_ms)?);
                    coordinator.groups().insert(cell);
                }
            }
        }
        Ok(coordinator)
    }

    /// The store.
    pub fn store(&self) -> &OffsetStore {
        &self.inner.store
    }

    /// Says which topics there are, and how many partitions each has.
    ///
    /// Groups of the newer protocol share these. Commits and claims of others are refused from now
    /// on; before the first call, any partition is taken for one that exists.
    pub fn set_topics(&self, partitions_per_topic: BTreeMap<String, i32>) {
        *self.inner.topics.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(partitions_per_topic));
    }

    fn topics(&self) -> Option<Arc<BTreeMap<String, i32>>> {
        self.inner.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.inner.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group that is in memory: one that has or had members, or that was asked for.
    fn known(&self, group: &str) -> Option<Arc<Cell>> {
        self.groups().get(group)
    }

    /// A group, which is none yet if nothing was ever stored of it.
    fn cell(&self, group: &str) -> std::result::Result<Arc<Cell>, GroupError> {
        let mut groups = self.groups();
        if let Some(cell) = groups.get(group) {
            return Ok(cell);
        }
        check_name("group", group).map_err(|_| GroupError::InvalidGroupId)?;
        let cell = Cell::new(group);
        groups.insert(Arc::clone(&cell));
        Ok(cell)
    }

    fn lock<'a>(&'a self, cell: &'a Arc<Cell>, now_ms: i64) -> Result<Locked<'a>> {
        Locked::load(&self.inner, cell, now_ms)
    }

    fn lock_as_it_is<'a>(&'a self, cell: &'a Arc<Cell>) -> Locked<'a> {
        Locked::as_it_is(&self.inner, cell)
    }

    /// Whether anything is stored for a group that nobody takes part in.
    fn has_offsets(&self, group: &str) -> bool {
        let mut has_any = false;
        self.inner.store.visit_group(group, |_, _, _| has_any = true);
        has_any
    }

    /// Whether there is such a group: it has members, or had some, or something is stored for it.
    fn exists(&self, group: &str, held: &Held) -> bool {
        !matches!(held.membership, Membership::Nobody)
            || !held.claims.is_plain()
            || self.has_offsets(group)
    }
}
