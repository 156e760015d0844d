//! Building an index out of values that come in order: what loading a snapshot does.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arena::Slots;
use super::group::Group;
use super::names::{Named, Registry};
use super::slot::Value;
use super::table::Table;
use super::topic::Topic;
use super::{Index, Writer, add};

/// An index that nobody reads yet.
///
/// Values come in the order of their groups, topics and partitions. Nothing has to be looked up then:
/// that a topic is new follows from its place, and the tables that lead to it are made at the end, in
/// their final size.
pub(crate) struct Builder {
    index: Index,
    writer: Writer,
    /// The group that was begun last.
    group: Option<Group>,
    /// Its topics so far, in order.
    siblings: Vec<Arc<Topic>>,
    /// The partition that was set last in the last of them, or -1.
    last: i64,
    /// All topics, and all groups but the last, with the hashes of their names.
    topics: Vec<(u64, Arc<Topic>)>,
    groups: Vec<(u64, Arc<Group>)>,
    keys: u64,
}

impl Builder {
    /// Begins an index; see [`Index::new`].
    pub(crate) fn new(seed: u64) -> Builder {
        let (index, writer) = Index::new(seed);
        Builder {
            index,
            writer,
            group: None,
            siblings: Vec::new(),
            last: -1,
            topics: Vec::new(),
            groups: Vec::new(),
            keys: 0,
        }
    }

    /// Goes on to a topic, or goes on with it. Returns false, and is of no use any more, if the topic
    /// is not behind the one before.
    #[must_use = "what is out of order is damage"]
    pub(crate) fn topic(&mut self, group: &str, name: &str) -> bool {
        if let Some(before) = self.siblings.last() {
            match before.group().cmp(group).then_with(|| before.name().cmp(name)) {
                Ordering::Less => {}
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        if self.siblings.last().is_none_or(|before| before.group() != group) {
            self.end_group();
            self.group = Some(Group::new(group.into()));
        }
        let Some(group) = &self.group else { return false };
        let Index { hasher, topic_names, arena, .. } = &self.index;
        let mut changing = self.index.changing();
        let text = topic_names.acquire(&mut changing, hasher.one(name), name);
        let topic = Arc::new(Topic::new(arena.clone(), group, text.name().clone()));
        self.topics.push((hasher.pair(group.name(), name), topic.clone()));
        self.siblings.push(topic);
        self.last = -1;
        true
    }

    /// Sets values in the topic that was begun last, each with its partition. Returns false, and is of
    /// no use any more, if one of them is not behind the one before, or its seq is none.
    ///
    /// # Errors
    ///
    /// The first one that `values` yields.
    #[must_use = "what is out of order is damage"]
    pub(crate) fn set_all<'v, E>(
        &mut self,
        values: impl Iterator<Item = Result<(i32, Value<'v>), E>>,
    ) -> Result<bool, E> {
        let Some(topic) = self.siblings.last() else { return Ok(false) };
        let (arena, allocator) = (&*self.index.arena, &mut self.writer.allocator);
        // What is left of a run of slots, and the partition that it goes on with.
        let (mut slots, mut next) = (None, 0);
        for value in values {
            let (partition, value) = value?;
            if i64::from(partition) <= self.last {
                return Ok(false);
            }
            self.last = partition.into();
            let slot = slots
                .as_mut()
                .and_then(|slots: &mut Slots<'_>| slots.nth((partition - next) as usize));
            let slot = slot.or_else(|| {
                let run = topic.run_from(allocator, partition);
                slots.insert(arena.slots(run.unit, run.class)).nth((partition - run.first) as usize)
            });
            next = partition.wrapping_add(1);
            if !slot.is_some_and(|slot| slot.begin(allocator, &value)) {
                return Ok(false);
            }
            topic.count_up();
            self.keys += 1;
        }
        Ok(true)
    }

    /// How many keys have a value.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// The index with everything that was set, and its writer.
    pub(crate) fn finish(mut self) -> (Index, Writer) {
        self.end_group();
        add(&self.index.counts.keys, self.keys);
        add(&self.index.counts.groups, self.groups.len() as u64);
        self.index.topics = Table::of(self.topics);
        self.index.groups = Registry::of(self.groups);
        (self.index, self.writer)
    }

    /// A group has its topics once all of them are known.
    fn end_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        let hash = self.index.hasher.one(group.name());
        self.groups.push((hash, Arc::new(group.with_topics(&self.siblings))));
        self.siblings.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::value;
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn values_that_are_out_of_order_are_not_built_upon() {
        let built = |builder: &mut Builder, partitions: &[i32], seq| {
            let values = partitions.iter().map(|partition| Ok((*partition, value(seq))));
            builder.set_all(values).unwrap_or_else(|error: Infallible| match error {})
        };
        let begun = |topics: &[(&str, &str)]| {
            let mut builder = Builder::new(1);
            topics.iter().all(|(group, topic)| {
                builder.topic(group, topic) && built(&mut builder, &[topic.len() as i32], 1)
            })
        };
        assert!(begun(&[("a", "u"), ("b", "t"), ("b", "tt"), ("b", "u"), ("c", "t")]));
        for topics in [
            &[("g", "tt"), ("g", "t")][..],
            // The same topic again, with a partition that is not behind the one before.
            &[("g", "t"), ("g", "t")],
            &[("g", "a"), ("g", "b"), ("g", "a")],
            &[("g", "a"), ("h", "a"), ("g", "b")],
            &[("h", "a"), ("g", "b")],
        ] {
            assert!(!begun(topics), "{topics:?}");
        }
        let set = |partitions: &[i32], seq| {
            let mut builder = Builder::new(1);
            assert!(!built(&mut builder, &[0], 1), "there is no topic");
            assert!(builder.topic("g", "t"));
            built(&mut builder, partitions, seq)
        };
        assert!(set(&[0, 1, 2, 100, 1000, i32::MAX], 1));
        assert!(!set(&[0, 0], 1));
        assert!(!set(&[1000, 999], 1));
        assert!(!set(&[0], 0));
        assert!(!set(&[0], u64::MAX));
    }
}
