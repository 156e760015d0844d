//! Groups whose members share the partitions among themselves: Kafka's classic protocol.
//!
//! Members join, the group picks one of them as the leader and one assignor that all of them have, the
//! leader assigns, and every member gets its assignment with the answer to its sync. Each such round is
//! a **generation**, and what is said of an older one is refused. Assignments are bytes between members,
//! which the group reads only if it is asked to [check](ClassicGroup::check_assignments) them.
//!
//! [`ClassicGroup`] is all of one group: a plain value that is called with a request and the time, and
//! says what to store and what to answer. It has no store, no thread, no clock and no randomness, so
//! the same calls have the same outcome.
//!
//! ```
//! use pagemark::group::classic::{
//!     ClassicConfig, ClassicGroup, JoinRequest, MemberIdentity, Protocol, Reply, RequestId,
//!     SyncRequest,
//! };
//!
//! // Here records live in a map; a program stores them as states of its store.
//! let mut states = std::collections::BTreeMap::new();
//! let mut store = |step: &pagemark::group::classic::Step| {
//!     for record in &step.records {
//!         match record.value() {
//!             Some(bytes) => states.insert(record.name(), bytes),
//!             None => states.remove(&record.name()),
//!         };
//!     }
//! };
//! let config = ClassicConfig::new();
//! let mut group = ClassicGroup::open(config, [], 0)?;
//!
//! // A new member first gets an id, then joins with it, and waits for others to come.
//! let mut join = JoinRequest {
//!     request: RequestId(1),
//!     member_id: String::new(),
//!     group_instance_id: None,
//!     client_id: "billing".into(),
//!     client_host: "10.0.0.7".into(),
//!     session_timeout_ms: 45_000,
//!     rebalance_timeout_ms: 300_000,
//!     protocol_type: "consumer".into(),
//!     protocols: vec![Protocol { name: "range".into(), metadata: (*b"orders").into() }],
//!     requires_member_id: true,
//!     can_skip_assignment: true,
//! };
//! let step = group.join(0, join.clone(), 0x5eed);
//! let Reply::Join(Err(refusal)) = &step.effects[0].reply else { unreachable!() };
//! join.member_id = refusal.member_id.clone();
//! join.request = RequestId(2);
//! assert!(group.join(1, join.clone(), 0x5eee).effects.is_empty());
//!
//! // Three seconds later the group begins its first generation. The member is its leader.
//! let deadline = group.next_deadline().unwrap();
//! let step = group.tick(deadline);
//! store(&step);
//! let Reply::Join(Ok(joined)) = &step.effects[0].reply else { unreachable!() };
//! assert_eq!((joined.generation, &joined.leader), (1, &join.member_id));
//!
//! let member = MemberIdentity::dynamic(&joined.member_id);
//! let step = group.sync(deadline, SyncRequest {
//!     request: RequestId(3),
//!     member: member.clone(),
//!     generation: 1,
//!     protocol_type: None,
//!     protocol: None,
//!     assignments: vec![(joined.member_id.clone(), (*b"orders: 0, 1").into())],
//! });
//! store(&step);
//! group.heartbeat(deadline, &member, 1)?;
//!
//! // Whoever takes over from here opens the group from what was stored.
//! let records: Result<Vec<_>, _> = states
//!     .iter()
//!     .map(|(name, bytes)| pagemark::group::classic::Record::decode(name, bytes))
//!     .collect();
//! let mut group = ClassicGroup::open(config, records?, deadline)?;
//! group.heartbeat(deadline, &member, 1)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is stored, and when
//!
//! The group has one record and each member has one. Kafka stores a group when it is empty and when its
//! leader has assigned, so that a coordinator that starts anew goes back to the last assignment, and
//! may call another generation by a number that members have heard before. Here
//!
//! - a **generation** is stored before anyone hears of it, so its number is given once;
//! - a **removal** of a member is stored at once, so that nobody comes back who was told that it is
//!   not a member, and no group instance id goes back to a process that was fenced;
//! - **members** are stored with their assignments, when the leader has assigned. Who only waits for
//!   its first assignment is lost with the coordinator that it waits for, and joins again.
//!
//! What comes back is a group that was stable with its assignments, or an empty one, or one that
//! calls its members to join again. All members have a whole session to be heard of. See
//! [`ClassicGroup::open`].
//!
//! # Where it differs from Kafka
//!
//! - Every request is answered. Kafka leaves one unanswered if its member leaves or sends it again.
//! - A static member that starts anew finds its place in a group that is full.
//! - A consumer that starts anew as a static member and reads other topics than before causes a
//!   rebalance. In Kafka it gets the share of what it was.
//! - A member that never joined and leaves causes no rebalance.
//! - A member has a limited number of protocols, [`MAX_PROTOCOLS`], with a limited number of bytes.
//! - Two assignors with as many votes: the one whose name sorts first is taken, not any.

mod bytes;
mod clock;
mod commit;
mod config;
mod describe;
mod expire;
mod join;
mod leave;
mod member;
mod membership;
mod rebalance;
mod record;
mod reply;
mod request;
mod state;
mod subscription;
mod sync;

use std::collections::{BTreeMap, BTreeSet};

pub use config::ClassicConfig;
pub use member::Member;
pub use record::{Group, Record, StoredState};
pub use reply::{
    ClassicDescription, DescribedMember, Effect, JoinRefusal, Joined, JoinedMember, Left, Reply,
    Step, Synced,
};
pub use request::{
    CommitRequest, JoinRequest, LeaveRequest, MAX_MEMBER_BYTES, MAX_PROTOCOLS, MemberIdentity,
    Protocol, RequestId, SyncRequest,
};
pub use state::ClassicState;

use self::clock::{Clock, Timer};
use self::rebalance::Initial;
use self::record::Stored;
use crate::error::Result;

/// One group: its members, what they wait for, and what is stored of it.
///
/// Every call is given the time in milliseconds. It may be set back and forth: the time inside goes on
/// when the caller's does and never goes back. A clock that is set back loses the time since the call
/// before, and nothing else.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    config: ClassicConfig,
    clock: Clock,
    /// What the records say that were given out so far.
    stored: Stored,
    state: ClassicState,
    state_since_ms: i64,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// The member ids of static members, by group instance id.
    instances: BTreeMap<String, String>,
    /// Members that were in no generation yet.
    fresh: BTreeSet<String>,
    /// Ids that were given to members which have not joined with them.
    pending_joins: BTreeSet<String>,
    /// Members of the generation that have not synced.
    pending_syncs: BTreeSet<String>,
    /// The requests of members that have joined and wait for the others.
    joining: BTreeMap<String, RequestId>,
    /// The requests of members that wait for the leader.
    syncing: BTreeMap<String, RequestId>,
    /// In the first rebalance of an empty group: how it waits for more members.
    initial: Option<Initial>,
}

impl ClassicGroup {
    /// Opens a group from what is stored of it: nothing for a new one, otherwise its records, each as
    /// it is now or all of them in the order in which they were given out.
    ///
    /// | stored | opened |
    /// |---|---|
    /// | nothing, or no members | `Empty` |
    /// | members with assignments | `Stable` in the same generation |
    /// | members with assignments, more than [`max_size`](ClassicConfig::max_size) | `PreparingRebalance` |
    /// | members that were joining or syncing | `PreparingRebalance`, the generation being used up |
    ///
    /// Members have a whole session from now on. Requests that were waiting are gone: their clients
    /// have lost the connection and repeat them.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the records do not fit each other.
    pub fn open(
        config: ClassicConfig,
        records: impl IntoIterator<Item = Record>,
        now_ms: i64,
    ) -> Result<ClassicGroup> {
        let mut stored = Stored::default();
        for record in records {
            stored.apply(&record);
        }
        stored.check()?;
        let mut group = ClassicGroup::unstored(config, now_ms);
        group.stored = stored;
        group.restore();
        Ok(group)
    }

    fn unstored(config: ClassicConfig, now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            config,
            clock: Clock::new(now_ms),
            stored: Stored::default(),
            state: ClassicState::Empty,
            state_since_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            fresh: BTreeSet::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            joining: BTreeMap::new(),
            syncing: BTreeMap::new(),
            initial: None,
        }
    }

    /// Begins where the records end.
    fn restore(&mut self) {
        let Some(group) = self.stored.group.clone() else { return };
        self.members = self.stored.members.clone();
        for (member_id, member) in &self.members {
            self.clock.start(Timer::Session(member_id.clone()), member.session_timeout_ms);
            if let Some(instance_id) = &member.group_instance_id {
                self.instances.insert(instance_id.clone(), member_id.clone());
            }
        }
        self.state_since_ms = group.state_since_ms;
        self.generation = group.generation;
        self.protocol_type = group.protocol_type;
        self.protocol = group.protocol;
        self.leader = group.leader.filter(|leader| self.members.contains_key(leader));
        if self.leader.is_none() {
            self.elect_first();
        }
        let is_assigned = group.state == StoredState::Stable;
        self.state = if self.members.is_empty() {
            ClassicState::Empty
        } else if is_assigned && self.members.len() <= self.config.max_size {
            ClassicState::Stable
        } else {
            self.clock.start(Timer::Join, self.rebalance_timeout_ms());
            ClassicState::PreparingRebalance
        };
    }

    /// Says what to store, and takes it as stored: the end of every call that may have changed it. It
    /// looks at all members, so calls that many members make one after the other leave it out.
    fn save(&mut self, step: &mut Step) {
        let group = self.to_store();
        if group != self.stored.group {
            step.records.push(group.map_or(Record::GroupRemoved, Record::Group));
        }
        for member_id in self.stored.members.keys() {
            if !self.members.contains_key(member_id) {
                step.records.push(Record::MemberRemoved { member_id: member_id.clone() });
            }
        }
        if self.state == ClassicState::Stable {
            for (member_id, member) in &self.members {
                if self.stored.members.get(member_id) != Some(member) {
                    let (member_id, member) = (member_id.clone(), member.clone());
                    step.records.push(Record::Member { member_id, member });
                }
            }
        }
        for record in &step.records {
            self.stored.apply(record);
        }
    }

    fn to_store(&self) -> Option<Group> {
        let state = match self.state {
            ClassicState::Dead => return None,
            // Nobody has joined it yet.
            ClassicState::Empty if self.protocol_type.is_none() => return None,
            ClassicState::Empty => StoredState::Empty,
            ClassicState::PreparingRebalance | ClassicState::CompletingRebalance => {
                StoredState::Rebalancing
            }
            ClassicState::Stable => StoredState::Stable,
        };
        Some(Group {
            state,
            generation: self.generation,
            state_since_ms: self.state_since_ms,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
        })
    }

    fn enter(&mut self, state: ClassicState) {
        self.state = state;
        self.state_since_ms = self.clock.outside();
    }

    /// When [`tick`](ClassicGroup::tick) has something to do, by the caller's clock. It changes with
    /// every call.
    pub fn next_deadline(&self) -> Option<i64> {
        self.clock.next_deadline()
    }
}
