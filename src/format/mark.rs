//! Marks: what is known to be durable, said in a second place.
//!
//! A record says how much was durable when it was written, so the last group of an active log has
//! nothing behind it that vouches for it. A mark does, from another page of the file. Two places are
//! written in turn, so that a torn write of one leaves the other. A mark is never needed to read the
//! log; it only turns what would pass for a torn tail into damage.

use super::RECORDS_START;
use super::bytes::{put, u32_at, u64_at};
use super::header::FileHeader;

/// The size of an encoded mark.
pub(crate) const MARK_LEN: usize = 48;
/// Where the two marks stand: each in a sector of its own, behind the header.
pub(crate) const MARK_POSITIONS: [u32; 2] = [512, 1024];

const STATE_AT: usize = size_of::<u32>();
const EPOCH_AT: usize = STATE_AT + size_of::<u32>();
const POSITION_AT: usize = EPOCH_AT + size_of::<u32>();
const DURABLE_AT: usize = POSITION_AT + size_of::<u32>();
const NEXT_SEQ_AT: usize = DURABLE_AT + size_of::<u64>();
const CHAIN_AT: usize = NEXT_SEQ_AT + size_of::<u64>();
const COUNTER_AT: usize = CHAIN_AT + size_of::<u64>();

/// What the writer was about to do with the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkState {
    /// Go on appending.
    Open,
    /// Nothing more: the seal, the name of the successor and its first record are durable.
    Sealed,
    /// Nothing more in this session: the store was closed in order.
    Closed,
}

/// A statement that was true when it was written and stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) state: MarkState,
    pub(crate) epoch: u32,
    /// All records of this file below this position are durable.
    pub(crate) position: u32,
    /// The seq of the last durable data record.
    pub(crate) durable: u64,
    /// The seq of the next data record at that position.
    pub(crate) next_seq: u64,
    /// The chain of the records up to that position.
    pub(crate) chain: u64,
    /// Rises with every mark in this file.
    pub(crate) counter: u64,
}

impl Mark {
    /// Which of the two places this mark belongs in.
    pub(crate) fn place(&self) -> u32 {
        MARK_POSITIONS[(self.counter % 2) as usize]
    }

    /// The bytes of the mark in a file with this salt.
    pub(crate) fn encode(&self, salt: u64) -> [u8; MARK_LEN] {
        let mut bytes = [0; MARK_LEN];
        let state: u32 = match self.state {
            MarkState::Open => 1,
            MarkState::Sealed => 2,
            MarkState::Closed => 3,
        };
        put(&mut bytes, STATE_AT, &state.to_le_bytes());
        put(&mut bytes, EPOCH_AT, &self.epoch.to_le_bytes());
        put(&mut bytes, POSITION_AT, &self.position.to_le_bytes());
        put(&mut bytes, DURABLE_AT, &self.durable.to_le_bytes());
        put(&mut bytes, NEXT_SEQ_AT, &self.next_seq.to_le_bytes());
        put(&mut bytes, CHAIN_AT, &self.chain.to_le_bytes());
        put(&mut bytes, COUNTER_AT, &self.counter.to_le_bytes());
        let checksum = checksum(&bytes, salt, self.place());
        put(&mut bytes, 0, &checksum.to_le_bytes());
        bytes
    }

    /// The first page of a file with this header and no other mark.
    pub(crate) fn first_page(&self, header: &FileHeader) -> Vec<u8> {
        let mut page = vec![0; RECORDS_START as usize];
        put(&mut page, 0, &header.encode());
        put(&mut page, self.place() as usize, &self.encode(header.salt));
        page
    }

    /// Reads the mark at `place`, if there is a whole one.
    pub(crate) fn decode(bytes: &[u8; MARK_LEN], salt: u64, place: u32) -> Option<Mark> {
        if u32_at(bytes, 0) != checksum(bytes, salt, place) {
            return None;
        }
        let state = match u32_at(bytes, STATE_AT) {
            1 => MarkState::Open,
            2 => MarkState::Sealed,
            3 => MarkState::Closed,
            _ => return None,
        };
        let mark = Mark {
            state,
            epoch: u32_at(bytes, EPOCH_AT),
            position: u32_at(bytes, POSITION_AT),
            durable: u64_at(bytes, DURABLE_AT),
            next_seq: u64_at(bytes, NEXT_SEQ_AT),
            chain: u64_at(bytes, CHAIN_AT),
            counter: u64_at(bytes, COUNTER_AT),
        };
        (mark.place() == place).then_some(mark)
    }
}

/// Binds a mark to its file and its place in it.
fn checksum(bytes: &[u8; MARK_LEN], salt: u64, place: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&place.to_le_bytes());
    hasher.update(&bytes[STATE_AT..]);
    hasher.finalize()
}

/// The marks of a file, from its first page. The newest comes first.
pub(crate) fn read_marks(page: &[u8], salt: u64) -> Vec<Mark> {
    let mut marks: Vec<Mark> = MARK_POSITIONS
        .iter()
        .filter_map(|place| {
            let at = *place as usize;
            let bytes: &[u8; MARK_LEN] = page.get(at..at + MARK_LEN)?.try_into().ok()?;
            Mark::decode(bytes, salt, *place)
        })
        .collect();
    marks.sort_by_key(|mark| std::cmp::Reverse(mark.counter));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_only_whole_and_only_in_its_own_place() {
        let mark = Mark {
            state: MarkState::Closed,
            epoch: 2,
            position: 5000,
            durable: 41,
            next_seq: 42,
            chain: 77,
            counter: 3,
        };
        let bytes = mark.encode(9);
        assert_eq!(mark.place(), 1024);
        assert_eq!(Mark::decode(&bytes, 9, 1024), Some(mark));
        assert_eq!(Mark::decode(&bytes, 9, 512), None, "misplaced");
        assert_eq!(Mark::decode(&bytes, 8, 1024), None, "of another file");
        assert_eq!(Mark::decode(&[0; MARK_LEN], 9, 512), None, "zeroed");
        for bit in 0..MARK_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&flipped, 9, 1024), None, "bit {bit}");
        }
    }
}
