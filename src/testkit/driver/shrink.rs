//! Making a history that fails as small as it gets.

use crate::testkit::{Edit, Step, Subject};

use super::Driver;
use super::report::{Failure, Found};
use super::survivors::Survivors;

impl Driver {
    /// Drops steps and changes and shortens values as long as the history goes on failing.
    pub(super) fn shrink<S: Subject>(
        &self,
        subject: &S,
        seed: u64,
        histories: u64,
        history: Vec<Step>,
        found: Found,
    ) -> Failure {
        let drawn = history.len();
        let mut best = (history, found);
        loop {
            let smaller = smaller(&best.0, best.1.steps).into_iter().find_map(|history| {
                let found = self.examine(&mut Survivors::new(self, subject), &history, 0).err()?;
                Some((history, found))
            });
            match smaller {
                Some(smaller) => best = smaller,
                None => break,
            }
        }
        let (history, found) = best;
        Failure { seed, histories, drawn, history, found }
    }
}

/// Histories that are a little smaller, those that are much smaller first.
fn smaller(history: &[Step], steps: usize) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    if steps < history.len() {
        all.push(history[..steps].to_vec());
    }
    let mut len = history.len() / 2;
    while len > 0 {
        for at in (0..history.len()).step_by(len) {
            let end = (at + len).min(history.len());
            all.push([&history[..at], &history[end..]].concat());
        }
        len /= 2;
    }
    for at in 0..history.len() {
        for step in smaller_steps(&history[at]) {
            let mut history = history.to_vec();
            history[at] = step;
            all.push(history);
        }
    }
    all
}

/// The step with fewer changes, and with shorter metadata and states.
fn smaller_steps(step: &Step) -> Vec<Step> {
    let Step::Batch { group, changes, states } = step else { return Vec::new() };
    let mut all = Vec::new();
    for at in 0..states.len() {
        let with = |state: Option<_>| {
            let mut states = states.clone();
            states.splice(at..=at, state);
            Step::Batch { group: group.clone(), changes: changes.clone(), states }
        };
        if states.len() + changes.len() > 1 {
            all.push(with(None));
        }
        let (owner, name, part, edit) = &states[at];
        let shorter = match edit {
            Edit::Put(bytes) if bytes.len() > 2 => Edit::Put(bytes[..2].to_vec()),
            Edit::Append(bytes) if bytes.len() > 2 => Edit::Append(bytes[..2].to_vec()),
            _ => continue,
        };
        all.push(with(Some((*owner, name.clone(), *part, shorter))));
    }
    for at in 0..changes.len() {
        let with = |change: Option<_>| {
            let mut changes = changes.clone();
            changes.splice(at..=at, change);
            Step::Batch { group: group.clone(), changes, states: states.clone() }
        };
        if changes.len() + states.len() > 1 {
            all.push(with(None));
        }
        let (topic, partition, value) = &changes[at];
        let Some((offset, metadata)) = value else { continue };
        for len in [0, 30, 1_000] {
            let shorter: String = metadata.chars().take(len).collect();
            if shorter.len() < metadata.len() {
                all.push(with(Some((topic.clone(), *partition, Some((*offset, shorter))))));
            }
        }
    }
    all
}
