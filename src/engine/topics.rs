//! The topics that a replay has met, so that it finds those of one segment again in the next.
//!
//! Every segment names its topics anew. Asking the index for each of them would cost several cache
//! misses, one after the other; here those of many names overlap.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::index::{Index, Target, Topic};

/// A group and topic that a segment names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    /// The hash that the index has for them.
    hash: u64,
    group: &'a str,
    topic: &'a str,
}

impl<'a> Named<'a> {
    /// How many it takes for the loads of all to overlap.
    pub(super) const MANY: usize = 64;

    pub(super) fn new(index: &Index, group: &'a str, topic: &'a str) -> Named<'a> {
        Named { hash: index.hash(group, topic), group, topic }
    }

    fn is(&self, index: &Index, target: &Target) -> bool {
        index.names_of(target) == (self.group, self.topic)
    }
}

/// Topics by number.
#[derive(Debug, Default)]
pub(super) struct Topics {
    all: Vec<Target>,
    /// Of names that share a hash, only the first is found.
    by_hash: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// Those that had no value when they were named.
    empty: Vec<Arc<Topic>>,
}

impl Topics {
    /// The topics, by their numbers.
    pub(super) fn all(&mut self) -> &mut [Target] {
        &mut self.all
    }

    /// The topic with this number.
    pub(super) fn get(&self, number: u32) -> Option<&Target> {
        self.all.get(number as usize)
    }

    /// Adds the numbers of the topics with these names to `numbers`.
    pub(super) fn resolve(&mut self, index: &Index, names: &[Named<'_>], numbers: &mut Vec<u32>) {
        const NONE: u32 = u32::MAX;
        for names in names.chunks(Named::MANY) {
            let mut found = [NONE; Named::MANY];
            for (found, name) in found.iter_mut().zip(names) {
                *found = self.by_hash.get(&name.hash).copied().unwrap_or(NONE);
            }
            // First all topics are loaded, then the texts that they lead to.
            let topics = || found.iter().filter_map(|found| self.all.get(*found as usize));
            let sum = |sum: usize, number: usize| sum.wrapping_add(number);
            let group = |topic| index.names_of(topic).0;
            std::hint::black_box(topics().map(|topic| group(topic).as_ptr().addr()).fold(0, sum));
            let first = |topic| group(topic).as_bytes().first().copied();
            std::hint::black_box(topics().filter_map(first).map(usize::from).fold(0, sum));
            for (found, name) in found.iter().zip(names) {
                numbers.push(self.number(index, name, *found));
            }
        }
    }

    /// The number of the topic with this name, which may be `found`.
    fn number(&mut self, index: &Index, name: &Named<'_>, found: u32) -> u32 {
        if let Some(target) = self.all.get_mut(found as usize)
            && name.is(index, target)
        {
            if target.topic().is_some_and(|topic| topic.is_detached()) {
                let topic = index.resolve(name.group, name.topic);
                *target = Target::Topic(Arc::clone(&topic));
                self.empty.push(topic);
            }
            return found;
        }
        let target = index.target(name.hash, name.group, name.topic);
        if let Some(topic) = target.topic().filter(|topic| topic.live() == 0) {
            self.empty.push(Arc::clone(topic));
        }
        // There are fewer names than that in all segments that a disk can hold: see `end_segment`.
        let number = self.all.len() as u32;
        self.all.push(target);
        self.by_hash.entry(name.hash).or_insert(number);
        number
    }

    /// Ends a segment with so many names, and returns the topics that had no value when they were
    /// named in it. Numbers are not valid any more after this.
    ///
    /// What stays in memory is in proportion to one segment: topics that come and go for ever are
    /// forgotten.
    pub(super) fn end_segment(&mut self, names: usize) -> Vec<Arc<Topic>> {
        const FEW: usize = 1024;
        if self.all.len() > FEW + 2 * names {
            self.all.clear();
            self.by_hash.clear();
        }
        std::mem::take(&mut self.empty)
    }
}

/// The hash of something that is a hash.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Value;

    fn value(seq: u64) -> Value<'static> {
        Value {
            offset: 1,
            leader_epoch: None,
            timestamp_ms: 0,
            expire_at_ms: None,
            metadata: "",
            seq,
        }
    }

    #[test]
    fn names_are_found_again_and_those_that_share_a_hash_are_kept_apart() {
        let (index, mut writer) = Index::new(1);
        let mut topics = Topics::default();
        // Three names with one hash, and one with another.
        let names = [("g", "a", 7), ("g", "b", 7), ("h", "a", 7), ("h", "b", 8)]
            .map(|(group, topic, hash)| Named { hash, group, topic });
        for segment in 1..6 {
            let mut numbers = Vec::new();
            topics.resolve(&index, &names, &mut numbers);
            topics.resolve(&index, &names, &mut numbers);
            assert_eq!(numbers.len(), 8);
            for (number, name) in numbers.iter().zip(names.iter().chain(&names)) {
                let target = &mut topics.all()[*number as usize];
                assert!(name.is(&index, target));
                let topic = index.unpacked(target);
                assert!(index.set(&mut writer, &topic, topic.spot(0), value(segment)));
            }
            assert_eq!(index.keys(), 4);
            // The two that are not found were asked for twice before they had a value.
            let empty = topics.end_segment(names.len());
            assert_eq!(empty.len(), if segment == 1 { 6 } else { 0 }, "in segment {segment}");
        }
    }

    #[test]
    fn a_topic_that_is_gone_is_made_again() {
        let (index, mut writer) = Index::new(1);
        let mut topics = Topics::default();
        let names = [Named::new(&index, "g", "t")];
        for segment in 1..4 {
            let mut numbers = Vec::new();
            topics.resolve(&index, &names, &mut numbers);
            let topic = index.unpacked(&mut topics.all()[numbers[0] as usize]);
            assert!(index.set(&mut writer, &topic, topic.spot(0), value(2 * segment)));
            assert_eq!(topics.end_segment(1).len(), 1);
            index.delete(&mut writer, &topic, 0, 2 * segment + 1);
            assert!(topic.is_detached());
        }
    }

    #[test]
    fn a_name_with_two_numbers_leads_to_the_topic_of_that_name() {
        let (index, mut writer) = Index::new(1);
        let mut topics = Topics::default();
        // A topic and a state of one name, named one right after the other.
        let (name, mut numbers) = (Named::new(&index, "g", "t"), Vec::new());
        topics.resolve(&index, &[name, name], &mut numbers);
        let mut topic = |at: usize| index.unpacked(&mut topics.all()[numbers[at] as usize]);
        for seq in [1, 3, 5] {
            let (first, second) = (topic(0), topic(1));
            assert!(Arc::ptr_eq(&first, &second) && !first.is_detached());
            assert!(index.set(&mut writer, &first, first.spot(0), value(seq)));
            assert!(index.delete(&mut writer, &second, 0, seq + 1));
            assert!(first.is_detached());
        }
    }

    #[test]
    fn topics_that_come_and_go_are_forgotten() {
        let (index, _) = Index::new(1);
        let mut topics = Topics::default();
        for segment in 0..100 {
            let texts: Vec<_> = (0..1000).map(|i| format!("{segment}-{i}")).collect();
            let names: Vec<_> = texts.iter().map(|text| Named::new(&index, "g", text)).collect();
            topics.resolve(&index, &names, &mut Vec::new());
            topics.end_segment(names.len());
            assert!(topics.all().len() <= 3024 && topics.by_hash.len() <= 3024);
        }
        // They are kept up to 1,024 and twice those of the segment.
        for (count, kept) in [(1044, 1044), (1045, 0)] {
            let mut topics = Topics::default();
            let texts: Vec<_> = (0..count).map(|i| i.to_string()).collect();
            let names: Vec<_> = texts.iter().map(|text| Named::new(&index, "g", text)).collect();
            topics.resolve(&index, &names, &mut Vec::new());
            topics.end_segment(10);
            assert_eq!((topics.all().len(), topics.by_hash.len()), (kept, kept));
        }
    }
}
