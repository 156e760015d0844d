//! A disk in memory that can lose power, fill up and fail.
//!
//! The whole engine runs on it through the same traits as on a real disk, so that a test can stop
//! the machine at any operation, look at every state that a real disk could be in afterwards, and
//! open the store again. Nothing here is random: the same calls give the same disk.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::Dir;
use super::lock::LOCK_NAME;

mod content;
mod handles;
mod lots;
mod names;
mod plan;

use content::Content;
use names::{FileId, Names};
use plan::{Plan, Verdict, stopped};

pub use lots::{Lots, mix};
pub use plan::Op;

/// A simulated disk with one directory. Clones are the same disk.
///
/// It keeps apart what processes see and what would survive a power cut, for the content of each
/// file, sector by sector (512 bytes), and for the names. What was not synced may survive or not,
/// each sector and each change of a name on its own. A plan of faults makes operations fail, once or
/// from then on, and stops the machine in the middle of one.
///
/// What it does not do: it never tears a sector, and a rename happens as a whole or not at all. The
/// size of a file is durable with the file. A sync that returns has reached the device. What is
/// durable does not rot, but [`put`](SimDisk::put) damages any file. Names that survive out of order
/// need no case of their own: what that leaves behind some subset in order leaves behind, too.
///
/// ```
/// use pagemark::testkit::{Dir, SimDisk};
///
/// let disk = SimDisk::new();
/// let file = disk.create("a", 4096)?;
/// disk.sync()?;
/// file.write_at(0, b"new")?;
/// assert_eq!(disk.contents("a").unwrap()[..3], *b"new");
/// assert_eq!(disk.power_cut(0).contents("a").unwrap()[..3], *b"\0\0\0");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk without limits.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// This disk as the directory of a store.
    pub fn dir(&self) -> Arc<dyn Dir> {
        Arc::new(self.clone())
    }

    /// The disk that a power cut at this moment leaves behind.
    ///
    /// With seed 0 nothing survives that was not synced, with seed 1 everything; any other seed
    /// draws lots, with a bias that the seed draws too. One seed in four keeps the order of the
    /// changes of names, as a journal does: what survives of them is what came first. Of a sector
    /// that was written several times, any of the last eight versions may be the one that survives.
    /// What a failed sync gave up never survives. This disk stays as it is; the new one has nothing
    /// unsynced, no lock holder and no planned faults, and keeps the [capacity](SimDisk::capacity).
    pub fn power_cut(&self, seed: u64) -> SimDisk {
        match seed {
            0 => self.power_cut_with(|_| 0),
            1 => self.power_cut_with(|alternatives| alternatives - 1),
            _ => {
                let mut lots = Lots(mix(seed));
                let newest_of_8 = 1 + lots.below(7);
                let names = self.state().names.pending() as u64;
                let kept = (lots.below(4) == 0).then(|| lots.below(names + 1));
                let mut asked = 0;
                self.power_cut_with(|alternatives| {
                    asked += 1;
                    if let Some(kept) = kept.filter(|_| asked <= names) {
                        return usize::from(asked <= kept);
                    }
                    let older = alternatives as u64 - 1;
                    let newest = lots.below(8) < newest_of_8;
                    (if newest { older } else { lots.below(older) }) as usize
                })
            }
        }
    }

    /// How many different choices a power cut has: for each unsynced thing one of its alternatives.
    /// `u64::MAX` if they are more than that.
    pub fn power_cuts(&self) -> u64 {
        let state = self.state();
        let names = (0..state.names.pending()).map(|_| 2);
        let sectors = state.surviving().flat_map(|(_, inode)| inode.content.alternatives());
        names.chain(sectors).fold(1, |product, n| product.saturating_mul(n as u64))
    }

    /// The power cut of that number, from 0, the one that keeps nothing, to below
    /// [`power_cuts`](SimDisk::power_cuts): all of them are all that can be left.
    pub fn power_cut_number(&self, number: u64) -> SimDisk {
        let mut rest = number;
        self.power_cut_with(|alternatives| {
            let chosen = rest % alternatives as u64;
            rest /= alternatives as u64;
            chosen as usize
        })
    }

    /// A power cut in which `bits` says what survives, as a list of all [`unsynced`] things: first
    /// the changes of names, in order, then the dirty sectors, file by file. What the list does not
    /// reach does not survive.
    ///
    /// [`unsynced`]: SimDisk::unsynced
    pub fn power_cut_bits(&self, bits: &[bool]) -> SimDisk {
        let mut bits = bits.iter();
        self.power_cut_with(|alternatives| match bits.next() {
            Some(true) => alternatives - 1,
            _ => 0,
        })
    }

    /// A power cut in which `choose` picks, for each unsynced thing in the order of
    /// [`power_cut_bits`](SimDisk::power_cut_bits), which of so many alternatives survives: 0 is the
    /// durable state, the last one is the newest. It must not use this disk.
    pub fn power_cut_with(&self, mut choose: impl FnMut(usize) -> usize) -> SimDisk {
        let state = self.state();
        let mut choose = |alternatives: usize| choose(alternatives).min(alternatives - 1);
        let names = state.names.after_cut(&mut choose);
        let mut inodes = BTreeMap::new();
        for (file, inode) in state.surviving() {
            inodes.insert(*file, Inode::new(inode.content.after_cut(&mut choose)));
        }
        let mut next = state.successor(names, inodes);
        next.collect();
        SimDisk::with(next)
    }

    /// The number of things that a power cut may undo: changes of names and dirty sectors.
    pub fn unsynced(&self) -> usize {
        let state = self.state();
        let sectors = state.surviving().map(|(_, inode)| inode.content.dirty_sectors());
        state.names.pending() + sectors.sum::<usize>()
    }

    /// The disk that the death of the process at this moment leaves behind: all that was written is
    /// still there, all that was not synced may still be lost in a power cut. The lock is free, no
    /// fault is planned, and the handles of this disk have no effect on the new one.
    pub fn process_crash(&self) -> SimDisk {
        SimDisk::with(self.state().after_process_death())
    }

    /// An independent copy, in the state of [`process_crash`](SimDisk::process_crash).
    pub fn deep_clone(&self) -> SimDisk {
        self.process_crash()
    }

    /// How many operations this disk has started. Taking and dropping the lock are not counted, and
    /// neither is what is asked of a stopped machine.
    pub fn operations(&self) -> u64 {
        self.state().plan.operations
    }

    /// How many operations of a kind this disk has started.
    pub fn operations_of(&self, kind: Op) -> u64 {
        self.state().plan.of_kind(kind)
    }

    /// Stops the machine before operation `n`, counted from 0 since the creation of this disk: it
    /// and all later ones fail and have no effect.
    pub fn freeze_at(&self, n: u64) {
        self.freeze_in_write(n, 0);
    }

    /// Stops the machine in operation `n`. If that is a write, its first `bytes` bytes are written.
    pub fn freeze_in_write(&self, n: u64, bytes: usize) {
        self.state().plan.stop_at(n, bytes);
    }

    /// Whether the machine has come to its [stop](SimDisk::freeze_at).
    pub fn is_frozen(&self) -> bool {
        self.state().plan.is_stopped()
    }

    /// Makes one operation of the kind fail: the next one for 0, the one after it for 1.
    ///
    /// A failed sync of a file behaves as on Linux: what was unsynced is still shown, is not durable,
    /// and no later sync makes it durable. A failed write has written its first half. A failed
    /// creation has removed the file that it was to replace. The others have no effect.
    pub fn fail_nth(&self, kind: Op, n: u64, error: io::ErrorKind) {
        self.state().plan.fail(kind, n, error, false);
    }

    /// Makes that operation of the kind fail, and all later ones of the kind: a device that is gone
    /// for good.
    pub fn fail_from(&self, kind: Op, n: u64, error: io::ErrorKind) {
        self.state().plan.fail(kind, n, error, true);
    }

    /// How many operations were made to fail so far. A full disk is not counted.
    pub fn failures(&self) -> u64 {
        self.state().plan.failed
    }

    /// Keeps from now on what the machine would leave behind if it stopped before each operation, or
    /// in the middle of a write, for [`recorded`](SimDisk::recorded): one run shows all its crashes.
    pub fn record(&self) {
        self.state().record = Some(Vec::new());
    }

    /// The moments since [`record`](SimDisk::record), in order. Ends it.
    pub fn recorded(&self) -> Vec<Moment> {
        self.state().record.take().unwrap_or_default()
    }

    /// Limits the total size of all files; a creation that does not fit fails with `StorageFull`. A
    /// removed file counts until its last handle is gone, the lock file does not count.
    pub fn capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Whether a write needs room even where something was written before, as on btrfs. Then each
    /// write to a disk that is filled to its capacity fails with `StorageFull` after half its bytes.
    pub fn copy_on_write(&self, on: bool) {
        self.state().copy_on_write = on;
    }

    /// The bytes that count towards the [capacity](SimDisk::capacity).
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// A hash of all that an open can depend on: names, contents, and what is not synced of them.
    /// Disks with the same hash are the same, but for a chance of one in 2^64.
    pub fn fingerprint(&self) -> u64 {
        let state = self.state();
        let mut hasher = foldhash::quality::FixedState::default().build_hasher();
        for (name, file) in state.names.live() {
            (name, state.inodes.get(file).map(|inode| inode.content.live())).hash(&mut hasher);
        }
        let is_synced = |inode: &Inode| inode.content.is_synced();
        if state.names.pending() > 0 || !state.inodes.values().all(is_synced) {
            state.names.hash(&mut hasher);
            state.inodes.iter().for_each(|(id, inode)| (id, &inode.content).hash(&mut hasher));
        }
        hasher.finish()
    }

    /// The names of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.state().names.live().keys().cloned().collect()
    }

    /// What processes see in a file.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let mut state = self.state();
        let file = state.names.get(name).ok()?;
        Some(state.inode(file).ok()?.content.live().to_vec())
    }

    /// Puts a file in place, durable, instead of one of that name. Like all edits from outside it
    /// makes all names durable, is not counted as an operation, and does not reach open handles.
    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.edit(|state| {
            state.add(name, bytes.into());
        });
    }

    /// Deletes a file durably, as somebody might who does not know what it is. False if there is
    /// none.
    pub fn delete(&self, name: &str) -> bool {
        self.edit(|state| state.names.remove(name).is_ok())
    }

    /// Renames a file durably, replacing `to`. False if there is none.
    pub fn rename_file(&self, from: &str, to: &str) -> bool {
        self.edit(|state| state.names.rename(from, to).is_ok())
    }

    fn edit<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let done = edit(&mut state);
        state.names.sync();
        state.collect();
        done
    }

    fn with(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere says more than a poisoned lock would.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

/// What a machine would have left behind, had it stopped at this moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Moment {
    /// The number of the operation that would not have happened any more.
    pub operation: u64,
    /// Whether the operation is a write, and a part of it has happened.
    pub in_write: bool,
    /// The disk, as after the [death of the process](SimDisk::process_crash).
    pub disk: SimDisk,
}

#[derive(Default)]
struct State {
    names: Names,
    /// In the order of creation, so that the lots of a power cut fall the same way each time.
    inodes: BTreeMap<FileId, Inode>,
    next_file: FileId,
    locked: bool,
    plan: Plan,
    capacity: Option<u64>,
    copy_on_write: bool,
    record: Option<Vec<Moment>>,
}

struct Inode {
    content: Content,
    handles: usize,
    /// Those of them that keep nothing in the page cache.
    followers: usize,
}

impl Inode {
    fn new(content: Content) -> Inode {
        Inode { content, handles: 0, followers: 0 }
    }
}

impl State {
    /// Counts an operation, and says what becomes of it.
    fn begin(&mut self, op: Op) -> Verdict {
        if self.record.is_some() && op.changes() && !self.plan.is_stopped() {
            let disk = SimDisk::with(self.after_process_death());
            self.keep(Moment { operation: self.plan.operations, in_write: false, disk });
        }
        self.plan.start(op)
    }

    /// Counts an operation that either runs or has no effect.
    fn start(&mut self, op: Op) -> io::Result<()> {
        match self.begin(op) {
            Verdict::Run => Ok(()),
            Verdict::Fail(error) => Err(error),
            Verdict::Stop(_) => Err(stopped()),
        }
    }

    /// Counts a write of `len` bytes and says how many of them are written and what it returns.
    fn begin_write(&mut self, len: usize, room: bool) -> (usize, io::Result<()>) {
        match self.begin(Op::Write) {
            Verdict::Run if room => (len, Ok(())),
            // Nobody promises how far a failed write got.
            Verdict::Run => (len / 2, Err(io::ErrorKind::StorageFull.into())),
            Verdict::Fail(error) => (len / 2, Err(error)),
            Verdict::Stop(written) => (written.min(len), Err(stopped())),
        }
    }

    /// Writes what [`begin_write`](State::begin_write) has let through.
    fn write(&mut self, file: FileId, position: usize, bytes: &[u8]) -> io::Result<()> {
        if self.record.is_some() && bytes.len() > 1 {
            let operation = self.plan.operations - 1;
            let part = 1 + mix(operation) as usize % (bytes.len() - 1);
            let mut torn = self.after_process_death();
            // A file without a name is gone with its process.
            if let Ok(inode) = torn.inode(file) {
                inode.content.write(position, &bytes[..part]);
                self.keep(Moment { operation, in_write: true, disk: SimDisk::with(torn) });
            }
        }
        self.inode(file)?.content.write(position, bytes);
        Ok(())
    }

    fn keep(&mut self, moment: Moment) {
        self.record.iter_mut().for_each(|record| record.push(moment.clone()));
    }

    fn inode(&mut self, file: FileId) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Adds a file with durable content under a name that is not durable.
    fn add(&mut self, name: &str, bytes: Vec<u8>) -> FileId {
        let file = self.next_file;
        self.next_file += 1;
        self.inodes.insert(file, Inode::new(Content::durable(bytes)));
        self.names.create(name, file);
        file
    }

    /// Forgets files that neither a process nor a power cut can bring back.
    fn collect(&mut self) {
        let State { names, inodes, .. } = self;
        inodes.retain(|file, inode| {
            inode.handles > 0
                || names.live().values().any(|live| live == file)
                || names.may_survive(*file)
        });
    }

    /// The files that may have a name after a power cut.
    fn surviving(&self) -> impl Iterator<Item = (&FileId, &Inode)> {
        self.inodes.iter().filter(|(file, _)| self.names.may_survive(**file))
    }

    fn used(&self) -> u64 {
        let lock = self.names.live().get(LOCK_NAME);
        let live = |file: &FileId| self.names.live().values().any(|live| live == file);
        let counted = self
            .inodes
            .iter()
            .filter(|(file, inode)| Some(*file) != lock && (inode.handles > 0 || live(file)));
        counted.map(|(_, inode)| inode.content.live().len() as u64).sum()
    }

    /// The state after the death of the process.
    fn after_process_death(&self) -> State {
        let copy = |(file, inode): (&FileId, &Inode)| (*file, Inode::new(inode.content.clone()));
        let inodes = self.inodes.iter().map(copy).collect();
        let mut next = self.successor(self.names.clone(), inodes);
        next.collect();
        next
    }

    /// The state after a crash, with nothing that was only in the memory of the machine.
    fn successor(&self, names: Names, inodes: BTreeMap<FileId, Inode>) -> State {
        State {
            names,
            inodes,
            next_file: self.next_file,
            capacity: self.capacity,
            copy_on_write: self.copy_on_write,
            ..State::default()
        }
    }
}

#[cfg(test)]
mod tests;
