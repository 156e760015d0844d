//! A log that another process writes: reading it up to where it ends now, again and again.
//!
//! The writer does not know that it is followed. A record counts when its checksum is right, for its
//! place, its session and its seq, so neither half a record nor what an earlier session left behind
//! passes, and the end of the log is the first place without a record. It is looked at anew each
//! time.
//!
//! A segment that the writer has removed stays readable as long as it is open here. It was sealed
//! before, so it can be read to its end; if what follows it is gone too, a snapshot stands for it.

use std::sync::Arc;

use crate::dump::Change;
use crate::error::{Error, Result};
use crate::format::mark::Mark;
use crate::format::names;
use crate::format::scan::{Body, Ending, Remains, Scanner, Step, Stop, end_of_data, search};
use crate::index::{Index, Writer};
use crate::io::{Access, Dir};
use crate::key::Seq;
use crate::report::RecoveryReport;
use crate::segment::End;

use super::decide::Next;
use super::dump::change;
use super::open::Files;
use super::read_log::{check_store, connection, foreign_is_damage, judge};
use super::recover::{Ahead, Loaded, Names, Replay, Stated, Tail};

/// How much is read first: a refresh finds little that is new, or nothing.
const FIRST_PIECE: usize = 4096;
/// How much is read at once of what has to be caught up with.
const PIECE: usize = 256 << 10;

/// The changes that a refresh comes across.
pub(super) struct Seen<'a> {
    /// The last record whose changes were seen, so that none is seen twice.
    pub(super) seq: u64,
    /// The changes that were seen for the first time.
    pub(super) changes: u64,
    /// Who wants to see them.
    pub(super) visit: Option<Visit<'a>>,
}

/// What is called with each change and its seq.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Seq, &Change<'_>);

impl Seen<'_> {
    /// Notes the changes of a record that was replayed.
    fn note(&mut self, seq: u64, body: &Body<'_>, index: &Index, names: &Names) {
        let Body::Batch(entries) = body else { return };
        if seq <= self.seq {
            return;
        }
        self.seq = seq;
        for entry in entries.clone().flatten() {
            self.changes += 1;
            if let (Some(visit), Some(name)) = (&mut self.visit, names.of(index, entry.name())) {
                visit(Seq(seq), &change(entry, name));
            }
        }
    }
}

/// A place in a log, and the index that holds what stands in front of it.
#[derive(Debug)]
pub(super) struct LiveLog {
    pub(super) index: Arc<Index>,
    writer: Writer,
    store_id: u128,
    segment: Loaded,
    scanner: Scanner,
    names: Names,
    last_seq: u64,
    stated: Stated,
    report: RecoveryReport,
    /// Whether it was at the end of the log before, so that what comes next was written since.
    at_end: bool,
}

impl LiveLog {
    /// Begins at the first record of a segment. The index holds what stands in front of it, up to
    /// `last_seq`, and everything up to `durable` was stated to be durable.
    pub(super) fn new(
        (index, writer): (Index, Writer),
        segment: Loaded,
        last_seq: u64,
        durable: u64,
    ) -> LiveLog {
        LiveLog {
            index: Arc::new(index),
            writer,
            store_id: segment.header.store_id,
            scanner: scanner(&segment),
            segment,
            names: Names::default(),
            last_seq,
            stated: Stated { seq: durable, unknown: false },
            report: RecoveryReport::default(),
            at_end: false,
        }
    }

    /// The last data record that was read.
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// What the log states to be durable, as far as it was read.
    pub(super) fn durable(&self) -> u64 {
        self.stated.seq
    }

    /// Reads on to the end of the log.
    ///
    /// Fails with `Corrupt` if the log does not go on from here although it should. It may be
    /// damaged, the writer may have retired what follows, or it may have lost its end and gone on
    /// without it: whoever starts over finds out which. After any error this is of no use.
    pub(super) fn advance(&mut self, dir: &dyn Dir, seen: &mut Seen<'_>) -> Result<()> {
        loop {
            // The marks first: the records that they vouch for were there before them.
            let mut is_named = self.look(dir)?;
            self.read(seen)?;
            let next = match self.scanner.stopped() {
                Some(Stop::Sealed) => self.successor(dir)?,
                _ => None,
            };
            let tail = self.tail();
            let salt = self.segment.header.salt;
            match (connection(salt, &tail.end, next.as_ref())?, next) {
                (Next::Connected, Some(next)) => self.enter(next),
                (connection, next) => {
                    // What should follow may have been retired since, and this segment with it.
                    is_named = is_named && (connection == Next::Nothing || self.look(dir)?);
                    if !is_named {
                        return Err(self.lost("the segment was removed"));
                    }
                    if self.at_end && self.segment.marks.iter().any(|m| is_of_another(m, &tail.end))
                    {
                        return Err(self.lost("a mark tells of another history than was read"));
                    }
                    self.at_end = true;
                    if let Some(next) = &next {
                        // As in recovery: what stands behind a break may state that more was durable.
                        self.stated.add_marks(&next.marks);
                    }
                    return judge(&self.segment, &tail, connection, self.stated);
                }
            }
        }
    }

    /// Looks at what stands behind the end, as recovery does. Fails with `Corrupt` if something that
    /// was durable is lost there.
    pub(super) fn check_rest(&mut self, dir: &dyn Dir, seen: &mut Seen<'_>) -> Result<()> {
        loop {
            let end = (self.segment.first_seq, self.scanner.position());
            if self.scanner.stopped() == Some(Stop::Sealed) {
                return Ok(());
            }
            let remains = self.remains()?;
            if !remains.gave_up && remains.durable < self.scanner.next_seq() {
                return Ok(());
            }
            // Or the writer has only gone on.
            self.advance(dir, seen)?;
            if end == (self.segment.first_seq, self.scanner.position()) {
                self.stated.add_remains(&remains);
                return judge(&self.segment, &self.tail(), Next::Nothing, self.stated);
            }
        }
    }

    /// Looks at the segment under its name: who was here, and what is durable. False if the name is
    /// gone.
    fn look(&mut self, dir: &dyn Dir) -> Result<bool> {
        match open_segment(dir, self.segment.first_seq, Some(self.store_id)) {
            Ok(again) if again.header == self.segment.header => {
                self.stated.add_marks(&again.marks);
                self.segment = again;
                Ok(true)
            }
            Ok(_) => Err(self.lost("another segment has its name")),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads records up to the seal, or to where there is none yet.
    fn read(&mut self, seen: &mut Seen<'_>) -> Result<()> {
        self.scanner.go_on();
        let mut bytes = Vec::new();
        let mut wanted = FIRST_PIECE;
        while self.scanner.stopped().is_none() {
            let position = self.scanner.position();
            let left = self.segment.header.size.saturating_sub(position);
            let len = usize::try_from(left).map_or(wanted, |left| left.min(wanted));
            if bytes.len() < len {
                bytes.resize(len, 0);
            }
            let piece = &mut bytes[..len];
            self.segment.file.read_at(position, piece).map_err(|e| self.segment.failed(e))?;
            let needed = self.replay(piece, seen)?;
            wanted = needed.max((2 * wanted).min(PIECE));
        }
        Ok(())
    }

    /// Replays the records in `bytes`, and returns how many bytes the next one needs.
    fn replay(&mut self, bytes: &[u8], seen: &mut Seen<'_>) -> Result<usize> {
        let mut replay = Replay {
            index: &self.index,
            writer: &mut self.writer,
            report: &mut self.report,
            names: &mut self.names,
            last_seq: self.last_seq,
            stated: self.stated,
        };
        let mut ahead = Ahead::default();
        let mut at = 0;
        let result = loop {
            let epoch = self.scanner.epoch();
            let record = match self.scanner.step(&bytes[at..]) {
                Step::Record(record) => record,
                Step::Short(needed) => break Ok(needed),
                Step::End => break Ok(0),
            };
            at += record.len as usize;
            let (position, seq, body) = (record.position, record.seq, record.body.clone());
            let outcome = match body {
                // A session in between has written something here that was not read.
                Body::Open(open) if self.at_end && open.epoch - epoch > 1 => {
                    Err(Error::corrupt("a session goes on from records that were not read"))
                }
                _ => replay.record(record, &mut ahead),
            };
            if let Err(error) = outcome {
                break Err(error.with_path(&self.segment.path).at(position));
            }
            if seen.visit.is_some() {
                // Whoever is shown changes wants their names.
                replay.catch_up(&mut ahead);
            }
            seen.note(seq, &body, replay.index, replay.names);
        };
        replay.catch_up(&mut ahead);
        (self.last_seq, self.stated) = (replay.last_seq, replay.stated);
        result
    }

    /// The segment behind this one, which is sealed.
    fn successor(&self, dir: &dyn Dir) -> Result<Option<Loaded>> {
        let next_seq = self.scanner.next_seq();
        match open_segment(dir, next_seq, Some(self.store_id)) {
            Err(error) if error.is_not_found() => {}
            found => return found.map(Some),
        }
        // A session that begins with it may have skipped ahead.
        let files = Files::list(dir)?;
        let next = files.segments.into_iter().find(|first_seq| *first_seq >= next_seq);
        next.map(|first_seq| open_segment(dir, first_seq, Some(self.store_id))).transpose()
    }

    /// Goes on in the next segment.
    fn enter(&mut self, next: Loaded) {
        self.names.end_segment(&self.index, &mut self.writer);
        self.scanner = scanner(&next);
        self.segment = next;
    }

    /// Where the log ends, as far as it was read.
    fn tail(&self) -> Tail {
        let ending = match self.scanner.stopped() {
            Some(Stop::Sealed) => Ending::Sealed,
            Some(Stop::NoRecord | Stop::Malformed) | None => Ending::Blank,
        };
        let end = End {
            epoch: self.scanner.epoch(),
            // A segment is far shorter than what this type can count.
            position: self.scanner.position() as u32,
            last_seq: self.last_seq,
            next_seq: self.scanner.next_seq(),
            chain: self.scanner.chain(),
        };
        let base_ms = self.scanner.base_ms();
        Tail { ending, end, base_ms, remains: Remains::default() }
    }

    /// What stands behind the end.
    fn remains(&self) -> Result<Remains> {
        let (position, size) = (self.scanner.position(), self.segment.header.size);
        let read = |position, into: &mut [u8]| {
            self.segment.file.read_at(position, into).map_err(|e| self.segment.failed(e))
        };
        // Mostly zeros, of which no more than a piece has to be in memory.
        let (mut piece, mut end) = (vec![0; PIECE], position);
        for at in (position..size).step_by(PIECE) {
            let left = usize::try_from(size - at).unwrap_or(PIECE);
            let piece = &mut piece[..left.min(PIECE)];
            read(at, piece)?;
            if let data @ 1.. = end_of_data(piece) {
                end = at + data as u64;
            }
        }
        let mut rest = vec![0; usize::try_from(end - position).unwrap_or(0)];
        read(position, &mut rest)?;
        let next_seq = self.scanner.next_seq().max(self.segment.first_seq);
        Ok(search(&rest, position, size, self.scanner.seed(), next_seq))
    }

    fn lost(&self, what: &str) -> Error {
        let message = format!("{what}: the log does not go on from seq {}", self.last_seq);
        Error::corrupt(message).with_path(&self.segment.path).at(self.scanner.position())
    }
}

/// Opens a segment of a store.
pub(super) fn open_segment(
    dir: &dyn Dir,
    first_seq: u64,
    store_id: Option<u128>,
) -> Result<Loaded> {
    let name = names::segment(first_seq);
    let segment = Loaded::read_named(dir, &name, first_seq, Access::Follow)
        .map_err(|error| foreign_is_damage(error, store_id.is_some()))?;
    let found = segment.header.store_id;
    check_store(&segment.path, found, store_id.unwrap_or(found))?;
    Ok(segment)
}

/// Reads a segment from its first record on.
fn scanner(segment: &Loaded) -> Scanner {
    Scanner::new(segment.header.size, segment.header.salt, segment.header.epoch)
}

/// Whether a mark was written by somebody who found other records in front of this end.
fn is_of_another(mark: &Mark, end: &End) -> bool {
    mark.epoch > end.epoch || (mark.position == end.position && mark.chain != end.chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::{FileHeader, FileKind};
    use crate::format::record::Start;
    use crate::segment::{Appender, Segment};
    use crate::testkit::SimDisk;

    #[test]
    fn a_log_goes_on_in_the_segment_that_says_so_in_every_respect() {
        let end = End { epoch: 3, position: 0, last_seq: 9, next_seq: 10, chain: 5 };
        let found = |epoch, first_seq, previous_salt, previous_chain| {
            let disk = SimDisk::new();
            let header =
                FileHeader { kind: FileKind::Segment, epoch, store_id: 1, salt: 8, size: 16 << 10 };
            let segment = Arc::new(Segment::prepare(&disk, header).unwrap());
            let start = Start { first_seq, previous_salt, previous_chain, base_ms: 0 };
            Appender::begin(Arc::clone(&segment), 1, start, 9, 9).unwrap();
            segment.publish(&disk, first_seq).unwrap();
            connection(7, &end, Some(&Loaded::read(&disk, first_seq).unwrap())).unwrap()
        };
        assert_eq!(connection(7, &end, None).unwrap(), Next::Nothing);
        // Only another session skips ahead, and none goes back.
        for next in [(3, 10, 7, 5), (4, 10, 7, 5), (4, 12, 7, 5)] {
            assert_eq!(found(next.0, next.1, next.2, next.3), Next::Connected, "{next:?}");
        }
        for next in [(3, 12, 7, 5), (3, 9, 7, 5), (4, 9, 7, 5), (3, 10, 8, 5), (3, 10, 7, 6)] {
            assert_eq!(found(next.0, next.1, next.2, next.3), Next::Disconnected, "{next:?}");
        }
    }

    #[test]
    fn what_could_not_be_excluded_once_is_not_excluded_by_what_comes_later() {
        let mut stated = Stated { seq: 5, unknown: false };
        for (seq, unknown, merged) in
            [(3, false, (5, false)), (4, true, (5, true)), (9, false, (9, true))]
        {
            stated.merge(Stated { seq, unknown });
            assert_eq!((stated.seq, stated.unknown), merged);
        }
    }
}
