//! What a crash leaves, opened and judged.

use crate::testkit::oracle::print;
use crate::testkit::step::brief;
use crate::testkit::{Crash, Failed, Oracle, SimDisk, State, Step, Subject, mix};

use super::Driver;
use super::report::{Found, Image, Tally};

/// How an image came about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// By a cut in a history.
    First,
    /// By another cut, inside of the recovery from the first.
    InRecovery,
    /// By another cut, behind a recovery.
    Behind,
}

/// Opens images, and remembers them.
pub(super) struct Survivors<'a, S: Subject> {
    pub(super) driver: &'a Driver,
    pub(super) subject: &'a S,
    pub(super) tally: Tally,
}

impl<'a, S: Subject> Survivors<'a, S> {
    pub(super) fn new(driver: &'a Driver, subject: &'a S) -> Survivors<'a, S> {
        Survivors { driver, subject, tally: Tally::default() }
    }

    /// The power is cut, in all ways or by lots, and what is left is opened.
    pub(super) fn power_cuts(&mut self, disk: &SimDisk, may: &Oracle) -> Result<(), Found> {
        let Driver { lots, exhaustive, .. } = *self.driver;
        if disk.power_cuts() <= exhaustive.max(lots) {
            return self.all_power_cuts(disk, may, Cut::First);
        }
        let seed = disk.fingerprint();
        // Nothing survives, everything does, and then anything.
        (0..lots).try_for_each(|lot| {
            let lot = if lot < 2 { lot } else { mix(seed ^ lot) };
            self.power_cut(disk, may, lot, Cut::First)
        })
    }

    fn all_power_cuts(&mut self, disk: &SimDisk, may: &Oracle, cut: Cut) -> Result<(), Found> {
        (0..disk.power_cuts()).try_for_each(|number| {
            let checked = self.image(&disk.power_cut_number(number), may, cut);
            checked.map_err(|found| found.after(format!("disk.power_cut_number({number})")))
        })
    }

    fn power_cut(&mut self, disk: &SimDisk, may: &Oracle, lot: u64, cut: Cut) -> Result<(), Found> {
        let checked = self.image(&disk.power_cut(lot), may, cut);
        checked.map_err(|found| found.after(format!("disk.power_cut({lot})")))
    }

    /// The process dies, what is left is opened, and the power is cut: in the middle of that, and
    /// behind it.
    pub(super) fn process_death(&mut self, disk: &SimDisk, may: &Oracle) -> Result<(), Found> {
        let image = disk.process_crash();
        let seed = image.fingerprint();
        let again = self.is_chosen(seed);
        if again {
            image.record();
        }
        let (open, shown) = self.open(&image, seed, may, Crash::Process)?;
        self.tally.deaths += 1;
        if again {
            // What the process had not made durable may still go.
            self.second_crash(&image, may)?;
        }
        let cut = image.power_cut(0);
        image.freeze_at(0);
        drop(open);
        let shown = Oracle::at(shown);
        self.image(&cut, &shown, Cut::Behind).map_err(|found| found.after("after it was opened"))
    }

    /// Whether the recovery of a disk is looked at, too.
    fn is_chosen(&self, seed: u64) -> bool {
        self.driver.second_lots > 0 && seed.is_multiple_of(self.driver.second_one_in)
    }

    /// Opens what a power cut has left, unless that was done before.
    fn image(&mut self, image: &SimDisk, may: &Oracle, cut: Cut) -> Result<(), Found> {
        let seed = image.fingerprint();
        if let Some(known) = self.tally.images.get_mut(&seed) {
            known.in_recovery |= cut == Cut::InRecovery;
            if may.allows_print(Crash::Power, known.shown) {
                return Ok(());
            }
        }
        let again = cut == Cut::First && self.is_chosen(seed);
        if again {
            image.record();
        }
        let (open, shown) = self.open(image, seed, may, Crash::Power)?;
        let in_recovery = cut == Cut::InRecovery;
        self.tally.images.insert(seed, Image { shown: print(&shown), in_recovery });
        if again {
            self.second_crash(image, may)?;
            self.go_on(image, open, shown)?;
        } else {
            image.freeze_at(0);
        }
        Ok(())
    }

    /// The power is cut once more while a recovery runs.
    fn second_crash(&mut self, recovered: &SimDisk, may: &Oracle) -> Result<(), Found> {
        let lots = self.driver.second_lots;
        for moment in recovered.recorded() {
            let disk = &moment.disk;
            let checked = if disk.power_cuts() <= lots {
                self.all_power_cuts(disk, may, Cut::InRecovery)
            } else {
                let seed = disk.fingerprint();
                (0..lots)
                    .try_for_each(|lot| self.power_cut(disk, may, mix(seed ^ lot), Cut::InRecovery))
            };
            checked.map_err(|found| {
                found.after(format!("in operation {} of the recovery", moment.operation))
            })?;
        }
        Ok(())
    }

    /// A store that was recovered takes a commit, and keeps it.
    fn go_on(&mut self, image: &SimDisk, mut open: S::Open, shown: State) -> Result<(), Found> {
        let mut oracle = Oracle::at(shown);
        for step in [Step::commit("after", "t", 0, i64::MAX), Step::Sync] {
            oracle.begin(&step);
            let level = self.subject.apply(&mut open, &step).map_err(|error| {
                Found::wrong(format!("what was recovered takes no {step}: {error}"))
            })?;
            oracle.returned(level);
        }
        let cut = image.power_cut(0);
        image.freeze_at(0);
        drop(open);
        self.image(&cut, &oracle, Cut::Behind).map_err(|found| found.after("after one more commit"))
    }

    /// Opens an image, and judges what it shows.
    fn open(
        &mut self,
        image: &SimDisk,
        seed: u64,
        may: &Oracle,
        crash: Crash,
    ) -> Result<(S::Open, State), Found> {
        self.tally.recoveries += 1;
        let cannot = |error: Failed| Found::wrong(format!("cannot be opened: {error}"));
        let open = self.subject.open(image.dir(), seed).map_err(cannot)?;
        let shown = self.subject.observe(&open);
        if !may.allows(crash, &shown) {
            let expected = may.expectation(crash);
            return Err(Found::wrong(format!("shows {}\nnot {expected}", brief(&shown))));
        }
        self.subject.inspect(&open, image).map_err(Found::wrong)?;
        Ok((open, shown))
    }
}
