//! The bytes that a raw limit writes: as many as Pagemark does for the same commit, with a checksum.

use crate::workload::{Change, METADATA};

/// Checksum, kind, length and seq.
const HEAD_LEN: usize = 12;
/// Topic, partition, offset, timestamp and leader epoch.
const ENTRY_LEN: usize = 24;
/// With a length in front, and zeros behind.
const METADATA_LEN: usize = (2 + METADATA.len()).next_multiple_of(4);

/// Memory for records, used again for each.
#[derive(Debug, Default)]
pub(super) struct RecordBuffer {
    bytes: Vec<u8>,
}

impl RecordBuffer {
    /// The record of some changes.
    #[inline]
    pub(super) fn encode(&mut self, changes: &[Change<'_>]) -> &[u8] {
        let most = HEAD_LEN + changes.len() * (ENTRY_LEN + METADATA_LEN);
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        let mut len = HEAD_LEN;
        for change in changes {
            len += entry(change, &mut self.bytes[len..]);
        }
        let record = &mut self.bytes[..len];
        let checksum = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        record
    }
}

#[inline]
fn entry((key, value): &Change<'_>, into: &mut [u8]) -> usize {
    into[..4].copy_from_slice(&(key.id as u32).to_le_bytes());
    into[4..8].copy_from_slice(&key.partition.to_le_bytes());
    into[8..16].copy_from_slice(&value.offset.to_le_bytes());
    into[16..20].copy_from_slice(&(value.timestamp_ms as i32).to_le_bytes());
    into[20..ENTRY_LEN].copy_from_slice(&value.leader_epoch.to_le_bytes());
    if value.metadata.is_empty() {
        return ENTRY_LEN;
    }
    let metadata = &mut into[ENTRY_LEN..ENTRY_LEN + METADATA_LEN];
    metadata[..2].copy_from_slice(&(value.metadata.len() as u16).to_le_bytes());
    metadata[2..2 + METADATA.len()].copy_from_slice(value.metadata.as_bytes());
    ENTRY_LEN + METADATA_LEN
}
