//! Crashes at every operation of a history.

use crate::testkit::{Op, Step, Subject};

use super::report::Found;
use super::run::Run;
use super::survivors::Survivors;

impl<S: Subject> Survivors<'_, S> {
    /// Plays a history, and ends it at each operation from the step of that number on. Returns the
    /// operations of each kind that it has.
    pub(super) fn crashes(
        &mut self,
        history: &[Step],
        from: usize,
    ) -> Result<[u64; Op::ALL.len()], Found> {
        let mut run = match self.driver.lots {
            0 => Run::with(self.subject, None),
            _ => Run::recorded(self.subject),
        };
        let played = run.open().and_then(|_| {
            history.iter().try_for_each(|step| run.step(step).map(drop))?;
            run.close()
        });
        let operations = run.operations();
        // What a crash leaves says more than a step that fails later because of it.
        for end in run.into_ends().into_iter().filter(|end| end.begun > from || from == 0) {
            let operation = end.moment.operation;
            let place = match end.moment.in_write {
                true => format!("in the middle of operation {operation}, a write"),
                false => format!("before operation {operation}"),
            };
            let disk = &end.moment.disk;
            self.power_cuts(disk, &end.oracle)
                .map_err(|found| found.after("the power is cut"))
                .and_then(|()| {
                    self.process_death(disk, &end.oracle)
                        .map_err(|found| found.after("the process dies"))
                })
                .map_err(|found| found.at(end.begun, &place))?;
        }
        played.map_err(|wrong| Found::new(history.len(), "while it is played", wrong))?;
        Ok(operations)
    }
}
