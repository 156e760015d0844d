//! Groups that are played, lose their coordinator, and are opened from records that are not theirs.

mod claims;
mod classic;
mod modern;

use std::collections::BTreeMap;

use super::{fuzz_record::take, mix};
use crate::Result;

pub(super) use claims::fuzz_claims;
pub(super) use classic::Classic;
pub(super) use modern::Modern;

const TOPICS: [&str; 3] = ["t", "u", "orders"];
/// By how much the clock goes on between two requests, or back.
const ELAPSED_MS: [i64; 8] = [0, 1, 10, 3_000, 50_000, 400_000, -60_000, i64::MAX];
const MOST_REQUESTS: usize = 48;
/// Times from here on are so late that a deadline behind them may not be a number.
const LATE_MS: i64 = i64::MAX / 2;

/// A clock that is set back by less counts as one that stands still.
const JITTER_MS: i64 = 1_000;

/// The states of a group, by their names.
type States = BTreeMap<String, Vec<u8>>;

/// A state and its new bytes, or none if it is removed.
type Change = (String, Option<Vec<u8>>);

/// A group of one of the protocols, and all that anybody was told of it: it panics when something is
/// told, accepted or stored that contradicts that.
pub(super) trait Game: Sized {
    /// A group of which nobody was told anything but what is stored.
    fn open(states: &States, now_ms: i64) -> Result<Self>;

    /// Lets a drawn request come in, and returns what is to be stored before it is answered.
    fn play(&mut self, now_ms: i64, input: &mut Input<'_>) -> Vec<Change>;

    /// What was to be stored is, and the answers are let out.
    fn let_out(&mut self, now_ms: i64);

    /// What was to be stored could not be. The group is given up.
    fn give_up(&mut self);

    /// The coordinator is another one, which knows what is stored. Answers that wait are lost.
    fn restart(&mut self, states: &States, now_ms: i64);

    /// Compares the group with what is stored of it, and with what was told.
    fn check(&mut self, states: &States, now_ms: i64);

    /// Nothing fails any more. What has to come to an end does.
    fn calm_down(&mut self, states: &mut States, now_ms: i64);
}

/// Plays a group, changes what is stored of it, and goes on with what that opens as.
pub(super) fn fuzz_group<G: Game>(input: &[u8]) {
    let mut input = Input::new(input);
    let (mut states, mut now_ms) = (States::new(), 0);
    let mut earlier: Vec<(String, Vec<u8>)> = Vec::new();
    let Ok(mut game) = G::open(&states, now_ms) else { return };
    for _ in 0..MOST_REQUESTS {
        if input.bytes.is_empty() {
            break;
        }
        let fate = input.below(12);
        if fate == 0 {
            let mut changed = states.clone();
            edit(&mut changed, &earlier, &mut input);
            let Ok(opened) = G::open(&changed, now_ms) else { continue };
            (game, states) = (opened, changed);
        } else {
            now_ms = now_ms.saturating_add(input.pick(ELAPSED_MS));
            let changes = game.play(now_ms, &mut input);
            if fate == 1 {
                game.give_up();
            } else {
                earlier.extend(
                    changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))),
                );
                store(&mut states, changes);
            }
            match fate {
                1 | 2 => game.restart(&states, now_ms),
                _ => game.let_out(now_ms),
            }
        }
        game.check(&states, now_ms);
    }
    game.calm_down(&mut states, now_ms);
}

fn store(states: &mut States, changes: Vec<Change>) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(states.insert(name, value)),
            None => drop(states.remove(&name)),
        }
    }
}

/// Changes what is stored in a way that nobody who stores records in order can.
fn edit(states: &mut States, earlier: &[(String, Vec<u8>)], input: &mut Input<'_>) {
    for _ in 0..=input.below(3) {
        let names: Vec<String> = states.keys().cloned().collect();
        let name = names.get(input.below(names.len().max(1)));
        match (input.below(5), name) {
            (0, Some(name)) => drop(states.remove(name)),
            (1, Some(name)) => {
                let other = names[input.below(names.len())].clone();
                if let Some(value) = states.get(&other).cloned() {
                    states.insert(name.clone(), value);
                }
            }
            (2, _) if !earlier.is_empty() => {
                let (name, value) = earlier[input.below(earlier.len())].clone();
                states.insert(name, value);
            }
            (_, Some(name)) => {
                let value = states.entry(name.clone()).or_default();
                let at = input.below(value.len().max(1));
                let byte = input.byte();
                if let Some(place) = value.get_mut(at) {
                    *place = byte;
                }
            }
            (_, None) => {}
        }
    }
}

/// Bytes that choices are made with. When they are used up, every choice is the first one.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    /// How many ids it has made up.
    ids: u64,
}

impl Input<'_> {
    fn new(bytes: &[u8]) -> Input<'_> {
        Input { bytes, ids: 0 }
    }

    /// A number for the id of a new member, which no other coordinator has given out before, and which
    /// is not like another.
    fn random(&mut self) -> u128 {
        self.ids += 1;
        u128::from(mix(self.ids)) << 64 | u128::from(self.ids)
    }

    fn byte(&mut self) -> u8 {
        let [byte] = take(&mut self.bytes);
        byte
    }

    /// A number below `n`, which is not zero.
    fn below(&mut self, n: usize) -> usize {
        let number: usize = if n > 256 {
            u16::from_le_bytes(take(&mut self.bytes)).into()
        } else {
            self.byte().into()
        };
        number % n
    }

    fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[self.below(N)]
    }

    /// One of these, or nothing if there is none.
    fn one_of<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        from.get(self.below(from.len().max(1)))
    }

    fn topics(&mut self) -> Vec<&'static str> {
        let set = self.below(1 << TOPICS.len());
        (0..TOPICS.len()).filter(|i| set >> i & 1 == 1).map(|i| TOPICS[i]).collect()
    }
}
