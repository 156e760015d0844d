//! Expire: delete what was committed to go by now.
//!
//! A value says itself when it may go. Looking for what is due takes no lock; deleting it looks once
//! more, under the log's lock, so that nothing goes that was committed anew since.

use std::sync::Arc;

use crate::error::Result;
use crate::format::record::Name;
use crate::index::Topic;
use crate::key::{CommittedOffset, TopicPartition};
use crate::observe;
use crate::report::ExpiryReport;

use super::Engine;
use super::changes::{Change, Changes};

/// About how many bytes of records a step deletes with, the names of the topics counted: it has to
/// fit into the smallest segment, and the log's lock is held for as long as it takes.
const STEP_BYTES: usize = 4 << 10;
/// What a delete takes.
const DELETE_BYTES: usize = 8;

/// A key that was due when it was looked at.
type Due = (Arc<Topic>, i32);

impl Engine {
    /// Everything that is due.
    pub(crate) fn expired(&self) -> Vec<(String, TopicPartition, CommittedOffset)> {
        let now_ms = self.options.environment.now_ms();
        let mut due = Vec::new();
        for group in self.index.groups() {
            self.visit_group(&group, |topic, partition, value| {
                if is_due(value, now_ms) {
                    let key = TopicPartition::new(topic, partition);
                    due.push((group.clone(), key, value.clone()));
                }
            });
        }
        due
    }

    /// Deletes everything that is due.
    pub(crate) fn expire(&self) -> Result<ExpiryReport> {
        self.log()?.check_open()?;
        let now_ms = self.options.environment.now_ms();
        let mut report = ExpiryReport { now_ms, ..ExpiryReport::default() };
        let (mut out, mut last_seq) = (CommittedOffset::default(), None);
        let mut due = Vec::new();
        for group in self.index.groups() {
            due.clear();
            for topic in self.index.group_topics(&group) {
                topic.visit(&mut out, |partition, value| {
                    report.visited += 1;
                    if is_due(value, now_ms) {
                        due.push((Arc::clone(&topic), partition));
                    }
                });
            }
            let mut rest = &due[..];
            while !rest.is_empty() {
                let (step, behind) = rest.split_at(step_len(rest));
                rest = behind;
                if let Some((seq, expired)) = self.delete_due(step, now_ms, &mut out)? {
                    last_seq = Some(seq);
                    report.expired += expired;
                }
            }
        }
        if let Some(seq) = last_seq {
            self.acknowledge(seq, self.options.durability)?;
            observe::expired(self.dir.path(), &report);
        }
        Ok(report)
    }

    /// Deletes in one record what is still due. Returns its seq and how many keys that were.
    fn delete_due(
        &self,
        due: &[Due],
        now_ms: i64,
        out: &mut CommittedOffset,
    ) -> Result<Option<(u64, u64)>> {
        let mut log = self.log()?;
        // A commit may have brought another time or none, and a delete may have ended the topic. A
        // topic of the same name that came after it is for the next sweep.
        let mut still_due = |(topic, partition): &&Due| {
            !topic.is_detached() && topic.read(*partition, out) && is_due(out, now_ms)
        };
        let changes: Vec<Change<'_>> = due
            .iter()
            .filter(&mut still_due)
            .map(|(topic, partition)| Change::Delete { topic, partition: *partition })
            .collect();
        if changes.is_empty() {
            return Ok(None);
        }
        let seq = log.append(&self.index, Changes::of_keys(&changes), self.durable())?;
        log.count_as_expired(changes.len() as u64);
        Ok(Some((seq, changes.len() as u64)))
    }
}

/// Whether the time of a value has come.
fn is_due(value: &CommittedOffset, now_ms: i64) -> bool {
    value.expire_at_ms.is_some_and(|expire_at_ms| expire_at_ms <= now_ms)
}

/// How many of the keys go in one step: one at least.
fn step_len(due: &[Due]) -> usize {
    let mut bytes = 0;
    for (at, (topic, _)) in due.iter().enumerate() {
        bytes += DELETE_BYTES;
        if at == 0 || !Arc::ptr_eq(&due[at - 1].0, topic) {
            bytes += Name::record_len(topic.group(), topic.name());
        }
        if bytes > STEP_BYTES {
            return at.max(1);
        }
    }
    due.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    #[test]
    fn a_step_has_as_many_keys_as_fit_with_the_names_of_their_topics() {
        let (index, _) = Index::new(1);
        let name = Name::record_len("group", "topic 0");
        let topic = |i: usize| index.resolve("group", &format!("topic {}", i % 10));
        assert_eq!(step_len(&[]), 0);
        // All of one topic, whose name is written once.
        let one: Vec<Due> = (0..1000).map(|partition| (topic(0), partition)).collect();
        let fit = (STEP_BYTES - name) / DELETE_BYTES;
        for len in [1, fit - 1, fit, fit + 1, 1000] {
            assert_eq!(step_len(&one[..len]), len.min(fit), "{len} keys of one topic");
        }
        // Each of another one than that before.
        let many: Vec<Due> = (0..1000).map(|i| (topic(i), 0)).collect();
        assert_eq!(step_len(&many), STEP_BYTES / (DELETE_BYTES + name));
        // Names that fill a step alone.
        let long = index.resolve("group", &"t".repeat(STEP_BYTES));
        let long: Vec<Due> = vec![(long.clone(), 0), (long, 1)];
        assert_eq!(step_len(&long), 1);
    }
}
