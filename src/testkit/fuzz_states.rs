//! The fuzz target of the states that consumers and groups keep in a store.

use super::fuzz_groups::{Classic, Modern, fuzz_claims, fuzz_group};
use super::fuzz_record::take;
use crate::consumer::{AckLimits, AckTracker};
use crate::group::claims::{decode_claim, decode_mode, encode_claim, encode_mode};
use crate::group::{classic, modern};
use crate::key::NextOffset;

/// Names under which classic and modern groups keep their records.
const CLASSIC_NAMES: [&str; 3] = ["classic", "classic/a", "classic/"];
const MODERN_NAMES: [&str; 6] = [
    "consumer",
    "consumer-topics",
    "consumer-member/a",
    "consumer-target/a",
    "consumer-current/a",
    "consumer-current/",
];

/// Decodes `input` as one of the states that consumers and groups keep, or plays a group: one whose
/// coordinator dies and whose records are changed and opened again, or one above a store, whose commits are
/// fenced by claims and members. Its first byte says which.
///
/// # Panics
///
/// If something decodes and does not encode to the same bytes again, if it takes much more memory than
/// it has bytes, if a group that was opened leaves records that cannot be opened, or that are those
/// of another group, or if a group tells, accepts or stores what contradicts something that it has told.
pub fn fuzz_states(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    match which % 8 {
        0 | 1 => acks(rest),
        2 => claims(rest),
        3 => classic_record(rest),
        4 => modern_record(rest),
        5 => fuzz_group::<Classic>(rest),
        6 => fuzz_group::<Modern>(rest),
        _ => fuzz_claims(rest),
    }
}

fn acks(mut bytes: &[u8]) {
    let [span, ranges, go_back]: [u8; 3] = take(&mut bytes);
    let limits = AckLimits::new().max_span(1 << (span % 64)).max_ranges(1 << (ranges % 64));
    if let Ok(acks) = AckTracker::decode_state(bytes, limits) {
        assert_eq!(state_of(&acks), bytes, "a state reads back");
    }
    let Ok(mut acks) = AckTracker::restore(bytes, limits) else { return };
    check_acks(&acks, limits);
    let stated = acks.memory_bytes();
    assert!(stated <= 32 * bytes.len(), "{stated} bytes of memory for {}", bytes.len());
    // Back into what was read, so that it is told from what is complete anew.
    let ends: Vec<i64> = acks.ranges().map(|range| range.end).collect();
    let to = ends.get(usize::from(go_back) % ends.len().max(1)).map_or(0, |end| end - 1);
    if acks.rewind(NextOffset(to)).is_ok() {
        check_acks(&acks, limits);
        let at = to.max(acks.watermark().0);
        if matches!(acks.hand_out(at), Ok(true)) && matches!(acks.complete(at), Ok(true)) {
            assert!(acks.is_complete(at), "what is completed is complete");
        }
        check_acks(&acks, limits);
    }
}

fn state_of(acks: &AckTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    acks.clone().encode_state(&mut bytes);
    bytes
}

/// What holds of every tracker.
fn check_acks(acks: &AckTracker, limits: AckLimits) {
    let watermark = acks.watermark().0;
    let ranges: Vec<_> = acks.ranges().collect();
    assert_eq!(acks.range_count(), ranges.len() as u64, "ranges are counted");
    assert!(!acks.is_complete(watermark), "the record at the watermark is not complete");
    assert!(ranges.first().is_none_or(|first| first.start > watermark));
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "ranges are apart");
    for range in ranges {
        assert!(acks.is_complete(range.start) && acks.is_complete(range.end - 1));
        assert!(!acks.is_complete(range.start - 1) && !acks.is_complete(range.end));
    }
    let bytes = state_of(acks);
    let read = AckTracker::decode_state(&bytes, limits).map(|read| state_of(&read));
    assert!(read.is_ok_and(|again| again == bytes), "it goes on after a restart");
}

fn claims(bytes: &[u8]) {
    if let Ok(claim) = decode_claim(bytes) {
        assert_eq!(encode_claim(claim.epoch, claim.owner.as_deref()), bytes, "a claim reads back");
    }
    if let Ok(mode) = decode_mode(bytes) {
        assert_eq!(encode_mode(mode), bytes, "a mode reads back");
    }
}

fn classic_record(mut bytes: &[u8]) {
    let [name] = take(&mut bytes);
    let name = CLASSIC_NAMES[usize::from(name) % CLASSIC_NAMES.len()];
    if let Ok(record) = classic::Record::decode(name, bytes) {
        assert_eq!((&*record.name(), record.value().as_deref()), (name, Some(bytes)));
    }
}

fn modern_record(mut bytes: &[u8]) {
    let [name] = take(&mut bytes);
    let name = MODERN_NAMES[usize::from(name) % MODERN_NAMES.len()];
    if let Ok(record) = modern::Record::decode(name, bytes) {
        assert_eq!((&*record.name(), record.value().as_deref()), (name, Some(bytes)));
    }
}
