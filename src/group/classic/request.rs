//! What members ask.

use std::sync::Arc;

use crate::group::GroupError;
use crate::key::MAX_NAME_BYTES;

/// The most bytes that the names and the metadata of all protocols of a member may have together, and
/// that an assignment may have.
pub const MAX_MEMBER_BYTES: usize = 1 << 20;

/// The most protocols that a member may support. Kafka's consumer has four. What a group looks for is
/// one that all of its members have, and that takes as long as all their lists are long, multiplied.
pub const MAX_PROTOCOLS: usize = 256;

/// The longest client id or group instance id, so that a member id made of it is a name.
const MAX_ID_BYTES: usize = MAX_NAME_BYTES - 64;

/// What the caller knows a request by. Joins and syncs are answered later than they come in, by an
/// [`Effect`](super::Effect) that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An assignor that a member supports, and what the member tells its group's leader for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name of the assignor.
    pub name: String,
    /// The subscription, which only the leader reads.
    pub metadata: Arc<[u8]>,
}

/// `JoinGroup`: be a member of the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// What the answer will carry.
    pub request: RequestId,
    /// The id that the group gave to the member; empty for a new one.
    pub member_id: String,
    /// Of a static member (KIP-345): the id that stays the same when the process is started anew.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// After how much silence the member is removed.
    pub session_timeout_ms: i32,
    /// How long the member may need to join when it is called to. A group waits as long as the
    /// slowest of its members may.
    pub rebalance_timeout_ms: i32,
    /// What the group is for; `consumer` for consumers.
    pub protocol_type: String,
    /// The assignors that the member supports, the preferred one first.
    pub protocols: Vec<Protocol>,
    /// Whether a new dynamic member gets its id first and joins with it (KIP-394), as since version 4
    /// of the request. Without it, a client that loses its connection while it waits leaves a member
    /// behind that nobody is.
    pub requires_member_id: bool,
    /// Whether a leader understands that it has nothing to assign (KIP-814), as since version 9.
    pub can_skip_assignment: bool,
}

impl JoinRequest {
    pub(super) fn check(&self) -> Result<(), GroupError> {
        let instance_id = self.group_instance_id.as_deref();
        let ids = [&self.client_id[..], instance_id.unwrap_or("")];
        let names = self.protocols.iter().map(|protocol| &protocol.name);
        let mut names = names.chain([&self.member_id, &self.client_host, &self.protocol_type]);
        let bytes = |protocol: &Protocol| protocol.name.len() + protocol.metadata.len();
        let protocol_bytes: usize = self.protocols.iter().map(bytes).sum();
        let is_valid = ids.iter().all(|id| id.len() <= MAX_ID_BYTES)
            && names.all(|name| name.len() <= MAX_NAME_BYTES)
            && self.protocols.len() <= MAX_PROTOCOLS
            && protocol_bytes <= MAX_MEMBER_BYTES
            && instance_id != Some("")
            && self.rebalance_timeout_ms >= 0;
        if is_valid { Ok(()) } else { Err(GroupError::InvalidRequest) }
    }
}

/// `SyncGroup`: get an assignment, and, from the leader, bring those of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// What the answer will carry.
    pub request: RequestId,
    /// Who asks.
    pub member: MemberIdentity,
    /// The generation that the member has joined.
    pub generation: i32,
    /// The protocol type that the member was told, from version 5 of the request on.
    pub protocol_type: Option<String>,
    /// The assignor that the member was told, from version 5 of the request on.
    pub protocol: Option<String>,
    /// From the leader: what each member gets. Members that are left out get nothing.
    pub assignments: Vec<(String, Arc<[u8]>)>,
}

/// Who a request is from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberIdentity {
    /// The id that the group gave to the member.
    pub member_id: String,
    /// The id that a static member gave itself.
    pub group_instance_id: Option<String>,
}

impl MemberIdentity {
    /// A dynamic member.
    pub fn dynamic(member_id: impl Into<String>) -> MemberIdentity {
        MemberIdentity { member_id: member_id.into(), group_instance_id: None }
    }

    /// A static member.
    pub fn fixed(
        member_id: impl Into<String>,
        group_instance_id: impl Into<String>,
    ) -> MemberIdentity {
        let group_instance_id = Some(group_instance_id.into());
        MemberIdentity { member_id: member_id.into(), group_instance_id }
    }
}

/// `LeaveGroup`: give up the place of one member or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveRequest {
    /// What the answer will carry.
    pub request: RequestId,
    /// Who leaves. With a group instance id and an empty member id an administrator removes a static
    /// member, whatever its member id is.
    pub members: Vec<MemberIdentity>,
}

/// What `OffsetCommit` says about who commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// Who commits; empty where no group is taken part in.
    pub member: MemberIdentity,
    /// The generation of the member; negative where no group is taken part in.
    pub generation: i32,
    /// Whether the offsets are part of a transaction.
    pub is_transactional: bool,
}
