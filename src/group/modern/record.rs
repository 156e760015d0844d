//! What is stored of a group: one record for each of its states.

use std::collections::BTreeMap;

use super::bytes;
use super::member::{CurrentAssignment, Member};
use super::partitions::Partitions;
use super::request::MAX_ID_BYTES;
use crate::error::{Error, Result};

/// One change of what is stored of a group: a state gets a new value, or with `None` it is removed.
///
/// A state has a [`name`](Record::name), and the newest record of a name is all that counts. So a host
/// keeps one value for each name, and gives them to
/// [`ConsumerGroup::open`](super::ConsumerGroup::open) in any order. No two records of one
/// heartbeat have the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// The epochs of the group.
    Epochs(Option<Epochs>),
    /// The numbers of partitions of the topics that members subscribe to, as far as they exist.
    Topics(Option<BTreeMap<String, i32>>),
    /// What a member says about itself.
    Member(String, Option<Member>),
    /// What a member shall have.
    Target(String, Option<Partitions>),
    /// What a member has.
    Current(String, Option<CurrentAssignment>),
}

/// The epochs of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// Rises whenever members, subscriptions or topics change.
    pub(super) group: i32,
    /// The group epoch that the target assignment is made for.
    pub(super) assignment: i32,
}

const EPOCHS: &str = "consumer";
const TOPICS: &str = "consumer-topics";
const MEMBER: &str = "consumer-member/";
const TARGET: &str = "consumer-target/";
const CURRENT: &str = "consumer-current/";

impl Record {
    /// The name of the state, unique within the group: its kind, and the member id if it is one of a
    /// member. It has at most 1,041 bytes.
    pub fn name(&self) -> String {
        match self {
            Record::Epochs(_) => EPOCHS.to_owned(),
            Record::Topics(_) => TOPICS.to_owned(),
            Record::Member(id, _) => format!("{MEMBER}{id}"),
            Record::Target(id, _) => format!("{TARGET}{id}"),
            Record::Current(id, _) => format!("{CURRENT}{id}"),
        }
    }

    /// The bytes of the new value, or `None` if the state is removed.
    ///
    /// They have no checksum of their own, as the record of the store that they stand in has one.
    /// Equal values have equal bytes.
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Record::Epochs(value) => value.as_ref().map(bytes::encode_epochs),
            Record::Topics(value) => value.as_ref().map(bytes::encode_topics),
            Record::Member(_, value) => value.as_ref().map(bytes::encode_member),
            Record::Target(_, value) => value.as_ref().map(bytes::encode_target),
            Record::Current(_, value) => value.as_ref().map(bytes::encode_current),
        }
    }

    /// The record of a state that was stored.
    ///
    /// Any bytes are safe to give, and take no more memory than some tens of times their length.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the bytes are not the encoding of a state of that
    /// name, [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) if they are of a later
    /// version of this crate.
    pub fn decode(name: &str, value: &[u8]) -> Result<Record> {
        if name == EPOCHS {
            Ok(Record::Epochs(Some(bytes::decode_epochs(value)?)))
        } else if name == TOPICS {
            Ok(Record::Topics(Some(bytes::decode_topics(value)?)))
        } else if let Some(id) = member_id(name, MEMBER) {
            Ok(Record::Member(id, Some(bytes::decode_member(value)?)))
        } else if let Some(id) = member_id(name, TARGET) {
            Ok(Record::Target(id, Some(bytes::decode_target(value)?)))
        } else if let Some(id) = member_id(name, CURRENT) {
            Ok(Record::Current(id, Some(bytes::decode_current(value)?)))
        } else {
            Err(Error::corrupt(format!("a group has no state with the name {name:?}")))
        }
    }
}

fn member_id(name: &str, kind: &str) -> Option<String> {
    let id = name.strip_prefix(kind)?;
    (1..=MAX_ID_BYTES).contains(&id.len()).then(|| id.to_owned())
}
