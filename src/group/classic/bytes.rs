//! The byte form of what is stored.
//!
//! Both records begin with a version. Integers are little-endian. A text has its length in two bytes
//! before it, and the length [`ABSENT`] says that there is none; opaque bytes have theirs in four.
//!
//! | group | member |
//! |---|---|
//! | version: 1 byte | version: 1 byte |
//! | state: 1 byte | group instance id: text or absent |
//! | generation: 4 bytes | client id: text |
//! | state since: 8 bytes | client host: text |
//! | protocol type: text or absent | session timeout: 4 bytes |
//! | protocol: text or absent | rebalance timeout: 4 bytes |
//! | leader: text or absent | number of protocols: 2 bytes |
//! | | each protocol: name as text, metadata as bytes |
//! | | assignment: bytes |
//!
//! A record has one byte form, and bytes that no record has are refused. There is no checksum, since
//! what the states are stored in has one.

use std::sync::Arc;

use super::member::Member;
use super::record::{Group, StoredState};
use super::request::{MAX_PROTOCOLS, Protocol};
use crate::error::{Error, Result};

const VERSION: u8 = 1;

/// The length of a text that is not there, longer than any that is.
const ABSENT: u16 = u16::MAX;

pub(super) fn encode_group(group: &Group) -> Vec<u8> {
    let mut out = vec![VERSION, group.state as u8];
    out.extend(group.generation.to_le_bytes());
    out.extend(group.state_since_ms.to_le_bytes());
    for text in [&group.protocol_type, &group.protocol, &group.leader] {
        put_optional(&mut out, text.as_deref());
    }
    out
}

pub(super) fn decode_group(bytes: &[u8]) -> Result<Group> {
    let mut reader = Reader::new(bytes)?;
    let state = match reader.array::<1>()? {
        [0] => StoredState::Empty,
        [1] => StoredState::Rebalancing,
        [2] => StoredState::Stable,
        [_] => return Err(reader.corrupt("a state that no group is in")),
    };
    let group = Group {
        state,
        generation: i32::from_le_bytes(reader.array()?),
        state_since_ms: i64::from_le_bytes(reader.array()?),
        protocol_type: reader.optional()?,
        protocol: reader.optional()?,
        leader: reader.optional()?,
    };
    if group.generation < 0 {
        return Err(reader.corrupt("a negative generation"));
    }
    reader.end()?;
    Ok(group)
}

pub(super) fn encode_member(member: &Member) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_optional(&mut out, member.group_instance_id.as_deref());
    put_text(&mut out, &member.client_id);
    put_text(&mut out, &member.client_host);
    out.extend(member.session_timeout_ms.to_le_bytes());
    out.extend(member.rebalance_timeout_ms.to_le_bytes());
    // The lengths were checked when the member joined and when the leader assigned.
    out.extend((member.protocols.len() as u16).to_le_bytes());
    for protocol in &member.protocols {
        put_text(&mut out, &protocol.name);
        put_bytes(&mut out, &protocol.metadata);
    }
    put_bytes(&mut out, &member.assignment);
    out
}

pub(super) fn decode_member(bytes: &[u8]) -> Result<Member> {
    let mut reader = Reader::new(bytes)?;
    let group_instance_id = reader.optional()?;
    let (client_id, client_host) = (reader.text()?, reader.text()?);
    let session_timeout_ms = i32::from_le_bytes(reader.array()?);
    let rebalance_timeout_ms = i32::from_le_bytes(reader.array()?);
    if session_timeout_ms <= 0 || rebalance_timeout_ms < 0 {
        return Err(reader.corrupt("a timeout that no member has"));
    }
    let count = u16::from_le_bytes(reader.array()?);
    if usize::from(count) > MAX_PROTOCOLS {
        return Err(reader.corrupt("more protocols than a member may have"));
    }
    // The list grows as it is read: its length may say more than there is.
    let mut protocols = Vec::new();
    for _ in 0..count {
        protocols.push(Protocol { name: reader.text()?, metadata: reader.bytes()? });
    }
    let assignment = reader.bytes()?;
    reader.end()?;
    Ok(Member {
        group_instance_id,
        client_id,
        client_host,
        session_timeout_ms,
        rebalance_timeout_ms,
        protocols,
        assignment,
    })
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.extend(ABSENT.to_le_bytes()),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// Reads a record, of which nothing is believed.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Reader<'a>> {
        let mut reader = Reader { bytes, at: 0 };
        let [version] = reader.array()?;
        if version != VERSION {
            let message =
                format!("a group record of version {version}, this one reads version {VERSION}");
            return Err(Error::unsupported(message));
        }
        Ok(reader)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let taken = rest.get(..length).ok_or_else(|| self.corrupt("a group record that ends"))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn optional(&mut self) -> Result<Option<String>> {
        let length = u16::from_le_bytes(self.array()?);
        if length == ABSENT {
            return Ok(None);
        }
        let bytes = self.take(usize::from(length))?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err(self.corrupt("a text that is not UTF-8")),
        }
    }

    fn text(&mut self) -> Result<String> {
        self.optional()?.ok_or_else(|| self.corrupt("a text that is missing"))
    }

    fn bytes(&mut self) -> Result<Arc<[u8]>> {
        let length = u32::from_le_bytes(self.array()?);
        // On a machine whose addresses are shorter than that, there are no such bytes either.
        Ok(self.take(usize::try_from(length).unwrap_or(usize::MAX))?.into())
    }

    fn end(&self) -> Result<()> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(self.corrupt("bytes behind the end of a group record"))
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(what).at(self.at as u64)
    }
}
