//! Records: the frame that every entry of the log stands in, and the bodies of those that steer it.
//!
//! ```text
//!  0        4      5            8          10     12
//!  +--------+------+------------+----------+------+---------- - - -+
//!  | crc32  | kind | words: u24 | seq: u16 | lag  | body           |
//!  +--------+------+------------+----------+------+---------- - - -+
//! ```

use super::bytes::{put, u16_at, u32_at, u64_at};

/// The bytes in front of a record's body.
pub(crate) const RECORD_HEADER_LEN: usize = 12;
/// Records start and end at multiples of this.
pub(crate) const WORD: usize = 4;
/// The longest record that a length field can carry.
pub(crate) const MAX_RECORD_LEN: usize = ((1 << 24) - 1) * WORD;

const KIND_AT: usize = size_of::<u32>();
const SEQ_AT: usize = KIND_AT + size_of::<u32>();
const LAG_AT: usize = SEQ_AT + size_of::<u16>();

/// The kinds of records that this version writes.
pub(crate) mod kind {
    /// Set on kinds that a reader may skip if it does not know them.
    pub(crate) const OPTIONAL: u8 = 0x80;
    /// Set on kinds that take no seq of their own.
    pub(crate) const CONTROL: u8 = 0x40;

    /// Changes that take effect all or none.
    pub(crate) const BATCH: u8 = 0x01;
    /// The first record of a segment.
    pub(crate) const START: u8 = CONTROL | 0x01;
    /// Gives a (group, topic) a small id within the segment.
    pub(crate) const NAME: u8 = CONTROL | 0x02;
    /// A later session goes on appending to the segment.
    pub(crate) const OPEN: u8 = CONTROL | 0x03;
    /// The last record of a segment.
    pub(crate) const SEAL: u8 = CONTROL | 0x04;
    /// The first record of a snapshot.
    pub(crate) const BASE: u8 = CONTROL | 0x05;
    /// Values of one topic in a snapshot.
    pub(crate) const VALUES: u8 = CONTROL | 0x06;
    /// One state in a snapshot.
    pub(crate) const STATE: u8 = CONTROL | 0x07;
}

/// The part of every checksum that is the same for a session's records in one file.
///
/// A hasher that has begun, as a new one would ask anew what the processor can do.
#[derive(Clone, Debug)]
pub(crate) struct Seed(crc32fast::Hasher);

impl Seed {
    /// Binds checksums to a file by its salt and to a session by its epoch.
    pub(crate) fn new(salt: u64, epoch: u32) -> Seed {
        let mut bytes = [0; size_of::<u64>() + size_of::<u32>()];
        put(&mut bytes, 0, &salt.to_le_bytes());
        put(&mut bytes, size_of::<u64>(), &epoch.to_le_bytes());
        Seed(crc32fast::Hasher::new_with_initial(crc32fast::hash(&bytes)))
    }
}

/// Adds a record's checksum to the chain, which a seal closes and the next segment repeats: a file
/// that was exchanged for another with the same seqs has another chain.
pub(crate) fn chain(chain: u64, checksum: u32) -> u64 {
    (chain ^ u64::from(checksum)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// How far the durable seq lies behind a record, as the record states it.
fn lag(seq: u64, durable: u64) -> u16 {
    // Zero says "unknown". Enough records after each flush are near enough to say it exactly.
    u16::try_from(seq.saturating_sub(durable)).unwrap_or(0)
}

/// Builds records, one after the other, in one reused buffer.
///
/// The checksum covers position and seq, which are not stored in full. Keeping room for them right
/// in front of the record lets one pass over contiguous bytes compute it.
#[derive(Debug, Default)]
pub(crate) struct RecordBuffer {
    bytes: Vec<u8>,
}

/// Position and seq, less the four bytes that the checksum field lends them.
const PREFIX_LEN: usize = size_of::<u32>() + size_of::<u64>() - size_of::<u32>();
const BODY_AT: usize = PREFIX_LEN + RECORD_HEADER_LEN;

impl RecordBuffer {
    /// Starts a record; the caller appends its body to what is returned.
    pub(crate) fn start(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; BODY_AT]);
        &mut self.bytes
    }

    /// The body of the started record.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The length that the started record has when it is finished now.
    pub(crate) fn len(&self) -> usize {
        (self.bytes.len() - PREFIX_LEN).next_multiple_of(WORD)
    }

    /// Finishes the record for its place and returns its bytes and its checksum. The length was
    /// checked against [`MAX_RECORD_LEN`] and the segment by the caller.
    pub(crate) fn finish(
        &mut self,
        kind: u8,
        seed: &Seed,
        position: u32,
        seq: u64,
        durable: u64,
    ) -> (&[u8], u32) {
        let len = self.len();
        let bytes = &mut self.bytes;
        bytes.resize(PREFIX_LEN + len, 0);
        put(bytes, 0, &position.to_le_bytes());
        put(bytes, size_of::<u32>(), &seq.to_le_bytes());
        let words = (len / WORD) as u32;
        put(bytes, PREFIX_LEN + KIND_AT, &(words << 8 | u32::from(kind)).to_le_bytes());
        put(bytes, PREFIX_LEN + SEQ_AT, &(seq as u16).to_le_bytes());
        put(bytes, PREFIX_LEN + LAG_AT, &lag(seq, durable).to_le_bytes());
        let mut hasher = seed.0.clone();
        hasher.update(bytes);
        let checksum = hasher.finalize();
        put(bytes, PREFIX_LEN, &checksum.to_le_bytes());
        (&bytes[PREFIX_LEN..], checksum)
    }
}

/// What the unchecked header of a record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHeader {
    checksum: u32,
    pub(crate) kind: u8,
    /// The length of the whole record in bytes, within the room that was given.
    pub(crate) len: usize,
    pub(crate) seq_low: u16,
    lag: u16,
}

impl RecordHeader {
    /// Reads the header in front of `bytes`, if the record that it tells of lies within them.
    pub(crate) fn read(bytes: &[u8]) -> Option<RecordHeader> {
        RecordHeader::read_within(bytes, bytes.len() as u64)
    }

    /// Reads the header in front of `bytes`, if the record that it tells of lies within `room`
    /// bytes, of which not all need be there yet.
    #[inline]
    pub(crate) fn read_within(bytes: &[u8], room: u64) -> Option<RecordHeader> {
        if bytes.len() < RECORD_HEADER_LEN {
            return None;
        }
        let kind_and_words = u32_at(bytes, KIND_AT);
        let header = RecordHeader {
            checksum: u32_at(bytes, 0),
            kind: kind_and_words as u8,
            len: (kind_and_words >> 8) as usize * WORD,
            seq_low: u16_at(bytes, SEQ_AT),
            lag: u16_at(bytes, LAG_AT),
        };
        let plausible = header.kind & !(kind::OPTIONAL | kind::CONTROL) != 0
            && header.len >= RECORD_HEADER_LEN
            && header.len as u64 <= room;
        plausible.then_some(header)
    }

    /// Whether this kind takes a seq of its own.
    pub(crate) fn is_control(&self) -> bool {
        self.kind & kind::CONTROL != 0
    }

    /// Whether the record in front of `bytes` is what was written at this place.
    #[inline]
    pub(crate) fn verify(&self, bytes: &[u8], seed: &Seed, position: u32, seq: u64) -> bool {
        const PREFIX_LEN: usize = size_of::<u32>() + size_of::<u64>();
        /// As long as nearly every record of a log of single commits.
        const SHORT: usize = 64;
        let mut near = [0; PREFIX_LEN + SHORT];
        put(&mut near, 0, &position.to_le_bytes());
        put(&mut near, size_of::<u32>(), &seq.to_le_bytes());
        let mut hasher = seed.0.clone();
        match bytes[KIND_AT..].first_chunk::<SHORT>() {
            // One update of bytes that lie together is faster than two, also if they have to be
            // brought together first.
            Some(record) if self.len <= KIND_AT + SHORT => {
                put(&mut near, PREFIX_LEN, record);
                hasher.update(&near[..PREFIX_LEN + self.len - KIND_AT]);
            }
            _ => {
                hasher.update(&near[..PREFIX_LEN]);
                hasher.update(&bytes[KIND_AT..self.len]);
            }
        }
        seq as u16 == self.seq_low && hasher.finalize() == self.checksum
    }

    /// The seq that was known durable when the record with this seq was written.
    pub(crate) fn durable(&self, seq: u64) -> Option<u64> {
        match self.lag {
            0 => None,
            lag => seq.checked_sub(u64::from(lag)),
        }
    }

    /// The stored checksum, for the chain.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }
}

/// The body of a segment's first record: where it stands in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The seq of the first data record, as in the file's name.
    pub(crate) first_seq: u64,
    /// The salt of the segment before; zero for the first.
    pub(crate) previous_salt: u64,
    /// The chain that the seal of the segment before carries; zero for the first.
    pub(crate) previous_chain: u64,
    /// What the short timestamps of the segment count from.
    pub(crate) base_ms: i64,
}

impl Start {
    const LEN: usize = 4 * size_of::<u64>();
    /// The length of the whole record.
    pub(crate) const RECORD_LEN: usize = RECORD_HEADER_LEN + Start::LEN;

    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.first_seq.to_le_bytes());
        body.extend_from_slice(&self.previous_salt.to_le_bytes());
        body.extend_from_slice(&self.previous_chain.to_le_bytes());
        body.extend_from_slice(&self.base_ms.to_le_bytes());
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Start> {
        (body.len() == Start::LEN).then(|| Start {
            first_seq: u64_at(body, 0),
            previous_salt: u64_at(body, 8),
            previous_chain: u64_at(body, 16),
            base_ms: u64_at(body, 24) as i64,
        })
    }
}

/// The body of the record with which a later session goes on in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// The epoch of the session, in force from this record on.
    pub(crate) epoch: u32,
    /// The seq of the next data record.
    pub(crate) next_seq: u64,
}

impl Open {
    const LEN: usize = size_of::<u32>() + size_of::<u64>();
    /// The length of the whole record.
    pub(crate) const RECORD_LEN: usize = RECORD_HEADER_LEN + Open::LEN;

    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.epoch.to_le_bytes());
        body.extend_from_slice(&self.next_seq.to_le_bytes());
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Open> {
        (body.len() == Open::LEN)
            .then(|| Open { epoch: u32_at(body, 0), next_seq: u64_at(body, 4) })
    }
}

/// The body of a segment's last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The seq of the first data record behind this segment, if no session ends in between.
    pub(crate) next_seq: u64,
    /// The chain of all records in front of the seal.
    pub(crate) chain: u64,
}

impl Seal {
    const LEN: usize = 2 * size_of::<u64>();
    /// The length of the whole record, for which every segment keeps room.
    pub(crate) const RECORD_LEN: usize = RECORD_HEADER_LEN + Seal::LEN;

    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.next_seq.to_le_bytes());
        body.extend_from_slice(&self.chain.to_le_bytes());
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Seal> {
        (body.len() == Seal::LEN)
            .then(|| Seal { next_seq: u64_at(body, 0), chain: u64_at(body, 8) })
    }
}

/// The body of a record that gives a (group, topic) its id in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) id: u32,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
}

impl<'a> Name<'a> {
    const FIXED_LEN: usize = size_of::<u32>() + 2 * size_of::<u16>();

    /// The length of the whole record for these names.
    pub(crate) fn record_len(group: &str, topic: &str) -> usize {
        let body = Name::FIXED_LEN + group.len() + topic.len();
        (RECORD_HEADER_LEN + body).next_multiple_of(WORD)
    }

    /// Appends the body. Both names were checked against the limit of 32,767 bytes.
    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.id.to_le_bytes());
        body.extend_from_slice(&(self.group.len() as u16).to_le_bytes());
        body.extend_from_slice(&(self.topic.len() as u16).to_le_bytes());
        body.extend_from_slice(self.group.as_bytes());
        body.extend_from_slice(self.topic.as_bytes());
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<Name<'a>> {
        let names = body.get(Name::FIXED_LEN..)?;
        let group_len = usize::from(u16_at(body, 4));
        let topic_len = usize::from(u16_at(body, 6));
        let group = names.get(..group_len)?;
        let topic = names.get(group_len..group_len + topic_len)?;
        let padding = names.get(group_len + topic_len..)?;
        if padding.len() >= WORD || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        Some(Name {
            id: u32_at(body, 0),
            group: std::str::from_utf8(group).ok()?,
            topic: std::str::from_utf8(topic).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_verifies_only_where_it_was_written() {
        let seed = &Seed::new(7, 1);
        let mut buffer = RecordBuffer::default();
        buffer.start().extend_from_slice(b"hello");
        let (bytes, checksum) = buffer.finish(kind::BATCH, seed, 4096, 70_000, 69_990);
        assert_eq!(bytes.len(), 20, "padded to words");
        let header = RecordHeader::read(bytes).unwrap();
        assert_eq!((header.kind, header.len, header.checksum()), (kind::BATCH, 20, checksum));
        assert_eq!(header.durable(70_000), Some(69_990));
        assert!(header.verify(bytes, seed, 4096, 70_000));
        assert!(!header.verify(bytes, seed, 4100, 70_000), "another position");
        assert!(!header.verify(bytes, seed, 4096, 70_000 + 65_536), "another seq");
        assert!(!header.verify(bytes, &Seed::new(7, 2), 4096, 70_000), "another session");
        assert!(!header.verify(bytes, &Seed::new(8, 1), 4096, 70_000), "another file");
        let bytes = bytes.to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let passes = RecordHeader::read(&flipped)
                .is_some_and(|header| header.verify(&flipped, seed, 4096, 70_000));
            assert!(!passes, "bit {bit}");
        }
    }

    #[test]
    fn zeros_and_hostile_lengths_are_no_records() {
        assert!(RecordHeader::read(&[0; 64]).is_none());
        assert!(RecordHeader::read(&[0xff; 64]).is_none());
        assert!(RecordHeader::read(&[1; 11]).is_none());
    }

    #[test]
    fn a_lag_that_does_not_fit_is_unknown() {
        assert_eq!(lag(65_536, 1), 65_535);
        assert_eq!(lag(65_537, 1), 0);
    }

    #[test]
    fn names_read_back_and_hostile_lengths_do_not() {
        let name = Name { id: 5, group: "größe", topic: "t" };
        let mut body = Vec::new();
        name.encode(&mut body);
        assert_eq!(Name::decode(&body), Some(name));
        for end in 0..body.len() {
            assert_eq!(Name::decode(&body[..end]), None);
        }
        body[4] = 0xff;
        assert_eq!(Name::decode(&body), None);
    }

    #[test]
    fn a_kind_is_more_than_its_flags() {
        for kind in 0..=u8::MAX {
            let header = [0, 0, 0, 0, kind, 3, 0, 0, 0, 0, 0, 0];
            let is_kind = kind & 0x3f != 0;
            assert_eq!(RecordHeader::read(&header).is_some(), is_kind, "{kind:#04x}");
            let header = RecordHeader::read(&header);
            assert!(header.is_none_or(|header| header.is_control() == (kind & 0x40 != 0)));
        }
    }

    #[test]
    fn the_length_of_a_name_is_known_before_it_is_written() {
        for (group, topic) in [("g", "t"), ("gg", "t"), ("group", "topics"), ("gg", "ttt")] {
            let mut buffer = RecordBuffer::default();
            Name { id: 1, group, topic }.encode(buffer.start());
            let (bytes, _) = buffer.finish(kind::NAME, &Seed::new(7, 1), 4096, 1, 0);
            assert_eq!(bytes.len(), Name::record_len(group, topic));
            let body = &bytes[RECORD_HEADER_LEN..];
            assert_eq!(Name::decode(body), Some(Name { id: 1, group, topic }));
            // Zeros fill up a word, and nothing else does.
            let padding = body.len() - Name::FIXED_LEN - group.len() - topic.len();
            for at in body.len() - padding..body.len() {
                let mut body = body.to_vec();
                body[at] = 1;
                assert_eq!(Name::decode(&body), None);
            }
            assert_eq!(Name::decode(&[body, &[0; WORD]].concat()), None);
        }
    }
}
