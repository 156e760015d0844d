//! Reading a segment: record by record up to where it ends, and a search of what lies behind.

use super::RECORDS_START;
use super::entry::Entries;
use super::record::{
    Name, Open, RECORD_HEADER_LEN, RecordHeader, Seal, Seed, Start, WORD, chain, kind,
};
use super::snapshot::{Base, Values};

/// One record whose checksum is right.
#[derive(Clone, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) position: u32,
    pub(crate) len: u32,
    pub(crate) kind: u8,
    /// Its own seq, or, for a control record, that of the next data record.
    pub(crate) seq: u64,
    /// What was durable when it was written, if it says so.
    pub(crate) durable: Option<u64>,
    pub(crate) body: Body<'a>,
}

/// What a record says.
#[derive(Clone, Debug)]
pub(crate) enum Body<'a> {
    Start(Start),
    Open(Open),
    Name(Name<'a>),
    Batch(Entries<'a>),
    Seal(Seal),
    Base(Base),
    Values(Values<'a>),
    /// A kind that this version does not know.
    Unknown,
    /// A known kind whose body makes no sense although its checksum is right. No crash and no rot
    /// leaves this behind.
    Malformed,
}

/// How the readable part of a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its seal.
    Sealed,
    /// With nothing but zeros behind the last record.
    Blank,
    /// With bytes that are no record.
    Broken,
}

/// What [`Scanner::step`] came to.
#[derive(Clone, Debug)]
pub(crate) enum Step<'a> {
    Record(Record<'a>),
    End(Ending),
}

/// Reads the records of one segment in order. Always ends; after the end it stays there.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    salt: u64,
    epoch: u32,
    seed: Seed,
    position: usize,
    next_seq: u64,
    chain: u64,
    base_ms: i64,
    ended: Option<Ending>,
}

impl<'a> Scanner<'a> {
    /// Reads the segment that all of `bytes` are; salt and epoch come from its header.
    pub(crate) fn new(bytes: &'a [u8], salt: u64, epoch: u32) -> Scanner<'a> {
        Scanner {
            bytes,
            salt,
            epoch,
            seed: Seed::new(salt, epoch),
            position: RECORDS_START as usize,
            next_seq: 0,
            chain: 0,
            base_ms: 0,
            ended: None,
        }
    }

    /// Where the next record stands or would stand.
    pub(crate) fn position(&self) -> u32 {
        self.position as u32
    }

    /// The seq of the next data record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The epoch of the last session that wrote here.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The chain of the records so far, without the seal.
    pub(crate) fn chain(&self) -> u64 {
        self.chain
    }

    /// What short timestamps count from.
    pub(crate) fn base_ms(&self) -> i64 {
        self.base_ms
    }

    /// The checksum seed that a record at this place would have.
    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// Reads on by one record.
    #[inline]
    pub(crate) fn step(&mut self) -> Step<'a> {
        if let Some(ending) = self.ended {
            return Step::End(ending);
        }
        match self.read() {
            Some(record) => Step::Record(record),
            None => {
                let rest = self.bytes.get(self.position..).unwrap_or_default();
                let ending = if is_zero(rest) { Ending::Blank } else { Ending::Broken };
                self.ended = Some(ending);
                Step::End(ending)
            }
        }
    }

    #[inline]
    fn read(&mut self) -> Option<Record<'a>> {
        let bytes = self.bytes.get(self.position..)?;
        let header = RecordHeader::read(bytes)?;
        let is_first = self.position == RECORDS_START as usize;
        if is_first != matches!(header.kind, kind::START | kind::BASE) {
            return None;
        }
        let raw = &bytes[RECORD_HEADER_LEN..header.len];
        // These records say themselves which epoch and seq they are checked with.
        let (epoch, seq) = match header.kind {
            kind::START => (self.epoch, Start::decode(raw)?.first_seq),
            kind::BASE => (self.epoch, Base::decode(raw)?.next_seq),
            kind::OPEN => {
                let open = Open::decode(raw)?;
                if open.epoch <= self.epoch || open.next_seq < self.next_seq {
                    return None;
                }
                (open.epoch, open.next_seq)
            }
            _ => (self.epoch, self.next_seq),
        };
        let seed = if epoch == self.epoch { self.seed } else { Seed::new(self.salt, epoch) };
        if !header.verify(bytes, seed, self.position(), seq) {
            return None;
        }
        let record = Record {
            position: self.position(),
            len: header.len as u32,
            kind: header.kind,
            seq,
            durable: header.durable(seq),
            body: self.body(header.kind, raw),
        };
        match &record.body {
            Body::Seal(_) => self.ended = Some(Ending::Sealed),
            Body::Malformed => self.ended = Some(Ending::Broken),
            Body::Start(start) => self.base_ms = start.base_ms,
            Body::Base(base) => self.base_ms = base.base_ms,
            Body::Open(_) | Body::Name(_) | Body::Batch(_) | Body::Values(_) | Body::Unknown => {}
        }
        if !matches!(record.body, Body::Seal(_) | Body::Malformed) {
            self.chain = chain(self.chain, header.checksum());
        }
        (self.epoch, self.seed) = (epoch, seed);
        self.next_seq = match &record.body {
            Body::Seal(seal) => seal.next_seq,
            _ if header.is_control() => seq,
            _ => seq.saturating_add(1),
        };
        self.position += header.len;
        Some(record)
    }

    #[inline]
    fn body(&self, kind: u8, raw: &'a [u8]) -> Body<'a> {
        let body = match kind {
            kind::START => Start::decode(raw).map(Body::Start),
            kind::OPEN => Open::decode(raw).map(Body::Open),
            kind::NAME => Name::decode(raw).map(Body::Name),
            kind::BASE => Base::decode(raw).map(Body::Base),
            kind::VALUES => Values::decode(raw, self.base_ms).map(Body::Values),
            kind::BATCH => Some(Body::Batch(Entries::new(raw, self.base_ms))),
            kind::SEAL => Seal::decode(raw)
                .filter(|seal| seal.chain == self.chain && seal.next_seq >= self.next_seq)
                .map(Body::Seal),
            _ => Some(Body::Unknown),
        };
        body.unwrap_or(Body::Malformed)
    }
}

/// What stands behind the point where a segment breaks off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Records of the same session with a right checksum.
    pub(crate) records: u64,
    /// The highest seq that one of them says was durable.
    pub(crate) durable: u64,
    /// Where the last byte that is not zero stands, plus one.
    pub(crate) end: u32,
    /// The search was given up: these bytes were made to look like very many records.
    pub(crate) gave_up: bool,
}

/// Looks for records behind `from`, where no record could be read and `next_seq` was expected.
///
/// A torn tail may hold some: sectors reach the disk in any order. What they say was durable is
/// what tells a torn tail from damage.
pub(crate) fn search(bytes: &[u8], from: u32, seed: Seed, next_seq: u64) -> Remains {
    let from = from as usize;
    let mut remains = Remains { end: end_of_data(bytes, from) as u32, ..Remains::default() };
    let end = remains.end as usize;
    // Each place could claim a record as long as the file. Real logs stay far below this budget.
    let mut budget = 16 * bytes.len() as u64;
    let (mut position, mut anchor, mut least) = (from, from, next_seq);
    while position < end {
        let header = RecordHeader::read(&bytes[position..]);
        let Some(header) = header else {
            position += WORD;
            continue;
        };
        let found = candidates(header.seq_low, least, position - anchor).find(|seq| {
            budget = budget.saturating_sub(header.len as u64);
            budget > 0 && header.verify(&bytes[position..], seed, position as u32, *seq)
        });
        if budget == 0 {
            remains.gave_up = true;
            break;
        }
        match found {
            Some(seq) => {
                remains.records += 1;
                remains.durable = remains.durable.max(header.durable(seq).unwrap_or(0));
                position += header.len;
                anchor = position;
                least = if header.is_control() { seq } else { seq.saturating_add(1) };
            }
            None => position += WORD,
        }
    }
    remains
}

/// The shortest data record: one entry of one word.
const LEAST_RECORD_LEN: usize = RECORD_HEADER_LEN + WORD;

/// The seqs with these low bits that a record can have which follows `distance` bytes after the
/// place where `least` was expected.
fn candidates(seq_low: u16, least: u64, distance: usize) -> impl Iterator<Item = u64> {
    let first = least.saturating_add(u64::from(seq_low.wrapping_sub(least as u16)));
    let most = least.saturating_add((distance / LEAST_RECORD_LEN) as u64 + 1);
    (first..=most).step_by(1 << 16)
}

fn is_zero(bytes: &[u8]) -> bool {
    end_of_data(bytes, 0) == 0
}

/// The position behind the last byte that is not zero, or `from` if there is none.
pub(crate) fn end_of_data(bytes: &[u8], from: usize) -> usize {
    const CHUNK: usize = 64;
    let mut end = bytes.len();
    while end >= from + CHUNK && bytes[end - CHUNK..end] == [0; CHUNK] {
        end -= CHUNK;
    }
    while end > from && bytes[end - 1] == 0 {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Entry;
    use crate::format::record::RecordBuffer;

    const SALT: u64 = 99;

    /// A segment of `commits` batches, with the end of each record.
    fn segment(commits: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; 16 << 10];
        let mut ends = vec![RECORDS_START as usize];
        let mut buffer = RecordBuffer::default();
        let mut put = |kind, seq, fill: &dyn Fn(&mut Vec<u8>)| {
            fill(buffer.start());
            let at = *ends.last().unwrap();
            let (record, _) = buffer.finish(kind, Seed::new(SALT, 1), at as u32, seq, seq - 1);
            bytes[at..at + record.len()].copy_from_slice(record);
            ends.push(at + record.len());
        };
        let start = Start { first_seq: 10, previous_salt: 0, previous_chain: 0, base_ms: 5 };
        put(kind::START, 10, &|body| start.encode(body));
        put(kind::NAME, 10, &|body| Name { id: 0, group: "g", topic: "t" }.encode(body));
        for seq in 10..10 + commits {
            let set = Entry::Set {
                name: 0,
                partition: seq as i32,
                offset: seq as i64,
                leader_epoch: None,
                timestamp_ms: 5,
                metadata: "",
            };
            put(kind::BATCH, seq, &|body| set.encode(body, 5));
        }
        (bytes, ends)
    }

    fn scan(bytes: &[u8]) -> (usize, Ending, Scanner<'_>) {
        let mut scanner = Scanner::new(bytes, SALT, 1);
        let mut records = 0;
        loop {
            match scanner.step() {
                Step::Record(_) => records += 1,
                Step::End(ending) => return (records, ending, scanner),
            }
        }
    }

    #[test]
    fn a_prefix_of_the_bytes_gives_a_prefix_of_the_records() {
        let (whole, ends) = segment(5);
        assert_eq!(scan(&whole).0, 7);
        for cut in RECORDS_START as usize..ends[7] {
            let mut bytes = whole.clone();
            bytes[cut..].fill(0);
            let (records, ending, scanner) = scan(&bytes);
            let expected = ends.iter().filter(|end| **end <= cut).count() - 1;
            // Cutting off zeros changes nothing, so a cut may leave one more record whole.
            assert!(
                records == expected || bytes[..ends[expected + 1]] == whole[..ends[expected + 1]]
            );
            assert_eq!(scanner.position() as usize, ends[records]);
            let blank = end_of_data(&bytes, ends[records]) == ends[records];
            assert_eq!(ending == Ending::Blank, blank);
        }
    }

    #[test]
    fn the_search_finds_what_a_broken_record_hides() {
        let (whole, ends) = segment(5);
        for broken in 0..7 {
            let mut bytes = whole.clone();
            bytes[ends[broken] + 9] ^= 1;
            let (records, ending, scanner) = scan(&bytes);
            assert_eq!((records, ending), (broken, Ending::Broken));
            let next_seq = scanner.next_seq().max(10);
            let remains = search(&bytes, scanner.position(), scanner.seed(), next_seq);
            assert_eq!(remains.records, 6 - broken as u64);
            assert_eq!(remains.durable, if broken == 6 { 0 } else { 13 });
            assert_eq!(remains.end as usize, end_of_data(&whole, 0));
            assert!(!remains.gave_up);
        }
    }

    #[test]
    fn bytes_that_all_look_like_records_do_not_hold_the_search_up() {
        let mut bytes = vec![0; 1 << 20];
        for word in bytes.chunks_exact_mut(4) {
            word.copy_from_slice(&[1, 0, 1, 0]);
        }
        assert!(search(&bytes, RECORDS_START, Seed::new(SALT, 1), 1).gave_up);
    }
}
