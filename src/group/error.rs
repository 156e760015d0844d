//! What a group answers when it refuses a request.

use std::fmt;

/// Why a group refused a request, under Kafka's names and codes.
///
/// A refusal changes nothing. Programs decide on [`advice`](GroupError::advice), wire protocols carry
/// [`code`](GroupError::code), and the `Display` text is a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GroupError {
    /// The group is being removed, or what it decided could not be stored.
    CoordinatorNotAvailable,
    /// The request is of another generation than the group.
    IllegalGeneration,
    /// The member has no protocol that all other members have.
    InconsistentGroupProtocol,
    /// The name of the group cannot be used.
    InvalidGroupId,
    /// The group has no such member.
    UnknownMemberId,
    /// The session timeout is outside of the bounds of the group.
    InvalidSessionTimeout,
    /// The group is sharing its partitions anew.
    RebalanceInProgress,
    /// The member speaks another protocol than the request.
    UnsupportedVersion,
    /// A field of the request has a value that it cannot have.
    InvalidRequest,
    /// The group still has members.
    NonEmptyGroup,
    /// There is no such group.
    GroupIdNotFound,
    /// A new member gets its id first, and joins with it (KIP-394).
    MemberIdRequired,
    /// The group has as many members as it may have.
    GroupMaxSizeReached,
    /// Another process has taken the group instance id over (KIP-345).
    FencedInstanceId,
    /// The group reads the topic whose offsets should be deleted.
    GroupSubscribedToTopic,
    /// The group has removed the member, or moved it on, since its epoch (KIP-848).
    FencedMemberEpoch,
    /// The group instance id belongs to a member that has not left (KIP-848).
    UnreleasedInstanceId,
    /// The group does not have the assignor that the member asks for (KIP-848).
    UnsupportedAssignor,
    /// The member is in a newer epoch than the request (KIP-848).
    StaleMemberEpoch,
}

/// What a member does about a [`GroupError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Send it again after a pause. A request that was refused as
    /// [`StaleMemberEpoch`](GroupError::StaleMemberEpoch) is sent with the epoch that the member has
    /// by then, once.
    Retry,
    /// Join again, as nothing else is accepted before. What was read and not committed is delivered
    /// again, to whoever gets the partition then.
    ///
    /// With [`RebalanceInProgress`](GroupError::RebalanceInProgress) and
    /// [`IllegalGeneration`](GroupError::IllegalGeneration) the member keeps its id, with
    /// [`MemberIdRequired`](GroupError::MemberIdRequired) it has just got one, and otherwise it joins
    /// as a new member.
    Rejoin,
    /// Give up, and tell the user. The same request is refused again until somebody changes the
    /// program, its configuration or the group.
    Stop,
}

impl GroupError {
    #[rustfmt::skip]
    const ALL: [GroupError; 19] = {
        use GroupError::*;
        [
            CoordinatorNotAvailable, IllegalGeneration, InconsistentGroupProtocol, InvalidGroupId,
            UnknownMemberId, InvalidSessionTimeout, RebalanceInProgress, UnsupportedVersion,
            InvalidRequest, NonEmptyGroup, GroupIdNotFound, MemberIdRequired, GroupMaxSizeReached,
            FencedInstanceId, GroupSubscribedToTopic, FencedMemberEpoch, UnreleasedInstanceId,
            UnsupportedAssignor, StaleMemberEpoch,
        ]
    };

    /// The error that has one of Kafka's numbers, for those who read it from a wire. `None` for what
    /// no group answers.
    pub fn from_code(code: i16) -> Option<GroupError> {
        GroupError::ALL.into_iter().find(|error| error.code() == code)
    }

    /// Kafka's number of the error.
    pub fn code(self) -> i16 {
        self.facts().0
    }

    /// Kafka's name of the error, as in `UNKNOWN_MEMBER_ID`.
    pub fn name(self) -> &'static str {
        self.facts().1
    }

    /// What a member does about it, which is what Kafka's consumer does.
    pub fn advice(self) -> Advice {
        self.facts().2
    }

    #[rustfmt::skip]
    fn facts(self) -> (i16, &'static str, Advice, &'static str) {
        use Advice::{Rejoin, Retry, Stop};
        match self {
            Self::CoordinatorNotAvailable => (15, "COORDINATOR_NOT_AVAILABLE", Retry,
                "the group cannot answer at the moment; try again"),
            Self::IllegalGeneration => (22, "ILLEGAL_GENERATION", Rejoin,
                "the group has shared its partitions anew since the member joined; join again"),
            Self::InconsistentGroupProtocol => (23, "INCONSISTENT_GROUP_PROTOCOL", Stop,
                "the member has no protocol type and assignor that all other members have; \
                 give all members of a group one in common"),
            Self::InvalidGroupId => (24, "INVALID_GROUP_ID", Stop,
                "the name of the group is missing or cannot be used"),
            Self::UnknownMemberId => (25, "UNKNOWN_MEMBER_ID", Rejoin,
                "the group has no such member: it left, or was silent for too long; join again"),
            Self::InvalidSessionTimeout => (26, "INVALID_SESSION_TIMEOUT", Stop,
                "the session timeout is outside of the bounds that the group allows"),
            Self::RebalanceInProgress => (27, "REBALANCE_IN_PROGRESS", Rejoin,
                "the group is sharing its partitions anew; join again to get a share"),
            Self::UnsupportedVersion => (35, "UNSUPPORTED_VERSION", Stop,
                "the member takes part by another protocol than the request speaks"),
            Self::InvalidRequest => (42, "INVALID_REQUEST", Stop,
                "a field of the request has a value that it cannot have"),
            Self::NonEmptyGroup => (68, "NON_EMPTY_GROUP", Stop,
                "the group has members; stop them first"),
            Self::GroupIdNotFound => (69, "GROUP_ID_NOT_FOUND", Stop,
                "there is no such group"),
            Self::MemberIdRequired => (79, "MEMBER_ID_REQUIRED", Rejoin,
                "the member got an id and has to join with it"),
            Self::GroupMaxSizeReached => (81, "GROUP_MAX_SIZE_REACHED", Stop,
                "the group has as many members as it may have"),
            Self::FencedInstanceId => (82, "FENCED_INSTANCE_ID", Stop,
                "another process has joined with the same group instance id and takes this one's \
                 place; give each process an instance id of its own"),
            Self::GroupSubscribedToTopic => (86, "GROUP_SUBSCRIBED_TO_TOPIC", Stop,
                "members of the group read the topic; unsubscribe them or stop them first"),
            Self::FencedMemberEpoch => (110, "FENCED_MEMBER_EPOCH", Rejoin,
                "the group has moved on without the member; give up all partitions and join again"),
            Self::UnreleasedInstanceId => (111, "UNRELEASED_INSTANCE_ID", Stop,
                "another member has the group instance id and has not left"),
            Self::UnsupportedAssignor => (112, "UNSUPPORTED_ASSIGNOR", Stop,
                "the group does not have the assignor that the member asks for"),
            Self::StaleMemberEpoch => (113, "STALE_MEMBER_EPOCH", Retry,
                "the member is in a newer epoch than the request; send it with that epoch"),
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.facts().3, self.name())
    }
}

impl std::error::Error for GroupError {}

#[cfg(test)]
mod tests {
    use super::Advice::{Rejoin, Retry, Stop};
    use super::GroupError::{self, *};

    /// Kafka's table, as far as groups need it: `Errors.java`, and what its consumers do about each.
    const TABLE: [(i16, &str, GroupError, super::Advice); 19] = [
        (15, "COORDINATOR_NOT_AVAILABLE", CoordinatorNotAvailable, Retry),
        (22, "ILLEGAL_GENERATION", IllegalGeneration, Rejoin),
        (23, "INCONSISTENT_GROUP_PROTOCOL", InconsistentGroupProtocol, Stop),
        (24, "INVALID_GROUP_ID", InvalidGroupId, Stop),
        (25, "UNKNOWN_MEMBER_ID", UnknownMemberId, Rejoin),
        (26, "INVALID_SESSION_TIMEOUT", InvalidSessionTimeout, Stop),
        (27, "REBALANCE_IN_PROGRESS", RebalanceInProgress, Rejoin),
        (35, "UNSUPPORTED_VERSION", UnsupportedVersion, Stop),
        (42, "INVALID_REQUEST", InvalidRequest, Stop),
        (68, "NON_EMPTY_GROUP", NonEmptyGroup, Stop),
        (69, "GROUP_ID_NOT_FOUND", GroupIdNotFound, Stop),
        (79, "MEMBER_ID_REQUIRED", MemberIdRequired, Rejoin),
        (81, "GROUP_MAX_SIZE_REACHED", GroupMaxSizeReached, Stop),
        (82, "FENCED_INSTANCE_ID", FencedInstanceId, Stop),
        (86, "GROUP_SUBSCRIBED_TO_TOPIC", GroupSubscribedToTopic, Stop),
        (110, "FENCED_MEMBER_EPOCH", FencedMemberEpoch, Rejoin),
        (111, "UNRELEASED_INSTANCE_ID", UnreleasedInstanceId, Stop),
        (112, "UNSUPPORTED_ASSIGNOR", UnsupportedAssignor, Stop),
        (113, "STALE_MEMBER_EPOCH", StaleMemberEpoch, Retry),
    ];

    #[test]
    fn codes_and_names_are_those_of_kafka() {
        for (code, name, error, advice) in TABLE {
            assert_eq!((error.code(), error.name(), error.advice()), (code, name, advice));
            assert_eq!(GroupError::from_code(code), Some(error));
            assert!(error.to_string().ends_with(&format!(" ({name})")), "{error}");
        }
        // The errors are in the order of their codes, so the table has each of them once.
        assert!(TABLE.iter().enumerate().all(|(i, row)| row.2 as usize == i));
        assert_eq!(GroupError::from_code(0), None);
    }
}
