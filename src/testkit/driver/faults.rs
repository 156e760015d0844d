//! Every operation of a history failing, once and from then on, and a crash behind that.

use crate::testkit::{Op, Step, Subject};

use super::report::Found;
use super::run::{Fault, Run};
use super::survivors::Survivors;

impl<S: Subject> Survivors<'_, S> {
    /// Plays a history once for each operation and each way to fail.
    pub(super) fn faults(
        &mut self,
        history: &[Step],
        operations: &[u64; Op::ALL.len()],
    ) -> Result<(), Found> {
        for (kind, count) in Op::ALL.into_iter().zip(*operations) {
            for number in 0..count {
                for lasts in [false, true] {
                    self.fault(history, Fault { kind, number, lasts })?;
                }
            }
        }
        Ok(())
    }

    /// Plays a history that meets a fault, and ends it behind the step that has met it, and at its
    /// end.
    fn fault(&mut self, history: &[Step], fault: Fault) -> Result<(), Found> {
        let then = if fault.lasts { "and all later ones fail" } else { "fails" };
        let place = format!("{:?} number {} {then}", fault.kind, fault.number);
        let mut run = Run::with(self.subject, Some(fault));
        let mut is_up = run.open().map_err(|wrong| Found::new(0, &place, wrong))?;
        let mut is_known = self.crash_behind(&run, false).map_err(|found| found.at(0, &place))?;
        for (at, step) in (1..).zip(history) {
            if !is_up {
                break;
            }
            is_up = run.step(step).map_err(|wrong| Found::new(at, &place, wrong))?;
            is_known = self.crash_behind(&run, is_known).map_err(|found| found.at(at, &place))?;
        }
        run.close().map_err(|wrong| Found::new(history.len(), &place, wrong))?;
        self.tally.faults += u64::from(run.has_met());
        self.crash_behind(&run, false).map_err(|found| found.at(history.len(), &place)).map(drop)
    }

    /// Crashes once the fault was met, unless that is known to have been looked at. Whether it is.
    fn crash_behind(&mut self, run: &Run<'_, S>, is_known: bool) -> Result<bool, Found> {
        if is_known || !run.has_met() {
            return Ok(is_known);
        }
        let power = self.power_cuts(&run.disk, &run.oracle);
        power.map_err(|found| found.after("the power is cut"))?;
        let death = self.process_death(&run.disk, &run.oracle);
        death.map_err(|found| found.after("the process dies"))?;
        Ok(true)
    }
}
