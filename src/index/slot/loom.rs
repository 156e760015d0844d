//! The orders in which a writer and readers may meet in a slot, as far as memory allows them.
//!
//! The writer is the first thread, so that loom lets it go first: a load finds every store that was
//! made before it in loom's order and may be found by the rules of memory, and none that comes later.

use std::sync::Arc;

use super::*;
use crate::sync::atomic::AtomicU64;
use crate::sync::model;
use crate::sync::thread;

/// A slot in a small arena.
struct Shared {
    arena: Arc<Arena>,
    unit: Unit,
    /// The seq of which somebody knows that it was stored.
    told: AtomicU64,
}

impl Shared {
    fn slot(&self) -> Slot<'_> {
        self.arena.slot(self.unit)
    }

    /// Stores a value and says so.
    fn set(&self, allocator: &mut Allocator, value: &Value<'_>) {
        self.slot().set(allocator, value);
        self.told.store(value.seq, Ordering::Release);
    }

    /// Reads once, and checks that what was read is whole and not older than what it knows of.
    /// Returns the newest seq that it knows of then.
    fn read(&self, mut known: u64, metadata: impl Fn(u64) -> &'static str) -> u64 {
        known = known.max(self.told.load(Ordering::Acquire));
        let mut out = CommittedOffset::default();
        match self.slot().try_read(&self.arena, &mut out) {
            None => known,
            Some(found) => {
                assert!(found, "there was a value from the start");
                let expected = value(out.seq.0, metadata(out.seq.0));
                assert_eq!(out.offset.0, expected.offset, "torn");
                assert_eq!(out.leader_epoch, expected.leader_epoch, "torn");
                assert_eq!(out.commit_timestamp_ms, expected.timestamp_ms, "torn");
                assert_eq!(out.metadata, expected.metadata, "torn");
                assert!(out.seq.0 >= known, "went back from {known} to {}", out.seq.0);
                out.seq.0
            }
        }
    }
}

/// A value of which every part tells its seq.
fn value(seq: u64, metadata: &str) -> Value<'_> {
    Value {
        offset: seq as i64,
        leader_epoch: Some(seq as i32),
        timestamp_ms: TIMESTAMP_BASE + seq as i64,
        expire_at_ms: None,
        metadata,
        seq,
    }
}

fn shared(units: usize, first: &Value<'_>) -> (Arc<Shared>, Allocator) {
    let mut allocator = Allocator::of_units(units);
    let (arena, unit) = (Arc::clone(allocator.arena()), allocator.take(0));
    let shared = Arc::new(Shared { arena, unit, told: AtomicU64::new(0) });
    shared.slot().reset();
    shared.set(&mut allocator, first);
    (shared, allocator)
}

/// Starts a reader that reads twice.
fn reader(
    shared: &Arc<Shared>,
    metadata: impl Fn(u64) -> &'static str + Send + 'static,
) -> thread::JoinHandle<u64> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let known = shared.read(0, &metadata);
        shared.read(known, metadata)
    })
}

/// Both copies are written again while a reader is at them.
#[test]
fn a_value_is_whole_and_never_goes_back() {
    model(3, || {
        let (shared, mut allocator) = shared(2, &value(1, ""));
        let reader = reader(&shared, |_| "");
        for seq in 2..=4 {
            shared.set(&mut allocator, &value(seq, ""));
        }
        reader.join().unwrap();
        assert_eq!(shared.read(4, |_| ""), 4);
    });
}

/// What one reader has seen, and says so, no other one sees an older value of.
#[test]
fn readers_agree() {
    model(3, || {
        let (shared, mut allocator) = shared(2, &value(1, ""));
        let readers = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let known = shared.read(0, |_| "");
                shared.told.store(known, Ordering::Release);
            })
        });
        // Of these nobody is told but by readers.
        shared.slot().set(&mut allocator, &value(2, ""));
        shared.slot().set(&mut allocator, &value(3, ""));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

/// A cell is given back when its value is superseded, and is another value's at once.
#[test]
fn a_cell_that_is_used_again_is_never_read_as_the_old_one() {
    let metadata = |seq| ["", "one", "two", "three"][seq as usize];
    model(2, move || {
        let (shared, mut allocator) = shared(4, &value(1, metadata(1)));
        let reader = reader(&shared, metadata);
        shared.set(&mut allocator, &value(2, metadata(2)));
        // In the cell of the first.
        shared.set(&mut allocator, &value(3, metadata(3)));
        reader.join().unwrap();
    });
}

/// The cell of a value whose successor needs none goes to another slot.
#[test]
fn a_cell_that_goes_to_another_slot_is_never_read_through_the_old_one() {
    let metadata = |seq| ["", "mine", ""][seq as usize];
    model(3, move || {
        let (shared, mut allocator) = shared(4, &value(1, metadata(1)));
        let other = allocator.take(0);
        shared.arena.slot(other).reset();
        let reader = reader(&shared, metadata);
        shared.set(&mut allocator, &value(2, metadata(2)));
        shared.arena.slot(other).set(&mut allocator, &value(1, "theirs"));
        reader.join().unwrap();
    });
}

/// The cell of a value whose successor needs none becomes a slot.
#[test]
fn a_cell_that_becomes_a_slot_is_never_read_as_the_old_one() {
    let metadata = |seq| ["", "mine", ""][seq as usize];
    model(3, move || {
        let (shared, mut allocator) = shared(3, &value(1, metadata(1)));
        let reader = reader(&shared, metadata);
        shared.set(&mut allocator, &value(2, metadata(2)));
        shared.arena.slot(allocator.take(0)).reset();
        reader.join().unwrap();
    });
}

/// A deletion is a value like others: it is not passed over for an older one.
#[test]
fn what_was_deleted_does_not_come_back() {
    model(3, || {
        let (shared, mut allocator) = shared(4, &value(1, "one"));
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for _ in 0..2 {
                    let is_deleted = shared.told.load(Ordering::Acquire) == 2;
                    if let Some(offset) = shared.slot().try_offset() {
                        assert!(offset.is_none() || !is_deleted && offset == Some(1));
                    }
                }
            })
        };
        shared.slot().delete(&mut allocator, 2);
        shared.told.store(2, Ordering::Release);
        reader.join().unwrap();
        assert_eq!(shared.slot().try_offset(), Some(None));
    });
}
