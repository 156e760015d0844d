//! The states of all groups.
//!
//! They are apart from the slots, so that a commit that touches no state pays nothing for them, and
//! behind a lock: they are few. It is held for as long as a look-up or the copying of one state takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::state::{MAX_STATE_BYTES, StateChange};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The states of all groups, in order. Only the one who has the [`Writer`](super::Writer) changes them.
#[derive(Default)]
pub(crate) struct States {
    groups: Mutex<BTreeMap<Arc<str>, OfGroup>>,
    count: AtomicU64,
    bytes: AtomicU64,
}

/// The states of a group; there is one at least.
type OfGroup = BTreeMap<Id, Kept>;

/// What tells the states of a group apart, in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    owner: u8,
    name: Arc<str>,
    part: i32,
}

struct Kept {
    seq: u64,
    bytes: Arc<Vec<u8>>,
}

/// Which state of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StateId<'a> {
    pub(crate) group: &'a str,
    /// A number, since it may be one that only a later version knows.
    pub(crate) owner: u8,
    pub(crate) name: &'a str,
    pub(crate) part: i32,
}

impl StateId<'_> {
    fn within_group(&self) -> Id {
        Id { owner: self.owner, name: self.name.into(), part: self.part }
    }

    /// What it takes without its bytes.
    fn len(&self) -> u64 {
        (self.group.len() + self.name.len()) as u64
    }
}

/// A state at one moment.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) owner: u8,
    pub(crate) name: Arc<str>,
    pub(crate) part: i32,
    /// The seq of its newest change.
    pub(crate) seq: u64,
    pub(crate) bytes: Arc<Vec<u8>>,
}

impl State {
    /// Which state of the group it is.
    pub(crate) fn id<'a>(&'a self, group: &'a str) -> StateId<'a> {
        StateId { group, owner: self.owner, name: &self.name, part: self.part }
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateTotals {
    pub(crate) count: u64,
    /// Bytes of the states and of their names.
    pub(crate) bytes: u64,
}

impl States {
    /// A state and the seq of its newest change.
    pub(crate) fn get(&self, id: StateId<'_>) -> Option<(u64, Arc<Vec<u8>>)> {
        let groups = self.groups();
        let kept = groups.get(id.group)?.get(&id.within_group())?;
        Some((kept.seq, Arc::clone(&kept.bytes)))
    }

    /// How long a state would be after a change.
    pub(crate) fn len_after(&self, id: StateId<'_>, change: StateChange<'_>) -> usize {
        let before = match change {
            StateChange::Put(_) | StateChange::Delete => 0,
            StateChange::Append(_) => self.get(id).map_or(0, |(_, bytes)| bytes.len()),
        };
        before + change.bytes().len()
    }

    /// The states of a group as they are now, in order.
    pub(crate) fn of_group(&self, group: &str) -> Vec<State> {
        self.groups().get(group).into_iter().flatten().map(state).collect()
    }

    /// Those of one owner.
    pub(crate) fn of_owner(&self, group: &str, owner: u8) -> Vec<State> {
        let groups = self.groups();
        let Some(states) = groups.get(group) else { return Vec::new() };
        owned(states, owner).map(state).collect()
    }

    /// The groups that have a state, in order.
    pub(crate) fn all_groups(&self) -> Vec<Arc<str>> {
        self.groups().keys().cloned().collect()
    }

    /// The groups that have a state of an owner, in order.
    pub(crate) fn groups_of(&self, owner: u8) -> Vec<String> {
        let groups = self.groups();
        let has = groups.iter().filter(|(_, states)| owned(states, owner).next().is_some());
        has.map(|(group, _)| group.to_string()).collect()
    }

    /// How much there is.
    pub(crate) fn totals(&self) -> StateTotals {
        let (count, bytes) = (&self.count, &self.bytes);
        StateTotals { count: count.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }

    /// Changes a state, unless it has a change of this seq or a newer one. Returns false, and does
    /// nothing, if it would become longer than [`MAX_STATE_BYTES`].
    #[must_use = "a state may be too long"]
    pub(crate) fn change(&self, id: StateId<'_>, change: StateChange<'_>, seq: u64) -> bool {
        let mut groups = self.groups();
        let within = id.within_group();
        let before = groups.get(id.group).and_then(|states| states.get(&within));
        if before.is_some_and(|kept| kept.seq >= seq) {
            return true;
        }
        let old = before.map_or(0, |kept| kept.bytes.len());
        let kept_of_it = if matches!(change, StateChange::Append(_)) { old } else { 0 };
        if kept_of_it + change.bytes().len() > MAX_STATE_BYTES {
            return false;
        }
        if before.is_some() {
            self.subtract(1, id.len() + old as u64);
        }
        if change == StateChange::Delete {
            if let Some(states) = groups.get_mut(id.group) {
                states.remove(&within);
                if states.is_empty() {
                    groups.remove(id.group);
                }
            }
            return true;
        }
        let states = match groups.get_mut(id.group) {
            Some(states) => states,
            None => groups.entry(id.group.into()).or_default(),
        };
        let kept = states.entry(within).or_insert_with(|| Kept { seq, bytes: Arc::default() });
        kept.seq = seq;
        // Whoever reads the bytes at this moment keeps those that it has.
        match change {
            StateChange::Append(bytes) => Arc::make_mut(&mut kept.bytes).extend_from_slice(bytes),
            _ => kept.bytes = Arc::new(change.bytes().to_vec()),
        }
        self.add(1, id.len() + kept.bytes.len() as u64);
        true
    }

    /// Adds a state behind all that are there. Returns false if it is not behind them, or its seq is
    /// none.
    #[must_use = "what is out of order is damage"]
    pub(super) fn push(&self, id: StateId<'_>, bytes: &[u8], seq: u64) -> bool {
        let is_behind = match self.groups().last_key_value() {
            None => true,
            Some((group, states)) => {
                let last = states.keys().next_back();
                &**group < id.group
                    || &**group == id.group && last.is_some_and(|last| *last < id.within_group())
            }
        };
        is_behind && seq > 0 && self.change(id, StateChange::Put(bytes), seq)
    }

    fn add(&self, count: u64, bytes: u64) {
        super::add(&self.count, count);
        super::add(&self.bytes, bytes);
    }

    fn subtract(&self, count: u64, bytes: u64) {
        super::subtract(&self.count, count);
        super::subtract(&self.bytes, bytes);
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, OfGroup>> {
        // As for the tables: nothing stops half way short of the process running out of memory.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The states of an owner.
fn owned(states: &OfGroup, owner: u8) -> impl Iterator<Item = (&Id, &Kept)> {
    let first = Id { owner, name: "".into(), part: i32::MIN };
    states.range(first..).take_while(move |(id, _)| id.owner == owner)
}

fn state((id, kept): (&Id, &Kept)) -> State {
    let Id { owner, ref name, part } = *id;
    State { owner, name: name.clone(), part, seq: kept.seq, bytes: kept.bytes.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StateChange::{Append, Delete, Put};

    fn id(group: &'static str, owner: u8, name: &'static str, part: i32) -> StateId<'static> {
        StateId { group, owner, name, part }
    }

    #[test]
    fn a_change_counts_once_and_none_that_is_older() {
        let states = States::default();
        let it = id("g", 1, "n", 0);
        let bytes = || states.get(it).map(|(seq, bytes)| (seq, bytes.to_vec()));
        assert!(states.change(it, Append(b"a"), 5));
        assert!(states.change(it, Append(b"b"), 6));
        assert!(states.change(it, Append(b"b"), 6) && states.change(it, Put(b""), 5));
        assert_eq!(bytes(), Some((6, b"ab".to_vec())));
        let held = states.get(it).unwrap().1;
        assert!(states.change(it, Append(b"c"), 7));
        assert_eq!((held.as_slice(), bytes()), (&b"ab"[..], Some((7, b"abc".to_vec()))));
        assert!(states.change(it, Delete, 7));
        assert_eq!(states.totals(), StateTotals { count: 1, bytes: 5 });
        assert!(states.change(it, Delete, 8));
        assert_eq!((bytes(), states.totals()), (None, StateTotals::default()));
        assert!(states.all_groups().is_empty());
    }

    #[test]
    fn a_state_does_not_become_too_long() {
        let states = States::default();
        let it = id("g", 1, "n", 0);
        let most = vec![1; MAX_STATE_BYTES];
        assert!(states.change(it, Put(&most), 1));
        assert_eq!(states.len_after(it, Append(b"2")), MAX_STATE_BYTES + 1);
        assert!(!states.change(it, Append(b"2"), 2));
        assert_eq!(states.get(it).unwrap().0, 1);
        assert!(states.change(it, Put(b"3"), 3));
        assert_eq!(states.totals(), StateTotals { count: 1, bytes: 3 });
    }

    #[test]
    fn states_come_in_order_by_group_and_by_owner() {
        let states = States::default();
        for (seq, (group, owner, name, part)) in
            (1..).zip([("h", 2, "a", 0), ("g", 2, "b", 1), ("g", 2, "b", 0), ("g", 1, "c", 7)])
        {
            assert!(states.change(id(group, owner, name, part), Put(name.as_bytes()), seq));
        }
        let of = |found: Vec<State>| {
            let parts = found.iter().map(|state| (state.owner, state.name.to_string(), state.part));
            parts.collect::<Vec<_>>()
        };
        let (c, b0, b1) = ((1, "c".into(), 7), (2, "b".into(), 0), (2, "b".into(), 1));
        assert_eq!(of(states.of_group("g")), [c, b0.clone(), b1.clone()]);
        assert_eq!(of(states.of_owner("g", 2)), [b0, b1]);
        assert_eq!(
            (states.groups_of(1), states.groups_of(2)),
            (vec!["g".into()], vec!["g".into(), "h".into()])
        );
        assert!(states.of_owner("g", 3).is_empty() && states.of_group("i").is_empty());
        assert!(!states.push(id("g", 200, "z", 0), b"", 9), "not behind the last group");
        assert!(!states.push(id("h", 2, "a", 0), b"", 9), "twice");
        assert!(!states.push(id("i", 0, "a", 0), b"", 0), "no seq");
        assert!(states.push(id("h", 2, "a", 1), b"", 9));
    }
}
