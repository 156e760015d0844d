//! Histories: drawn from a seed, and all of them over a small alphabet.

use super::step::{Change, Edit, StateStep, Step};
use super::{Lots, mix};
use crate::state::StateOwner;

const GROUPS: [&str; 3] = ["a", "billing", "größe"];
const TOPICS: [&str; 3] = ["t", "orders", "audit-log-of-everything"];

/// A history of `len` steps that take effect all or none: of batches most of them, and of everything
/// else but [`Step::Expire`] and crashes. Every commit has an offset of its own, so that an invented or swapped
/// value is noticed, and some have so much metadata that a few of them fill a small segment. One batch
/// in three changes states too, or nothing else.
pub fn history(seed: u64, len: usize) -> Vec<Step> {
    let mut lots = Lots(mix(seed));
    let mut of_states = Lots(mix(seed ^ 0x0005_7a7e));
    let mut offset = 0;
    (0..len)
        .map(|number| {
            let group = GROUPS[lots.below(3) as usize].to_owned();
            let topic = TOPICS[lots.below(3) as usize].to_owned();
            match lots.below(20) {
                0 => Step::DeleteGroup(group),
                1 => Step::DeleteTopic(group, topic),
                2 | 3 => Step::Sync,
                4 => Step::Reopen,
                5 => Step::Compact,
                _ => {
                    let count = 1 + lots.below(4) * lots.below(3);
                    let mut changes: Vec<_> =
                        (0..count).map(|_| change(&mut lots, &mut offset)).collect();
                    let count = [0, 0, 0, 0, 1, 2, 3, 4][of_states.below(8) as usize];
                    let mut states: Vec<_> =
                        (0..count).map(|_| state_step(&mut of_states, number)).collect();
                    while len_of(&changes, &states) > MOST && states.pop().is_some() {}
                    if of_states.below(4) == 0 && !states.is_empty() {
                        changes.clear();
                    }
                    Step::Batch { group, changes, states }
                }
            }
        })
        .collect()
}

/// How many bytes of metadata and states a batch has at most: a segment of 16 KiB holds it.
const MOST: usize = 11_300;

fn len_of(changes: &[Change], states: &[StateStep]) -> usize {
    let metadata =
        changes.iter().filter_map(|(.., value)| value.as_ref()).map(|value| value.1.len());
    let bytes = states.iter().map(|(.., edit)| match edit {
        Edit::Put(bytes) | Edit::Append(bytes) => bytes.len(),
        Edit::Delete => 0,
    });
    metadata.sum::<usize>() + bytes.sum::<usize>()
}

fn change(lots: &mut Lots, offset: &mut i64) -> Change {
    let topic = TOPICS[lots.below(3) as usize].to_owned();
    let partition = [0, 1, 70, i32::MAX][lots.below(4) as usize];
    *offset += 1;
    // Long ones fill a segment of 16 KiB within a few commits.
    let metadata = "m".repeat([0, 0, 1, 30, 1_000, 1_600][lots.below(6) as usize]);
    let delete = lots.below(6) == 0;
    (topic, partition, (!delete).then_some((*offset, metadata)))
}

fn state_step(lots: &mut Lots, number: usize) -> StateStep {
    let owner = StateOwner::ALL[lots.below(4) as usize];
    // Names that topics have, too.
    let name = [TOPICS[0], TOPICS[1], "member-1"][lots.below(3) as usize].to_owned();
    let part = [0, 1, i32::MAX][lots.below(3) as usize];
    // Bytes that no other step has, and some long ones.
    let len = [0, 1, 4, 7, 300, 1_000][lots.below(6) as usize];
    let bytes = [number.to_le_bytes()[..2].to_vec(), vec![b'm'; len]].concat();
    let edit = match lots.below(6) {
        0 => Edit::Delete,
        1 | 2 => Edit::Put(bytes),
        _ => Edit::Append(bytes),
    };
    (owner, name, part, edit)
}

/// [`history`] with everything else that may happen in between: one step in six is an expiry, a power
/// cut or the death of the process.
pub fn rough_history(seed: u64, len: usize) -> Vec<Step> {
    let mut lots = Lots(mix(!seed));
    let mut steps = history(seed, len);
    for step in &mut steps {
        match lots.below(24) {
            0 | 1 => *step = Step::Expire,
            2 => *step = Step::PowerCut(lots.below(64)),
            3 => *step = Step::Kill,
            _ => {}
        }
    }
    steps
}

/// The history of that number among all that have `len` steps of the alphabet; there are
/// `alphabet.len().pow(len)` of them. Commits get an offset that tells their place in the history, and so
/// do the bytes of states.
pub fn numbered_history(alphabet: &[Step], len: usize, number: u64) -> Vec<Step> {
    let mut rest = number;
    let mut offset = 0;
    let letters = alphabet.len() as u64;
    let mut history = Vec::with_capacity(len);
    for _ in 0..len {
        let mut step = alphabet[(rest % letters) as usize].clone();
        rest /= letters;
        if let Step::Batch { changes, states, .. } = &mut step {
            for value in changes.iter_mut().filter_map(|(_, _, value)| value.as_mut()) {
                offset += 1;
                value.0 = offset;
            }
            for (.., edit) in states {
                offset += 1;
                if let Edit::Put(bytes) | Edit::Append(bytes) = edit {
                    *bytes = vec![offset as u8];
                }
            }
        }
        history.push(step);
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_fits_a_small_segment() {
        // The last one once had a batch that does not.
        for seed in (0..200).chain([1_481_712]) {
            for step in history(seed, 30) {
                let Step::Batch { changes, states, .. } = step else { continue };
                assert!(len_of(&changes, &states) <= MOST, "{seed}: {changes:?}, {states:?}");
            }
        }
    }
}
