//! Reading what can be read of a damaged file: every record that checks, whatever is broken between.

use super::RECORDS_START;
use super::entry::Entries;
use super::record::{Name, Open, RECORD_HEADER_LEN, RecordHeader, Seal, Seed, Start, WORD, kind};
use super::scan::{Body, candidates, end_of_data};
use super::snapshot::{Base, State, Values};

/// How many sessions further on than expected a record may be.
const SESSIONS: u32 = 8;
/// How far the seq skips ahead after an unclean stop.
const SKIP: u64 = 1 << 32;

/// What stands next in a damaged file.
#[derive(Clone, Debug)]
pub(crate) enum Found<'a> {
    /// A record whose checksum is right.
    Record { seq: u64, kind: u8, durable: Option<u64>, body: Body<'a> },
    /// So many bytes that are no record, and the data records that they may have been: `from` up to
    /// and not including `to`.
    Lost { bytes: u64, from: u64, to: u64 },
}

/// Reads a file of which the header is known, and all bytes are in memory.
#[derive(Debug)]
pub(crate) struct Rescue<'a> {
    bytes: &'a [u8],
    salt: u64,
    epoch: u32,
    /// All records of a snapshot have the same seq.
    is_snapshot: bool,
    /// What timestamps count from, if the record that says so was read.
    base_ms: Option<i64>,
    /// Behind the last record that was read.
    anchor: usize,
    /// Where the next record is looked for.
    position: usize,
    next_seq: u64,
    end: usize,
    budget: u64,
    sealed: Option<Seal>,
    /// A record that was found behind a gap that is told first.
    held: Option<Found<'a>>,
}

impl<'a> Rescue<'a> {
    /// Reads all of `bytes`; `next_seq` is what the name of the file says.
    pub(crate) fn new(
        bytes: &'a [u8],
        salt: u64,
        epoch: u32,
        is_snapshot: bool,
        next_seq: u64,
    ) -> Rescue<'a> {
        let start = (RECORDS_START as usize).min(bytes.len());
        Rescue {
            bytes,
            salt,
            epoch,
            is_snapshot,
            base_ms: None,
            anchor: start,
            position: start,
            next_seq,
            end: start + end_of_data(&bytes[start..]),
            // As for a search: no real file needs as much, and no made-up one holds it up.
            budget: 64 * bytes.len() as u64,
            sealed: None,
            held: None,
        }
    }

    /// Whether timestamps can be told.
    pub(crate) fn knows_time(&self) -> bool {
        self.base_ms.is_some()
    }

    /// The seal, once it was read.
    pub(crate) fn sealed(&self) -> Option<Seal> {
        self.sealed
    }

    /// The seq of the next data record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The session of the last record.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Behind the last record that was read.
    pub(crate) fn anchor(&self) -> u64 {
        self.anchor as u64
    }

    /// Whether anything but zeros stands behind the last record.
    pub(crate) fn has_remains(&self) -> bool {
        self.sealed.is_none() && self.end > self.anchor
    }

    /// The epoch and seq that the record in front of `bytes` checks with, if it does.
    fn check(&mut self, header: &RecordHeader, bytes: &[u8], raw: &[u8]) -> Option<(u32, u64)> {
        let position = self.position as u32;
        let is_first = position == RECORDS_START;
        let (salt, epoch, next_seq) = (self.salt, self.epoch, self.next_seq);
        let mut verify = |epoch, seq| {
            self.budget = self.budget.saturating_sub(header.len as u64);
            self.budget > 0 && header.verify(bytes, &Seed::new(salt, epoch), position, seq)
        };
        let own = match header.kind {
            kind::START => (epoch, Start::decode(raw).filter(|_| is_first)?.first_seq),
            kind::BASE => (epoch, Base::decode(raw).filter(|_| is_first)?.next_seq),
            kind::OPEN => Open::decode(raw)
                .filter(|open| open.epoch > epoch && open.next_seq >= next_seq)
                .map(|open| (open.epoch, open.next_seq))?,
            _ => {
                if verify(epoch, next_seq) {
                    return Some((epoch, next_seq));
                }
                if self.position == self.anchor || self.is_snapshot {
                    return None;
                }
                // Behind a gap: some records further on, perhaps in a later session, which may have
                // skipped ahead.
                let distance = self.position - self.anchor;
                let sessions = 0..=SESSIONS;
                return sessions.into_iter().find_map(|sessions| {
                    let epoch = epoch.saturating_add(sessions);
                    (0..=u64::from(sessions)).find_map(|skips| {
                        let least = next_seq.saturating_add(skips * SKIP);
                        candidates(header.seq_low, least, distance)
                            .find(|seq| verify(epoch, *seq))
                            .map(|seq| (epoch, seq))
                    })
                });
            }
        };
        verify(own.0, own.1).then_some(own)
    }

    fn record(&mut self) -> Option<Found<'a>> {
        let bytes = &self.bytes[self.position..];
        let header = RecordHeader::read(bytes)?;
        let raw = &bytes[RECORD_HEADER_LEN..header.len];
        let (epoch, seq) = self.check(&header, bytes, raw)?;
        let base_ms = self.base_ms.unwrap_or(0);
        let body = match header.kind {
            kind::START => Start::decode(raw).map(Body::Start),
            kind::OPEN => Open::decode(raw).map(Body::Open),
            kind::NAME => Name::decode(raw).map(Body::Name),
            kind::BASE => Base::decode(raw).map(Body::Base),
            kind::VALUES => Values::decode(raw, base_ms).map(Body::Values),
            kind::STATE => State::decode(raw).map(Body::State),
            kind::BATCH => Some(Body::Batch(Entries::new(raw, base_ms))),
            kind::SEAL => Seal::decode(raw).map(Body::Seal),
            _ => Some(Body::Unknown),
        };
        let body = body.unwrap_or(Body::Malformed);
        let lost = self.position - self.anchor;
        let expected = self.next_seq;
        match &body {
            Body::Start(start) => self.base_ms = Some(start.base_ms),
            Body::Base(base) => self.base_ms = Some(base.base_ms),
            Body::Seal(seal) => self.sealed = Some(*seal),
            _ => {}
        }
        self.epoch = epoch;
        self.next_seq = match &body {
            Body::Seal(seal) if !self.is_snapshot => seal.next_seq,
            _ if header.is_control() => seq,
            _ => seq.saturating_add(1),
        };
        self.position += header.len;
        self.anchor = self.position;
        let record = Found::Record { seq, kind: header.kind, durable: header.durable(seq), body };
        if lost == 0 {
            return Some(record);
        }
        self.held = Some(record);
        // The seqs of a snapshot say nothing about what is lost of it.
        let to = if self.is_snapshot { expected } else { seq };
        Some(Found::Lost { bytes: lost as u64, from: expected, to })
    }
}

impl<'a> Iterator for Rescue<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        while self.sealed.is_none() && self.position < self.end && self.budget > 0 {
            if let Some(found) = self.record() {
                return Some(found);
            }
            self.position += WORD;
        }
        None
    }
}
