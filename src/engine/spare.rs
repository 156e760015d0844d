//! The next segment, prepared before it is needed.
//!
//! Allocating and zeroing tens of megabytes takes as long as thousands of commits. It happens ahead
//! of time on a thread of its own, so that rolling over costs a commit one rename.

use std::sync::Arc;

use crate::error::Result;
use crate::format::header::{FileHeader, FileKind};
use crate::format::names;
use crate::io::Dir;
use crate::options::Environment;
use crate::segment::{MIN_FILE_SIZE, Segment};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::signal::Signal;

/// Holds at most one prepared segment.
#[derive(Debug)]
pub(crate) struct Spare {
    dir: Arc<dyn Dir>,
    environment: Arc<dyn Environment>,
    store_id: u128,
    epoch: u32,
    /// Held while a segment is prepared: there is one name for it.
    ready: Mutex<Ready>,
    /// The size that somebody wants prepared; zero for none.
    wanted: AtomicU64,
    signal: Signal,
}

#[derive(Debug, Default)]
struct Ready {
    segment: Option<Segment>,
    /// One was taken and has the name of the spare still, so that no other can have it.
    taken: bool,
    /// The directory is not ours any more.
    closed: bool,
}

impl Ready {
    /// Whether a segment may be prepared that nobody waits for.
    fn wants_one(&self) -> bool {
        self.segment.is_none() && !self.taken && !self.closed
    }
}

impl Spare {
    pub(crate) fn new(
        dir: Arc<dyn Dir>,
        environment: Arc<dyn Environment>,
        store_id: u128,
        epoch: u32,
    ) -> Spare {
        Spare {
            dir,
            environment,
            store_id,
            epoch,
            ready: Mutex::default(),
            wanted: AtomicU64::new(0),
            signal: Signal::default(),
        }
    }

    /// The store that it prepares segments for.
    pub(crate) fn store_id(&self) -> u128 {
        self.store_id
    }

    /// The epoch of this session.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The time that a segment begins with.
    pub(crate) fn now_ms(&self) -> i64 {
        self.environment.now_ms()
    }

    /// Whether a segment was asked for since the last one was taken.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) != 0
    }

    /// Asks for a segment of `size` bytes to be prepared.
    pub(crate) fn want(&self, size: u64) {
        self.wanted.store(size, Ordering::Relaxed);
        self.signal.want();
    }

    /// Takes the prepared segment if it has room for `needed` bytes, or prepares one of `size`. Tell
    /// [`Spare::published`] when it has got its name.
    pub(crate) fn take(&self, needed: u64, size: u64) -> Result<Segment> {
        let mut ready = lock(&self.ready);
        let segment = match ready.segment.take().filter(|segment| segment.header().size >= needed) {
            Some(segment) => segment,
            None => self.prepare(size)?,
        };
        ready.taken = true;
        self.wanted.store(0, Ordering::Relaxed);
        Ok(segment)
    }

    /// Says that the segment that was taken has a name of its own.
    pub(crate) fn published(&self) {
        lock(&self.ready).taken = false;
    }

    /// Gives up the segment that is ready.
    pub(crate) fn discard(&self) {
        lock(&self.ready).segment = None;
    }

    /// Prepares a segment of `size` now, unless one is ready.
    pub(crate) fn make_ready(&self, size: u64) -> Result<()> {
        let mut ready = lock(&self.ready);
        if ready.wants_one() {
            ready.segment = Some(self.prepare(size)?);
            self.wanted.store(size, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Prepares what is asked for until [`Spare::stop`]: the body of the background thread.
    pub(crate) fn serve(&self) {
        while self.signal.wait() {
            let mut ready = lock(&self.ready);
            let size = self.wanted.load(Ordering::Relaxed);
            // A failure is not lost: the commit that needs the segment tries again and reports it.
            if size > 0
                && ready.wants_one()
                && let Ok(segment) = self.prepare(size)
            {
                ready.segment = Some(segment);
            }
        }
    }

    /// Ends [`Spare::serve`].
    pub(crate) fn stop(&self) {
        self.signal.stop();
    }

    /// Removes a prepared segment that nobody will take, and prepares no more: the next holder of
    /// the directory uses the same name.
    pub(crate) fn close(&self) {
        let mut ready = lock(&self.ready);
        ready.closed = true;
        if ready.segment.take().is_some() {
            // One that stays behind is removed at the next open.
            let _ = self.dir.remove(names::SPARE);
        }
    }

    fn prepare(&self, size: u64) -> Result<Segment> {
        let header = FileHeader {
            kind: FileKind::Segment,
            epoch: self.epoch,
            store_id: self.store_id,
            salt: self.environment.random(),
            size: size.max(MIN_FILE_SIZE),
        };
        Segment::prepare(&*self.dir, header)
    }
}

/// Locks what a panic cannot leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, Weak};

    use super::super::open::open;
    use super::*;
    use crate::io::sim::SimDisk;
    use crate::key::{Commit, Durability, Key, NextOffset};
    use crate::options::{Options, SystemEnvironment};
    use crate::testkit::FixedEnvironment;

    const SIZE: u64 = 16 << 10;

    fn spare(disk: &SimDisk) -> Spare {
        Spare::new(disk.dir(), Arc::new(SystemEnvironment), 7, 3)
    }

    #[test]
    fn one_segment_is_ready_until_it_is_taken_and_none_before_that_has_a_name() {
        let disk = SimDisk::new();
        let spare = spare(&disk);
        assert_eq!((spare.store_id(), spare.epoch()), (7, 3));
        let is_ready = || disk.dir().list().unwrap() == [names::SPARE];
        assert!(!spare.is_wanted() && !is_ready());
        spare.make_ready(SIZE).unwrap();
        assert!(spare.is_wanted() && is_ready());
        spare.make_ready(2 * SIZE).unwrap();
        let taken = spare.take(SIZE, 4 * SIZE).unwrap();
        assert_eq!((taken.header().size, taken.header().epoch), (SIZE, 3), "the first one");
        assert!(!spare.is_wanted());
        // It still has the name of the spare.
        spare.make_ready(SIZE).unwrap();
        assert!(!spare.is_wanted());
        taken.publish(&*disk.dir(), 1).unwrap();
        spare.published();
        spare.make_ready(SIZE).unwrap();
        assert!(spare.is_wanted());
        // One that is too small is replaced by one that is not.
        assert_eq!(spare.take(SIZE + 1, 2 * SIZE).unwrap().header().size, 2 * SIZE);
        spare.published();
        spare.make_ready(SIZE).unwrap();
        spare.discard();
        assert_eq!(spare.take(1, 3 * SIZE).unwrap().header().size, 3 * SIZE);
    }

    #[test]
    fn what_is_ready_goes_at_the_end_and_nothing_comes_after_it() {
        let disk = SimDisk::new();
        let spare = spare(&disk);
        spare.make_ready(SIZE).unwrap();
        spare.close();
        spare.make_ready(SIZE).unwrap();
        spare.want(SIZE);
        spare.stop();
        spare.serve();
        assert!(disk.dir().list().unwrap().is_empty());
    }

    /// Ends the thread that prepares a segment when it is about to.
    #[derive(Debug, Default)]
    struct Ending(OnceLock<Weak<Spare>>);

    impl Environment for Ending {
        fn now_ms(&self) -> i64 {
            0
        }

        fn random(&self) -> u64 {
            self.0.get().and_then(Weak::upgrade).into_iter().for_each(|spare| spare.stop());
            1
        }
    }

    #[test]
    fn what_is_wanted_is_prepared_without_anybody_waiting_for_it() {
        let (disk, environment) = (SimDisk::new(), Arc::<Ending>::default());
        let spare = Arc::new(Spare::new(disk.dir(), Arc::clone(&environment) as _, 7, 3));
        environment.0.set(Arc::downgrade(&spare)).unwrap();
        spare.want(SIZE);
        spare.serve();
        assert_eq!(disk.contents(names::SPARE).map(|bytes| bytes.len() as u64), Some(SIZE));
    }

    #[test]
    fn the_next_segment_is_wanted_when_half_of_the_active_one_is_full() {
        let options = Options::new().environment(FixedEnvironment::new(1));
        let engine = open(SimDisk::new().dir(), &options).unwrap();
        let mut filled = [0; 2];
        while engine.log().unwrap().segments().0 == 1 {
            let position = engine.log().unwrap().tail_bytes();
            assert_eq!(engine.spare.is_wanted(), position > 32 << 10, "{position}");
            filled[usize::from(engine.spare.is_wanted())] += 1;
            let commit = Commit::new(NextOffset(1));
            engine.commit(Key::new("g", "t", 0), commit, Durability::Buffered).unwrap();
        }
        assert!(filled[0] > 100 && filled[1] > 100, "{filled:?}");
        assert!(!engine.spare.is_wanted(), "this one is as good as empty");
    }
}
