//! The driver: crashes and faults at every operation of a history, and an oracle that judges what is
//! left.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::history::numbered_history;
use super::step::Step;
use super::subject::Subject;
use report::Found;
use survivors::Survivors;

mod crashes;
mod faults;
mod report;
mod run;
mod shrink;
mod survivors;

pub use report::{Failure, Tally};

/// Runs histories of a [`Subject`] on a simulated disk, ends them in every way it is told to, and
/// compares what is left with an [`Oracle`](super::Oracle).
///
/// Every history is played once without a crash, and compared with the model after each step. From
/// this one run come all its crashes: before each operation that changes the disk, and in the middle
/// of each write, the process dies or the power is cut. What a power cut leaves is drawn by lots, and
/// with some of these images the power is cut again, at every operation of the recovery. An image
/// that has been seen before is not opened again.
///
/// The same driver, subject and seeds find the same. A history that fails is made as small as it
/// gets.
#[derive(Clone, Debug)]
pub struct Driver {
    lots: u64,
    second_lots: u64,
    second_one_in: u64,
    exhaustive: u64,
    faults: bool,
    threads: usize,
}

impl Default for Driver {
    fn default() -> Driver {
        Driver {
            lots: 4,
            second_lots: 2,
            second_one_in: 8,
            exhaustive: 0,
            faults: false,
            threads: 1,
        }
    }
}

impl Driver {
    /// Four lots for each power cut, two for each cut in the recovery of one image in eight, and no
    /// faults.
    pub fn new() -> Driver {
        Driver::default()
    }

    /// How many lots are drawn of each power cut. The first two are that nothing survives and that
    /// everything does. With 0 there are no crashes but those that a history has as steps.
    pub fn lots(mut self, lots: u64) -> Driver {
        self.lots = lots;
        self
    }

    /// In the recovery of one image in so many the power is cut once more, at each operation, with
    /// so many lots. With 0 lots there is no second cut.
    pub fn second_crash(mut self, one_in: u64, lots: u64) -> Driver {
        (self.second_one_in, self.second_lots) = (one_in.max(1), lots);
        self
    }

    /// Where a power cut can leave at most so many different images, all of them are looked at, and
    /// no lots are drawn.
    pub fn exhaustive(mut self, images: u64) -> Driver {
        self.exhaustive = images;
        self
    }

    /// Whether every history is also played with each of its disk operations failing, once and from
    /// then on, and the power cut behind that.
    pub fn faults(mut self, on: bool) -> Driver {
        self.faults = on;
        self
    }

    /// How many threads share the histories.
    pub fn threads(mut self, threads: usize) -> Driver {
        self.threads = threads.max(1);
        self
    }

    /// Checks the history that `draw` makes of each seed.
    ///
    /// # Errors
    ///
    /// The first history that fails, made small.
    pub fn run<S: Subject>(
        &self,
        subject: &S,
        seeds: Range<u64>,
        draw: impl Fn(u64) -> Vec<Step> + Sync,
    ) -> Result<Tally, Failure> {
        self.for_each(subject, seeds, |survivors, seed| {
            let history = draw(seed);
            self.examine(survivors, &history, 0).map_err(|found| (history, found))
        })
    }

    /// Checks one history.
    ///
    /// # Errors
    ///
    /// The history, made small, if it fails.
    pub fn check<S: Subject>(&self, subject: &S, history: &[Step]) -> Result<Tally, Failure> {
        self.run(subject, 0..1, |_| history.to_vec())
    }

    /// Checks all histories of up to `len` steps of an alphabet. Its commits get offsets of their own.
    ///
    /// # Errors
    ///
    /// The first history that fails, made small.
    pub fn explore<S: Subject>(
        &self,
        subject: &S,
        alphabet: &[Step],
        len: usize,
    ) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        for len in 1..=len {
            let histories = (alphabet.len() as u64).pow(len as u32);
            tally.merge(self.for_each(subject, 0..histories, |survivors, number| {
                let history = numbered_history(alphabet, len, number);
                // What the steps in front of the last one leave, the shorter histories have shown.
                let shown = if len == 1 { 0 } else { len - 1 };
                self.examine(survivors, &history, shown).map_err(|found| (history, found))
            })?);
        }
        Ok(tally)
    }

    /// Calls `examine` for each number, on so many threads.
    fn for_each<S: Subject>(
        &self,
        subject: &S,
        numbers: Range<u64>,
        examine: impl Fn(&mut Survivors<'_, S>, u64) -> Result<(), (Vec<Step>, Found)> + Sync,
    ) -> Result<Tally, Failure> {
        let next = AtomicU64::new(numbers.start);
        let has_failed = AtomicBool::new(false);
        let total = Mutex::new(Tally::default());
        let failed = Mutex::new(Vec::new());
        let work = || {
            let mut survivors = Survivors::new(self, subject);
            while !has_failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    break;
                }
                survivors.tally.histories += 1;
                if let Err((history, found)) = examine(&mut survivors, number) {
                    has_failed.store(true, Ordering::Relaxed);
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((number, history, found));
                }
            }
            total.lock().unwrap_or_else(PoisonError::into_inner).merge(survivors.tally);
        };
        std::thread::scope(|scope| {
            (1..self.threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let tally = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failed.into_iter().min_by_key(|(number, ..)| *number) {
            None => Ok(tally),
            Some((number, history, found)) => {
                Err(self.shrink(subject, number, tally.histories, history, found))
            }
        }
    }

    /// Plays a history and ends it in every way, from the step of that number on.
    fn examine<S: Subject>(
        &self,
        survivors: &mut Survivors<'_, S>,
        history: &[Step],
        from: usize,
    ) -> Result<(), Found> {
        let examined = catch_unwind(AssertUnwindSafe(|| {
            let operations = survivors.crashes(history, from)?;
            if self.faults { survivors.faults(history, &operations) } else { Ok(()) }
        }));
        examined.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(Found::new(
                history.len(),
                "playing it or opening what it left",
                format!("panic: {text}"),
            ))
        })
    }
}
