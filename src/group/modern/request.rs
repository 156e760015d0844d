//! What a member says, and what it hears.

use super::config::ServerAssignor;
use super::partitions::Partitions;
use crate::group::GroupError;
use crate::key::MAX_NAME_BYTES;

/// The epoch of a member that joins.
pub const JOIN_EPOCH: i32 = 0;

/// The epoch of a member that leaves for good.
pub const LEAVE_EPOCH: i32 = -1;

/// The epoch of a static member that leaves and will be back.
pub const STATIC_LEAVE_EPOCH: i32 = -2;

/// The longest member id and group instance id, in bytes.
pub const MAX_ID_BYTES: usize = 1024;

/// The most bytes that the names of all topics of a subscription may have together.
pub const MAX_SUBSCRIPTION_BYTES: usize = 1 << 20;

/// One heartbeat: all that a member ever sends.
///
/// What it does not bring is as it was. A member that did not get the answer to a heartbeat does not
/// know what the group knows of it, and sends everything again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub(super) member_id: String,
    pub(super) member_epoch: i32,
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: Option<u32>,
    pub(super) topics: Option<Vec<String>>,
    pub(super) assignor: Option<ServerAssignor>,
    pub(super) owned: Option<Partitions>,
}

impl HeartbeatRequest {
    /// A heartbeat of a member in its epoch, or with [`JOIN_EPOCH`], [`LEAVE_EPOCH`] or
    /// [`STATIC_LEAVE_EPOCH`].
    ///
    /// A joining member chooses its member id, a new one for each life of its process: a UUID, say.
    /// It has to bring its topics, its rebalance timeout and an empty set of owned partitions.
    pub fn new(member_id: impl Into<String>, member_epoch: i32) -> HeartbeatRequest {
        HeartbeatRequest {
            member_id: member_id.into(),
            member_epoch,
            group_instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: None,
            topics: None,
            assignor: None,
            owned: None,
        }
    }

    /// Makes it one of a static member (KIP-345). It has to be in each of its heartbeats.
    pub fn group_instance_id(mut self, id: impl Into<String>) -> HeartbeatRequest {
        self.group_instance_id = Some(id.into());
        self
    }

    /// Who sends it, for people who look at the group: the client's name for itself and its address.
    /// It has to be in each heartbeat, as the transport knows both.
    pub fn client(mut self, id: impl Into<String>, host: impl Into<String>) -> HeartbeatRequest {
        (self.client_id, self.client_host) = (id.into(), host.into());
        self
    }

    /// How long the member takes at most to give up partitions before it is removed.
    pub fn rebalance_timeout_ms(mut self, ms: u32) -> HeartbeatRequest {
        self.rebalance_timeout_ms = Some(ms);
        self
    }

    /// The topics that the member subscribes to.
    pub fn topics<T: Into<String>>(
        mut self,
        topics: impl IntoIterator<Item = T>,
    ) -> HeartbeatRequest {
        self.topics = Some(topics.into_iter().map(Into::into).collect());
        self
    }

    /// The assignor that the member asks for.
    pub fn assignor(mut self, assignor: ServerAssignor) -> HeartbeatRequest {
        self.assignor = Some(assignor);
        self
    }

    /// The partitions that the member owns: it may still read or commit them. What is not among them
    /// any more has been given up.
    pub fn owned(mut self, owned: Partitions) -> HeartbeatRequest {
        self.owned = Some(owned);
        self
    }

    /// Whether the member is to become one by it.
    pub(crate) fn joins(&self) -> bool {
        self.member_epoch == JOIN_EPOCH
    }

    /// Whether the fields fit together, as far as one can say without a group.
    pub(super) fn check(&self) -> Result<(), GroupError> {
        let is_id = |id: &str| !id.is_empty() && id.len() <= MAX_ID_BYTES;
        let is_name = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        let is_complete = match self.member_epoch {
            JOIN_EPOCH => {
                self.topics.is_some()
                    && self.rebalance_timeout_ms.is_some()
                    && self.owned.as_ref().is_some_and(Partitions::is_empty)
            }
            STATIC_LEAVE_EPOCH => self.group_instance_id.is_some(),
            epoch => epoch >= LEAVE_EPOCH,
        };
        let topic_bytes: usize = self.topics.iter().flatten().map(String::len).sum();
        let is_right = is_complete
            && topic_bytes <= MAX_SUBSCRIPTION_BYTES
            && is_id(&self.member_id)
            && self.group_instance_id.as_deref().is_none_or(is_id)
            && self.client_id.len().max(self.client_host.len()) <= MAX_NAME_BYTES
            && self.topics.iter().flatten().all(|topic| is_name(topic));
        if is_right { Ok(()) } else { Err(GroupError::InvalidRequest) }
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatResponse {
    /// The member that it is for.
    pub member_id: String,
    /// The epoch that the member is in now, to be in its next heartbeat, its commits and its fetches
    /// of offsets; or the negative one with which it left.
    pub member_epoch: i32,
    /// When the member is to send the next heartbeat.
    pub heartbeat_interval_ms: u32,
    /// What the member may own from now on, if that may be news to it. It gives up what it owns
    /// beyond that, and then says so.
    pub assignment: Option<Partitions>,
}

impl HeartbeatResponse {
    /// Whether it says more than that the member is what it says it is.
    pub(in crate::group) fn is_news_to(&self, request: &HeartbeatRequest) -> bool {
        self.member_epoch != request.member_epoch || self.assignment.is_some()
    }
}
