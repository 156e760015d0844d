//! What a small example can show, and the bytes.

use proptest::prelude::*;

use super::bytes::{self, Form};
use super::{AckLimits, AckTracker, DELTAS_PER_STATE};
use crate::error::{ErrorKind, Result};
use crate::key::{LastProcessed, NextOffset};

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// A tracker with the records from `start` to `end` handed out.
fn handed_out(start: i64, end: i64, limits: AckLimits) -> AckTracker {
    let mut acks = AckTracker::new(NextOffset(start), limits).unwrap();
    for offset in start..end {
        assert!(acks.hand_out(offset).unwrap());
    }
    acks
}

fn state_of(acks: &AckTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    acks.clone().encode_state(&mut bytes);
    bytes
}

fn gaps_of(acks: &AckTracker) -> Vec<(i64, i64)> {
    acks.gaps().map(|gap| (gap.start, gap.end)).collect()
}

fn delta_of(acks: &mut AckTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    acks.encode_delta(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_offset_that_no_record_has_is_refused() {
    let mut acks = handed_out(0, 10, AckLimits::new());
    let before = state_of(&acks);
    for offset in [-1, i64::MIN, i64::MAX] {
        assert_eq!(kind(acks.hand_out(offset)), Some(ErrorKind::InvalidArgument));
        assert_eq!(kind(acks.complete(offset)), Some(ErrorKind::InvalidArgument));
        assert!(!acks.is_complete(offset));
    }
    assert_eq!(kind(acks.complete_range(-1..3)), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(acks.complete_range(3..i64::MAX)), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(acks.rewind(NextOffset(-1))), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(acks.skip_to(LastProcessed(i64::MAX))), Some(ErrorKind::InvalidArgument));
    assert_eq!(state_of(&acks), before);
    assert_eq!(
        kind(AckTracker::new(NextOffset(-1), AckLimits::new())),
        Some(ErrorKind::InvalidArgument)
    );
}

#[test]
fn the_highest_offsets_are_as_good_as_others() {
    let mut acks = handed_out(i64::MAX - 3, i64::MAX, AckLimits::new());
    assert!(acks.complete(i64::MAX - 1).unwrap());
    let read = AckTracker::decode_state(&state_of(&acks), AckLimits::new()).unwrap();
    assert_eq!(gaps_of(&read), [(i64::MAX - 3, i64::MAX - 1)]);
    assert_eq!(acks.complete_range(i64::MAX - 3..i64::MAX - 1).unwrap(), 2);
    assert_eq!(acks.watermark(), NextOffset(i64::MAX));
    assert_eq!(kind(acks.hand_out(i64::MAX)), Some(ErrorKind::InvalidArgument));
}

#[test]
fn what_is_complete_already_is_no_news() {
    let mut acks = handed_out(0, 10, AckLimits::new());
    assert!(acks.complete(4).unwrap());
    let before = state_of(&acks);
    assert!(!acks.complete(4).unwrap());
    assert_eq!(acks.complete_range(4..5).unwrap(), 0);
    assert_eq!(state_of(&acks), before);
    assert_eq!(acks.complete_range(0..10).unwrap(), 9);
    assert!(!acks.complete(0).unwrap(), "also below the watermark");
}

#[test]
fn a_completion_that_comes_late_does_not_stand_for_what_is_to_come() {
    let mut acks = handed_out(0, 10, AckLimits::new());
    acks.complete_range(0..8).unwrap();
    assert_eq!(acks.rewind(NextOffset(5)).unwrap(), 3);
    assert_eq!(acks.watermark(), NextOffset(5));
    assert_eq!(kind(acks.complete(9)), Some(ErrorKind::InvalidArgument));
    assert!(acks.hand_out(5).unwrap());
    assert_eq!(kind(acks.rewind(NextOffset(7))), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(acks.hand_out(5)), Some(ErrorKind::InvalidArgument));
}

#[test]
fn what_a_rewind_forgot_is_not_known_any_more() {
    let mut acks = handed_out(0, 3, AckLimits::new());
    acks.complete(2).unwrap();
    let mut acks = AckTracker::decode_state(&state_of(&acks), AckLimits::new()).unwrap();
    assert_eq!(gaps_of(&acks), [(0, 2)]);
    assert_eq!(acks.rewind(NextOffset(1)).unwrap(), 1);
    assert_eq!(acks.gaps().count(), 0, "0 and 1 were not handed out in this life");
}

#[test]
fn a_hole_in_the_log_is_no_record_to_wait_for() {
    let mut acks = handed_out(0, 2, AckLimits::new());
    acks.hand_out(7).unwrap();
    acks.complete_range(0..2).unwrap();
    assert_eq!(acks.watermark(), NextOffset(7));
    assert_eq!(gaps_of(&acks), [(7, 8)]);
    let far = 1 << 50;
    assert_eq!(kind(acks.hand_out(far)), Some(ErrorKind::BackPressure), "7 is in the works");
    acks.complete(7).unwrap();
    assert!(acks.hand_out(far).unwrap());
    assert_eq!(gaps_of(&acks), [(far, far + 1)]);
}

#[test]
fn limits_refuse_and_drop_nothing() {
    let mut acks = handed_out(0, 8, AckLimits::new().max_span(8).max_ranges(2));
    assert_eq!(kind(acks.hand_out(8)), Some(ErrorKind::BackPressure));
    acks.complete(2).unwrap();
    acks.complete(5).unwrap();
    let before = state_of(&acks);
    assert_eq!(kind(acks.complete(7)), Some(ErrorKind::BackPressure));
    assert_eq!(kind(acks.complete_range(0..8)), None, "it leaves fewer ranges than there were");
    let mut acks = AckTracker::decode_state(&before, AckLimits::new().max_ranges(2)).unwrap();
    assert_eq!(acks.ranges().collect::<Vec<_>>(), [2..3, 5..6]);
    assert!(acks.complete(0).is_err(), "it was not handed out after the restart");
    for limits in [AckLimits::new().max_ranges(1), AckLimits::new().max_span(5)] {
        let read = AckTracker::decode_state(&before, limits);
        assert_eq!(kind(read), Some(ErrorKind::BackPressure));
    }
}

#[test]
fn by_default_no_completion_is_refused() {
    let mut acks = handed_out(0, 1_000_000, AckLimits::new());
    assert_eq!(kind(acks.hand_out(1_000_000)), Some(ErrorKind::BackPressure));
    for offset in (1..1_000_000).step_by(2) {
        assert!(acks.complete(offset).unwrap());
    }
    assert_eq!(acks.range_count(), 500_000);
}

#[test]
fn a_million_records_in_flight_take_a_quarter_of_a_byte_each() {
    let mut acks = handed_out(0, 1_000_000, AckLimits::new());
    assert_eq!(acks.memory_bytes(), 0, "nothing is complete out of order");
    acks.complete_range(1..1_000_000).unwrap();
    assert_eq!(acks.memory_bytes(), 2 * (1 << 20) / 8 + (1 << 14) / 8);
    let mut acks = handed_out(0, 1_000_000, AckLimits::new());
    acks.complete_range(0..1_000_000).unwrap();
    assert_eq!(acks.memory_bytes(), 0, "nor in order");
}

#[test]
fn the_bytes_are_these() {
    let mut acks = handed_out(300, 700, AckLimits::new());
    acks.encode_state(&mut Vec::new());
    acks.complete(300).unwrap();
    acks.complete_range(305..310).unwrap();
    acks.complete(600).unwrap();
    let state = [1, 0, 0, 0xad, 2, 4, 4, 0xa2, 2, 0, 0];
    assert_eq!(state_of(&acks), state);
    let mut delta = state;
    delta[1] = 1;
    assert_eq!(delta_of(&mut acks), delta);
    assert_eq!(delta_of(&mut acks), [1, 1, 0, 0xad, 2, 0], "nothing is said twice");
    acks.rewind(NextOffset(308)).unwrap();
    assert_eq!(state_of(&acks), [1, 0, 1, 0xad, 2, 4, 2, 0]);
}

#[test]
fn a_state_comes_first_and_after_a_rewind_and_now_and_then() {
    let mut acks = handed_out(0, 10, AckLimits::new());
    assert!(acks.needs_state());
    assert_eq!(kind(acks.encode_delta(&mut Vec::new())), Some(ErrorKind::InvalidArgument));
    acks.encode_state(&mut Vec::new());
    assert!(!acks.needs_state());
    acks.rewind(NextOffset(10)).unwrap();
    assert!(!acks.needs_state(), "nothing was forgotten");
    acks.complete(3).unwrap();
    acks.rewind(NextOffset(3)).unwrap();
    assert_eq!(kind(acks.encode_delta(&mut Vec::new())), Some(ErrorKind::InvalidArgument));
    let state = state_of(&acks);
    acks.encode_state(&mut Vec::new());
    let mut read = AckTracker::decode_state(&state, AckLimits::new()).unwrap();
    for _ in 0..DELTAS_PER_STATE {
        assert!(!acks.needs_state() && !read.needs_state());
        assert!(read.apply_delta(&delta_of(&mut acks)).unwrap());
    }
    assert!(acks.needs_state() && read.needs_state());
    delta_of(&mut acks);
    acks.encode_state(&mut Vec::new());
    assert!(!acks.needs_state());
}

#[test]
fn bytes_of_another_kind_are_named() {
    let mut acks = handed_out(0, 3, AckLimits::new());
    let mut state = state_of(&acks);
    assert_eq!(kind(acks.apply_delta(&state)), Some(ErrorKind::Corrupt), "a state is no delta");
    state[0] = 2;
    let read = AckTracker::decode_state(&state, AckLimits::new());
    assert_eq!(kind(read), Some(ErrorKind::UnsupportedVersion));
}

#[test]
fn numbers_that_run_over_are_errors() {
    let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]; // i64::MAX
    let one_less = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let one_over = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
    let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]; // u64::MAX
    let state = |parts: &[&[u8]]| [&[1, 0], parts.concat().as_slice()].concat();
    let read = |parts: &[&[u8]]| {
        kind(AckTracker::decode_state(&state(parts), AckLimits::new().max_span(u64::MAX)))
    };
    assert_eq!(read(&[&[0], &max, &[0]]), None);
    assert_eq!(read(&[&max, &max, &[0]]), None);
    for parts in [
        &[&[0][..], &over, &[0]][..],
        &[&one_over, &[0], &[0]],
        &[&[0], &one_over, &[0]],
        &[&[0], &one_less, &[1, 0, 0]],
        &[&[0], &[0], &over, &[0, 0]],
        &[&[0], &[0], &[1], &over, &[0]],
        &[&[0], &[0], &max, &max, &[0]],
        &[&[0], &[0, 0x80, 0]],
        &[&[0x80, 0], &[0, 0]],
        &[&[0xff; 9], &[2, 0, 0]],
        &[&[0xff; 11], &[0, 0]],
    ] {
        assert_eq!(read(parts), Some(ErrorKind::Corrupt), "{parts:x?}");
    }
}

/// Encodings of every size, and what an accident or an enemy makes of them.
fn encodings() -> impl Strategy<Value = Vec<u8>> {
    let runs = prop::collection::vec((1..200u64, 1..200u64), 0..20);
    let encoding = (any::<bool>(), 0..3u64, 0..1_000u64, runs);
    encoding.prop_map(|(is_state, epoch, watermark, runs)| {
        let mut at = watermark;
        let runs = runs.into_iter().map(move |(gap, len)| {
            at += gap + len;
            at - len..at
        });
        let mut out = Vec::new();
        let form = if is_state { Form::State } else { Form::Delta };
        bytes::encode(&mut out, form, bytes::Head { epoch, watermark }, runs);
        out
    })
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 0..4);
    let mutated = (encodings(), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                _ if at < bytes.len() => bytes[at] ^= byte,
                _ => bytes.push(byte),
            }
        }
        bytes
    });
    let raw = prop::collection::vec(any::<u8>(), 0..30).prop_map(|tail| {
        let mut bytes = vec![1, 0, 0];
        bytes.extend(tail);
        bytes
    });
    prop_oneof![4 => mutated, 1 => raw, 1 => prop::collection::vec(any::<u8>(), 0..30)]
}

proptest! {
    #[test]
    fn any_bytes_are_one_encoding_or_an_error(bytes in hostile()) {
        for form in [Form::State, Form::Delta] {
            let Ok((head, runs)) = bytes::decode(&bytes, form) else { continue };
            let Ok(runs) = runs.collect::<Result<Vec<_>>>() else { continue };
            let mut again = Vec::new();
            bytes::encode(&mut again, form, head, runs.into_iter());
            prop_assert_eq!(&again, &bytes);
        }
    }

    #[test]
    fn a_part_of_an_encoding_is_an_error(bytes in encodings()) {
        for end in 0..bytes.len() {
            for form in [Form::State, Form::Delta] {
                let read = bytes::decode(&bytes[..end], form);
                let read = read.and_then(|(_, runs)| runs.collect::<Result<Vec<_>>>());
                prop_assert_eq!(kind(read), Some(ErrorKind::Corrupt));
            }
        }
    }

    #[test]
    fn any_bytes_leave_a_tracker_whole(bytes in hostile(), others in hostile()) {
        let limits = AckLimits::new().max_span(4_096).max_ranges(64);
        let mut acks = match AckTracker::decode_state(&bytes, limits) {
            Ok(mut acks) => {
                prop_assert!(!acks.is_changed());
                let mut again = Vec::new();
                acks.encode_state(&mut again);
                prop_assert_eq!(&again, &bytes);
                acks
            }
            Err(_) => handed_out(100, 200, limits),
        };
        prop_assert!(acks.memory_bytes() <= 16 * bytes.len() + 32);
        let before = state_of(&acks);
        let given = bytes.len() + others.len();
        for delta in [bytes, others] {
            if acks.apply_delta(&delta).is_err() {
                prop_assert_eq!(&state_of(&acks), &before);
                continue;
            }
            prop_assert_eq!(acks.range_count(), acks.ranges().count() as u64);
            prop_assert!(acks.range_count() <= 64 && acks.memory_bytes() <= 16 * given + 64);
            prop_assert!(!acks.is_complete(acks.watermark().0));
            let read = AckTracker::decode_state(&state_of(&acks), limits).unwrap();
            prop_assert_eq!(state_of(&read), state_of(&acks));
            return Ok(());
        }
    }
}
