//! Building an index out of values that come in order: what loading a snapshot does.

use std::cmp::Ordering;
use std::sync::Arc;

use super::base::{Base, Place};
use super::columns::BLOCK;
use super::group::Group;
use super::names::{Named, Registry};
use super::pack::Packer;
use super::slot::Value;
use super::states::StateId;
use super::{Index, Writer, add};
use crate::sync::atomic::Ordering::Relaxed;

/// A pack that has this many values gets no further topic: enough that what a pack takes beside its
/// values is nothing, and few enough that unpacking one holds up nobody.
const PACK: usize = 26 * BLOCK;
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
    /// How many keys the groups before have.
    keys: u64,
    /// How many keys and topics the group has that was begun last.
    group_keys: u64,
    group_topics: usize,
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
            group_keys: 0,
            group_topics: 0,
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
            self.end_group();
            let hash = self.index.hasher.one(group);
            self.groups.push((hash, Arc::new(Group::new(group.into()))));
        }
        self.group_topics += 1;
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
    #[inline]
    #[must_use = "what is out of order is damage"]
    pub(crate) fn set_all<'v, E>(
        &mut self,
        values: impl Iterator<Item = Result<(i32, Value<'v>), E>>,
    ) -> Result<bool, E> {
        if self.groups.is_empty() {
            return Ok(false);
        }
        let (before, mut last) = (self.packer.len(), self.last);
        for value in values {
            let (partition, value) = value?;
            if i64::from(partition) <= last || !value.has_seq() {
                return Ok(false);
            }
            last = partition.into();
            self.packer.value(partition, &value);
        }
        self.last = last;
        self.packer.end_values();
        let added = (self.packer.len() - before) as u64;
        self.group_keys += added;
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
        self.keys + self.group_keys
    }

    /// The index with everything that was set, and its writer.
    pub(crate) fn finish(mut self) -> (Index, Writer) {
        self.end_group();
        self.end_pack();
        let Builder { mut index, writer, groups, places, .. } = self;
        add(&index.counts.keys, self.keys);
        add(&index.counts.groups, groups.len() as u64);
        index.base = Base::new(groups.iter().map(|(_, group)| group.clone()).collect(), places);
        index.groups = Registry::of(groups);
        index.unpack_if(index.base.places(), |pack| pack.len() > LARGE);
        (index, writer)
    }

    /// Counts what the group has that was begun last. Once for all of it, since an atomic addition waits
    /// for the stores before it, which are to new memory.
    fn end_group(&mut self) {
        if let Some((_, group)) = self.groups.last() {
            group.uses().fetch_add(self.group_topics, Relaxed);
            group.live().fetch_add(self.group_keys, Relaxed);
        }
        self.keys += self.group_keys;
        (self.group_keys, self.group_topics) = (0, 0);
    }

    fn end_pack(&mut self) {
        self.places.extend(Place::new(self.packer.finish()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{scan, value};
    use super::*;
    use crate::key::Key;
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

    /// Goes on to a topic, with values of its partitions from 0 on that have its length as their offset.
    fn fill(builder: &mut Builder, group: &str, topic: &str, count: usize) {
        assert!(builder.topic(group, topic));
        let text = if count.is_multiple_of(2) { "" } else { "text" };
        let of = |partition: usize| {
            let offset = (1000 * count + partition) as i64;
            Ok((partition as i32, Value { offset, metadata: text, ..value(1 + partition as u64) }))
        };
        let set = builder.set_all((0..count).map(of));
        assert!(set.unwrap_or_else(|error: Infallible| match error {}));
    }

    #[test]
    fn packs_have_the_size_that_is_asked_for_and_large_ones_are_unpacked() {
        let mut builder = Builder::with_packs(1, 1000);
        for topic in 0..10 {
            fill(&mut builder, "g", &topic.to_string(), 400);
        }
        assert_eq!(builder.keys(), 4000);
        let (index, _writer) = builder.finish();
        let packs = |index: &Index| {
            let places = index.base.places().iter();
            places.map(|place| place.pack().map(|pack| pack.len())).collect::<Vec<_>>()
        };
        assert_eq!(packs(&index), [Some(1200), Some(1200), Some(1200), Some(400)]);
        assert_eq!((index.counts.keys.load(Relaxed), index.group_count()), (4000, 1));
        for (count, packed) in [(LARGE, Some(LARGE)), (LARGE + 1, None)] {
            let mut builder = Builder::new(1);
            fill(&mut builder, "g", "t", count);
            let (index, _writer) = builder.finish();
            assert_eq!(packs(&index), [packed], "{count} values");
            assert_eq!(scan(&index, "g").len(), count);
        }
    }

    #[test]
    fn each_group_is_found_whole_however_its_topics_fall_into_packs() {
        let groups = ["b", "d", "f", "h", "j"];
        for pack in [1, 2, 5, 12, 1000] {
            let mut builder = Builder::with_packs(1, pack);
            let mut all = Vec::new();
            for (number, group) in groups.iter().enumerate() {
                for count in 1..=1 + 2 * (number % 3) {
                    let topic = format!("t{count}");
                    fill(&mut builder, group, &topic, count);
                    all.extend((0..count).map(|partition| (*group, topic.clone(), partition)));
                }
            }
            let (index, _writer) = builder.finish();
            let check = |context: &str| {
                for group in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"] {
                    let expected = all.iter().filter(|(of, ..)| *of == group);
                    let expected: Vec<_> = expected
                        .map(|(_, topic, partition)| (topic.clone(), *partition as i32))
                        .collect();
                    let found = scan(&index, group);
                    let names =
                        found.iter().map(|(topic, partition, _)| (topic.clone(), *partition));
                    assert_eq!(names.collect::<Vec<_>>(), expected, "{group}, {pack}, {context}");
                }
                for (group, topic, partition) in &all {
                    let count: i64 = topic[1..].parse().unwrap();
                    let found = index.read(Key::new(group, topic, *partition as i32)).unwrap();
                    assert_eq!(found.offset.0, 1000 * count + *partition as i64);
                    assert_eq!(found.metadata.is_empty(), count % 2 == 0);
                    assert!(index.read(Key::new(group, topic, count as i32)).is_none());
                }
            };
            check("packed");
            index.resolve("f", "t2");
            check("some of it unpacked");
            assert_eq!(index.topics().len(), 3 + 5 + 1 + 3 + 1);
            check("all of it unpacked");
        }
    }
}
