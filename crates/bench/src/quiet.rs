//! Whether other programs use the processors: their work is not to be measured.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::table::Quietness;

/// The part of one processor that others may use in a measurement that counts as quiet.
const ALLOWED: f64 = 0.1;
/// How long it has to have been quiet before a measurement.
const WINDOW: Duration = Duration::from_millis(250);
/// The unit of `/proc/stat` and `/proc/self/stat` on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Waits for quiet, and counts what was measured without it.
#[derive(Debug)]
pub struct Quiet {
    patience: Duration,
    measured: Cell<usize>,
    disturbed: Cell<usize>,
}

impl Quiet {
    /// Waits at most `patience` for each measurement.
    pub fn new(patience: Duration) -> Quiet {
        Quiet { patience, measured: Cell::new(0), disturbed: Cell::new(0) }
    }

    /// Measures until nobody else was at work meanwhile, or until patience ends.
    pub fn measure<R>(&self, mut measure: impl FnMut() -> R) -> R {
        let deadline = Instant::now() + self.patience;
        loop {
            self.wait_until(deadline);
            let before = Usage::now();
            let measured = measure();
            let is_quiet = before.others_since() <= ALLOWED;
            if is_quiet || Instant::now() >= deadline {
                self.count(is_quiet);
                return measured;
            }
        }
    }

    /// Waits for quiet and measures once, whatever happens meanwhile: for what cannot be repeated.
    pub fn measure_once<R>(&self, measure: impl FnOnce() -> R) -> R {
        self.wait_until(Instant::now() + self.patience);
        let before = Usage::now();
        let measured = measure();
        self.count(before.others_since() <= ALLOWED);
        measured
    }

    fn wait_until(&self, deadline: Instant) {
        while Instant::now() < deadline {
            let before = Usage::now();
            std::thread::sleep(WINDOW);
            if before.others_since() <= ALLOWED {
                break;
            }
        }
    }

    fn count(&self, is_quiet: bool) {
        self.measured.set(self.measured.get() + 1);
        self.disturbed.set(self.disturbed.get() + usize::from(!is_quiet));
    }

    /// How many measurements there were, and how many of them may be wrong.
    pub fn told(&self) -> Quietness {
        Quietness { measured: self.measured.get(), disturbed: self.disturbed.get() }
    }
}

/// Time in user mode up to a moment. Kernel threads have none: they work for whoever is measured.
#[derive(Debug)]
struct Usage {
    at: Instant,
    all: f64,
    own: f64,
}

impl Usage {
    fn now() -> Usage {
        let ticks = |words: &[&str]| -> f64 {
            words.iter().map(|word| word.parse::<f64>().expect("a number")).sum()
        };
        let read = |path| std::fs::read_to_string(path).expect("read from /proc");
        let machine = read("/proc/stat");
        // "cpu user nice ..."
        let machine: Vec<&str> = machine.split_ascii_whitespace().collect();
        let own = read("/proc/self/stat");
        // Behind the name, which may hold anything, come state to utime as fields 3 to 14, and the
        // time of children that were waited for as field 16.
        let own = own.rsplit_once(')').expect("a name in brackets").1;
        let own: Vec<&str> = own.split_ascii_whitespace().collect();
        Usage {
            at: Instant::now(),
            all: ticks(&machine[1..3]) / TICKS_PER_SECOND,
            own: ticks(&[own[11], own[13]]) / TICKS_PER_SECOND,
        }
    }

    /// How many processors others kept busy since then, on average.
    fn others_since(&self) -> f64 {
        let now = Usage::now();
        let others = (now.all - self.all) - (now.own - self.own);
        others / now.at.duration_since(self.at).as_secs_f64()
    }
}
