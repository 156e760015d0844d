//! Reading the whole log, and finding out where it ends. Nothing is written here.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::RECORDS_START;
use crate::format::header::FileHeader;
use crate::format::names;
use crate::format::scan::Ending;
use crate::index::{Index, Target, Writer};
use crate::io::{Dir, SegmentFile};
use crate::report::{Cut, RecoveryReport};
use crate::segment::End;

use super::decide::{Damage, Decision, Next, Promise, Seal, decide};
use super::log::Past;
use super::recover::{Loaded, Names, Replay, Stated, Tail};

/// Where the log ends, and what has to be done about it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) store_id: u128,
    /// The highest epoch seen.
    pub(super) epoch: u32,
    /// The segment in which the log ends.
    pub(super) current: Loaded,
    /// What is in front of it.
    pub(super) past: Past,
    pub(super) tail: Tail,
    /// The topics by the ids that they have in that segment.
    pub(super) names: Vec<Target>,
    /// Segments behind the end.
    pub(super) dropped: Vec<u64>,
    /// Segments of which something may not be durable, oldest first.
    pub(super) unflushed: Vec<Arc<dyn SegmentFile>>,
    /// Sealed segments in front of the end that no mark calls sealed yet.
    pub(super) unconfirmed: Vec<Unconfirmed>,
    /// Whether the store was closed in order.
    pub(super) clean: bool,
}

/// A sealed segment whose successor is there, and may not be durable.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    pub(super) first_seq: u64,
    pub(super) header: FileHeader,
    /// The counter of its newest mark.
    pub(super) newest_mark: u64,
    pub(super) end: End,
}

/// Reads a log.
#[derive(Debug)]
pub(super) struct LogReader<'a> {
    pub(super) dir: &'a dyn Dir,
    /// The store that the lock file names.
    pub(super) store_id: Option<u128>,
    pub(super) index: &'a Index,
    /// The snapshot that the log goes on from; none if the log is whole.
    pub(super) ground: Option<Ground>,
    /// The segments behind it, in order. There is one at least.
    pub(super) segments: &'a [u64],
}

/// Where a snapshot that was loaded stands in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground {
    /// The end of the last segment that it covers, and the salt of that.
    pub(super) end: End,
    pub(super) salt: u64,
    /// The seq up to which the log was durable when the snapshot was published.
    pub(super) durable: u64,
}

impl LogReader<'_> {
    /// Reads segments until the log ends.
    pub(super) fn read(&self, writer: &mut Writer, report: &mut RecoveryReport) -> Result<Found> {
        // Nobody reads the index before this returns. A segment that has a successor holds as many
        // commits as lie between their seqs.
        let oldest = self.segments[0];
        let known = self.segments.last().map_or(0, |newest| newest.saturating_sub(oldest));
        self.index.begin_patches(known);
        let mut past = Past { segments: Vec::new(), end: self.ground.map(|g| (g.end, g.salt)) };
        let mut names = Names::default();
        let mut replay = Replay {
            index: self.index,
            writer,
            report,
            names: &mut names,
            last_seq: self.ground.map_or(0, |ground| ground.end.last_seq),
            stated: Stated { seq: self.ground.map_or(0, |g| g.durable), unknown: false },
        };
        let mut unflushed = Vec::new();
        let mut unconfirmed = Vec::new();
        let mut current = self.load(self.segments[0])?;
        let store_id = self.store_id.unwrap_or(current.header.store_id);
        check_store(&current.path, current.header.store_id, store_id)?;
        match &self.ground {
            Some(ground) => check_ground(ground, &current)?,
            None => check_first(&current)?,
        }
        let mut epoch = 0;
        let mut later = self.segments[1..].iter();
        loop {
            let tail = replay.segment(&current, later.as_slice().is_empty())?;
            epoch = epoch.max(current.header.epoch).max(tail.end.epoch);
            let dropped = later.as_slice().to_vec();
            let mut next = later.next().map(|seq| self.load(*seq)).transpose()?;
            if let Some(next) = &next {
                check_store(&next.path, next.header.store_id, store_id)?;
            }
            let connection = connection(current.header.salt, &tail.end, next.as_ref())?;
            unflushed.push(Unflushed {
                last_seq: tail.end.last_seq,
                confirmed: current.is_confirmed(),
                file: Arc::clone(&current.file),
            });
            unflushed.retain(|segment| segment.is_needed(replay.stated.seq));
            let goes_on = (tail.ending, connection) == (Ending::Sealed, Next::Connected);
            if goes_on && let Some(next) = next.take() {
                if !current.is_confirmed() {
                    unconfirmed.push(Unconfirmed::new(&current, tail.end));
                }
                past.segments.push(current.behind());
                past.end = Some((tail.end, current.header.salt));
                replay.names.end_segment(replay.index, replay.writer);
                current = next;
                continue;
            }
            while let Some(behind) = next {
                check_store(&behind.path, behind.header.store_id, store_id)?;
                epoch = epoch.max(behind.header.epoch);
                replay.stated.merge(behind.stated_durable()?);
                next = later.next().map(|seq| self.load(*seq)).transpose()?;
            }
            let stated = replay.stated;
            judge(&current, &tail, connection, stated)?;
            self.index.publish();
            replay.report.cut = self.cut(&current, &tail, &dropped);
            unflushed.retain(|segment| segment.is_needed(stated.seq));
            let unflushed = unflushed.into_iter().map(|segment| segment.file).collect();
            let is_blank = tail.ending == Ending::Blank;
            let clean = dropped.is_empty() && is_blank && current.is_closed_at(&tail.end);
            return Ok(Found {
                store_id,
                epoch,
                past,
                current,
                tail,
                names: replay.names.all(),
                dropped,
                unflushed,
                unconfirmed,
                clean,
            });
        }
    }

    fn load(&self, first_seq: u64) -> Result<Loaded> {
        Loaded::read(self.dir, first_seq)
            .map_err(|error| foreign_is_damage(error, self.store_id.is_some()))
    }

    fn cut(&self, current: &Loaded, tail: &Tail, dropped: &[u64]) -> Option<Cut> {
        if tail.ending != Ending::Broken && dropped.is_empty() {
            return None;
        }
        let path_of = |first_seq: &u64| self.dir.path().join(names::segment(*first_seq));
        Some(Cut {
            path: current.path.clone(),
            position: u64::from(tail.end.position),
            bytes: tail.remains.end.saturating_sub(u64::from(tail.end.position)),
            records: tail.remains.records,
            removed: dropped.iter().map(path_of).collect(),
        })
    }
}

/// A segment of which something may not be durable.
#[derive(Debug)]
struct Unflushed {
    last_seq: u64,
    confirmed: bool,
    file: Arc<dyn SegmentFile>,
}

impl Unflushed {
    /// Whether it has to be flushed, given what is stated to be durable. Of a segment whose seal is
    /// not confirmed the data may be durable and the seal not: without it, what follows would look
    /// like damage.
    fn is_needed(&self, stated: u64) -> bool {
        !self.confirmed || self.last_seq > stated
    }
}

impl Unconfirmed {
    fn new(segment: &Loaded, end: End) -> Unconfirmed {
        Unconfirmed {
            first_seq: segment.first_seq,
            header: segment.header,
            newest_mark: segment.newest_mark(),
            end,
        }
    }
}

/// Refuses the log if the decision says so.
pub(super) fn judge(current: &Loaded, tail: &Tail, next: Next, stated: Stated) -> Result<()> {
    let position = tail.end.position;
    let beyond = current.marks.iter().any(|mark| mark.position > position);
    let lost = stated.unknown || stated.seq >= tail.end.next_seq || beyond;
    let promise = if lost { Promise::Broken } else { Promise::Kept };
    let seal = if current.is_confirmed() { Seal::Confirmed } else { Seal::Claimed };
    let damage = match decide(tail.ending, next, promise, seal) {
        Decision::GoOn | Decision::Begin | Decision::Cut => return Ok(()),
        Decision::Damage(damage) => damage,
    };
    let what = match damage {
        Damage::Record => "a record is damaged or missing",
        Damage::MissingSuccessor => "the segment that follows this one is missing",
        Damage::WrongSuccessor => "the segment that follows this one does not continue it",
    };
    let message = format!(
        "{what}, although it had been durable: the log is whole up to seq {}, and was durable \
         up to seq {} at least; whole records behind: {}; nothing was changed",
        tail.end.last_seq, stated.seq, tail.remains.records
    );
    Err(Error::corrupt(message).with_path(&current.path).at(u64::from(position)))
}

/// In a directory that is known to hold a store, a foreign file took the place of one of its own.
pub(super) fn foreign_is_damage(error: Error, known: bool) -> Error {
    match (error.kind(), error.path()) {
        (ErrorKind::NotAStore, Some(path)) if known => {
            let message = "the header of the file is gone, or another file took its place";
            Error::corrupt(message).with_path(path).at(0)
        }
        _ => error,
    }
}

/// The oldest segment must be the first of the history.
pub(super) fn check_first(first: &Loaded) -> Result<()> {
    let whole = first.start.is_some_and(|start| {
        start.first_seq == 1 && start.previous_salt == 0 && start.previous_chain == 0
    });
    if whole && first.first_seq == 1 {
        return Ok(());
    }
    let message = match first.first_seq {
        1 => "the first record of the oldest segment is damaged",
        _ => "the segments before this one are missing",
    };
    Err(Error::corrupt(message).with_path(&first.path).at(u64::from(RECORDS_START)))
}

/// The oldest segment must go on where the snapshot ends.
pub(super) fn check_ground(ground: &Ground, first: &Loaded) -> Result<()> {
    if connection(ground.salt, &ground.end, Some(first))? == Next::Connected {
        return Ok(());
    }
    let message = "the segment does not go on where the snapshot ends: one between them is missing, \
                   or its first record is damaged";
    Err(Error::corrupt(message).with_path(&first.path).at(u64::from(RECORDS_START)))
}

/// Files of two stores must not be mixed.
pub(super) fn check_store(path: &Path, found: u128, store_id: u128) -> Result<()> {
    if found == store_id {
        return Ok(());
    }
    let message = format!("the file belongs to store {found:032x}, this is store {store_id:032x}");
    Err(Error::corrupt(message).with_path(path))
}

/// Whether the next segment goes on at `end` of the segment with this salt.
pub(super) fn connection(salt: u64, end: &End, next: Option<&Loaded>) -> Result<Next> {
    let Some(next) = next else { return Ok(Next::Nothing) };
    let Some(start) = next.start else { return Ok(Next::Disconnected) };
    if start.first_seq != next.first_seq {
        let message = format!(
            "the segment was written under another name: its first seq is {}",
            start.first_seq
        );
        return Err(Error::corrupt(message).with_path(&next.path));
    }
    // A session that began with this segment may have skipped ahead.
    let follows = match next.header.epoch > end.epoch {
        true => start.first_seq >= end.next_seq,
        false => start.first_seq == end.next_seq,
    };
    let connected = follows && start.previous_salt == salt && start.previous_chain == end.chain;
    Ok(if connected { Next::Connected } else { Next::Disconnected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::FileKind;
    use crate::format::record::Start;
    use crate::segment::{Appender, Segment};
    use crate::testkit::SimDisk;

    #[test]
    fn the_oldest_segment_has_nothing_in_front_of_it() {
        let found = |first_seq, previous_salt, previous_chain| {
            let disk = SimDisk::new();
            let header = FileHeader {
                kind: FileKind::Segment,
                epoch: 1,
                store_id: 1,
                salt: 7,
                size: 16 << 10,
            };
            let segment = Arc::new(Segment::prepare(&disk, header).unwrap());
            let start = Start { first_seq, previous_salt, previous_chain, base_ms: 0 };
            Appender::begin(Arc::clone(&segment), 1, start, first_seq - 1, 0).unwrap();
            segment.publish(&disk, first_seq).unwrap();
            check_first(&Loaded::read(&disk, first_seq).unwrap())
        };
        found(1, 0, 0).unwrap();
        for (start, what) in [
            ((1, 5, 0), "the first record of the oldest segment is damaged"),
            ((1, 0, 5), "the first record of the oldest segment is damaged"),
            ((1, 5, 5), "the first record of the oldest segment is damaged"),
            ((2, 0, 0), "the segments before this one are missing"),
            ((2, 5, 5), "the segments before this one are missing"),
        ] {
            let error = found(start.0, start.1, start.2).unwrap_err();
            assert!(error.is_corruption() && error.message().contains(what), "{start:?}: {error}");
        }
    }
}
