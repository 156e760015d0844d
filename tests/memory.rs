//! What bytes and requests from outside may take in memory, counted by an allocator.
//!
//! A bound here is a multiple of the length of what came in: a few bytes must not stand for much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pagemark::NextOffset;
use pagemark::consumer::{AckLimits, AckTracker};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocator of the system, which counts for each thread.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call is passed on to the allocator of the system as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call returns, and the most that it has held at once beyond what was held before.
fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let value = call();
    (value, (PEAK.get() - before) as usize)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Acknowledgements in their byte form: a state (0) or a delta (1) with a watermark of 0 and runs,
/// each a gap and a length less one.
fn acks(form: u8, runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut out = vec![1, form, 0, 0];
    for (gap, length) in runs {
        put_varint(&mut out, gap);
        put_varint(&mut out, length);
    }
    out.push(0);
    out
}

#[test]
fn acks_take_memory_by_their_bytes_and_not_by_the_offsets_that_they_state() {
    let far = 1 << 30;
    let limits = AckLimits::new().max_span(u64::MAX).max_ranges(u64::MAX);
    let one_each = |count: usize| (0..count).map(|_| (1, 0));
    let deltas = |count: u64| (0..count).flat_map(|i| acks(1, [(far - i * 1_000, 500)]));
    let cases = [
        ("one run that is far away", acks(0, [(far, 0)])),
        ("one run that is long", acks(0, [(1, far)])),
        ("as many runs as there is room for", acks(0, one_each(100_000))),
        ("the same, and one far away", acks(0, one_each(100_000).chain([(far, 0)]))),
        ("runs that bits would take more for", acks(0, (0..10_000).map(|_| (100, 100)))),
        ("nothing, and many deltas", acks(0, []).into_iter().chain(deltas(2_000)).collect()),
        (
            "many runs, and many deltas",
            acks(0, one_each(9)).into_iter().chain(deltas(99)).collect(),
        ),
    ];
    for (what, bytes) in cases {
        let (restored, most) = peak(|| AckTracker::restore(&bytes, limits));
        let acks = restored.unwrap();
        assert!(acks.range_count() > 0, "{what}");
        assert!(most <= 32 * bytes.len() + 512, "{what}: {most} for {} bytes", bytes.len());
        // What it says of itself is about right. A table of one run has room for some.
        let stated = acks.memory_bytes();
        println!("{what}: {} bytes, {most} at most, {stated} stated", bytes.len());
        assert!((most / 4..=most + 32).contains(&(stated + 160)), "{what}: {stated} of {most}");
    }
}

#[test]
fn acks_that_were_restored_go_on_by_what_is_completed() {
    let limits = AckLimits::new().max_span(u64::MAX);
    let far = 1_i64 << 40;
    let state = acks(0, [(9, 0), (far as u64, 5)]);
    let mut acks = AckTracker::decode_state(&state, limits).unwrap();
    let ((), most) = peak(|| {
        for offset in 0..20 {
            assert_eq!(acks.hand_out(offset).unwrap(), offset != 9);
            assert!(acks.complete(offset).unwrap() || offset == 9);
        }
        acks.hand_out(21).unwrap();
    });
    assert!(most < 1_024, "{most}");
    assert_eq!(acks.watermark(), NextOffset(21), "no record has offset 20");
    assert_eq!(acks.ranges().collect::<Vec<_>>(), [far + 10..far + 16]);
}
