//! The whole engine on the simulated disk, under schedules that shuttle draws.
//!
//! Every lock, condition and atomic of the engine and of the disk is a place where another thread may
//! go on, the background threads included. A schedule in which nobody can go on is a failure. What
//! threads may rely on is checked while they run; what the disk has to hold is checked in the end, in
//! images of power cuts that were taken meanwhile.

mod close;
mod commit;
mod compact;
mod delete;
mod fail;
mod read;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
// For what the checks remember: no place to go on elsewhere.
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::Config;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

use crate::sync::{Runs, thread};
use crate::testkit::SimDisk;
use crate::{
    Commit, CommitBatch, CommittedOffset, Durability, Environment, Key, NextOffset, OffsetStore,
    Options, Result, Seq,
};

/// Half of the schedules let any thread go on at each step; in the other half each thread goes on as
/// long as it can, but for a few switches at moments that are drawn.
pub(crate) fn explore(run: fn()) {
    const PREEMPTIONS: usize = 3;
    let number = std::env::var("PAGEMARK_SCHEDULES").ok();
    let schedules = number.map_or(1000, |number| number.parse().unwrap());
    check(RandomScheduler::new_from_seed(1, schedules / 2), run);
    check(PctScheduler::new_from_seed(2, PREEMPTIONS, schedules - schedules / 2), run);
}

fn check(scheduler: impl Scheduler + 'static, run: fn()) {
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    let (runs, run) = Runs::count(run);
    shuttle::Runner::new(scheduler, config).run(run);
    drop(runs);
}

/// A clock that stands still, and random numbers that only differ.
#[derive(Debug, Default)]
struct Still(AtomicU64);

impl Environment for Still {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

/// With small segments, and with background threads if a test wants to have them.
fn options(background: bool) -> Options {
    Options::new()
        .segment_size(16 << 10)
        .background(background)
        .environment(Arc::new(Still::default()))
}

/// What all keys have in common but their partitions.
fn key(partition: i32) -> Key<'static> {
    Key::new("g", "t", partition)
}

/// Metadata that tells the offset that it was committed with.
fn metadata(offset: i64, len: usize) -> String {
    (offset % 10).to_string().repeat(len)
}

/// A store, and what its threads know.
struct World {
    disk: SimDisk,
    store: OffsetStore,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By partition and seq: the offset that was committed, or none for a delete.
    acknowledged: BTreeMap<(i32, u64), Option<i64>>,
    /// The highest durable seq that anybody was told.
    durable: u64,
    /// The highest seq that anybody fetched, by partition.
    fetched: BTreeMap<i32, u64>,
    /// Power cuts, each with the durable seq that somebody had been told.
    images: Vec<(u64, SimDisk)>,
    /// A power cut after the close of the store.
    closed: Option<SimDisk>,
}

impl Known {
    /// The newest change of a partition that was acknowledged, up to a seq.
    fn newest(&self, partition: i32, seq: u64) -> Option<(u64, Option<i64>)> {
        let mut changes = self.acknowledged.range((partition, 0)..=(partition, seq));
        changes.next_back().map(|((_, seq), offset)| (*seq, *offset))
    }
}

impl World {
    fn new(background: bool) -> Arc<World> {
        let disk = SimDisk::new();
        let store = options(background).open_in(disk.dir()).unwrap();
        Arc::new(World { disk, store, known: Mutex::default() })
    }

    /// Commits, and looks at what the disk has if that was synced.
    fn commit(&self, partition: i32, offset: i64, durability: Durability) -> Result<Seq> {
        self.commit_long(partition, offset, durability, 0)
    }

    /// [`commit`](World::commit) with so many bytes of metadata.
    fn commit_long(
        &self,
        partition: i32,
        offset: i64,
        durability: Durability,
        len: usize,
    ) -> Result<Seq> {
        let metadata = metadata(offset, len);
        let commit = Commit::new(NextOffset(offset)).metadata(&metadata);
        let seq = self.store.commit_with(key(partition), commit, durability)?.seq();
        self.acknowledge(&[(partition, Some(offset))], seq, durability);
        Ok(seq)
    }

    /// Commits the same offset to several partitions, all or none.
    fn commit_batch(&self, partitions: &[i32], offset: i64, durability: Durability) -> Result<Seq> {
        let mut batch = CommitBatch::new("g");
        for partition in partitions {
            batch.commit("t", *partition, NextOffset(offset));
        }
        let seq = self.store.commit_batch_with(&batch, durability)?.seq();
        let changes: Vec<_> = partitions.iter().map(|p| (*p, Some(offset))).collect();
        self.acknowledge(&changes, seq, durability);
        Ok(seq)
    }

    /// Deletes, as durable as the default is, which is synced.
    fn delete(&self, partition: i32) -> Result<Seq> {
        let seq = self.store.delete(key(partition))?.seq();
        self.acknowledge(&[(partition, None)], seq, Durability::Synced);
        Ok(seq)
    }

    fn acknowledge(&self, changes: &[(i32, Option<i64>)], seq: Seq, durability: Durability) {
        let mut known = self.known.lock().unwrap();
        for (partition, offset) in changes {
            known.acknowledged.insert((*partition, seq.get()), *offset);
        }
        drop(known);
        if durability == Durability::Synced {
            self.is_durable(seq);
        }
    }

    /// Somebody was told that `seq` is durable: the store says so, too, and a power cut shows it.
    fn is_durable(&self, seq: Seq) {
        assert!(self.durable() >= seq.get(), "{seq:?} is not durable");
        self.cut_power();
    }

    /// What the store says to be durable, which never goes back.
    fn durable(&self) -> u64 {
        let durable = self.store.durable_seq().get();
        let mut known = self.known.lock().unwrap();
        assert!(durable >= known.durable, "went back from {} to {durable}", known.durable);
        known.durable = durable;
        durable
    }

    /// Keeps what a power cut would leave now.
    fn cut_power(&self) {
        let durable = self.durable();
        // Nothing that was not synced survives.
        let image = self.disk.power_cut(0);
        self.known.lock().unwrap().images.push((durable, image));
    }

    /// Fetches, and checks that nothing is older than what anybody had known before.
    fn fetch(&self, partition: i32) -> Option<CommittedOffset> {
        let (acknowledged, fetched) = {
            let known = self.known.lock().unwrap();
            let fetched = known.fetched.get(&partition).copied().unwrap_or(0);
            (known.newest(partition, u64::MAX), fetched)
        };
        let found = self.store.fetch(key(partition));
        let seq = found.as_ref().map(|found| found.seq().get());
        match acknowledged {
            Some((newest, Some(_))) => {
                // Without a value it was deleted since, by whom who has not said so yet.
                assert!(seq.is_none_or(|seq| seq >= newest), "{seq:?} after {newest} was there");
            }
            Some((deleted, None)) => assert!(seq.is_none_or(|seq| seq > deleted), "came back"),
            None => {}
        }
        if let Some(found) = &found {
            let whole = metadata(found.offset().0, found.metadata().len());
            assert_eq!(found.metadata(), whole, "torn");
        }
        if let Some(seq) = seq {
            assert!(seq >= fetched, "went back from {fetched} to {seq}");
            self.known.lock().unwrap().fetched.insert(partition, seq.max(fetched));
        }
        if found.as_ref().is_some_and(CommittedOffset::is_durable) {
            assert!(Some(self.durable()) >= seq, "shown as durable too early");
        }
        found
    }

    /// Runs the bodies at the same time, each on a thread, and waits for all.
    fn race(self: &Arc<World>, bodies: &[fn(&World)]) {
        let spawn = |body: &fn(&World)| {
            let (world, body) = (Arc::clone(self), *body);
            thread::spawn(move || body(&world))
        };
        let threads: Vec<_> = bodies.iter().map(spawn).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    /// Closes the store, and keeps what a power cut would leave behind that.
    fn close(&self) -> Result<()> {
        self.store.clone().close()?;
        self.known.lock().unwrap().closed = Some(self.disk.power_cut(0));
        Ok(())
    }

    /// Checks each image of a power cut. That of a closed store has everything, and nobody wrote to
    /// the disk behind it.
    fn check(self: Arc<World>) {
        let world = Arc::into_inner(self).unwrap();
        // If not before, and if no flush has failed.
        let _ = world.close();
        drop(world.store);
        let known = world.known.into_inner().unwrap();
        for (durable, image) in &known.images {
            known.check_image(image, *durable);
        }
        for closed in known.closed.iter().flat_map(|closed| [closed, &world.disk]) {
            let store = known.check_image(closed, u64::MAX);
            assert!(store.recovery_report().clean);
        }
    }
}

impl Known {
    /// Opens what a disk has, and checks that it shows every change up to `durable`, or a newer one.
    fn check_image(&self, disk: &SimDisk, durable: u64) -> OffsetStore {
        let store = options(false).open_in(disk.dir()).unwrap();
        for partition in 0..8 {
            let found = store.fetch(key(partition));
            let seq = found.as_ref().map_or(0, |found| found.seq().get());
            match self.newest(partition, durable) {
                Some((newest, Some(_))) if found.is_some() => {
                    assert!(seq >= newest, "{seq} although {newest} was durable");
                }
                Some((newest, Some(_))) => {
                    let later = self.newest(partition, u64::MAX);
                    assert!(later.is_some_and(|later| later.0 > newest), "{newest} is lost");
                }
                Some((deleted, None)) => assert!(seq == 0 || seq > deleted, "came back"),
                None => {}
            }
            if let (Some(found), Some(offset)) = (found, self.acknowledged.get(&(partition, seq))) {
                assert_eq!(Some(found.offset().0), *offset, "a value that was not committed");
            }
        }
        store
    }
}
