//! A committer in front of a store: what becomes of errors, and of what is completed out of order.

mod support;

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::time::Duration;

use pagemark::consumer::{
    AckLimits, AckTracker, CommitError, CommitPolicy, Committer, LogBounds, Position, StartPolicy,
    StoreTarget,
};
use pagemark::testkit::{Lots, Op, SimDisk};
use pagemark::{
    Error, ErrorKind, Key, MAX_STATE_BYTES, NextOffset, OffsetStore, Result, TopicPartition,
};
use support::options;

const HOUR: Duration = Duration::from_secs(3600);
/// How many records a partition has.
const RECORDS: i64 = 900;

struct Log;

impl LogBounds for Log {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset> {
        Ok(NextOffset(0))
    }

    fn latest(&self) -> Result<NextOffset> {
        Ok(NextOffset(RECORDS))
    }

    fn at_or_after(&self, _: i64) -> Result<Option<NextOffset>> {
        Ok(None)
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn position(store: &OffsetStore, partition: i32) -> Position {
    let committed = store.fetch(Key::new("g", "t", partition));
    Position::assign(committed.as_ref(), StartPolicy::Earliest, &Log, 0).unwrap().0
}

/// A committer of one partition that commits when it is asked to.
fn committer(store: &OffsetStore) -> Committer<StoreTarget> {
    let target = StoreTarget::new(store.clone(), "g");
    let policy = CommitPolicy::manual().retry_backoff(Duration::ZERO);
    let mut committer = Committer::new(target, policy, 0);
    committer.assign(tp(0), position(store, 0)).unwrap();
    committer
}

/// Commits one more record as done, with so many bytes of metadata.
fn commit(
    committer: &mut Committer<StoreTarget>,
    metadata: usize,
) -> std::result::Result<(), CommitError> {
    let mut partition = committer.partition(&tp(0)).unwrap();
    let next = NextOffset(partition.position().next().0 + 1);
    partition.advance(next, None).unwrap();
    partition.done(next).unwrap();
    partition.set_metadata(&"m".repeat(metadata));
    committer.commit_async().outcome().unwrap()
}

fn kind(error: &CommitError) -> ErrorKind {
    error.cause().downcast_ref::<Error>().unwrap().kind()
}

fn offset(store: &OffsetStore) -> i64 {
    store.fetch(Key::new("g", "t", 0)).map_or(0, |found| found.offset().0)
}

#[test]
fn on_a_full_disk_a_commit_is_kept_until_there_is_room() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    let mut committer = committer(&store);
    disk.capacity(Some(disk.used()));
    let mut stored = 0;
    let error = loop {
        match commit(&mut committer, 4000) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CommitError::RetryLater(_)), "{error}");
    assert_eq!((kind(&error), offset(&store)), (ErrorKind::Full, stored));
    assert!(matches!(committer.commit_sync(Duration::ZERO), Err(CommitError::RetryLater(_))));
    disk.capacity(None);
    committer.close(HOUR).unwrap();
    assert_eq!(offset(&store), stored + 1);
}

#[test]
fn behind_the_close_of_the_store_nothing_is_tried_again() {
    let store = options(1).open_in(SimDisk::new().dir()).unwrap();
    let mut committer = committer(&store);
    commit(&mut committer, 0).unwrap();
    store.clone().close().unwrap();
    let error = commit(&mut committer, 0).unwrap_err();
    assert!(matches!(error, CommitError::Stop(_)), "{error}");
    assert_eq!(kind(&error), ErrorKind::Closed);
    let left = committer.close(HOUR).unwrap_err();
    assert_eq!(left.partitions()[0].offset, NextOffset(2));
    assert_eq!(kind(&left.partitions()[0].error), ErrorKind::Closed);
}

#[test]
fn behind_a_failed_flush_nothing_is_tried_again() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    let mut committer = committer(&store);
    disk.fail_nth(Op::SyncFile, 0, io::ErrorKind::Other);
    let error = commit(&mut committer, 0).unwrap_err();
    assert!(matches!(error, CommitError::Stop(_)), "{error}");
    assert_eq!(kind(&error), ErrorKind::Io);
    let operations = disk.operations();
    assert!(matches!(committer.commit_sync(HOUR), Err(CommitError::Stop(_))));
    let left = committer.close(HOUR).unwrap_err();
    assert_eq!(left.partitions()[0].offset, NextOffset(1));
    assert_eq!(disk.operations(), operations);
}

#[test]
fn what_the_store_does_not_take_is_refused_until_it_is_changed() {
    let store = options(1).max_metadata_bytes(10).open_in(SimDisk::new().dir()).unwrap();
    let mut committer = committer(&store);
    let error = commit(&mut committer, 11).unwrap_err();
    assert!(matches!(error, CommitError::Refused(_)), "{error}");
    assert_eq!(kind(&error), ErrorKind::MetadataTooLarge);
    let error = committer.commit_sync(HOUR).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::MetadataTooLarge, "not tried for an hour");
    commit(&mut committer, 10).unwrap();
    committer.partition(&tp(0)).unwrap().append_state(&vec![0; MAX_STATE_BYTES + 1]);
    let error = commit(&mut committer, 0).unwrap_err();
    assert!(matches!(error, CommitError::Refused(_)), "{error}");
    committer.partition(&tp(0)).unwrap().put_state(b"short");
    commit(&mut committer, 0).unwrap();
    assert_eq!(offset(&store), 4);
}

#[test]
fn completions_count_only_with_the_offset_that_they_were_stored_with() {
    let store = options(1).open_in(SimDisk::new().dir()).unwrap();
    let mut committer = committer(&store);
    let acks_of = |store: &OffsetStore, partition: i32| {
        let target = StoreTarget::new(store.clone(), "g");
        target.acks(&tp(partition), &position(store, partition), AckLimits::new()).unwrap()
    };
    let mut acks = acks_of(&store, 0);
    let mut partition = committer.partition(&tp(0)).unwrap();
    (0..6).for_each(|offset| assert!(acks.hand_out(offset).unwrap()));
    partition.advance(NextOffset(6), None).unwrap();
    for offset in [0, 2, 4] {
        acks.complete(offset).unwrap();
        partition.acknowledge(&mut acks).unwrap();
    }
    committer.commit_sync(HOUR).unwrap();
    assert_eq!(acks_of(&store, 0).ranges().collect::<Vec<_>>(), [2..3, 4..5]);
    assert!(acks_of(&store, 1).ranges().next().is_none(), "another partition");
    // Somebody else sets the offset, as a reset does.
    let key = Key::new("g", "t", 0);
    store.commit(key, NextOffset(3)).unwrap();
    let reset = acks_of(&store, 0);
    assert_eq!((reset.watermark(), reset.range_count()), (NextOffset(3), 0));
    assert!(reset.needs_state(), "so that what was there goes");
}

/// One partition: what a program knows of it that does not forget.
#[derive(Default)]
struct Known {
    /// Completed at least once.
    completed: BTreeSet<i64>,
    /// Completed, and stored: not to be processed again.
    stored: BTreeSet<i64>,
    /// How far it was ever read.
    read: i64,
}

/// One partition in one life of the program.
struct Work {
    acks: AckTracker,
    in_flight: Vec<i64>,
    /// What the next commit stores.
    acknowledged: BTreeSet<i64>,
    /// Whether deltas of it may be stored.
    has_state: bool,
}

#[derive(Default)]
struct Seen {
    lives: usize,
    redone: usize,
    spared: usize,
    /// Those that take the place of deltas.
    states: usize,
    deltas: usize,
    compactions: usize,
}

struct World<'a> {
    lots: Lots,
    known: [Known; 2],
    seen: &'a mut Seen,
}

fn offsets(ranges: impl Iterator<Item = Range<i64>>) -> BTreeSet<i64> {
    ranges.flatten().collect()
}

impl World<'_> {
    /// Reads what is stored, and looks whether it is the truth.
    fn begin(&mut self, committer: &mut Committer<StoreTarget>, store: &OffsetStore) -> [Work; 2] {
        let target = StoreTarget::new(store.clone(), "g");
        [0, 1].map(|p| {
            let position = position(store, p);
            let acks = target.acks(&tp(p), &position, AckLimits::new()).unwrap();
            committer.assign(tp(p), position).unwrap();
            let known = &self.known[p as usize];
            let todo = offsets(acks.gaps());
            assert!(todo.is_disjoint(&known.stored), "to be done again");
            let complete: BTreeSet<_> =
                (0..acks.watermark().0).chain(acks.ranges().flatten()).collect();
            assert!(complete.is_subset(&known.completed), "skipped");
            assert!(complete.is_superset(&known.stored), "forgotten");
            let has_state = !acks.needs_state();
            Work { acks, in_flight: Vec::new(), acknowledged: complete, has_state }
        })
    }

    fn read(&mut self, committer: &mut Committer<StoreTarget>, p: usize, work: &mut Work) {
        let mut partition = committer.partition(&tp(p as i32)).unwrap();
        let at = partition.position().next().0;
        if at == RECORDS || work.in_flight.len() > 20 {
            return;
        }
        let known = &mut self.known[p];
        if work.acks.hand_out(at).unwrap() {
            assert!(!known.stored.contains(&at), "{at} is processed again");
            self.seen.redone += usize::from(known.completed.contains(&at));
            work.in_flight.push(at);
        } else {
            assert!(known.completed.contains(&at), "{at} was never processed");
            self.seen.spared += 1;
        }
        partition.advance(NextOffset(at + 1), None).unwrap();
        known.read = known.read.max(at + 1);
    }

    fn complete(&mut self, p: usize, work: &mut Work) {
        if work.in_flight.is_empty() {
            return;
        }
        let at = self.lots.below(work.in_flight.len() as u64) as usize;
        let at = work.in_flight.swap_remove(at);
        assert!(work.acks.complete(at).unwrap());
        self.known[p].completed.insert(at);
    }

    fn acknowledge(&mut self, committer: &mut Committer<StoreTarget>, p: usize, work: &mut Work) {
        let is_state = work.acks.needs_state();
        if work.acks.is_changed() {
            self.seen.states += usize::from(is_state && work.has_state);
            self.seen.deltas += usize::from(!is_state);
            work.has_state = true;
        }
        committer.partition(&tp(p as i32)).unwrap().acknowledge(&mut work.acks).unwrap();
        work.acknowledged =
            (0..work.acks.watermark().0).chain(work.acks.ranges().flatten()).collect();
    }

    /// Goes on until the power goes, which is when anything fails, or all is done.
    fn live(&mut self, store: &OffsetStore) -> Option<()> {
        let mut committer = committer(store);
        let mut works = self.begin(&mut committer, store);
        self.seen.lives += 1;
        loop {
            let p = self.lots.below(2) as usize;
            let work = &mut works[p];
            match self.lots.below(100) {
                0..30 => self.read(&mut committer, p, work),
                30..60 => self.complete(p, work),
                60..90 => self.acknowledge(&mut committer, p, work),
                90..99 => {
                    committer.commit_async().outcome()?.ok()?;
                    for (known, work) in self.known.iter_mut().zip(&works) {
                        known.stored.clone_from(&work.acknowledged);
                    }
                    if self.known.iter().all(|known| known.stored.len() as i64 == RECORDS) {
                        return Some(());
                    }
                }
                _ => {
                    store.compact().ok()?;
                    self.seen.compactions += 1;
                }
            }
        }
    }
}

/// Records are completed in any order, the power goes at any operation of the disk, also inside of a
/// commit or a compaction, and the program goes on with what is left.
#[test]
fn what_is_completed_and_stored_is_not_processed_again() {
    let mut seen = Seen::default();
    for seed in 0..12 {
        let mut world = World { lots: Lots(seed), known: Default::default(), seen: &mut seen };
        let mut disk = SimDisk::new();
        loop {
            let store = options(seed).open_in(disk.dir()).unwrap();
            disk.freeze_at(disk.operations() + 1 + world.lots.below(300));
            let is_over = world.live(&store).is_some();
            if is_over {
                break;
            }
            assert!(disk.is_frozen());
            disk = disk.power_cut(world.lots.below(u64::MAX));
        }
        for known in &world.known {
            assert_eq!((known.completed.len() as i64, known.read), (RECORDS, RECORDS));
        }
    }
    let Seen { lives, redone, spared, states, deltas, compactions } = seen;
    println!(
        "{lives} lives, {deltas} deltas, {states} states, {compactions} compactions; {redone} \
         records processed again that were not stored, {spared} spared"
    );
    assert!([lives, redone, spared, states, deltas, compactions].iter().all(|count| *count > 0));
}
