//! The flusher's role: one thread has it, others wait for what it does.
//!
//! Who waits does so in one of two rooms: that of the flush that is running, if it covers their record,
//! or that of the next one. The end of a flush wakes everyone in its room, and one in the other room,
//! who flushes next. With many threads about half of those who wait have a record that is newer than
//! the flush; woken, they would take the processor from the rest only to lie down again.

use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Hands out the role.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    state: Mutex<State>,
    rooms: [Condvar; 2],
}

#[derive(Debug, Default)]
struct State {
    /// Whether someone has the role.
    taken: bool,
    /// How often the role was given back.
    round: usize,
    /// What the running flush covers, once that is known. Until then everyone who comes waits for
    /// its end.
    target: Option<u64>,
    /// How many are in each room. Nobody calls into an empty one: that takes a call of the system,
    /// and a thread that commits alone would make two of them for each flush.
    waiting: [usize; 2],
}

impl State {
    /// The room for those who wait until `seq` is durable.
    fn room(&self, seq: u64) -> usize {
        let is_newer = self.target.is_some_and(|target| seq > target);
        (self.round + usize::from(is_newer)) % 2
    }
}

/// What came of [`Flusher::take_or_wait`].
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// The caller is the flusher now.
    Flush(FlusherRole<'a>),
    /// It is time to look whether the record is durable, and to come back if it is not.
    LookAgain,
    /// There is no time left to wait for the one who is flushing.
    TimedOut,
}

/// The right to flush. There is one, and dropping it, however that comes about, wakes those who
/// wait, so that neither an early return nor a panic can strand them.
#[derive(Debug)]
pub(super) struct FlusherRole<'a> {
    flusher: &'a Flusher,
}

impl Flusher {
    /// Takes the role if it is free, and waits if it is not, until a flush that covers `seq` is over,
    /// until it is the caller's turn to try again, or until the time that is `left` has passed.
    ///
    /// Whoever gets [`Turn::LookAgain`] for a record that is not durable must come back: it may have
    /// been chosen to flush next, and then all in its room rely on it.
    pub(super) fn take_or_wait(
        &self,
        seq: u64,
        left: Option<Duration>,
        is_durable: impl Fn() -> bool,
    ) -> Turn<'_> {
        let mut state = self.lock();
        if is_durable() {
            return Turn::LookAgain;
        }
        if !state.taken {
            state.taken = true;
            return Turn::Flush(FlusherRole { flusher: self });
        }
        if left == Some(Duration::ZERO) {
            // Only here, where someone has the role, may anybody leave who was perhaps called.
            return Turn::TimedOut;
        }
        let room = state.room(seq);
        state.waiting[room] += 1;
        let door = &self.rooms[room];
        let mut state = match left {
            None => door.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => door.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.waiting[room] -= 1;
        Turn::LookAgain
    }

    /// Takes the role, however long that takes.
    pub(super) fn take(&self) -> FlusherRole<'_> {
        loop {
            if let Turn::Flush(role) = self.take_or_wait(u64::MAX, None, || false) {
                return role;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlusherRole<'_> {
    /// Says that the flush will cover everything up to `seq` and nothing that is newer.
    pub(super) fn set_target(&self, seq: u64) {
        self.flusher.lock().target = Some(seq);
    }
}

impl Drop for FlusherRole<'_> {
    fn drop(&mut self) {
        let mut state = self.flusher.lock();
        let room = state.round % 2;
        let waiting = state.waiting;
        *state = State { taken: false, round: state.round.wrapping_add(1), target: None, waiting };
        drop(state);
        // The next flusher first: the others can be woken while it flushes.
        if waiting[1 - room] > 0 {
            self.flusher.rooms[1 - room].notify_one();
        }
        if waiting[room] > 0 {
            self.flusher.rooms[room].notify_all();
        }
    }
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    fn role(flusher: &Flusher) -> FlusherRole<'_> {
        match flusher.take_or_wait(1, None, || false) {
            Turn::Flush(role) => role,
            other => panic!("the role is free, and yet {other:?}"),
        }
    }

    #[test]
    fn those_who_are_covered_wait_apart_from_those_who_are_not() {
        let flusher = Flusher::default();
        let room = |seq| flusher.lock().room(seq);
        let first = role(&flusher);
        let early = room(9);
        first.set_target(4);
        assert_eq!([room(3), room(4)], [early; 2]);
        let late = room(5);
        assert_ne!(late, early);
        drop(first);
        // Who was too late for one flush is in the room of the next, with all who come until it is
        // known what that one covers.
        assert_eq!([room(5), room(9)], [late; 2]);
        let second = role(&flusher);
        second.set_target(5);
        assert_eq!([room(5), room(6)], [late, early]);
    }

    #[test]
    fn nobody_is_stranded() {
        let (flusher, newest, durable) = (Flusher::default(), AtomicU64::new(0), AtomicU64::new(0));
        let commit = |_| {
            let seq = newest.fetch_add(1, Ordering::AcqRel) + 1;
            let is_durable = || durable.load(Ordering::Acquire) >= seq;
            // Some give up at once, which must not harm the others.
            let left = (seq % 5 == 0).then_some(Duration::ZERO);
            while !is_durable() {
                match flusher.take_or_wait(seq, left, is_durable) {
                    Turn::Flush(role) => {
                        let target = newest.load(Ordering::Acquire);
                        role.set_target(target);
                        thread::yield_now();
                        // And some flushes fail.
                        if target % 7 == 0 {
                            newest.fetch_add(1, Ordering::AcqRel);
                        } else {
                            durable.store(target, Ordering::Release);
                        }
                    }
                    Turn::LookAgain => {}
                    Turn::TimedOut => break,
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..2000).for_each(commit));
            }
        });
        assert_eq!(flusher.lock().waiting, [0, 0], "whoever leaves a room is not counted any more");
        drop(role(&flusher));
    }

    #[test]
    fn a_role_that_ends_in_a_panic_strands_nobody() {
        let (flusher, came) = (Flusher::default(), AtomicU64::new(0));
        let come = &|seq| {
            let count = || {
                came.fetch_add(1, Ordering::AcqRel);
                false
            };
            while !matches!(flusher.take_or_wait(seq, None, count), Turn::Flush(_)) {}
        };
        thread::scope(|scope| {
            let held = role(&flusher);
            held.set_target(2);
            for seq in 1..=4 {
                scope.spawn(move || come(seq));
            }
            while came.load(Ordering::Acquire) < 4 {
                thread::yield_now();
            }
            // They count under the lock and give it up by waiting: now all of them wait.
            drop(flusher.lock());
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _held = held;
                std::panic::resume_unwind(Box::new("a flush that went wrong"));
            }));
            assert!(panicked.is_err());
        });
        drop(role(&flusher));
    }

    #[test]
    fn time_that_runs_out_ends_the_wait_for_others() {
        let flusher = Flusher::default();
        let turn = |left| flusher.take_or_wait(1, Some(left), || false);
        let held = role(&flusher);
        assert!(matches!(turn(Duration::ZERO), Turn::TimedOut));
        assert!(matches!(turn(Duration::from_millis(1)), Turn::LookAgain));
        drop(held);
        // There is nobody to wait for, so it does not matter that there is no time.
        assert!(matches!(turn(Duration::ZERO), Turn::Flush(_)));
    }
}
