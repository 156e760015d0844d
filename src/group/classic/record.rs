//! What is stored of a group.

use std::collections::BTreeMap;

use super::bytes;
use super::member::Member;
use crate::error::{Error, Result};

/// The name of the record that says how the group is.
const GROUP: &str = "classic";

/// What the name of a member's record begins with.
const MEMBER: &str = "classic/";

/// A change of what is stored of a group.
///
/// A record is a state of the store: [`name`](Record::name) is what it is stored under, and
/// [`value`](Record::value) the bytes that take the place of those before, or `None` for a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// How the group is now.
    Group(Group),
    /// The group is deleted.
    GroupRemoved,
    /// How a member is now.
    Member {
        /// Its id.
        member_id: String,
        /// The member.
        member: Member,
    },
    /// A member is none any more.
    MemberRemoved {
        /// Its id.
        member_id: String,
    },
}

/// What a group is beside its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What members may rely on.
    pub state: StoredState,
    /// The newest generation, which no later one may repeat.
    pub generation: i32,
    /// When the group entered its state, by the caller's clock.
    pub state_since_ms: i64,
    /// The protocol type of its members, or of those who were its last members.
    pub protocol_type: Option<String>,
    /// The assignor of the newest generation.
    pub protocol: Option<String>,
    /// The member id of its leader.
    pub leader: Option<String>,
}

/// The state of a group, as far as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredState {
    /// There are no members.
    Empty = 0,
    /// The members have to join before they get anything.
    Rebalancing = 1,
    /// The members have their assignments.
    Stable = 2,
}

impl Record {
    /// The name of the state that the record changes, unlike that of every other record of the group.
    pub fn name(&self) -> String {
        match self {
            Record::Group(_) | Record::GroupRemoved => GROUP.into(),
            Record::Member { member_id, .. } | Record::MemberRemoved { member_id } => {
                format!("{MEMBER}{member_id}")
            }
        }
    }

    /// The bytes of the state, or `None` if the record deletes it.
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Record::Group(group) => Some(bytes::encode_group(group)),
            Record::Member { member, .. } => Some(bytes::encode_member(member)),
            Record::GroupRemoved | Record::MemberRemoved { .. } => None,
        }
    }

    /// Reads a record back from the name and the bytes of a state.
    ///
    /// # Errors
    ///
    /// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) if a newer version has written it,
    /// and [`Corrupt`](crate::ErrorKind::Corrupt) if it is no record of a classic group.
    pub fn decode(name: &str, value: &[u8]) -> Result<Record> {
        if name == GROUP {
            return Ok(Record::Group(bytes::decode_group(value)?));
        }
        match name.strip_prefix(MEMBER) {
            Some(member_id) if !member_id.is_empty() => {
                let member = bytes::decode_member(value)?;
                Ok(Record::Member { member_id: member_id.into(), member })
            }
            _ => Err(Error::corrupt(format!("{name:?} is no record of a classic group"))),
        }
    }
}

/// All that is stored of a group: what its records come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) group: Option<Group>,
    pub(super) members: BTreeMap<String, Member>,
}

impl Stored {
    /// The one way in which what is stored changes, live and when it is read back.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Group(group) => self.group = Some(group.clone()),
            Record::GroupRemoved => self.group = None,
            Record::Member { member_id, member } => {
                self.members.insert(member_id.clone(), member.clone());
            }
            Record::MemberRemoved { member_id } => {
                self.members.remove(member_id);
            }
        }
    }

    /// Refuses what no group ever stores, so that nothing behind this has to expect it.
    pub(super) fn check(&self) -> Result<()> {
        let Some(group) = &self.group else {
            if self.members.is_empty() {
                return Ok(());
            }
            return Err(Error::corrupt("members of a classic group that has no record of its own"));
        };
        let mut instance_ids: Vec<_> =
            self.members.values().filter_map(|member| member.group_instance_id.as_ref()).collect();
        instance_ids.sort_unstable();
        if instance_ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::corrupt("two members have the same group instance id"));
        }
        let is_assigned = group.state == StoredState::Stable;
        let protocol = group.protocol.as_deref().unwrap_or("");
        if is_assigned && !self.members.values().all(|member| member.supports(protocol)) {
            return Err(Error::corrupt("a member does not support the assignor of its group"));
        }
        if !self.members.is_empty() && super::member::vote(&self.members).is_none() {
            return Err(Error::corrupt("the members of a group have no assignor in common"));
        }
        Ok(())
    }
}
