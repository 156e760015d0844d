//! One topic of one group: from a partition to its slot.

use std::array;
use std::sync::Arc;

use super::arena::{Allocator, Arena, Unit};
use super::group::Group;
use super::growing::Growing;
use super::names::Named;
use super::slot::{Slot, Value};
use super::sorted::{Item, SortedList};
use crate::key::CommittedOffset;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{OnceLock, spin_loop};

/// Partitions below this are always dense.
const INLINE: u32 = 128;
/// Runs of slots that cover the partitions below [`INLINE`].
const RUNS: usize = 19;
/// Slots of one block, which covers as many partitions from [`INLINE`] on.
const BLOCK: u32 = 1 << BLOCK_CLASS;
const BLOCK_CLASS: u32 = 5;
/// Sparse partitions of one leaf of their list.
const SPARSE_LEAF: usize = 256;

/// The partitions of a topic in a group, each with a slot for its newest value.
///
/// Slots of neighbouring partitions lie together. The partitions below 128 have runs of slots whose
/// length is an eighth to a quarter of the partition number, so that a topic has few slots that it
/// does not use, whatever its size, and never has to move one. Above that, slots come in blocks
/// while the topic has keys in proportion to its partition numbers; a partition that is out of
/// proportion gets a slot of its own and keeps it. A topic with the one partition `i32::MAX` thus
/// costs hardly more than one with partition 0.
///
/// A topic leaves the index when its last key is deleted: it is *detached*, its slots are dealt out
/// again, it reads as empty for ever, and nothing can be stored in it. The next commit to the name
/// makes a new one.
///
/// What every commit looks at stands in front, so that it lies in one or two lines of the processor's
/// cache.
#[repr(C)]
pub(crate) struct Topic {
    tag: AtomicU64,
    arena: Arc<Arena>,
    live: AtomicU32,
    detached: AtomicBool,
    /// How many of the runs are worth looking at in a scan.
    runs_end: AtomicU8,
    runs: [AtomicU32; RUNS],
    group: Arc<str>,
    name: Arc<str>,
    /// The live keys of the whole group.
    group_live: Arc<AtomicU64>,
    far: OnceLock<Box<Far>>,
}

/// The partitions from [`INLINE`] on.
struct Far {
    /// Blocks of dense slots by block number, zero where there is none.
    blocks: Growing<AtomicU32>,
    sparse: SortedList<Sparse, SPARSE_LEAF>,
}

/// A partition, and its slot if it had one when it was looked up. A topic keeps its slots until it
/// leaves the index, so this stays right until then.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(super) partition: i32,
    pub(super) slot: Option<Slot<'a>>,
}

impl Spot<'_> {
    /// The partition.
    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }
}

/// A partition with a slot of its own.
#[derive(Clone, Copy)]
struct Sparse {
    partition: i32,
    unit: Unit,
}

impl Topic {
    /// The group that this topic belongs to.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// The topic's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions have a value.
    pub(crate) fn live(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    /// How many keys of the topic's group have a value. Exact for the writer.
    pub(crate) fn group_live(&self) -> u64 {
        self.group_live.load(Ordering::Relaxed)
    }

    /// Whether the topic left the index. It never comes back: resolve the name again.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// A number that the engine keeps with the topic. It means nothing here and starts at zero.
    pub(crate) fn tag(&self) -> u64 {
        self.tag.load(Ordering::Relaxed)
    }

    /// Sets the number that [`tag`](Topic::tag) returns.
    pub(crate) fn set_tag(&self, tag: u64) {
        self.tag.store(tag, Ordering::Relaxed);
    }

    /// Reads the newest value of a partition into `out`, whose metadata buffer is used again. What
    /// `out` holds is meaningless if there is no value.
    pub(crate) fn read(&self, partition: i32, out: &mut CommittedOffset) -> bool {
        self.find(partition).is_some_and(|unit| self.read_slot(self.arena.slot(unit), out))
    }

    /// The newest offset of a partition, without the rest of the value.
    pub(crate) fn offset(&self, partition: i32) -> Option<i64> {
        let slot = self.arena.slot(self.find(partition)?);
        loop {
            let found = slot.try_offset();
            if self.detached.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(found) = found {
                return found;
            }
            spin_loop();
        }
    }

    /// Looks a partition up for a change that is about to come, and loads its slot into the cache.
    #[inline]
    pub(crate) fn spot(&self, partition: i32) -> Spot<'_> {
        let slot = self.find(partition).map(|unit| self.arena.slot(unit));
        if let Some(slot) = slot {
            slot.prefetch();
        }
        Spot { partition, slot }
    }

    /// Calls `visit` with every partition that has a value, in order. `out` is the buffer.
    pub(crate) fn visit(
        &self,
        out: &mut CommittedOffset,
        mut visit: impl FnMut(i32, &mut CommittedOffset),
    ) {
        self.for_each_run(|first, unit, class| {
            for (at, slot) in self.arena.slots(unit, class).enumerate() {
                if self.read_slot(slot, out) {
                    visit(first + at as i32, out);
                }
            }
        });
    }

    /// A topic without keys.
    pub(super) fn new(arena: Arc<Arena>, group: &Group, name: Arc<str>) -> Topic {
        Topic {
            arena,
            group: group.name().clone(),
            name,
            runs: array::from_fn(|_| AtomicU32::new(0)),
            runs_end: AtomicU8::new(0),
            detached: AtomicBool::new(false),
            live: AtomicU32::new(0),
            group_live: group.live().clone(),
            tag: AtomicU64::new(0),
            far: OnceLock::new(),
        }
    }

    /// The arena of this topic.
    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// The slot of a partition, if it was ever wanted.
    pub(super) fn find(&self, partition: i32) -> Option<Unit> {
        let number = partition as u32;
        if number < INLINE {
            let (run, at) = run_of(number);
            let unit = self.runs[run].load(Ordering::Acquire);
            return (unit != 0).then(|| unit + at);
        }
        let far = self.far.get()?;
        // A partition that is sparse stays so when a block comes to cover it, hence this order.
        if let Some(sparse) = far.sparse.get(&partition) {
            return Some(sparse.unit);
        }
        let (block, at) = block_of(number);
        let unit = far.blocks.get(block)?.load(Ordering::Acquire);
        (unit != 0).then(|| unit + at)
    }

    /// The slot of a partition, made if need be. Only for the writer.
    pub(super) fn find_or_make(&self, allocator: &mut Allocator, partition: i32) -> Unit {
        self.find(partition).unwrap_or_else(|| self.make(allocator, partition))
    }

    /// Sets the first values of a topic that nobody else knows yet, in the order of their partitions.
    /// Its group has counted them.
    pub(super) fn begin<'v>(
        &self,
        allocator: &mut Allocator,
        values: impl Iterator<Item = (i32, Value<'v>)>,
    ) {
        for (partition, value) in values {
            let unit = self.find_or_make(allocator, partition);
            self.arena.slot(unit).begin(allocator, &value);
            self.live.store(self.live() + 1, Ordering::Relaxed);
        }
    }

    /// Makes the run of slots that a partition without a slot lies in, and returns its slot.
    fn make(&self, allocator: &mut Allocator, partition: i32) -> Unit {
        let number = partition as u32;
        if number < INLINE {
            let (run, at) = run_of(number);
            let class = run_class(run);
            let unit = self.take_slots(allocator, class);
            self.runs[run].store(unit, Ordering::Release);
            let end = self.runs_end.load(Ordering::Relaxed).max(run as u8 + 1);
            self.runs_end.store(end, Ordering::Release);
            return unit + at;
        }
        let far = self
            .far
            .get_or_init(|| Box::new(Far { blocks: Growing::new(), sparse: SortedList::new() }));
        // Memory stays in proportion to the keys that there are, however the numbers are chosen.
        if number / 4 <= self.live() {
            let (block, at) = block_of(number);
            let unit = self.take_slots(allocator, BLOCK_CLASS);
            far.blocks.ensure(block).store(unit, Ordering::Release);
            return unit + at;
        }
        let unit = self.take_slots(allocator, 0);
        far.sparse.insert(Sparse { partition, unit });
        unit
    }

    /// Calls `visit` with the first partition, the first slot and the class of runs of slots that
    /// together have every slot of the topic, in order.
    pub(super) fn for_each_run(&self, mut visit: impl FnMut(i32, Unit, u32)) {
        let end = usize::from(self.runs_end.load(Ordering::Acquire));
        for (run, unit) in self.runs.iter().enumerate().take(end) {
            let unit = unit.load(Ordering::Acquire);
            if unit != 0 {
                visit(run_first(run) as i32, unit, run_class(run));
            }
        }
        let Some(far) = self.far.get() else { return };
        let mut sparse = far.sparse.to_vec().into_iter().peekable();
        for (block, unit) in far.blocks.iter() {
            let unit = unit.load(Ordering::Acquire);
            if unit == 0 {
                continue;
            }
            // Slot by slot, as sparse partitions may come in between. The slot in the block of a
            // partition that is sparse was never written.
            for at in 0..BLOCK {
                let partition = (INLINE + block as u32 * BLOCK + at) as i32;
                while let Some(found) = sparse.next_if(|found| found.partition <= partition) {
                    visit(found.partition, found.unit, 0);
                }
                visit(partition, unit + at, 0);
            }
        }
        sparse.for_each(|found| visit(found.partition, found.unit, 0));
    }

    /// Counts a partition that has a value now. Only for the writer, which is alone and needs no
    /// atomic addition.
    pub(super) fn count_up(&self) {
        self.live.store(self.live() + 1, Ordering::Relaxed);
        self.group_live.store(self.group_live() + 1, Ordering::Relaxed);
    }

    /// Counts partitions that have no value any more. Only for the writer.
    pub(super) fn count_down(&self, deleted: u32) {
        self.live.store(self.live() - deleted, Ordering::Relaxed);
        self.group_live.store(self.group_live() - u64::from(deleted), Ordering::Relaxed);
    }

    /// Ends the topic's life and gives its slots back. Only for the writer, once, when no slot has
    /// a value and so none owns a cell.
    pub(super) fn detach(&self, allocator: &mut Allocator) {
        // Before anything of it can be dealt out again: see `read_slot`.
        self.detached.store(true, Ordering::Release);
        for (run, unit) in self.runs.iter().enumerate() {
            give_back(allocator, unit.load(Ordering::Relaxed), run_class(run));
        }
        let Some(far) = self.far.get() else { return };
        for (_, unit) in far.blocks.iter() {
            give_back(allocator, unit.load(Ordering::Relaxed), BLOCK_CLASS);
        }
        far.sparse.for_each(|sparse| give_back(allocator, sparse.unit, 0));
    }

    #[inline]
    fn read_slot(&self, slot: Slot<'_>, out: &mut CommittedOffset) -> bool {
        loop {
            let found = slot.try_read(&self.arena, out);
            // A slot of a detached topic may be part of anything by now. Whoever changed it did so
            // behind a release fence that follows the store to `detached`, and the read above ended
            // with an acquire fence: if it saw such a change, this load sees the flag.
            if self.detached.load(Ordering::Relaxed) {
                return false;
            }
            if let Some(found) = found {
                return found;
            }
            spin_loop();
        }
    }

    fn take_slots(&self, allocator: &mut Allocator, class: u32) -> Unit {
        let first = allocator.take(class);
        self.arena.slots(first, class).for_each(Slot::reset);
        first
    }
}

impl Item for Arc<Topic> {
    type Key = str;

    fn key(&self) -> &str {
        &self.name
    }
}

impl Item for Sparse {
    type Key = i32;

    fn key(&self) -> &i32 {
        &self.partition
    }
}

fn give_back(allocator: &mut Allocator, unit: Unit, class: u32) {
    if unit != 0 {
        allocator.give_back(unit, class);
    }
}

/// The run of a partition below [`INLINE`], and where in it the partition stands: two runs of two
/// slots and one of four, then four runs for each power of two.
fn run_of(partition: u32) -> (usize, u32) {
    match partition {
        0..4 => ((partition / 2) as usize, partition % 2),
        4..8 => (2, partition % 4),
        _ => {
            let class = partition.ilog2() - 2;
            ((class * 4 + (partition >> class)) as usize - 5, partition & ((1 << class) - 1))
        }
    }
}

/// The class of a run: it has `1 << class` slots.
fn run_class(run: usize) -> u32 {
    match run {
        0 | 1 => 1,
        2 => 2,
        _ => (run as u32 + 1) / 4,
    }
}

/// The first partition of a run.
fn run_first(run: usize) -> u32 {
    match run {
        0..3 => run as u32 * 2,
        _ => (run as u32 + 5 - run_class(run) * 4) << run_class(run),
    }
}

/// The block of a partition from [`INLINE`] on, and where in it the partition stands.
fn block_of(partition: u32) -> (usize, u32) {
    let partition = partition - INLINE;
    ((partition / BLOCK) as usize, partition % BLOCK)
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_every_inline_partition_once() {
        let mut partition = 0;
        for run in 0..RUNS {
            assert_eq!(run_first(run), partition);
            for at in 0..1 << run_class(run) {
                assert_eq!(run_of(partition), (run, at));
                partition += 1;
            }
        }
        assert_eq!(partition, INLINE);
    }
}
