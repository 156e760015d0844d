//! Any sequence of calls, against a set of the offsets that are complete.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{AckLimits, AckTracker};
use crate::error::{ErrorKind, Result};
use crate::key::NextOffset;

#[derive(Clone, Debug)]
enum Op {
    /// Skips so many offsets.
    HandOut(i64),
    Complete(i64),
    CompleteRange(i64, i64),
    Rewind(i64),
    SkipTo(i64),
    EncodeState,
    EncodeDelta,
    /// Reads back what was encoded: with the deltas in another order, some of them twice, and some
    /// not at all; and then in order, to go on with that.
    Restart {
        picks: Vec<prop::sample::Index>,
    },
}

/// Offsets are counted from where a run begins.
fn ops() -> impl Strategy<Value = Op> {
    let skip = prop_oneof![12 => Just(0), 3 => 1..4i64, 1 => 60..140i64];
    let offset = || prop_oneof![8 => 0..60i64, 1 => -3..260i64];
    prop_oneof![
        12 => skip.prop_map(Op::HandOut),
        10 => offset().prop_map(Op::Complete),
        3 => (offset(), -2..20i64).prop_map(|(from, len)| Op::CompleteRange(from, len)),
        1 => offset().prop_map(Op::Rewind),
        1 => offset().prop_map(Op::SkipTo),
        2 => Just(Op::EncodeState),
        4 => Just(Op::EncodeDelta),
        2 => prop::collection::vec(any::<prop::sample::Index>(), 0..6)
            .prop_map(|picks| Op::Restart { picks }),
    ]
}

fn limits() -> impl Strategy<Value = (u64, u64)> {
    let span = prop_oneof![Just(1_000_000), 1..70u64];
    let ranges = prop_oneof![Just(500_000), 0..6u64];
    (span, ranges)
}

/// What a tracker should hold: everything below `floor` is complete, and so is what is in the set.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    floor: i64,
    done: BTreeSet<i64>,
    next: i64,
}

impl Model {
    fn has(&self, offset: i64) -> bool {
        offset < self.floor || self.done.contains(&offset)
    }

    fn watermark(&self) -> i64 {
        (self.floor..).find(|offset| !self.has(*offset)).unwrap()
    }

    fn ranges(&self) -> Vec<(i64, i64)> {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for &at in self.done.range(self.watermark()..) {
            match ranges.last_mut() {
                Some((_, end)) if *end == at => *end += 1,
                _ => ranges.push((at, at + 1)),
            }
        }
        ranges
    }

    fn end(&self) -> i64 {
        let known = self.ranges().last().map_or(0, |(_, end)| *end);
        self.next.max(self.watermark()).max(known)
    }

    /// The offsets that are not complete, one by one.
    fn missing(&self) -> Vec<i64> {
        (self.watermark()..self.end()).filter(|offset| !self.has(*offset)).collect()
    }

    /// What is complete from `from` on, as far as anything was handed out.
    fn complete_from(&self, from: i64) -> u64 {
        (from..self.end()).filter(|offset| self.has(*offset)).count() as u64
    }

    fn with(&self, offsets: std::ops::Range<i64>) -> Model {
        let mut model = self.clone();
        model.done.extend(offsets.filter(|offset| !self.has(*offset)));
        model
    }

    /// Takes over what a call leads to, unless that is beyond the limits.
    fn become_within(
        &mut self,
        then: Model,
        max_ranges: u64,
    ) -> std::result::Result<u64, ErrorKind> {
        if then.ranges().len() as u64 > max_ranges {
            return Err(ErrorKind::BackPressure);
        }
        let new = then.done.len() - self.done.len();
        *self = then;
        Ok(new as u64)
    }

    fn complete(
        &mut self,
        from: i64,
        to: i64,
        max_ranges: u64,
    ) -> std::result::Result<u64, ErrorKind> {
        if from >= to {
            return Ok(0);
        }
        if from < 0 || to > self.next.max(self.watermark()) {
            return Err(ErrorKind::InvalidArgument);
        }
        self.become_within(self.with(from..to), max_ranges)
    }

    fn hand_out(&mut self, at: i64, limits: (u64, u64)) -> std::result::Result<u64, ErrorKind> {
        let mut then = self.with(self.next..at);
        then.next = at + 1;
        if (at + 1).saturating_sub(then.watermark().min(at)) as u64 > limits.0 {
            return Err(ErrorKind::BackPressure);
        }
        let to_do = u64::from(!self.has(at));
        self.become_within(then, limits.1)?;
        Ok(to_do)
    }

    fn rewind(&mut self, to: i64) -> std::result::Result<u64, ErrorKind> {
        if to < 0 || to > self.end() {
            return Err(ErrorKind::InvalidArgument);
        }
        let forgotten = self.complete_from(to);
        self.floor = self.floor.min(to);
        self.done.retain(|offset| *offset < to);
        self.next = self.next.min(to);
        Ok(forgotten)
    }

    fn skip_to(&mut self, to: i64) -> std::result::Result<u64, ErrorKind> {
        if to < 0 {
            return Err(ErrorKind::InvalidArgument);
        }
        if to > self.watermark() {
            *self = self.with(self.watermark()..to);
        }
        self.next = self.next.max(to);
        Ok(0)
    }
}

fn kind<T>(result: Result<T>) -> std::result::Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

fn state_of(acks: &AckTracker) -> Vec<u8> {
    let mut bytes = Vec::new();
    acks.clone().encode_state(&mut bytes);
    bytes
}

/// Everything that can be asked of a tracker.
fn check(acks: &AckTracker, model: &Model) {
    assert_eq!(acks.watermark(), NextOffset(model.watermark()));
    let ranges: Vec<_> = acks.ranges().map(|range| (range.start, range.end)).collect();
    assert_eq!(ranges, model.ranges());
    assert_eq!(acks.range_count(), ranges.len() as u64);
    let gaps: Vec<_> = acks.gaps().collect();
    assert!(gaps.windows(2).all(|pair| pair[0].end < pair[1].start), "{gaps:?}");
    assert_eq!(gaps.into_iter().flatten().collect::<Vec<_>>(), model.missing());
    for offset in model.watermark() - 70..model.end() + 70 {
        assert_eq!(acks.is_complete(offset), offset >= 0 && model.has(offset), "{offset}");
    }
}

/// What was stored since the last state, with the model at the last encoding.
#[derive(Clone)]
struct Stored {
    state: Vec<u8>,
    deltas: Vec<Vec<u8>>,
    model: Model,
}

impl Stored {
    fn read_in_order(&self, limits: AckLimits) -> AckTracker {
        let mut acks = AckTracker::decode_state(&self.state, limits).unwrap();
        for delta in &self.deltas {
            assert!(acks.apply_delta(delta).unwrap());
        }
        acks
    }

    /// Whatever is lost, doubled or exchanged: nothing is complete that was not, and nothing that was
    /// read is lost.
    fn read_in_disorder(&self, picks: &[prop::sample::Index], limits: AckLimits) {
        let mut acks = AckTracker::decode_state(&self.state, AckLimits::new()).unwrap();
        let mut strict = AckTracker::decode_state(&self.state, limits).unwrap();
        let picked = picks.iter().filter(|_| !self.deltas.is_empty());
        let picked: Vec<_> = picked.map(|pick| pick.index(self.deltas.len())).collect();
        for &i in &picked {
            assert!(acks.apply_delta(&self.deltas[i]).unwrap());
            let before = state_of(&strict);
            match kind(strict.apply_delta(&self.deltas[i])) {
                Ok(applied) => assert!(applied),
                Err(kind) => {
                    assert_eq!(kind, ErrorKind::BackPressure);
                    assert_eq!(state_of(&strict), before, "a refused delta changed something");
                }
            }
        }
        for offset in 0.max(self.model.watermark() - 70)..self.model.end() + 70 {
            assert!(
                !acks.is_complete(offset) || self.model.has(offset),
                "{offset} was not complete"
            );
        }
        for i in 0..self.deltas.len() {
            assert!(acks.apply_delta(&self.deltas[i]).unwrap());
        }
        let ranges: Vec<_> = acks.ranges().map(|range| (range.start, range.end)).collect();
        assert_eq!((acks.watermark().0, ranges), (self.model.watermark(), self.model.ranges()));
        assert_eq!(acks.range_count(), self.model.ranges().len() as u64);
    }
}

proptest! {
    #[test]
    fn any_sequence_of_calls_gives_what_the_model_gives(
        start in prop_oneof![0..200i64, Just(1 << 40), (i64::MAX - 3_000)..(i64::MAX - 2_000)],
        given in limits(),
        ops in prop::collection::vec(ops(), 1..120),
    ) {
        let limits = AckLimits::new().max_span(given.0).max_ranges(given.1);
        let mut acks = AckTracker::new(NextOffset(start), limits).unwrap();
        let mut model = Model { floor: start, done: BTreeSet::new(), next: start };
        let mut stored: Option<Stored> = None;
        let mut earlier: Vec<Stored> = Vec::new();
        let (mut changed, mut rewound) = (true, true);
        // Far enough from the lower end for every offset to be one, but for the first.
        let at = |offset: i64| start.saturating_add(offset);
        for op in ops {
            let before = model.clone();
            match op {
                Op::HandOut(skip) => {
                    let offset = model.next + skip;
                    let expected = model.hand_out(offset, given);
                    prop_assert_eq!(kind(acks.hand_out(offset)).map(u64::from), expected);
                }
                Op::Complete(offset) => {
                    let offset = at(offset);
                    let expected = model.complete(offset, offset + 1, given.1);
                    prop_assert_eq!(kind(acks.complete(offset)).map(u64::from), expected);
                }
                Op::CompleteRange(from, len) => {
                    let (from, to) = (at(from), at(from + len));
                    let expected = model.complete(from, to, given.1);
                    prop_assert_eq!(kind(acks.complete_range(from..to)), expected);
                }
                Op::Rewind(to) => {
                    let expected = model.rewind(at(to));
                    rewound |= expected.is_ok_and(|forgotten| forgotten > 0);
                    prop_assert_eq!(kind(acks.rewind(NextOffset(at(to)))), expected);
                }
                Op::SkipTo(to) => {
                    let expected = model.skip_to(at(to));
                    prop_assert_eq!(kind(acks.skip_to(NextOffset(at(to)))).map(|()| 0), expected);
                }
                Op::EncodeState => {
                    let mut state = Vec::new();
                    acks.encode_state(&mut state);
                    earlier.extend(stored.take().filter(|_| rewound));
                    stored = Some(Stored { state, deltas: Vec::new(), model: model.clone() });
                    (changed, rewound) = (false, false);
                }
                Op::EncodeDelta => {
                    let mut delta = Vec::new();
                    prop_assert_eq!(acks.encode_delta(&mut delta).is_err(), rewound);
                    if let Some(stored) = stored.as_mut().filter(|_| !rewound) {
                        stored.deltas.push(delta);
                        stored.model = model.clone();
                        changed = false;
                    }
                }
                Op::Restart { picks } => {
                    let Some(stored) = &stored else { continue };
                    stored.read_in_disorder(&picks, limits);
                    acks = stored.read_in_order(limits);
                    model = stored.model.clone();
                    model.next = model.watermark();
                    (changed, rewound) = (false, false);
                    // What was forgotten between two states stays forgotten.
                    for delta in earlier.iter().flat_map(|earlier| &earlier.deltas) {
                        prop_assert_eq!(acks.apply_delta(delta).unwrap(), false);
                    }
                    for (earlier, delta) in earlier.iter().zip(stored.deltas.first()) {
                        let mut acks = AckTracker::decode_state(&earlier.state, limits).unwrap();
                        prop_assert_eq!(kind(acks.apply_delta(delta)), Err(ErrorKind::Corrupt));
                    }
                    check(&acks, &model);
                    prop_assert_eq!((acks.is_changed(), acks.needs_state()), (false, false));
                    continue;
                }
            }
            changed |= (before.watermark(), before.ranges()) != (model.watermark(), model.ranges());
            check(&acks, &model);
            prop_assert_eq!((acks.is_changed(), acks.needs_state()), (changed, rewound));
            let state = state_of(&acks);
            let read = AckTracker::decode_state(&state, limits).unwrap();
            prop_assert_eq!(state_of(&read), state);
            let restored = Model { next: model.watermark(), ..model.clone() };
            check(&read, &restored);
        }
    }
}
