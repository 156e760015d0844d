//! One consumer group: its topics in order.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, AtomicUsize};

use super::names::Named;
use super::sorted::SortedList;
use super::topic::Topic;

/// Topics of one leaf of a group's list. Changing the list costs a reference count for each.
const TOPIC_LEAF: usize = 64;

/// A group name, kept once for all its topics, and the topics that have a live key, by name.
///
/// Without such a topic the group exists for those who are about to commit only.
pub(super) struct Group {
    name: Arc<str>,
    uses: AtomicUsize,
    topics: SortedList<Arc<Topic>, TOPIC_LEAF>,
    /// Live keys of all topics. The topics count here themselves: they cannot hold the group that
    /// holds them.
    live: Arc<AtomicU64>,
}

impl Group {
    /// The topics that have a live key.
    pub(super) fn topics(&self) -> &SortedList<Arc<Topic>, TOPIC_LEAF> {
        &self.topics
    }

    /// The number of live keys, for the topics of the group to keep.
    pub(super) fn live(&self) -> &Arc<AtomicU64> {
        &self.live
    }
}

impl Named for Group {
    fn new(name: Arc<str>) -> Group {
        Group { name, uses: AtomicUsize::new(0), topics: SortedList::new(), live: Arc::default() }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn uses(&self) -> &AtomicUsize {
        &self.uses
    }
}
