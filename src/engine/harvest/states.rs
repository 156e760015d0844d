//! What salvage has found of states.
//!
//! A state is what was put and all that was appended since, so bytes that were appended behind a gap
//! say nothing: what they followed may be missing. They are left out, and what is kept is what the
//! state once was.

use std::collections::BTreeMap;

use crate::care::Gap;
use crate::format::snapshot::State;
use crate::index::StateId;
use crate::state::{MAX_STATE_BYTES, StateChange};

/// Group, owner, name and part.
type Id = (String, u8, String, i32);

/// The states that were found.
#[derive(Debug, Default)]
pub(crate) struct HarvestedStates {
    states: BTreeMap<Id, Known>,
}

/// What is known of a state.
#[derive(Debug, Default)]
struct Known {
    /// The newest change that does not depend on what was there.
    base: Base,
    /// What was appended since, by seq.
    appended: BTreeMap<u64, Vec<u8>>,
}

/// What a state was at some seq. At first, that it was not there at the beginning.
#[derive(Debug, Default)]
struct Base {
    seq: u64,
    /// There was no other change up to this seq.
    until: u64,
    /// None if it was not there.
    bytes: Option<Vec<u8>>,
}

/// What is left of a state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left<'a> {
    pub(crate) id: StateId<'a>,
    /// Up to this seq it is known what happened to it.
    pub(crate) known: u64,
    /// What it was then; none if it was not there.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl HarvestedStates {
    /// Takes a state of a snapshot that covers the history up to `covers`.
    pub(super) fn state(&mut self, state: &State<'_>, covers: u64) {
        let State { seq, group, owner, name, part, bytes } = *state;
        let until = seq.max(covers);
        let known = self.known(StateId { group, owner, name, part });
        known.rebase(Base { seq, until, bytes: Some(bytes.to_vec()) });
    }

    /// Takes a change.
    pub(super) fn change(&mut self, id: StateId<'_>, change: StateChange<'_>, seq: u64) {
        let known = self.known(id);
        let base = |bytes| Base { seq, until: seq, bytes };
        match change {
            StateChange::Put(bytes) => known.rebase(base(Some(bytes.to_vec()))),
            StateChange::Delete => known.rebase(base(None)),
            StateChange::Append(bytes) if seq > known.base.seq => {
                known.appended.insert(seq, bytes.to_vec());
            }
            StateChange::Append(_) => {}
        }
    }

    /// What is left of each state, in order, given what could not be read.
    pub(crate) fn left<'a>(&'a self, gaps: &'a [Gap]) -> impl Iterator<Item = Left<'a>> {
        self.states.iter().map(|((group, owner, name, part), known)| {
            let id = StateId { group, owner: *owner, name, part: *part };
            let (known, bytes) = known.left(gaps);
            Left { id, known, bytes }
        })
    }

    fn known(&mut self, id: StateId<'_>) -> &mut Known {
        let StateId { group, owner, name, part } = id;
        self.states.entry((group.to_owned(), owner, name.to_owned(), part)).or_default()
    }
}

impl Known {
    fn rebase(&mut self, base: Base) {
        if base.seq >= self.base.seq {
            let until = base.until.max(self.base.until);
            self.base = Base { until, ..base };
            self.appended.retain(|seq, _| *seq > self.base.seq);
        }
    }

    /// Up to which seq the state is known, and what it was then.
    fn left(&self, gaps: &[Gap]) -> (u64, Option<Vec<u8>>) {
        let (mut known, mut bytes) = (self.base.until, self.base.bytes.clone());
        for (seq, more) in &self.appended {
            let is_behind = |gap: &Gap| gap.from.get() < *seq && gap.to.get() > known;
            let len = bytes.as_ref().map_or(0, Vec::len) + more.len();
            if gaps.iter().any(is_behind) || len > MAX_STATE_BYTES {
                break;
            }
            bytes.get_or_insert_default().extend_from_slice(more);
            known = known.max(*seq);
        }
        (known, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Seq;
    use StateChange::{Append, Delete, Put};

    const ID: StateId<'static> = StateId { group: "g", owner: 200, name: "n", part: 0 };

    /// What is left of a state after changes, each with its seq, and gaps.
    fn left(changes: &[(u64, StateChange<'_>)], gaps: &[(u64, u64)]) -> (u64, Option<Vec<u8>>) {
        let mut states = HarvestedStates::default();
        changes.iter().for_each(|(seq, change)| states.change(ID, *change, *seq));
        let gap = |(from, to): &(u64, u64)| Gap { path: "".into(), from: Seq(*from), to: Seq(*to) };
        let gaps: Vec<Gap> = gaps.iter().map(gap).collect();
        let mut all = states.left(&gaps).map(|left| (left.known, left.bytes));
        let only = all.next().unwrap();
        assert!(all.next().is_none());
        only
    }

    #[test]
    fn what_was_appended_behind_a_gap_is_left_out() {
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        let all = [(2, Put(b"a")), (4, Append(b"b")), (6, Append(b"c"))];
        assert_eq!(left(&all, &[]), (6, some(b"abc")));
        assert_eq!(left(&all, &[(1, 1), (7, u64::MAX)]), (6, some(b"abc")));
        assert_eq!(left(&all, &[(5, 5)]), (4, some(b"ab")));
        assert_eq!(left(&all, &[(3, 3)]), (2, some(b"a")));
        assert_eq!(
            left(&[(4, Append(b"b"))], &[(1, 3)]),
            (0, None),
            "nobody knows in front of what"
        );
        assert_eq!(left(&[(4, Append(b"b"))], &[]), (4, some(b"b")));
        assert_eq!(left(&[(2, Put(b"a")), (4, Delete), (6, Append(b"c"))], &[]), (6, some(b"c")));
        // In another order, and twice, as from two files.
        let again = [(6, Append(b"c")), (4, Append(b"b")), (6, Append(b"c")), (2, Put(b"a"))];
        assert_eq!(left(&again, &[]), (6, some(b"abc")));
    }

    #[test]
    fn what_a_state_has_already_is_not_appended_again() {
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        for append in [(5, Append(b"b")), (10, Append(b"b"))] {
            // A later file has it first, or the other way round.
            assert_eq!(left(&[(10, Put(b"ab")), append], &[]), (10, some(b"ab")));
            assert_eq!(left(&[append, (10, Put(b"ab"))], &[]), (10, some(b"ab")));
        }
        // Something else of its record is in the gap, which was read itself.
        assert_eq!(left(&[(5, Put(b"a")), (8, Append(b"b"))], &[(8, 8)]), (8, some(b"ab")));
    }

    #[test]
    fn a_state_is_as_long_as_it_may_be_and_no_longer() {
        let half = vec![7; 5000];
        let both = Some(vec![7; 10_000]);
        assert_eq!(left(&[(2, Put(&half)), (4, Append(&half))], &[]), (4, both));
        let most = vec![7; MAX_STATE_BYTES];
        let known = |more: &[u8]| left(&[(2, Put(&most[1..])), (4, Append(more))], &[]).0;
        assert_eq!((known(b"b"), known(b"bb")), (4, 2));
    }

    #[test]
    fn a_snapshot_vouches_for_the_seqs_that_it_covers() {
        let mut states = HarvestedStates::default();
        states.change(ID, Append(b"old"), 2);
        let StateId { group, owner, name, part } = ID;
        states.state(&State { seq: 3, group, owner, name, part, bytes: b"a" }, 7);
        states.change(ID, Append(b"b"), 8);
        let gaps = [Gap { path: "".into(), from: Seq(1), to: Seq(7) }];
        let left = states.left(&gaps).next().unwrap();
        assert_eq!(left, Left { id: ID, known: 8, bytes: Some(b"ab".to_vec()) });
    }
}
