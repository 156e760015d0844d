//! Keys and values as bytes, for engines that know nothing else.

use super::Fetched;
use crate::workload::{GROUP_LEN, Key, METADATA, TOPIC_LEN, Value};

const GROUP_END: usize = GROUP_LEN + 1;
const TOPIC_END: usize = GROUP_END + TOPIC_LEN + 1;
/// Bytes of a key.
pub(super) const KEY_LEN: usize = TOPIC_END + size_of::<i32>();
const HEAD_LEN: usize = 20;

/// Group, zero, topic, zero, and the partition so that bytes sort as numbers do. On the stack: to
/// build it takes less than a cache miss on one that was built before.
pub(super) fn key(key: Key<'_>) -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    bytes[..GROUP_LEN].copy_from_slice(key.group.as_bytes());
    bytes[GROUP_END..GROUP_END + TOPIC_LEN].copy_from_slice(key.topic.as_bytes());
    bytes[TOPIC_END..].copy_from_slice(&key.partition.to_be_bytes());
    bytes
}

/// What all keys of a group begin with.
pub(super) fn prefix(group: &str) -> [u8; GROUP_END] {
    let mut bytes = [0; GROUP_END];
    bytes[..GROUP_LEN].copy_from_slice(group.as_bytes());
    bytes
}

/// A value on the stack.
#[derive(Debug)]
pub(super) struct ValueBytes {
    bytes: [u8; HEAD_LEN + METADATA.len()],
    len: usize,
}

impl AsRef<[u8]> for ValueBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Offset, leader epoch, timestamp, and the metadata as it is.
pub(super) fn value(value: &Value<'_>) -> ValueBytes {
    let mut bytes = [0; HEAD_LEN + METADATA.len()];
    let len = HEAD_LEN + value.metadata.len();
    bytes[..8].copy_from_slice(&value.offset.to_le_bytes());
    bytes[8..12].copy_from_slice(&value.leader_epoch.to_le_bytes());
    bytes[12..HEAD_LEN].copy_from_slice(&value.timestamp_ms.to_le_bytes());
    bytes[HEAD_LEN..len].copy_from_slice(value.metadata.as_bytes());
    ValueBytes { bytes, len }
}

/// The offset of a value.
pub(super) fn offset(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Reads a value.
pub(super) fn read(bytes: &[u8], into: &mut Fetched) {
    into.set(&Value {
        offset: offset(bytes),
        leader_epoch: i32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
        timestamp_ms: i64::from_le_bytes(bytes[12..HEAD_LEN].try_into().expect("eight bytes")),
        metadata: str::from_utf8(&bytes[HEAD_LEN..]).expect("metadata is UTF-8"),
    });
}
