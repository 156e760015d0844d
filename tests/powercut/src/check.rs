//! What a store may show after a power cut.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pagemark::{ErrorKind, Key, NextOffset, OffsetReader, OffsetStore};

use crate::backup::Left;
use crate::disk::Image;
use crate::life::{Orders, STORE};
use crate::plan::{self, Held, SHARED, Step};
use crate::said::Said;

/// What a store shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The group of each thread.
    pub(crate) held: Vec<Held>,
    /// The offset of the key that all threads share.
    pub(crate) shared: Option<i64>,
    /// Whether a torn tail was cut off.
    pub(crate) torn: bool,
}

impl Shown {
    pub(crate) fn nothing(threads: u64) -> Shown {
        Shown { held: vec![Held::new(); threads as usize], shared: None, torn: false }
    }
}

/// What the steps of a disk's life come to.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// What the disk showed at first, all of it durable.
    before: Shown,
    /// The number of the first step.
    first: i64,
    /// For each thread, what its group holds after each number of steps, none first.
    states: Vec<Vec<Held>>,
}

impl Model {
    pub(crate) fn new(before: Shown, first: i64, steps: i64) -> Model {
        let states = before.held.iter().zip(0..).map(|(held, thread)| {
            let mut states = vec![held.clone()];
            for number in first..first + steps {
                let mut held = states[states.len() - 1].clone();
                plan::apply(&mut held, thread, number);
                states.push(held);
            }
            states
        });
        Model { states: states.collect(), before, first }
    }

    /// What is shown after this many steps of each thread, the shared key apart.
    fn state(&self, thread: usize, steps: usize) -> &Held {
        let states = &self.states[thread];
        &states[steps.min(states.len() - 1)]
    }

    /// Looks at the image of a store and its backup: writes it out, verifies and opens it, and compares
    /// what it shows with what was said. Says what is wrong.
    pub(crate) fn check(
        &self,
        images: &[Image; 2],
        said: &Said,
        orders: &Orders,
        scratch: &Path,
    ) -> Result<(Shown, Left), String> {
        let left = self.check_backup(images, said, orders, scratch)?;
        let mut said = said.clone();
        if let Left::Store(newest) = left {
            // Nothing is copied that the store could still lose.
            said.durable = said.durable.max(newest);
        }
        let said = &said;
        let [image, backup] = images;
        let dir = scratch.join(STORE);
        write_out(image, &dir).map_err(|error| format!("cannot write the image: {error}"))?;
        let read = self.read(&dir)?;
        match pagemark::verify(&dir) {
            Ok(report) if report.is_clean() => {}
            Ok(report) => return Err(format!("verify finds damage: {:#?}", report.findings)),
            // Nothing was born yet. That nothing was promised, too, is seen below.
            Err(error) if error.kind() == ErrorKind::NotAStore => {}
            Err(error) => return Err(format!("verify fails: {error}")),
        }
        let failed = |error| format!("cannot be opened: {error}");
        let options = orders.options().background(false);
        let store = options.open(&dir).map_err(failed)?;
        let torn = store.recovery_report().cut.is_some();
        let (mut shown, newest) = self.look(&store, said)?;
        self.compare(&shown, newest, said)?;
        if read != shown.held {
            return Err(format!("a reader shows {read:#?}, and the store {:#?}", shown.held));
        }
        // And it is good for more: what was shown is there after the next open, and so is a commit.
        let more = Key::new("one", "more", 0);
        store.commit(more, NextOffset(1)).map_err(|error| format!("takes no commit: {error}"))?;
        store.close().map_err(|error| format!("cannot be closed: {error}"))?;
        let store = options.open(&dir).map_err(failed)?;
        if !store.recovery_report().clean {
            return Err("was closed in order, and is not clean".into());
        }
        store.delete(more).map_err(|error| format!("takes no delete: {error}"))?;
        let (again, _) = self.look(&store, said)?;
        if again != shown {
            return Err(format!("shows {shown:#?}, and {again:#?} when it is opened once more"));
        }
        self.check_next_backup(backup, (&store, &shown), said, orders, scratch)?;
        shown.torn = torn;
        Ok((shown, left))
    }

    /// What a reader shows of the threads' groups before anybody has opened the store.
    fn read(&self, dir: &Path) -> Result<Vec<Held>, String> {
        let reader = match OffsetReader::open(dir) {
            Ok(reader) => reader,
            Err(error) if error.kind() == ErrorKind::NotAStore => {
                return Ok(vec![Held::new(); self.states.len()]);
            }
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let held = (0..self.states.len() as u64).map(|thread| {
            let values = reader.fetch_group(&plan::group(thread)).into_iter();
            values
                .map(|(key, v)| ((key.topic().to_owned(), key.partition()), v.offset().0))
                .collect()
        });
        Ok(held.collect())
    }

    /// What a store shows, and the newest seq of it. Each value is compared with its step.
    pub(crate) fn look(&self, store: &OffsetStore, said: &Said) -> Result<(Shown, u64), String> {
        let mut shown = Shown::nothing(self.states.len() as u64);
        let mut newest = 0;
        let mut groups: Vec<String> = Vec::new();
        for thread in 0..self.states.len() as u64 {
            let values = store.fetch_group(&plan::group(thread));
            groups.extend((!values.is_empty()).then(|| plan::group(thread)));
            for (key, value) in values {
                let (number, seq) = (value.offset().0, value.seq().get());
                newest = newest.max(seq);
                if value.metadata() != plan::metadata(thread, number) || !value.is_durable() {
                    return Err(format!("step {number} of thread {thread} shows as {value:?}"));
                }
                self.compare_seq(said, thread, number, seq)?;
                shown.held[thread as usize]
                    .insert((key.topic().to_owned(), key.partition()), number);
            }
        }
        if let Some(value) = store.fetch(SHARED) {
            let (offset, seq) = (value.offset().0, value.seq().get());
            newest = newest.max(seq);
            self.compare_seq(said, offset as u64 % 64, offset / 64, seq)?;
            shown.shared = Some(offset);
            groups.push(SHARED.group().to_owned());
        }
        let mut found = store.groups();
        found.retain(|group| group != "one");
        match found == groups {
            true => Ok((shown, newest)),
            false => Err(format!("has the groups {found:?} and should have {groups:?}")),
        }
    }

    /// A step of this life that returned has the seq that it returned.
    fn compare_seq(&self, said: &Said, thread: u64, number: i64, seq: u64) -> Result<(), String> {
        let step = usize::try_from(number - self.first).ok();
        let acked = step.and_then(|step| said.acked[thread as usize].get(step));
        match acked {
            Some(acked) if *acked != seq => {
                Err(format!("step {number} of thread {thread} has seq {seq} and returned {acked}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a store may show this: nothing durable is missing, nothing that was never begun is
    /// there, and if a record is there, all that are older are there, too.
    pub(crate) fn compare(&self, shown: &Shown, newest: u64, said: &Said) -> Result<(), String> {
        let at_least = said.durable.max(newest);
        for (thread, acked) in said.acked.iter().enumerate() {
            let fewest = acked.iter().take_while(|seq| **seq <= at_least).count();
            // One step may be under way.
            let most = acked.len() + 1;
            let held = &shown.held[thread];
            if !(fewest..=most).any(|steps| self.state(thread, steps) == held) {
                return Err(format!(
                    "thread {thread} shows the state after none of {fewest} to {most} steps from {} \
                     on: {held:?}\n{:#?}\nseqs {acked:?}, durable up to {}, newest seen {newest}",
                    self.first,
                    (fewest..=most).map(|steps| self.state(thread, steps)).collect::<Vec<_>>(),
                    said.durable,
                ));
            }
        }
        self.compare_shared(shown, at_least, said)
    }

    /// The shared key shows the newest step that must be there, or a newer one.
    fn compare_shared(&self, shown: &Shown, at_least: u64, said: &Said) -> Result<(), String> {
        let mut by_seq = BTreeMap::new();
        let mut may = Vec::new();
        for (thread, acked) in (0..).zip(&said.acked) {
            for (number, seq) in (self.first..).zip(acked.iter().copied().map(Some).chain([None])) {
                if matches!(plan::step(thread, number), Step::Shared) {
                    let offset = plan::shared_offset(thread, number);
                    match seq {
                        Some(seq) => drop(by_seq.insert(seq, offset)),
                        None => may.push(offset),
                    }
                }
            }
        }
        let must = by_seq.range(..=at_least).next_back().map(|(_, offset)| *offset);
        may.extend(by_seq.range(at_least + 1..).map(|(_, offset)| *offset));
        if shown.shared == must.or(self.before.shared)
            || shown.shared.is_some_and(|o| may.contains(&o))
        {
            return Ok(());
        }
        Err(format!(
            "the shared key shows {:?} and should show {must:?} or one of {may:?}; before it was {:?}",
            shown.shared, self.before.shared
        ))
    }
}

/// Puts an image in place of a directory.
pub(crate) fn write_out(image: &Image, dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let Some(files) = image else { return Ok(()) };
    fs::create_dir(dir)?;
    files.iter().try_for_each(|(name, bytes)| fs::write(dir.join(name), bytes))
}
