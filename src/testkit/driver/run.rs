//! One run of a history, which crashes and faults may end.

use std::io;

use crate::key::Durability;
use crate::testkit::step::brief;
use crate::testkit::{Crash, Failed, Moment, Op, Oracle, SimDisk, Step, Subject};

/// A fault that a run meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Op,
    /// The number of the operation of that kind, counted over all of the run.
    pub(super) number: u64,
    /// Whether it goes on from there.
    pub(super) lasts: bool,
}

/// A place where a run can end, and what may be found then.
pub(super) struct End {
    pub(super) moment: Moment,
    pub(super) oracle: Oracle,
    /// The number of steps that were begun.
    pub(super) begun: usize,
}

/// A subject on a disk, and the oracle that watches it.
pub(super) struct Run<'a, S: Subject> {
    subject: &'a S,
    pub(super) disk: SimDisk,
    open: Option<S::Open>,
    pub(super) oracle: Oracle,
    begun: usize,
    fault: Option<Fault>,
    /// Faults that were met on disks that are gone.
    met: u64,
    /// The operations of each kind on disks that are gone.
    past: [u64; Op::ALL.len()],
    records: bool,
    /// The oracle at the start of each call on this disk, and the operation that was next then.
    notes: Vec<(u64, usize, Oracle)>,
    ends: Vec<End>,
}

impl<'a, S: Subject> Run<'a, S> {
    /// A run that keeps all its ends.
    pub(super) fn recorded(subject: &'a S) -> Run<'a, S> {
        let mut run = Run::with(subject, None);
        run.records = true;
        run.disk.record();
        run
    }

    /// A run that may meet a fault.
    pub(super) fn with(subject: &'a S, fault: Option<Fault>) -> Run<'a, S> {
        let run = Run {
            subject,
            disk: SimDisk::new(),
            open: None,
            oracle: Oracle::new(),
            begun: 0,
            fault,
            met: 0,
            past: [0; Op::ALL.len()],
            records: false,
            notes: Vec::new(),
            ends: Vec::new(),
        };
        run.plan();
        run
    }

    /// Whether the fault was met.
    pub(super) fn has_met(&self) -> bool {
        self.met + self.disk.failures() > 0
    }

    /// The operations of each kind, in the order of [`Op::ALL`].
    pub(super) fn operations(&self) -> [u64; Op::ALL.len()] {
        let mut operations = self.past;
        for (count, kind) in operations.iter_mut().zip(Op::ALL) {
            *count += self.disk.operations_of(kind);
        }
        operations
    }

    /// Opens the subject. False if the fault does not let it.
    pub(super) fn open(&mut self) -> Result<bool, String> {
        self.note();
        loop {
            let before = self.disk.failures();
            match self.subject.open(self.disk.dir(), self.disk.fingerprint()) {
                Ok(open) => {
                    let shown = self.subject.observe(&open);
                    if !self.oracle.allows(Crash::Process, &shown) {
                        let expected = self.oracle.expectation(Crash::Process);
                        return Err(format!("shows {}\nnot {expected}", brief(&shown)));
                    }
                    self.oracle.opened(shown);
                    self.open = Some(open);
                    return Ok(true);
                }
                Err(error) if self.disk.failures() == before => {
                    return Err(format!("cannot be opened: {error}"));
                }
                Err(_) => {
                    // It may have been a flush of what the last process has left.
                    self.oracle.failed();
                    if self.fault.is_none_or(|fault| fault.lasts) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Does a step. False if the fault has left nothing that could go on.
    pub(super) fn step(&mut self, step: &Step) -> Result<bool, String> {
        self.begun += 1;
        match step {
            Step::Reopen => {
                self.close()?;
                self.open()
            }
            Step::PowerCut(lot) => self.crash(Crash::Power, |disk| disk.power_cut(*lot)),
            Step::Kill => self.crash(Crash::Process, SimDisk::process_crash),
            step => self.call(step),
        }
    }

    fn call(&mut self, step: &Step) -> Result<bool, String> {
        self.oracle.begin(step);
        self.note();
        let Some(open) = &mut self.open else { return Ok(false) };
        match self.subject.apply(open, step) {
            Ok(level) => self.oracle.returned(level),
            Err(error) if !self.has_met() => return Err(format!("the step failed: {error}")),
            Err(Failed::Refused(_)) => self.oracle.refused(),
            Err(Failed::Broken(_)) => {
                self.oracle.failed();
                self.open = None;
                return self.open();
            }
        }
        let Some(open) = &self.open else { return Ok(false) };
        let shown = self.subject.observe(open);
        if shown != *self.oracle.newest() {
            let expected = brief(self.oracle.newest());
            return Err(format!("shows {}\nnot {expected}\nwithout a crash", brief(&shown)));
        }
        Ok(true)
    }

    /// Closes in order.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.note();
        let Some(open) = self.open.take() else { return Ok(()) };
        match self.subject.close(open) {
            Ok(()) => self.oracle.returned(Durability::Synced),
            Err(error) if !self.has_met() => return Err(format!("cannot be closed: {error}")),
            Err(_) => self.oracle.failed(),
        }
        Ok(())
    }

    /// Ends this machine, and opens what it leaves.
    fn crash(&mut self, crash: Crash, leave: impl Fn(&SimDisk) -> SimDisk) -> Result<bool, String> {
        self.note();
        let next = leave(&self.disk);
        self.leave_disk();
        self.open = None;
        self.disk = next;
        if self.records {
            self.disk.record();
        }
        self.plan();
        if crash == Crash::Power {
            // From here on it makes no difference how what opens next ends: this much is gone.
            self.oracle.failed();
        }
        self.open()
    }

    /// All ends of the run, the last one included.
    pub(super) fn into_ends(mut self) -> Vec<End> {
        self.note();
        self.leave_disk();
        std::mem::take(&mut self.ends)
    }

    /// Takes note of what may be found from the next operation on.
    fn note(&mut self) {
        if self.records {
            self.notes.push((self.disk.operations(), self.begun, self.oracle.clone()));
        }
    }

    /// Counts what happened on a disk, and keeps its ends.
    fn leave_disk(&mut self) {
        self.past = self.operations();
        self.met += self.disk.failures();
        if self.records {
            let last = self.disk.operations();
            let mut moments = self.disk.recorded();
            let disk = self.disk.process_crash();
            moments.push(Moment { operation: last, in_write: false, disk });
            for moment in moments {
                let behind = self.notes.partition_point(|(next, ..)| *next <= moment.operation);
                let (_, begun, oracle) = self.notes[behind.saturating_sub(1)].clone();
                self.ends.push(End { moment, oracle, begun });
            }
            self.notes.clear();
        }
        // What a dropped subject still does is nothing that this run has to do with.
        self.disk.freeze_at(0);
    }

    /// Plans the fault on the disk of the moment, unless it was met before.
    fn plan(&self) {
        let Some(Fault { kind, number, lasts }) = self.fault.filter(|_| self.met == 0) else {
            return;
        };
        let Some(number) = number.checked_sub(self.past[kind as usize]) else { return };
        match lasts {
            true => self.disk.fail_from(kind, number, io::ErrorKind::Other),
            false => self.disk.fail_nth(kind, number, io::ErrorKind::Other),
        }
    }
}

impl<S: Subject> Drop for Run<'_, S> {
    fn drop(&mut self) {
        self.disk.freeze_at(0);
    }
}
