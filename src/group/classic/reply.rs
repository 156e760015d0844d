//! What members are told.

use std::sync::Arc;

use super::record::Record;
use super::request::{MemberIdentity, RequestId};
use crate::group::GroupError;

/// What a call decided: what to store, and then what to answer.
///
/// The records of a step are stored as one atomic batch, steps in their order, **before** any of the
/// effects is let out. If that fails, the group has to be given up with
/// [`ClassicGroup::abandon`](super::ClassicGroup::abandon), because it is ahead of what is stored, and
/// opened from what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the records have to be stored and the effects let out"]
pub struct Step {
    /// What to store.
    pub records: Vec<Record>,
    /// What to answer when the records are stored.
    pub effects: Vec<Effect>,
}

impl Step {
    pub(super) fn answer(&mut self, request: RequestId, reply: Reply) {
        self.effects.push(Effect { request, reply });
    }

    pub(super) fn refuse_join(&mut self, request: RequestId, member_id: &str, error: GroupError) {
        let is_none =
            [GroupError::UnknownMemberId, GroupError::GroupMaxSizeReached].contains(&error);
        let member_id = if is_none { String::new() } else { member_id.into() };
        let refusal = JoinRefusal { error, member_id };
        self.answer(request, Reply::Join(Err(refusal)));
    }
}

/// An answer that is due. Each request gets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The request that is answered.
    pub request: RequestId,
    /// The answer.
    pub reply: Reply,
}

impl Effect {
    /// The same request answered with an error instead: for a step that could not be stored.
    pub(in crate::group) fn refused(self, error: GroupError) -> Effect {
        let reply = match self.reply {
            Reply::Join(_) => Reply::Join(Err(JoinRefusal { error, member_id: String::new() })),
            Reply::Sync(_) => Reply::Sync(Err(error)),
            Reply::Leave(_) => Reply::Leave(Err(error)),
        };
        Effect { request: self.request, reply }
    }
}

/// The answer to a request, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a [`JoinRequest`](super::JoinRequest).
    Join(Result<Joined, JoinRefusal>),
    /// To a [`SyncRequest`](super::SyncRequest).
    Sync(Result<Synced, GroupError>),
    /// To a [`LeaveRequest`](super::LeaveRequest).
    Leave(Result<Vec<Left>, GroupError>),
}

/// A member is one of a generation, and is to sync next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The id of the member.
    pub member_id: String,
    /// The generation.
    pub generation: i32,
    /// The protocol type of the group.
    pub protocol_type: Option<String>,
    /// The assignor that the members have voted for.
    pub protocol: Option<String>,
    /// The member id of who assigns.
    pub leader: String,
    /// For the leader: all members, sorted by member id, with what they subscribe to. Empty for
    /// everyone else.
    pub members: Vec<JoinedMember>,
    /// For a leader that came back as a static member: the assignment stays as it is.
    pub skip_assignment: bool,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Who it is.
    pub member: MemberIdentity,
    /// What it said for the chosen assignor.
    pub metadata: Arc<[u8]>,
}

/// A join was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal {
    /// Why.
    pub error: GroupError,
    /// What the member joined with; after [`GroupError::MemberIdRequired`] the id that it got and has
    /// to join with; and empty where the group has no place for it.
    pub member_id: String,
}

/// A member has its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The protocol type of the group.
    pub protocol_type: Option<String>,
    /// The assignor that was used.
    pub protocol: Option<String>,
    /// What the leader said for the member; empty if it said nothing.
    pub assignment: Arc<[u8]>,
}

/// What became of a member that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The member as the request named it.
    pub member: MemberIdentity,
    /// Whether it has left.
    pub result: Result<(), GroupError>,
}

/// A group as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicDescription {
    /// The state.
    pub state: super::ClassicState,
    /// When the group entered it, by the caller's clock.
    pub state_since_ms: i64,
    /// The newest generation.
    pub generation: i32,
    /// The protocol type of its members, or of those who were its last members.
    pub protocol_type: Option<String>,
    /// The assignor of the newest generation.
    pub protocol: Option<String>,
    /// The member id of its leader.
    pub leader: Option<String>,
    /// The members, sorted by member id.
    pub members: Vec<DescribedMember>,
}

/// A member as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Who it is.
    pub member: MemberIdentity,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// What it said for the assignor of the group, while the group is stable.
    pub metadata: Option<Arc<[u8]>>,
    /// What the leader assigned to it; empty while nothing is assigned.
    pub assignment: Arc<[u8]>,
}
