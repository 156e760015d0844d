//! What bytes and requests from outside may take in memory, counted by an allocator.
//!
//! A bound here is a multiple of the length of what came in: a few bytes must not stand for much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pagemark::NextOffset;
use pagemark::consumer::{AckLimits, AckTracker};
use pagemark::group::{classic, modern};
use pagemark::testkit::fuzz_states;

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
    let ranges: Vec<_> = acks.ranges().map(|range| (range.start, range.end)).collect();
    assert_eq!(ranges, [(far + 10, far + 16)]);
}

/// A record of a classic member with so many protocols without a name and without metadata.
fn classic_member(protocols: u16) -> Vec<u8> {
    let mut out = vec![1, 0xff, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    out.extend(protocols.to_le_bytes());
    out.extend(vec![0; 6 * usize::from(protocols) + 4]);
    out
}

/// A name as it is stored; those of higher numbers come later.
fn name(number: u32) -> Vec<u8> {
    [&[4, 0], format!("{number:04x}").as_bytes()].concat()
}

/// Partitions of topics with short names, so many topics with so many partitions each.
fn put_partitions(out: &mut Vec<u8>, topics: u32, partitions: u32) {
    out.extend(topics.to_le_bytes());
    for topic in 0..topics {
        out.extend(name(topic));
        out.extend(partitions.to_le_bytes());
        (0..partitions).for_each(|partition| out.extend(partition.to_le_bytes()));
    }
}

#[test]
fn records_of_groups_take_memory_by_their_bytes() {
    let modern = |head: &[u8], topics, partitions| {
        let mut out = head.to_vec();
        put_partitions(&mut out, topics, partitions);
        out
    };
    let names: Vec<u8> = (0..60_000).flat_map(name).collect();
    let member = [&[1, 3][..], &[0; 11], &60_000_u32.to_le_bytes(), &names].concat();
    let cases = [
        ("classic/a", classic_member(256)),
        ("classic/a", classic_member(u16::MAX)),
        ("consumer-member/a", member),
        ("consumer-target/a", modern(&[1, 4], 60_000, 1)),
        ("consumer-target/a", modern(&[1, 4], 1, 100_000)),
        ("consumer-target/a", modern(&[1, 4], 300, 300)),
    ];
    for (name, bytes) in cases {
        let (is_read, most) = if name.starts_with("classic") {
            peak(|| classic::Record::decode(name, &bytes).is_ok())
        } else {
            peak(|| modern::Record::decode(name, &bytes).is_ok())
        };
        println!("{name}, {} bytes: {is_read}, {most} at most", bytes.len());
        assert!(most <= 20 * bytes.len() + 1_024, "{name}: {most} for {} bytes", bytes.len());
    }
}

/// What was found by fuzzing, and what the fuzzer starts with: docs/testing.md.
#[test]
fn every_input_of_the_corpus_passes_and_takes_memory_by_its_length() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/states");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let ((), most) = peak(|| fuzz_states(&input));
        // Some of them have a store on a simulated disk.
        let has_store = input.first().is_some_and(|which| which % 8 == 7);
        let base = if has_store { 1 << 20 } else { 65_536 };
        assert!(most <= 1_000 * input.len() + base, "{}: {most}", path.display());
        inputs += 1;
    }
    assert!(inputs > 10, "{inputs}");
}
