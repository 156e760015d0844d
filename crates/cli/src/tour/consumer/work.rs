//! The records that a consumer is working on, and the order in which they are finished.

use std::collections::BTreeSet;
use std::sync::Arc;

use pagemark::TopicPartition;

use crate::random::Random;

/// Records in the works at a time, when they finish in any order.
const WIDTH: usize = 8;

/// A record.
pub(super) type Item = (Arc<TopicPartition>, i64);

/// Records that were handed out and are not finished.
pub(super) struct Work {
    items: Vec<Item>,
    /// Records that take longer than all others.
    slow: Vec<Item>,
    /// The partitions that have had a slow record, if records finish in any order.
    scattered: Option<BTreeSet<Arc<TopicPartition>>>,
    random: Random,
}

impl Work {
    /// No work yet. Each record is finished before the next one.
    pub(super) fn new(seed: u64) -> Work {
        let random = Random::new(seed);
        Work { items: Vec::new(), slow: Vec::new(), scattered: None, random }
    }

    /// Lets records finish in any order from now on, and the first one of each partition last.
    pub(super) fn scatter(&mut self) {
        self.scattered = Some(BTreeSet::new());
    }

    /// Takes on a record.
    pub(super) fn add(&mut self, item: Item) {
        let scattered = self.scattered.as_mut();
        match scattered.is_some_and(|scattered| scattered.insert(Arc::clone(&item.0))) {
            true => self.slow.push(item),
            false => self.items.push(item),
        }
    }

    /// Whether there is nothing to finish.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.slow.is_empty()
    }

    /// The record that is finished next, if it is time. At the end of the log all are.
    pub(super) fn finish(&mut self, is_at_end: bool) -> Option<Item> {
        let width = if self.scattered.is_some() && !is_at_end { WIDTH } else { 0 };
        if self.items.len() > width {
            let at = self.random.below(self.items.len());
            return Some(self.items.remove(at));
        }
        if is_at_end { self.slow.pop() } else { None }
    }
}
