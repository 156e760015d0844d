//! The byte form of the states of a group. Bytes only: what they mean is said elsewhere.
//!
//! All integers are little-endian. A string is its length as `u16` and UTF-8; a list is its length as
//! `u32` and its items, which rise strictly. So each value has one encoding.
//!
//! ```text
//! version       u8       1
//! kind          u8       1 epochs, 2 topics, 3 member, 4 target, 5 current
//!
//! epochs        i32      group epoch, 0 or more
//!               i32      assignment epoch, from 0 to the group epoch
//! topics        list     of string and i32, the number of partitions, 1 or more
//! member        string   group instance id, empty for none
//!               string   client id
//!               string   client host
//!               u32      rebalance timeout in ms
//!               u8       assignor: 0 none, 1 uniform, 2 range
//!               list     of string: topics
//! target        list     of string and a list of i32, 0 or more: partitions by topic, at least one each
//! current       u8       0 stable, 1 unrevoked partitions, 2 unreleased partitions
//!               i32      epoch, 0 or more, or -2 for a static member that is away
//!               i32      epoch before, the same
//!               list     assigned partitions, as in target
//!               list     partitions to be revoked, as in target; some if and only if unrevoked
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::config::ServerAssignor;
use super::member::{CurrentAssignment, Member, MemberState};
use super::partitions::Partitions;
use super::record::Epochs;
use super::request::{MAX_ID_BYTES, STATIC_LEAVE_EPOCH};
use crate::error::{Error, Result};
use crate::key::MAX_NAME_BYTES;

const VERSION: u8 = 1;

/// What an encoding is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Epochs = 1,
    Topics = 2,
    Member = 3,
    Target = 4,
    Current = 5,
}

pub(super) fn encode_epochs(epochs: &Epochs) -> Vec<u8> {
    let mut out = begin(Kind::Epochs);
    out.extend(epochs.group.to_le_bytes());
    out.extend(epochs.assignment.to_le_bytes());
    out
}

pub(super) fn decode_epochs(bytes: &[u8]) -> Result<Epochs> {
    let mut reader = Reader::begin(bytes, Kind::Epochs)?;
    let epochs = Epochs { group: reader.i32()?, assignment: reader.i32()? };
    if !(0..=epochs.group).contains(&epochs.assignment) {
        return Err(reader.corrupt("epochs that no group has"));
    }
    reader.end(epochs)
}

pub(super) fn encode_topics(topics: &BTreeMap<String, i32>) -> Vec<u8> {
    let mut out = begin(Kind::Topics);
    put_length(&mut out, topics.len());
    for (topic, partitions) in topics {
        put_string(&mut out, topic);
        out.extend(partitions.to_le_bytes());
    }
    out
}

pub(super) fn decode_topics(bytes: &[u8]) -> Result<BTreeMap<String, i32>> {
    let mut reader = Reader::begin(bytes, Kind::Topics)?;
    let mut topics = BTreeMap::new();
    for _ in 0..reader.length(2 + 1 + 4)? {
        let topic = reader.name(topics.last_key_value().map(|(topic, _)| topic))?;
        let partitions = reader.i32()?;
        if partitions < 1 {
            return Err(reader.corrupt("a topic without partitions"));
        }
        topics.insert(topic, partitions);
    }
    reader.end(topics)
}

pub(super) fn encode_member(member: &Member) -> Vec<u8> {
    let mut out = begin(Kind::Member);
    put_string(&mut out, member.group_instance_id.as_deref().unwrap_or_default());
    put_string(&mut out, &member.client_id);
    put_string(&mut out, &member.client_host);
    out.extend(member.rebalance_timeout_ms.to_le_bytes());
    out.push(assignor_code(member.assignor));
    put_length(&mut out, member.topics.len());
    for topic in &member.topics {
        put_string(&mut out, topic);
    }
    out
}

pub(super) fn decode_member(bytes: &[u8]) -> Result<Member> {
    let mut reader = Reader::begin(bytes, Kind::Member)?;
    let group_instance_id = reader.string(MAX_ID_BYTES)?;
    let client_id = reader.string(MAX_NAME_BYTES)?;
    let client_host = reader.string(MAX_NAME_BYTES)?;
    let rebalance_timeout_ms = u32::from_le_bytes(reader.array()?);
    let code = reader.u8()?;
    let mut assignors = ServerAssignor::ALL.into_iter().map(Some).chain([None]);
    let assignor = assignors
        .find(|assignor| assignor_code(*assignor) == code)
        .ok_or_else(|| reader.corrupt("an assignor that there is not"))?;
    let mut topics = BTreeSet::new();
    for _ in 0..reader.length(2 + 1)? {
        let topic = reader.name(topics.last())?;
        topics.insert(topic);
    }
    reader.end(Member {
        group_instance_id: (!group_instance_id.is_empty()).then_some(group_instance_id),
        client_id,
        client_host,
        rebalance_timeout_ms,
        topics,
        assignor,
    })
}

pub(super) fn encode_target(partitions: &Partitions) -> Vec<u8> {
    let mut out = begin(Kind::Target);
    put_partitions(&mut out, partitions);
    out
}

pub(super) fn decode_target(bytes: &[u8]) -> Result<Partitions> {
    let mut reader = Reader::begin(bytes, Kind::Target)?;
    let partitions = reader.partitions()?;
    reader.end(partitions)
}

pub(super) fn encode_current(current: &CurrentAssignment) -> Vec<u8> {
    let mut out = begin(Kind::Current);
    out.push(match current.state {
        MemberState::Stable => 0,
        MemberState::UnrevokedPartitions => 1,
        MemberState::UnreleasedPartitions => 2,
    });
    out.extend(current.epoch.to_le_bytes());
    out.extend(current.previous_epoch.to_le_bytes());
    put_partitions(&mut out, &current.assigned);
    put_partitions(&mut out, &current.revoking);
    out
}

pub(super) fn decode_current(bytes: &[u8]) -> Result<CurrentAssignment> {
    let mut reader = Reader::begin(bytes, Kind::Current)?;
    let state = match reader.u8()? {
        0 => MemberState::Stable,
        1 => MemberState::UnrevokedPartitions,
        2 => MemberState::UnreleasedPartitions,
        _ => return Err(reader.corrupt("a state that no member has")),
    };
    let (epoch, previous_epoch) = (reader.i32()?, reader.i32()?);
    if [epoch, previous_epoch].iter().any(|&epoch| epoch < 0 && epoch != STATIC_LEAVE_EPOCH) {
        return Err(reader.corrupt("an epoch that no member has"));
    }
    let (assigned, revoking) = (reader.partitions()?, reader.partitions()?);
    let is_revoking = state == MemberState::UnrevokedPartitions;
    if is_revoking == revoking.is_empty() || assigned.intersects(&revoking) {
        return Err(reader.corrupt("an assignment that no member has"));
    }
    reader.end(CurrentAssignment { state, epoch, previous_epoch, assigned, revoking })
}

fn assignor_code(assignor: Option<ServerAssignor>) -> u8 {
    match assignor {
        None => 0,
        Some(ServerAssignor::Uniform) => 1,
        Some(ServerAssignor::Range) => 2,
    }
}

fn begin(kind: Kind) -> Vec<u8> {
    vec![VERSION, kind as u8]
}

/// No list of a group comes near the limit: its items are in memory.
fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend((length as u32).to_le_bytes());
}

/// Names and ids are checked when they come in: none has more than `MAX_NAME_BYTES`.
fn put_string(out: &mut Vec<u8>, string: &str) {
    out.extend((string.len() as u16).to_le_bytes());
    out.extend(string.as_bytes());
}

fn put_partitions(out: &mut Vec<u8>, partitions: &Partitions) {
    put_length(out, partitions.topics().len());
    for (topic, partitions) in partitions.topics() {
        put_string(out, topic);
        put_length(out, partitions.len());
        out.extend(partitions.iter().flat_map(|partition| partition.to_le_bytes()));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn begin(bytes: &'a [u8], kind: Kind) -> Result<Reader<'a>> {
        let mut reader = Reader { bytes, at: 0 };
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::unsupported(format!(
                "a state of a group in version {version}, this one reads version {VERSION}"
            )));
        }
        if reader.u8()? != kind as u8 {
            return Err(reader.corrupt(format!("a state of a group that is not of kind {kind:?}")));
        }
        Ok(reader)
    }

    fn end<T>(self, value: T) -> Result<T> {
        if self.at == self.bytes.len() {
            Ok(value)
        } else {
            Err(self.corrupt("bytes behind the end of a state of a group"))
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let bytes = self.bytes[self.at..].get(..length);
        let bytes = bytes.ok_or_else(|| self.corrupt("a state of a group that ends too early"))?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// The length of a list whose items take at least `item` bytes each.
    fn length(&mut self, item: usize) -> Result<u32> {
        let length = u32::from_le_bytes(self.array()?);
        let room = (self.bytes.len() - self.at) / item;
        if length as usize > room {
            return Err(self.corrupt("a list that is longer than its state"));
        }
        Ok(length)
    }

    fn string(&mut self, limit: usize) -> Result<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > limit {
            return Err(self.corrupt("a name that is too long"));
        }
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| self.corrupt("a name that is not UTF-8"))
    }

    /// A name that comes behind the one before it.
    fn name(&mut self, before: Option<&String>) -> Result<String> {
        let name = self.string(MAX_NAME_BYTES)?;
        if name.is_empty() || before.is_some_and(|before| *before >= name) {
            return Err(self.corrupt("names that are not in order"));
        }
        Ok(name)
    }

    fn partitions(&mut self) -> Result<Partitions> {
        let mut partitions = Partitions::new();
        let mut before = None;
        for _ in 0..self.length(2 + 1 + 4 + 4)? {
            let topic = self.name(before.as_ref())?;
            let mut last = -1;
            let length = self.length(4)?;
            for _ in 0..length {
                let partition = self.i32()?;
                if partition <= last {
                    return Err(self.corrupt("partitions that are not in order"));
                }
                partitions.insert(&topic, partition);
                last = partition;
            }
            if length == 0 {
                return Err(self.corrupt("a topic without partitions"));
            }
            before = Some(topic);
        }
        Ok(partitions)
    }

    fn corrupt(&self, message: impl Into<String>) -> Error {
        Error::corrupt(message).at(self.at as u64)
    }
}
