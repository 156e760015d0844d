//! The position against a table of cases, and what moves it afterwards.

use std::cell::Cell;
use std::time::Duration;

use super::{LogBounds, Position, Reset, ResetReason, StartPolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Commit, CommittedOffset, LastProcessed, NextOffset};

/// A log of the records from `start` on and below `end`. Record `n` was written in second `n`.
struct Log {
    start: i64,
    end: i64,
    asked: Cell<u32>,
}

const NOW_MS: i64 = 25_000;

impl Log {
    fn new(start: i64, end: i64) -> Log {
        Log { start, end, asked: Cell::new(0) }
    }
}

impl LogBounds for Log {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset> {
        Ok(NextOffset(self.start))
    }

    fn latest(&self) -> Result<NextOffset> {
        Ok(NextOffset(self.end))
    }

    fn at_or_after(&self, timestamp_ms: i64) -> Result<Option<NextOffset>> {
        self.asked.set(self.asked.get() + 1);
        Ok((self.start..self.end).find(|n| n * 1_000 >= timestamp_ms).map(NextOffset))
    }
}

fn committed(offset: i64) -> CommittedOffset {
    CommittedOffset { offset: NextOffset(offset), leader_epoch: Some(3), ..Default::default() }
}

/// A position in the middle of a log from 10 to 20, where 15 is committed.
fn in_the_middle(policy: StartPolicy) -> (Position, Log) {
    let log = Log::new(10, 20);
    let (position, reset) = Position::assign(Some(&committed(15)), policy, &log, NOW_MS).unwrap();
    assert_eq!(reset, None);
    (position, log)
}

fn commit(offset: i64) -> Commit<'static> {
    Commit::new(NextOffset(offset))
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn every_start_is_the_one_in_the_table() {
    use ResetReason::{BelowStart, BeyondEnd, NoCommit};
    use StartPolicy::{At, ByDuration, Earliest, Latest};

    let ago = |seconds| ByDuration(Duration::from_secs(seconds));
    let full = (10, 20);
    let empty = (20, 20);
    // The log, what is committed, the policy; where to start, and why there.
    type Start = std::result::Result<(i64, Option<ResetReason>), ErrorKind>;
    type Row = ((i64, i64), Option<i64>, StartPolicy, Start);
    let table: &[Row] = &[
        (full, None, Earliest, Ok((10, Some(NoCommit)))),
        (full, None, Latest, Ok((20, Some(NoCommit)))),
        (full, None, StartPolicy::None, Err(ErrorKind::NoOffset)),
        (full, None, At(0), Ok((10, Some(NoCommit)))),
        (full, None, At(10_000), Ok((10, Some(NoCommit)))),
        (full, None, At(12_001), Ok((13, Some(NoCommit)))),
        (full, None, At(19_000), Ok((19, Some(NoCommit)))),
        (full, None, At(19_001), Ok((20, Some(NoCommit)))),
        (full, None, At(i64::MIN), Ok((10, Some(NoCommit)))),
        (full, None, At(i64::MAX), Ok((20, Some(NoCommit)))),
        (full, None, ago(0), Ok((20, Some(NoCommit)))),
        (full, None, ago(8), Ok((17, Some(NoCommit)))),
        (full, None, ago(1_000), Ok((10, Some(NoCommit)))),
        (full, None, ByDuration(Duration::MAX), Ok((10, Some(NoCommit)))),
        (empty, None, Earliest, Ok((20, Some(NoCommit)))),
        (empty, None, Latest, Ok((20, Some(NoCommit)))),
        (empty, None, StartPolicy::None, Err(ErrorKind::NoOffset)),
        (empty, None, At(0), Ok((20, Some(NoCommit)))),
        (empty, None, ago(8), Ok((20, Some(NoCommit)))),
        // What is committed and in the log counts, whatever the policy.
        (full, Some(10), Earliest, Ok((10, None))),
        (full, Some(15), Earliest, Ok((15, None))),
        (full, Some(20), Earliest, Ok((20, None))),
        (full, Some(10), Latest, Ok((10, None))),
        (full, Some(15), Latest, Ok((15, None))),
        (full, Some(20), Latest, Ok((20, None))),
        (full, Some(10), StartPolicy::None, Ok((10, None))),
        (full, Some(15), StartPolicy::None, Ok((15, None))),
        (full, Some(20), StartPolicy::None, Ok((20, None))),
        (full, Some(15), At(12_000), Ok((15, None))),
        (full, Some(15), ago(8), Ok((15, None))),
        (empty, Some(20), Earliest, Ok((20, None))),
        (empty, Some(20), StartPolicy::None, Ok((20, None))),
        // The log begins later.
        (full, Some(9), Earliest, Ok((10, Some(BelowStart)))),
        (full, Some(0), Latest, Ok((20, Some(BelowStart)))),
        (full, Some(9), StartPolicy::None, Err(ErrorKind::OffsetOutOfRange)),
        (full, Some(9), At(12_000), Ok((12, Some(BelowStart)))),
        (full, Some(9), ago(8), Ok((17, Some(BelowStart)))),
        (empty, Some(19), Earliest, Ok((20, Some(BelowStart)))),
        (empty, Some(19), Latest, Ok((20, Some(BelowStart)))),
        // The log ends earlier.
        (full, Some(21), Earliest, Ok((10, Some(BeyondEnd)))),
        (full, Some(i64::MAX), Latest, Ok((20, Some(BeyondEnd)))),
        (full, Some(21), StartPolicy::None, Err(ErrorKind::OffsetOutOfRange)),
        (full, Some(21), At(12_000), Ok((12, Some(BeyondEnd)))),
        (full, Some(21), ago(8), Ok((17, Some(BeyondEnd)))),
        (empty, Some(21), Earliest, Ok((20, Some(BeyondEnd)))),
    ];
    for row in table {
        let ((start, end), stored, policy, expected) = *row;
        let log = Log::new(start, end);
        let value = stored.map(committed);
        let result = Position::assign(value.as_ref(), policy, &log, NOW_MS);
        let from = stored.map(NextOffset);
        match (result, expected) {
            (Ok((position, reset)), Ok((to, reason))) => {
                let to = NextOffset(to);
                assert_eq!(position.next(), to, "{row:?}");
                assert_eq!(reset, reason.map(|reason| Reset { reason, from, to }), "{row:?}");
                assert_eq!(position.committed(), from, "{row:?}");
                let epoch = stored.filter(|_| reset.is_none()).map(|_| 3);
                assert_eq!(position.leader_epoch(), epoch, "{row:?}");
                let expected = reason.map(|_| Commit::new(to));
                assert_eq!(position.to_commit(), expected, "{row:?}");
            }
            (Err(error), Err(kind)) => assert_eq!(error.kind(), kind, "{row:?}"),
            (result, _) => panic!("{row:?} gave {result:?}"),
        }
        let needs_time = matches!(policy, At(_) | ByDuration(_)) && stored != Some(15);
        assert_eq!(log.asked.get(), u32::from(needs_time), "{row:?}");
    }
}

#[test]
fn one_commit_stands_for_all_marks_before_it() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(20), Some(4)).unwrap();
    assert_eq!(position.to_commit(), None, "what is read is not done");
    assert!(position.mark(NextOffset(16)).unwrap());
    assert!(position.mark(LastProcessed(17)).unwrap());
    assert!(!position.mark(NextOffset(17)).unwrap(), "less than before");
    assert!(!position.mark(NextOffset(18)).unwrap(), "as much as before");
    let first = position.to_commit().unwrap();
    assert_eq!(first, commit(18).leader_epoch(4));
    assert_eq!(position.to_commit(), Some(first), "until it is confirmed");
    position.mark(NextOffset(19)).unwrap();
    position.confirm(first);
    assert_eq!(position.committed(), Some(NextOffset(18)));
    let second = position.to_commit().unwrap();
    assert_eq!(second, commit(19).leader_epoch(4));
    position.confirm(second);
    assert_eq!(position.to_commit(), None);
}

#[test]
fn a_commit_has_the_epoch_of_the_last_record_that_is_done() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(16), Some(4)).unwrap();
    position.advance(NextOffset(17), Some(4)).unwrap();
    position.advance(NextOffset(17), Some(9)).unwrap();
    position.advance(NextOffset(18), None).unwrap();
    position.advance(NextOffset(20), Some(6)).unwrap();
    assert_eq!(position.leader_epoch(), Some(6));
    for (mark, epoch) in [(16, Some(4)), (17, Some(4)), (18, None), (19, Some(6)), (20, Some(6))] {
        position.mark(NextOffset(mark)).unwrap();
        let expected = epoch.map_or(commit(mark), |epoch| commit(mark).leader_epoch(epoch));
        assert_eq!(position.to_commit(), Some(expected));
    }
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(17), Some(4)).unwrap();
    position.advance(NextOffset(20), Some(6)).unwrap();
    position.seek(NextOffset(18)).unwrap();
    position.advance(NextOffset(19), Some(7)).unwrap();
    position.seek(NextOffset(25)).unwrap();
    position.advance(NextOffset(30), Some(8)).unwrap();
    for (mark, epoch) in [(18, Some(6)), (19, Some(7)), (25, None), (30, Some(8))] {
        position.mark(NextOffset(mark)).unwrap();
        let expected = epoch.map_or(commit(mark), |epoch| commit(mark).leader_epoch(epoch));
        assert_eq!(position.to_commit(), Some(expected));
    }
}

#[test]
fn a_record_that_is_read_again_has_its_epoch_of_then() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(17), Some(4)).unwrap();
    position.advance(NextOffset(20), Some(6)).unwrap();
    position.seek(NextOffset(16)).unwrap();
    position.advance(NextOffset(18), Some(7)).unwrap();
    position.mark(NextOffset(17)).unwrap();
    assert_eq!(position.to_commit(), Some(commit(17).leader_epoch(7)));
}

#[test]
fn a_seek_never_takes_back_what_is_committed() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(18), Some(4)).unwrap();
    position.mark(NextOffset(17)).unwrap();
    position.seek(NextOffset(11)).unwrap();
    assert_eq!((position.next(), position.leader_epoch()), (NextOffset(11), None));
    position.advance(NextOffset(14), Some(4)).unwrap();
    assert!(!position.mark(NextOffset(13)).unwrap());
    assert_eq!(position.to_commit(), Some(commit(17).leader_epoch(4)));
    position.seek(NextOffset(1_000)).unwrap();
    assert_eq!(position.to_commit(), Some(commit(17).leader_epoch(4)), "nor forward");
}

#[test]
fn a_rewind_takes_back_what_is_committed() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(18), Some(4)).unwrap();
    position.mark(NextOffset(17)).unwrap();
    assert_eq!(kind(position.rewind(NextOffset(19))), Some(ErrorKind::InvalidArgument));
    position.rewind(NextOffset(18)).unwrap();
    position.rewind(NextOffset(17)).unwrap();
    assert_eq!(position.to_commit(), Some(commit(17).leader_epoch(4)), "not behind the mark");
    let late = position.to_commit().unwrap();
    position.rewind(NextOffset(12)).unwrap();
    assert_eq!((position.next(), position.leader_epoch()), (NextOffset(12), None));
    assert_eq!(kind(position.mark(NextOffset(17))), Some(ErrorKind::AheadOfPosition));
    position.confirm(late);
    let back = position.to_commit().unwrap();
    assert_eq!(back, commit(12), "also when an earlier commit is confirmed late");
    position.confirm(back);
    assert_eq!((position.to_commit(), position.committed()), (None, Some(NextOffset(12))));
}

#[test]
fn offsets_that_cannot_be_are_refused() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    let before = format!("{position:?}");
    for wrong in [NextOffset(-1), LastProcessed(i64::MAX).into(), NextOffset(i64::MIN)] {
        assert_eq!(kind(position.advance(wrong, None)), Some(ErrorKind::InvalidArgument));
        assert_eq!(kind(position.mark(wrong)), Some(ErrorKind::InvalidArgument));
        assert_eq!(kind(position.seek(wrong)), Some(ErrorKind::InvalidArgument));
        assert_eq!(kind(position.rewind(wrong)), Some(ErrorKind::InvalidArgument));
    }
    assert_eq!(kind(position.advance(NextOffset(14), None)), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(position.mark(NextOffset(16))), Some(ErrorKind::AheadOfPosition));
    let nonsense = Position::assign(None, StartPolicy::Earliest, &Log::new(-5, 20), NOW_MS);
    assert_eq!(kind(nonsense), Some(ErrorKind::InvalidArgument));
    assert_eq!(format!("{position:?}"), before);
}

#[test]
fn a_log_that_dropped_its_oldest_records_resets_the_position() {
    let (mut position, log) = in_the_middle(StartPolicy::Earliest);
    assert_eq!(position.check_range(&log, NOW_MS).unwrap(), None);
    let reset = position.check_range(&Log::new(18, 30), NOW_MS).unwrap().unwrap();
    assert_eq!(reset.reason, ResetReason::BelowStart);
    assert_eq!((reset.from, reset.to), (Some(NextOffset(15)), NextOffset(18)));
    assert_eq!((position.next(), position.leader_epoch()), (NextOffset(18), None));
    assert_eq!(position.to_commit(), Some(commit(18)));
}

#[test]
fn what_is_marked_stays_while_it_is_in_the_log() {
    let (mut position, _) = in_the_middle(StartPolicy::Earliest);
    position.advance(NextOffset(18), Some(4)).unwrap();
    position.mark(NextOffset(16)).unwrap();
    position.seek(NextOffset(40)).unwrap();
    let reset = position.check_range(&Log::new(10, 20), NOW_MS).unwrap().unwrap();
    assert_eq!((reset.reason, reset.to), (ResetReason::BeyondEnd, NextOffset(10)));
    assert_eq!(position.to_commit(), Some(commit(16).leader_epoch(4)));
    // Records below the start that are still in the works are no reason to move the position.
    position.seek(NextOffset(19)).unwrap();
    assert_eq!(position.check_range(&Log::new(18, 20), NOW_MS).unwrap(), None);
    assert_eq!(position.to_commit(), Some(commit(16).leader_epoch(4)));
}

#[test]
fn a_reset_that_is_refused_changes_nothing() {
    let (mut position, _) = in_the_middle(StartPolicy::None);
    position.advance(NextOffset(17), Some(4)).unwrap();
    position.mark(NextOffset(16)).unwrap();
    let before = format!("{position:?}");
    let refused = position.check_range(&Log::new(18, 30), NOW_MS);
    assert_eq!(kind(refused), Some(ErrorKind::OffsetOutOfRange));
    assert_eq!(format!("{position:?}"), before);
}

#[test]
fn a_pause_survives_a_seek() {
    let (mut position, log) = in_the_middle(StartPolicy::Earliest);
    assert!(!position.is_paused());
    position.pause();
    position.seek(NextOffset(40)).unwrap();
    position.check_range(&log, NOW_MS).unwrap();
    position.rewind(NextOffset(10)).unwrap();
    assert!(position.is_paused());
    position.resume();
    assert!(!position.is_paused());
}

#[test]
fn a_log_brings_an_error_of_its_own() {
    #[derive(Debug, PartialEq)]
    enum Trouble {
        Offline,
        Pagemark(ErrorKind),
    }
    impl From<Error> for Trouble {
        fn from(error: Error) -> Trouble {
            Trouble::Pagemark(error.kind())
        }
    }
    struct Offline;
    impl LogBounds for Offline {
        type Error = Trouble;
        fn earliest(&self) -> std::result::Result<NextOffset, Trouble> {
            Err(Trouble::Offline)
        }
        fn latest(&self) -> std::result::Result<NextOffset, Trouble> {
            Err(Trouble::Offline)
        }
        fn at_or_after(&self, _: i64) -> std::result::Result<Option<NextOffset>, Trouble> {
            Err(Trouble::Offline)
        }
    }
    let assign = |policy| Position::assign(None, policy, &Offline, NOW_MS).map(drop);
    assert_eq!(assign(StartPolicy::At(0)), Err(Trouble::Offline));
    assert_eq!(assign(StartPolicy::None), Err(Trouble::Pagemark(ErrorKind::NoOffset)));
}
