//! Building an index out of values that come in order: what loading a snapshot does.

use std::cmp::Ordering;
use std::sync::Arc;

use super::base::{Base, Place};
use super::group::Group;
use super::names::{Named, Registry};
use super::pack::Packer;
use super::slot::Value;
use super::states::StateId;
use super::{Index, Writer, add};
use crate::sync::atomic::Ordering::Relaxed;

/// A pack that has this many values gets no further topic. With one of 180 partitions behind them its
/// words still fit into a chunk of the arena.
const PACK: usize = 3328;
/// A pack with more values than this is unpacked at once: whoever wanted one of its topics first would
/// have to wait for a topic of thousands of partitions.
const LARGE: usize = 2 * PACK;

/// An index that nobody reads yet.
///
/// Values come in the order of their groups, topics and partitions. Nothing has to be looked up then,
/// and nothing has to be made of a topic but its place in a pack.
pub(crate) struct Builder {
    index: Index,
    writer: Writer,
    /// The groups so far, in order, with the hashes of their names.
    groups: Vec<(u64, Arc<Group>)>,
    /// Their packs, but for the topics that are in `packer`.
    places: Vec<Place>,
    packer: Packer,
    /// The name of the topic that was begun last.
    topic: String,
    /// The partition that was set last in it, or -1.
    last: i64,
    keys: u64,
    pack: usize,
}

impl Builder {
    /// Begins an index; see [`Index::new`].
    pub(crate) fn new(seed: u64) -> Builder {
        Builder::with_packs(seed, PACK)
    }

    /// Begins an index whose packs get no further topic once they have `pack` values.
    pub(super) fn with_packs(seed: u64, pack: usize) -> Builder {
        let (index, writer) = Index::new(seed);
        Builder {
            index,
            writer,
            groups: Vec::new(),
            places: Vec::new(),
            packer: Packer::default(),
            topic: String::new(),
            last: -1,
            keys: 0,
            pack,
        }
    }

    /// Goes on to a topic, which has a value, or goes on with it. Returns false, and is of no use any
    /// more, if the topic is not behind the one before.
    #[must_use = "what is out of order is damage"]
    pub(crate) fn topic(&mut self, group: &str, name: &str) -> bool {
        let before = self.groups.last().map(|(_, before)| &**before.name());
        let group_order = before.map_or(Ordering::Less, |before| before.cmp(group));
        match group_order.then_with(|| self.topic.as_str().cmp(name)) {
            Ordering::Less => {}
            Ordering::Equal => return true,
            Ordering::Greater => return false,
        }
        if self.packer.len() >= self.pack {
            self.end_pack();
        }
        if group_order == Ordering::Less {
            let hash = self.index.hasher.one(group);
            self.groups.push((hash, Arc::new(Group::new(group.into()))));
        }
        let Some((_, of)) = self.groups.last() else { return false };
        of.uses().fetch_add(1, Relaxed);
        // The groups of a file are fewer than this type can count.
        self.packer.topic((self.groups.len() - 1) as u32, name);
        self.topic.clear();
        self.topic.push_str(name);
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
        let Some((_, group)) = self.groups.last() else { return Ok(false) };
        let before = self.packer.len();
        for value in values {
            let (partition, value) = value?;
            if i64::from(partition) <= self.last || !value.has_seq() {
                return Ok(false);
            }
            self.last = partition.into();
            self.packer.value(partition, &value);
        }
        let added = (self.packer.len() - before) as u64;
        group.live().fetch_add(added, Relaxed);
        self.keys += added;
        Ok(true)
    }

    /// Adds a state. Returns false, and is of no use any more, if it is not behind the one before, or
    /// its seq is none.
    #[must_use = "what is out of order is damage"]
    pub(crate) fn state(&mut self, id: StateId<'_>, bytes: &[u8], seq: u64) -> bool {
        self.index.states.push(id, bytes, seq)
    }

    /// How many keys have a value.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// The index with everything that was set, and its writer.
    pub(crate) fn finish(mut self) -> (Index, Writer) {
        self.end_pack();
        let Builder { mut index, writer, groups, places, .. } = self;
        add(&index.counts.keys, self.keys);
        add(&index.counts.groups, groups.len() as u64);
        index.base = Base::new(groups.iter().map(|(_, group)| group.clone()).collect(), places);
        index.groups = Registry::of(groups);
        index.unpack_if(index.base.places(), |pack| pack.len() > LARGE);
        (index, writer)
    }

    fn end_pack(&mut self) {
        self.places.extend(Place::new(self.packer.finish()));
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
