//! One key's newest value: two copies that take turns, read without locks and never seen torn.
//!
//! # Layout
//!
//! A slot is six atomic words, two copies of `(seq, word 1, word 2)`. The copy with the larger seq
//! is the value of the key. Seq 0 was never written; [`BUSY`] counts as older than everything.
//!
//! - Word 1 is the offset. Its top bit says that the key is deleted.
//! - Word 2 is the commit timestamp, 41 bits of milliseconds since 2020, and the leader epoch plus
//!   one, 22 bits. What does not fit, all metadata and the time of an expiry go to a cell in the
//!   arena: then the top bit is set and the word holds where the cell is and how long it can be.
//!
//! Only the newest copy owns a cell: a cell goes back to the arena as soon as its value is
//! superseded.
//!
//! # Why a reader never sees a torn value
//!
//! To store a value, the writer takes the copy that is *not* the newest and, in this order,
//!
//! 1. stores `BUSY` to its seq (relaxed), then issues a release fence,
//! 2. stores the words of the cell, if there is one, and words 1 and 2 (relaxed),
//! 3. stores the new seq (release),
//! 4. if the superseded copy owned a cell, stores `BUSY` to the seq of that copy (relaxed) and gives
//!    the cell back.
//!
//! A reader loads both seqs (acquire), takes the copy with the larger one, reads its words and its
//! cell (relaxed), issues an acquire fence, loads the seq of that copy again, and starts over if it
//! changed.
//!
//! *Nothing older:* the reader's first load of the seq `s` reads from step 3 (release), so every
//! store of step 2 for `s` happened before, and it reads those words or later ones.
//!
//! *Nothing newer:* assume that it read a word of this copy that a later store put there. That store
//! follows the release fence of step 1, the reader's acquire fence follows the load, so the fences
//! synchronise, and the `BUSY` of step 1 happened before the second load of the seq. It yields
//! `BUSY` or something later. A copy's seqs only rise, hence it differs from `s`. For a word of the
//! cell the argument is the same one step longer: whoever wrote it owned the cell later, took it
//! after `BUSY` was stored to the seq that the reader checks (in step 1 or step 4), and issued a
//! release fence of its own before it wrote.
//!
//! *Never back:* let the reader know of the value `n` (it has read it, or was told by whoever stored
//! it), and let `n` be in copy X. If the load of X's seq gives `n` or a later seq, the reader takes
//! one that is not older than `n`. Otherwise it gives a `BUSY` that was stored after `n`. Then the
//! writer had begun to store a newer value in copy Y before: it stored `BUSY` to Y's seq, issued a
//! release fence, and stored the `BUSY` in X later. If the reader takes Y with a seq older than `n`
//! all the same, its acquire fence follows the load of the `BUSY` in X, so the fences synchronise,
//! and the second load of Y's seq yields the `BUSY` that was stored there, or something later: it
//! changed, and the reader starts over.
//!
//! *Never waiting:* a writer that stopped at any point leaves a copy that is not busy, so both are
//! seen busy, and a seq is seen changed, only if the writer completed a store in between.
//!
//! # Whose slot is it?
//!
//! The memory of a slot is dealt out again when its topic is gone, and a reader may still hold the
//! topic. It must look at the topic once more after the read, see [`Topic`](super::Topic): stores to
//! a slot's new life follow a release fence as well, and every read here ends with an acquire fence.

use super::arena::{Allocator, Arena, UNIT_WORDS, Unit, class_of};
use crate::key::{CommittedOffset, Content, NextOffset, Seq};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// The seq of a copy that does not count: it is being written, or its cell was given back.
const BUSY: u64 = u64::MAX;
/// The bit of word 1 that says that the key is deleted.
const DELETED: u64 = 1 << 63;
/// The bit of word 2 that says that the rest of the value is in a cell.
const EXTENDED: u64 = 1 << 63;
const EPOCH_BITS: u32 = 22;
const TIMESTAMP_BITS: u32 = 41;
/// 2020-01-01T00:00:00Z. Compact timestamps reach from there to 2089.
const TIMESTAMP_BASE: i64 = 1_577_836_800_000;
/// Words of a cell in front of the rest: the timestamp, then leader epoch, length and what there is.
/// The time of an expiry follows if there is one, and then the metadata.
const CELL_HEAD: usize = 2;
const CELL_HAS_EPOCH: u64 = 1 << 32;
const CELL_LEN_SHIFT: u32 = 33;
const CELL_LEN_BITS: u32 = 16;
const CELL_HAS_EXPIRY: u64 = 1 << (CELL_LEN_SHIFT + CELL_LEN_BITS);

/// What a key is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// The next offset, not negative.
    pub(crate) offset: i64,
    /// The leader epoch, if one was committed.
    pub(crate) leader_epoch: Option<i32>,
    /// The commit timestamp, any number.
    pub(crate) timestamp_ms: i64,
    /// When the value may go, any number.
    pub(crate) expire_at_ms: Option<i64>,
    /// The metadata, at most 65,535 bytes.
    pub(crate) metadata: &'a str,
    /// The seq, neither 0 nor `u64::MAX`.
    pub(crate) seq: u64,
}

impl<'a> Value<'a> {
    /// What the commit with this seq has set.
    #[inline(always)]
    pub(crate) fn new(content: Content<'a>, seq: u64) -> Value<'a> {
        let Content { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata } = content;
        Value { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata, seq }
    }

    /// Whether the seq is one that a value can have.
    pub(super) fn has_seq(&self) -> bool {
        self.seq != 0 && self.seq != BUSY
    }
}

/// What a change found in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A newer value. Nothing was changed.
    Stale,
    /// An older value, which was replaced.
    OverLive,
    /// Nothing, or an older deletion.
    OverNothing,
}

/// Six words of the arena, used as a slot.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    words: &'a [AtomicU64; UNIT_WORDS],
}

/// A copy as a reader found it, to be confirmed before it is believed.
struct Copy<'a> {
    words: &'a [AtomicU64],
    seq: u64,
}

impl<'a> Slot<'a> {
    /// Takes six words for a slot.
    pub(super) fn new(words: &'a [AtomicU64; UNIT_WORDS]) -> Slot<'a> {
        Slot { words }
    }

    /// Tries once to read the value. `Some(true)` if `out` has it, `Some(false)` if there is none,
    /// `None` if the writer came in between. Only `Some(true)` leaves anything meaningful in `out`.
    #[inline]
    pub(super) fn try_read(self, arena: &Arena, out: &mut CommittedOffset) -> Option<bool> {
        let copy = self.newest()?;
        let word1 = copy.words[1].load(Ordering::Relaxed);
        let word2 = copy.words[2].load(Ordering::Relaxed);
        if copy.seq == 0 || word1 & DELETED != 0 {
            return copy.confirm().then_some(false);
        }
        if word2 & EXTENDED == 0 {
            copy.confirm().then_some(())?;
            out.metadata.clear();
            (out.leader_epoch, out.commit_timestamp_ms) = expand(word2);
            out.expire_at_ms = None;
        } else {
            copy.read_cell(arena, word2, out)?;
        }
        out.offset = NextOffset(word1 as i64);
        out.seq = Seq(copy.seq);
        out.durable = false;
        Some(true)
    }

    /// Tries once to read the offset alone: `Some(None)` if there is no value, `None` if the writer
    /// came in between.
    pub(super) fn try_offset(self) -> Option<Option<i64>> {
        let copy = self.newest()?;
        let word1 = copy.words[1].load(Ordering::Relaxed);
        copy.confirm().then_some(())?;
        Some((copy.seq != 0 && word1 & DELETED == 0).then_some(word1 as i64))
    }

    /// Whether there is a value. Only for the writer.
    pub(super) fn is_live(self) -> bool {
        let (newest, _) = self.split();
        let deleted = newest[1].load(Ordering::Relaxed) & DELETED != 0;
        newest[0].load(Ordering::Relaxed) != 0 && !deleted
    }

    /// Loads both ends of the slot, so that its cache lines are there when they are needed.
    pub(super) fn prefetch(self) {
        std::hint::black_box(self.touch());
    }

    /// Loads both ends of the slot, and returns something that depends on them.
    pub(super) fn touch(self) -> u64 {
        let last = self.words[UNIT_WORDS - 1].load(Ordering::Relaxed);
        self.words[0].load(Ordering::Relaxed) ^ last
    }

    /// Makes a slot out of memory that may have been anything. Only for the writer.
    pub(super) fn reset(self) {
        fence(Ordering::Release);
        self.words[0].store(0, Ordering::Relaxed);
        self.words[UNIT_WORDS / 2].store(0, Ordering::Relaxed);
    }

    /// Stores a value, if it is newer than what is there. Only for the writer.
    ///
    /// # Panics
    ///
    /// If the metadata is longer than the arena can hold, which is more than any record can carry.
    pub(super) fn set(self, allocator: &mut Allocator, value: &Value<'_>) -> Change {
        self.store(allocator, value.seq, |allocator| {
            let word2 = compact(value).unwrap_or_else(|| write_cell(allocator, value));
            (value.offset as u64 & !DELETED, word2)
        })
    }

    /// Stores the first value of a slot that no reader knows yet.
    ///
    /// # Panics
    ///
    /// As [`set`](Slot::set).
    pub(super) fn begin(self, allocator: &mut Allocator, value: &Value<'_>) {
        let word2 = compact(value).unwrap_or_else(|| write_cell(allocator, value));
        self.words[1].store(value.offset as u64 & !DELETED, Ordering::Relaxed);
        self.words[2].store(word2, Ordering::Relaxed);
        self.words[0].store(value.seq, Ordering::Relaxed);
    }

    /// Deletes the value, if it is older than `seq`. A slot without one that was ever set stays as it
    /// is. Only for the writer.
    pub(super) fn delete(self, allocator: &mut Allocator, seq: u64) -> Change {
        let (newest, _) = self.split();
        if newest[0].load(Ordering::Relaxed) == 0 {
            return Change::OverNothing;
        }
        self.store(allocator, seq, |_| (DELETED, 0))
    }

    fn store(
        self,
        allocator: &mut Allocator,
        seq: u64,
        words: impl FnOnce(&mut Allocator) -> (u64, u64),
    ) -> Change {
        // The writer is alone, so what it loads is what it or its predecessor stored.
        let (newest, target) = self.split();
        let current = newest[0].load(Ordering::Relaxed);
        // `BUSY` is no seq: a copy that carried it would never count again.
        if seq <= current || seq == BUSY {
            return Change::Stale;
        }
        let was_live = current != 0 && newest[1].load(Ordering::Relaxed) & DELETED == 0;
        let old2 = newest[2].load(Ordering::Relaxed);

        target[0].store(BUSY, Ordering::Relaxed);
        fence(Ordering::Release);
        let (word1, word2) = words(allocator);
        target[1].store(word1, Ordering::Relaxed);
        target[2].store(word2, Ordering::Relaxed);
        target[0].store(seq, Ordering::Release);

        if was_live && old2 & EXTENDED != 0 {
            newest[0].store(BUSY, Ordering::Relaxed);
            let (unit, class) = cell_of(old2);
            allocator.give_back(unit, class);
        }
        if was_live { Change::OverLive } else { Change::OverNothing }
    }

    /// The newest copy and the other one, for the writer.
    fn split(self) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let (a, b) = self.words.split_at(UNIT_WORDS / 2);
        let (seq_a, seq_b) = (a[0].load(Ordering::Relaxed), b[0].load(Ordering::Relaxed));
        if rank(seq_b) > rank(seq_a) { (b, a) } else { (a, b) }
    }

    /// The newest copy for a reader, or none if both were busy when they were looked at.
    fn newest(self) -> Option<Copy<'a>> {
        let (a, b) = self.words.split_at(UNIT_WORDS / 2);
        let (seq_a, seq_b) = (a[0].load(Ordering::Acquire), b[0].load(Ordering::Acquire));
        let (words, seq) = if rank(seq_b) > rank(seq_a) { (b, seq_b) } else { (a, seq_a) };
        (seq != BUSY).then_some(Copy { words, seq })
    }
}

impl Copy<'_> {
    /// Reads what lies in a cell, unless the writer comes in between.
    #[inline(never)]
    fn read_cell(&self, arena: &Arena, word2: u64, out: &mut CommittedOffset) -> Option<()> {
        let mut bytes = std::mem::take(&mut out.metadata).into_bytes();
        let head = read_cell(arena, word2, &mut bytes).filter(|_| self.confirm());
        if head.is_none() {
            // The bytes may be cut out of anything. The buffer is kept for the next attempt.
            bytes.clear();
        }
        // Bytes that were confirmed came out of a `str`, so there is nothing to refuse.
        out.metadata = String::from_utf8(bytes).unwrap_or_default();
        let head = head?;
        out.leader_epoch = head.leader_epoch;
        out.commit_timestamp_ms = head.timestamp_ms;
        out.expire_at_ms = head.expire_at_ms;
        Some(())
    }

    /// Whether everything that was read from this copy so far belongs to its seq.
    fn confirm(&self) -> bool {
        fence(Ordering::Acquire);
        self.words[0].load(Ordering::Relaxed) == self.seq
    }
}

/// Orders seqs by age, with `BUSY` as the oldest.
fn rank(seq: u64) -> u64 {
    seq.wrapping_add(1)
}

fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Word 2 of a value that needs no cell: all but its seq and offset. The highest bit is clear.
#[inline]
pub(super) fn compact(value: &Value<'_>) -> Option<u64> {
    let since = value.timestamp_ms.wrapping_sub(TIMESTAMP_BASE) as u64;
    // A negative epoch becomes a large number here and does not fit, as it should be.
    let epoch = value.leader_epoch.map_or(0, |epoch| (i64::from(epoch) + 1) as u64);
    let no_epoch = value.leader_epoch.is_some() && epoch == 0;
    let fits = since <= low(TIMESTAMP_BITS) && epoch <= low(EPOCH_BITS) && !no_epoch;
    (fits && value.metadata.is_empty() && value.expire_at_ms.is_none())
        .then_some(since << EPOCH_BITS | epoch)
}

/// The leader epoch and the timestamp of a value that needs no cell.
pub(super) fn expand(word2: u64) -> (Option<i32>, i64) {
    let leader_epoch = (word2 & low(EPOCH_BITS)).checked_sub(1).map(|epoch| epoch as i32);
    (leader_epoch, (word2 >> EPOCH_BITS) as i64 + TIMESTAMP_BASE)
}

/// What a cell has beside the metadata.
struct CellHead {
    timestamp_ms: i64,
    leader_epoch: Option<i32>,
    expire_at_ms: Option<i64>,
}

/// Puts what does not fit into a new cell and returns word 2 for it.
#[inline(never)]
fn write_cell(allocator: &mut Allocator, value: &Value<'_>) -> u64 {
    let bytes = value.metadata.as_bytes();
    let expiry = value.expire_at_ms.map(|expire_at_ms| expire_at_ms as u64);
    let words = CELL_HEAD + usize::from(expiry.is_some()) + bytes.len().div_ceil(8);
    let class = class_of(words);
    let unit = allocator.take(class);
    let epoch = value.leader_epoch.map_or(0, |epoch| CELL_HAS_EPOCH | u64::from(epoch as u32));
    let has_expiry = expiry.map_or(0, |_| CELL_HAS_EXPIRY);
    let len = (bytes.len() as u64) << CELL_LEN_SHIFT;
    let head = [value.timestamp_ms as u64, epoch | len | has_expiry];
    let body = bytes.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    });
    let cell = allocator.arena().run(unit, class).unwrap_or_default();
    for (cell, word) in cell.iter().zip(head.into_iter().chain(expiry).chain(body)) {
        cell.store(word, Ordering::Relaxed);
    }
    EXTENDED | u64::from(class) << 32 | u64::from(unit)
}

/// Copies the metadata of a cell and returns the rest, or none if the words are none of a cell. They
/// may be of another cell: the caller finds out.
fn read_cell(arena: &Arena, word2: u64, bytes: &mut Vec<u8>) -> Option<CellHead> {
    let (unit, class) = cell_of(word2);
    let (head, mut body) = arena.run(unit, class)?.split_at(CELL_HEAD);
    let timestamp_ms = head[0].load(Ordering::Relaxed) as i64;
    let rest = head[1].load(Ordering::Relaxed);
    let mut expire_at_ms = None;
    if rest & CELL_HAS_EXPIRY != 0 {
        let (expiry, behind) = body.split_first()?;
        expire_at_ms = Some(expiry.load(Ordering::Relaxed) as i64);
        body = behind;
    }
    let len = (rest >> CELL_LEN_SHIFT & low(CELL_LEN_BITS)) as usize;
    let body = body.get(..len.div_ceil(8))?;
    bytes.clear();
    bytes.reserve(body.len() * 8);
    for word in body {
        bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    bytes.truncate(len);
    let leader_epoch = (rest & CELL_HAS_EPOCH != 0).then_some(rest as u32 as i32);
    Some(CellHead { timestamp_ms, leader_epoch, expire_at_ms })
}

/// Where the cell is that word 2 speaks of, and its class.
fn cell_of(word2: u64) -> (Unit, u32) {
    (word2 as u32, (word2 >> 32) as u32 & 63)
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(test)]
mod tests {
    use super::*;

    fn value(seq: u64, metadata: &str) -> Value<'_> {
        Value {
            offset: seq as i64,
            leader_epoch: None,
            timestamp_ms: TIMESTAMP_BASE,
            expire_at_ms: None,
            metadata,
            seq,
        }
    }

    #[test]
    fn a_writer_that_stopped_half_way_stops_nobody() {
        let mut allocator = Allocator::new();
        let arena = allocator.arena().clone();
        let slot = arena.slot(allocator.take(0));
        assert_eq!(slot.try_offset(), Some(None));
        for seq in 1..9 {
            let before = (seq > 1).then_some(seq as i64 - 1);
            slot.store(&mut allocator, seq, |_| {
                assert_eq!(slot.try_offset(), Some(before));
                (seq, 0)
            });
            assert_eq!(slot.try_offset(), Some(Some(seq as i64)));
        }
    }

    #[test]
    fn a_reader_that_was_overtaken_notices() {
        let mut allocator = Allocator::new();
        let arena = allocator.arena().clone();
        let slot = arena.slot(allocator.take(0));
        slot.set(&mut allocator, &value(1, ""));
        let first = slot.newest();
        let confirm = |copy: &Option<Copy<'_>>| copy.as_ref().is_some_and(Copy::confirm);
        slot.set(&mut allocator, &value(2, "text"));
        // The value is old by now but still whole.
        assert!(confirm(&first));
        let second = slot.newest();
        slot.store(&mut allocator, 3, |_| {
            assert!(!confirm(&first));
            assert!(confirm(&second));
            (3, 0)
        });
        // Its cell may be someone else's at once.
        assert!(!confirm(&second));
        assert_eq!(slot.try_offset(), Some(Some(3)));
    }

    #[test]
    fn what_is_replaced_by_the_same_seq_or_an_older_one_stays() {
        let mut allocator = Allocator::new();
        let arena = allocator.arena().clone();
        let slot = arena.slot(allocator.take(0));
        assert_eq!(slot.delete(&mut allocator, 9), Change::OverNothing);
        assert_eq!(slot.set(&mut allocator, &value(5, "")), Change::OverNothing);
        assert_eq!(slot.set(&mut allocator, &value(5, "")), Change::Stale);
        assert_eq!(slot.delete(&mut allocator, 4), Change::Stale);
        assert_eq!(slot.delete(&mut allocator, 6), Change::OverLive);
        assert_eq!(slot.delete(&mut allocator, 7), Change::OverNothing);
        assert_eq!(slot.set(&mut allocator, &value(7, "")), Change::Stale);
        assert_eq!(slot.set(&mut allocator, &value(8, "")), Change::OverNothing);
    }
}
