//! The header of every file: 64 bytes that are written and synced before the file gets its name.

use super::bytes::{put, u16_at, u32_at, u64_at, u128_at};

/// The size of an encoded header.
pub(crate) const HEADER_LEN: usize = 64;
/// The format that this version writes.
pub(crate) const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"PAGEMARK";
const VERSION_AT: usize = MAGIC.len();
const KIND_AT: usize = VERSION_AT + size_of::<u16>();
const EPOCH_AT: usize = KIND_AT + size_of::<u16>();
const STORE_AT: usize = EPOCH_AT + size_of::<u32>();
const SALT_AT: usize = STORE_AT + size_of::<u128>();
const SIZE_AT: usize = SALT_AT + size_of::<u64>();
const ZERO_AT: usize = SIZE_AT + size_of::<u64>();
const CHECKSUM_AT: usize = HEADER_LEN - size_of::<u32>();

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A piece of the log.
    Segment,
    /// The newest value of every live key up to a seq.
    Snapshot,
}

/// The header of a file. All of it is known before the first record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: FileKind,
    /// Rises with every open of the store: the session that prepared this file.
    pub(crate) epoch: u32,
    pub(crate) store_id: u128,
    /// Random; part of every checksum in the file.
    pub(crate) salt: u64,
    /// The size of the whole file.
    pub(crate) size: u64,
}

/// Why bytes are not a header that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// These bytes never were a header of ours.
    Foreign,
    /// They were one, and have changed.
    Damaged,
    /// A header of a format that this version does not know.
    Version(u16),
    /// A header of this format with a kind of file that this version does not know.
    Kind(u16),
}

impl FileHeader {
    /// The bytes of the header.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let kind: u16 = match self.kind {
            FileKind::Segment => 1,
            FileKind::Snapshot => 2,
        };
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, VERSION_AT, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, KIND_AT, &kind.to_le_bytes());
        put(&mut bytes, EPOCH_AT, &self.epoch.to_le_bytes());
        put(&mut bytes, STORE_AT, &self.store_id.to_le_bytes());
        put(&mut bytes, SALT_AT, &self.salt.to_le_bytes());
        put(&mut bytes, SIZE_AT, &self.size.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        put(&mut bytes, CHECKSUM_AT, &checksum.to_le_bytes());
        bytes
    }

    /// Reads a header. Magic, version and checksum keep their places in every version to come, so
    /// that an old program can tell a newer file from a damaged one.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<FileHeader, HeaderError> {
        // With the right magic put in its place, the checksum tells a header whose magic was
        // damaged from a file that never was ours.
        let mut restored = *bytes;
        put(&mut restored, 0, &MAGIC);
        let intact = crc32fast::hash(&restored[..CHECKSUM_AT]) == u32_at(bytes, CHECKSUM_AT);
        match (bytes[..MAGIC.len()] == MAGIC, intact) {
            (true, true) => {}
            (false, false) => return Err(HeaderError::Foreign),
            (true, false) | (false, true) => return Err(HeaderError::Damaged),
        }
        let version = u16_at(bytes, VERSION_AT);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        let kind = match u16_at(bytes, KIND_AT) {
            1 => FileKind::Segment,
            2 => FileKind::Snapshot,
            other => return Err(HeaderError::Kind(other)),
        };
        if bytes[ZERO_AT..CHECKSUM_AT].iter().any(|byte| *byte != 0) {
            return Err(HeaderError::Damaged);
        }
        Ok(FileHeader {
            kind,
            epoch: u32_at(bytes, EPOCH_AT),
            store_id: u128_at(bytes, STORE_AT),
            salt: u64_at(bytes, SALT_AT),
            size: u64_at(bytes, SIZE_AT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FileHeader {
        FileHeader {
            kind: FileKind::Segment,
            epoch: 3,
            store_id: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
            salt: 0xfeed_beef,
            size: 65_536,
        }
    }

    fn with_checksum(mut bytes: [u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        put(&mut bytes, CHECKSUM_AT, &checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_passes() {
        let bytes = header().encode();
        assert_eq!(FileHeader::decode(&bytes), Ok(header()));
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&flipped), Err(HeaderError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn foreign_future_and_unknown_files_are_told_apart() {
        assert_eq!(FileHeader::decode(&[0; HEADER_LEN]), Err(HeaderError::Foreign));
        assert_eq!(FileHeader::decode(&[b'x'; HEADER_LEN]), Err(HeaderError::Foreign));
        let mut future = header().encode();
        future[VERSION_AT] = 2;
        assert_eq!(FileHeader::decode(&with_checksum(future)), Err(HeaderError::Version(2)));
        let mut unknown = header().encode();
        unknown[KIND_AT] = 9;
        assert_eq!(FileHeader::decode(&with_checksum(unknown)), Err(HeaderError::Kind(9)));
    }
}
