//! Reading a segment: record by record up to where it ends, and a search of what lies behind.

use super::RECORDS_START;
use super::entry::Entries;
use super::record::{
    Name, Open, RECORD_HEADER_LEN, RecordHeader, Seal, Seed, Start, WORD, chain, kind,
};
use super::snapshot::{Base, State, Values};

/// One record whose checksum is right.
#[derive(Clone, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) position: u64,
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
    State(State<'a>),
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
    /// So many bytes from this position on have to be there to go on.
    Short(usize),
    /// It goes no further: [`Scanner::stopped`] says why.
    End,
}

/// Why a scanner goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Behind the seal.
    Sealed,
    /// Behind a record whose checksum is right and that makes no sense.
    Malformed,
    /// In front of bytes that are no record.
    NoRecord,
}

/// Reads the records of one file in order. Always ends; after the end it stays there.
///
/// It does not hold the bytes: each step gets those that stand at its position, as many as are in
/// memory, and asks for more where they do not suffice. It never asks for more than the file has, nor
/// for more than a record can be long.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    size: u64,
    salt: u64,
    epoch: u32,
    seed: Seed,
    position: u64,
    next_seq: u64,
    chain: u64,
    base_ms: i64,
    stopped: Option<Stop>,
}

impl Scanner {
    /// Reads a file of `size` bytes; salt and epoch come from its header.
    pub(crate) fn new(size: u64, salt: u64, epoch: u32) -> Scanner {
        Scanner {
            size,
            salt,
            epoch,
            seed: Seed::new(salt, epoch),
            position: u64::from(RECORDS_START),
            next_seq: 0,
            chain: 0,
            base_ms: 0,
            stopped: None,
        }
    }

    /// Where the next record stands or would stand.
    pub(crate) fn position(&self) -> u64 {
        self.position
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
    pub(crate) fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Tries again where there was no record: somebody may have written one there since.
    pub(crate) fn go_on(&mut self) {
        self.stopped = self.stopped.filter(|stop| *stop != Stop::NoRecord);
    }

    /// Why it goes no further, once it does not.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stopped
    }

    /// Reads on by one record. `bytes` are those of the file from [`position`](Scanner::position) on,
    /// to its end or not.
    #[inline(always)]
    pub(crate) fn step<'a>(&mut self, bytes: &'a [u8]) -> Step<'a> {
        // What a log consists of as a rule, without the questions that only others pose.
        if let Some(record) = self.batch(bytes) { Step::Record(record) } else { self.any(bytes) }
    }

    /// Reads a batch that is not the first record, if it is there and right.
    #[inline(always)]
    fn batch<'a>(&mut self, bytes: &'a [u8]) -> Option<Record<'a>> {
        let room = self.size.saturating_sub(self.position);
        let header = RecordHeader::read_within(bytes, room)?;
        let is_usual = header.kind == kind::BATCH
            && header.len <= bytes.len()
            && self.position != u64::from(RECORDS_START)
            && self.stopped.is_none();
        let (position, seq) = (self.position, self.next_seq);
        if !is_usual || !header.verify(bytes, &self.seed, position as u32, seq) {
            return None;
        }
        self.chain = chain(self.chain, header.checksum());
        self.next_seq = seq.saturating_add(1);
        self.position += header.len as u64;
        Some(Record {
            position,
            len: header.len as u32,
            kind: kind::BATCH,
            seq,
            durable: header.durable(seq),
            body: Body::Batch(Entries::new(&bytes[RECORD_HEADER_LEN..header.len], self.base_ms)),
        })
    }

    #[inline(never)]
    fn any<'a>(&mut self, bytes: &'a [u8]) -> Step<'a> {
        if self.stopped.is_some() {
            return Step::End;
        }
        let room = self.size.saturating_sub(self.position);
        if bytes.len() < RECORD_HEADER_LEN && room >= RECORD_HEADER_LEN as u64 {
            return Step::Short(RECORD_HEADER_LEN);
        }
        let header = RecordHeader::read_within(bytes, room);
        if let Some(RecordHeader { len, .. }) = header
            && len > bytes.len()
        {
            return Step::Short(len);
        }
        match header.and_then(|header| self.read(header, bytes)) {
            Some(record) => Step::Record(record),
            None => {
                self.stopped = Some(Stop::NoRecord);
                Step::End
            }
        }
    }

    /// Reads the record with this header, all of which is in `bytes`.
    fn read<'a>(&mut self, header: RecordHeader, bytes: &'a [u8]) -> Option<Record<'a>> {
        let is_first = self.position == u64::from(RECORDS_START);
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
        let of_epoch = (epoch != self.epoch).then(|| Seed::new(self.salt, epoch));
        let seed = of_epoch.as_ref().unwrap_or(&self.seed);
        // Checksums cover the low bits of the position; no segment has more of it.
        if !header.verify(bytes, seed, self.position as u32, seq) {
            return None;
        }
        let record = Record {
            position: self.position,
            len: header.len as u32,
            kind: header.kind,
            seq,
            durable: header.durable(seq),
            body: self.body(header.kind, raw),
        };
        match &record.body {
            Body::Seal(_) => self.stopped = Some(Stop::Sealed),
            Body::Malformed => self.stopped = Some(Stop::Malformed),
            Body::Start(start) => self.base_ms = start.base_ms,
            Body::Base(base) => self.base_ms = base.base_ms,
            Body::Open(_)
            | Body::Name(_)
            | Body::Batch(_)
            | Body::Values(_)
            | Body::State(_)
            | Body::Unknown => {}
        }
        if !matches!(record.body, Body::Seal(_) | Body::Malformed) {
            self.chain = chain(self.chain, header.checksum());
        }
        if let Some(seed) = of_epoch {
            (self.epoch, self.seed) = (epoch, seed);
        }
        self.next_seq = match &record.body {
            Body::Seal(seal) => seal.next_seq,
            _ if header.is_control() => seq,
            _ => seq.saturating_add(1),
        };
        self.position += header.len as u64;
        Some(record)
    }

    fn body<'a>(&self, kind: u8, raw: &'a [u8]) -> Body<'a> {
        let body = match kind {
            kind::START => Start::decode(raw).map(Body::Start),
            kind::OPEN => Open::decode(raw).map(Body::Open),
            kind::NAME => Name::decode(raw).map(Body::Name),
            kind::BASE => Base::decode(raw).map(Body::Base),
            kind::VALUES => Values::decode(raw, self.base_ms).map(Body::Values),
            kind::STATE => State::decode(raw).map(Body::State),
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
    pub(crate) end: u64,
    /// The search was given up: these bytes were made to look like very many records.
    pub(crate) gave_up: bool,
}

/// Looks for records in `rest`: the bytes from `position` to the end of a file of `size` bytes, of
/// which the first are no record. `next_seq` was expected there.
///
/// A torn tail may hold some: sectors reach the disk in any order. What they say was durable is
/// what tells a torn tail from damage.
pub(crate) fn search(rest: &[u8], position: u64, size: u64, seed: &Seed, next_seq: u64) -> Remains {
    let end = end_of_data(rest);
    let mut remains = Remains { end: position + end as u64, ..Remains::default() };
    // Each place could claim a record as long as the file. Real logs stay far below this budget.
    let mut budget = 16 * size;
    let (mut at, mut anchor, mut least) = (0, 0, next_seq);
    while at < end {
        let header = RecordHeader::read(&rest[at..]);
        let Some(header) = header else {
            at += WORD;
            continue;
        };
        let place = (position + at as u64) as u32;
        let found = candidates(header.seq_low, least, at - anchor).find(|seq| {
            budget = budget.saturating_sub(header.len as u64);
            budget > 0 && header.verify(&rest[at..], seed, place, *seq)
        });
        if budget == 0 {
            remains.gave_up = true;
            break;
        }
        match found {
            Some(seq) => {
                remains.records += 1;
                remains.durable = remains.durable.max(header.durable(seq).unwrap_or(0));
                at += header.len;
                anchor = at;
                least = if header.is_control() { seq } else { seq.saturating_add(1) };
            }
            None => at += WORD,
        }
    }
    remains
}

/// The shortest data record: one entry of one word.
const LEAST_RECORD_LEN: usize = RECORD_HEADER_LEN + WORD;

/// The seqs with these low bits that a record can have which follows `distance` bytes after the
/// place where `least` was expected.
pub(super) fn candidates(seq_low: u16, least: u64, distance: usize) -> impl Iterator<Item = u64> {
    let first = least.saturating_add(u64::from(seq_low.wrapping_sub(least as u16)));
    let most = least.saturating_add((distance / LEAST_RECORD_LEN) as u64 + 1);
    (first..=most).step_by(1 << 16)
}

/// How many of the bytes stand in front of the zeros at the end.
pub(crate) fn end_of_data(bytes: &[u8]) -> usize {
    const CHUNK: usize = 64;
    let mut end = bytes.len();
    while end >= CHUNK && bytes[end - CHUNK..end] == [0; CHUNK] {
        end -= CHUNK;
    }
    while end > 0 && bytes[end - 1] == 0 {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Entry;
    use crate::format::record::RecordBuffer;
    use crate::key::Content;

    const SALT: u64 = 99;

    /// A segment of `commits` batches, with the end of each record.
    fn segment(commits: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; 16 << 10];
        let mut ends = vec![RECORDS_START as usize];
        let mut buffer = RecordBuffer::default();
        let mut put = |kind, seq, fill: &dyn Fn(&mut Vec<u8>)| {
            fill(buffer.start());
            let at = *ends.last().unwrap();
            let (record, _) = buffer.finish(kind, &Seed::new(SALT, 1), at as u32, seq, seq - 1);
            bytes[at..at + record.len()].copy_from_slice(record);
            ends.push(at + record.len());
        };
        let start = Start { first_seq: 10, previous_salt: 0, previous_chain: 0, base_ms: 5 };
        put(kind::START, 10, &|body| start.encode(body));
        put(kind::NAME, 10, &|body| Name { id: 0, group: "g", topic: "t" }.encode(body));
        for seq in 10..10 + commits {
            let content = Content {
                offset: seq as i64,
                leader_epoch: None,
                timestamp_ms: 5,
                expire_at_ms: None,
                metadata: "",
            };
            let set = Entry::Set { name: 0, partition: seq as i32, content };
            put(kind::BATCH, seq, &|body| set.encode(body, 5));
        }
        (bytes, ends)
    }

    /// Reads with as few bytes at a time as the scanner asks for.
    fn scan(bytes: &[u8]) -> (usize, Stop, Scanner) {
        let mut scanner = Scanner::new(bytes.len() as u64, SALT, 1);
        let (mut records, mut given) = (0, 0);
        loop {
            let rest = &bytes[scanner.position() as usize..];
            match scanner.step(&rest[..given]) {
                Step::Record(record) => {
                    assert!(record.len as usize <= given);
                    (records, given) = (records + 1, 0);
                }
                Step::Short(len) => {
                    assert!((given + 1..=rest.len()).contains(&len));
                    given = len;
                }
                Step::End => return (records, scanner.stopped().unwrap(), scanner),
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
            let (records, stop, scanner) = scan(&bytes);
            let expected = ends.iter().filter(|end| **end <= cut).count() - 1;
            // Cutting off zeros changes nothing, so a cut may leave one more record whole.
            assert!(
                records == expected || bytes[..ends[expected + 1]] == whole[..ends[expected + 1]]
            );
            assert_eq!((scanner.position() as usize, stop), (ends[records], Stop::NoRecord));
        }
    }

    #[test]
    fn a_length_beyond_the_end_of_the_file_asks_for_nothing() {
        let (mut bytes, ends) = segment(1);
        let at = ends[2];
        let room = ((bytes.len() - at) / WORD) as u32;
        for (words, short) in [(room, true), (room + 1, false), ((1 << 24) - 1, false)] {
            bytes[at + 4..at + 8]
                .copy_from_slice(&(words << 8 | u32::from(kind::BATCH)).to_le_bytes());
            let mut scanner = Scanner::new(bytes.len() as u64, SALT, 1);
            for (start, end) in ends.iter().zip(&ends[1..3]) {
                assert!(matches!(scanner.step(&bytes[*start..*end]), Step::Record(_)));
            }
            let step = scanner.step(&bytes[at..at + RECORD_HEADER_LEN]);
            assert_eq!(matches!(step, Step::Short(_)), short, "{words} words: {step:?}");
        }
    }

    #[test]
    fn the_search_finds_what_a_broken_record_hides() {
        let (whole, ends) = segment(5);
        for broken in 0..7 {
            let mut bytes = whole.clone();
            bytes[ends[broken] + 9] ^= 1;
            let (records, stop, scanner) = scan(&bytes);
            assert_eq!((records, stop), (broken, Stop::NoRecord));
            let next_seq = scanner.next_seq().max(10);
            let (from, size) = (scanner.position(), bytes.len() as u64);
            let remains = search(&bytes[from as usize..], from, size, scanner.seed(), next_seq);
            assert_eq!(remains.records, 6 - broken as u64);
            assert_eq!(remains.durable, if broken == 6 { 0 } else { 13 });
            assert_eq!(remains.end as usize, end_of_data(&whole));
            assert!(!remains.gave_up);
        }
    }

    #[test]
    fn bytes_that_all_look_like_records_do_not_hold_the_search_up() {
        let mut bytes = vec![0; 1 << 20];
        for word in bytes.chunks_exact_mut(4) {
            word.copy_from_slice(&[1, 0, 1, 0]);
        }
        let from = u64::from(RECORDS_START);
        let rest = &bytes[RECORDS_START as usize..];
        assert!(search(rest, from, bytes.len() as u64, &Seed::new(SALT, 1), 1).gave_up);
    }
}
