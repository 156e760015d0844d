//! What the index began with: the values of a snapshot, as long as nobody has needed their slots.
//!
//! A topic of a snapshot lies packed until somebody is to change it or wants a handle to it. Then all
//! topics of its pack are *unpacked*: they get slots and go into the table, like topics that were
//! committed to since. Until then it is read where it lies. So an open costs what it takes to read
//! and check the snapshot, and memory for slots is taken for what is used.
//!
//! Whoever unpacks holds the lock of the tables all the while, and empties the pack's place before
//! letting it go. Every topic of a pack that is still in its place is therefore either not in the
//! table yet, or it is and has not left it again: leaving takes the same lock. A reader that looks
//! into the table first and then here finds each value in one of the two, or finds the place empty
//! and looks into the table again.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::group::Group;
use super::names::Named;
use super::pack::{Pack, Packed, Patch, Patches};
use super::slot::Value;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Packs in the order of what is in them.
#[derive(Default)]
pub(super) struct Base {
    /// The groups that had a topic, by name. Their places are their numbers.
    groups: Box<[Arc<Group>]>,
    places: Box<[Place]>,
}

/// Where a pack is until it is unpacked.
pub(super) struct Place {
    /// The group and the name of its first topic.
    first: (u32, Box<str>),
    pack: ArcSwapOption<Pack>,
    /// What is to replace values of the pack before somebody reads it. None if it takes no such values.
    pending: Mutex<Option<Patches>>,
}

/// Values of a pack for each one that may be patched: patches take more memory than values, and slots
/// for all of them more than these.
pub(super) const VALUES_PER_PATCH: usize = 8;

impl Place {
    /// The place of a pack that has a topic.
    pub(super) fn new(pack: Pack) -> Option<Place> {
        let first = pack.topics().next().map(|topic| (topic.group(), topic.name().into()))?;
        Some(Place { first, pack: ArcSwapOption::from_pointee(pack), pending: Mutex::default() })
    }

    /// The pack, if it is still there.
    pub(super) fn pack(&self) -> Option<Arc<Pack>> {
        self.pack.load_full()
    }

    /// Gives the pack up. All of its topics are in the table, and the lock of the tables is held.
    pub(super) fn clear(&self) {
        self.pack.store(None);
    }

    /// Lets the pack that lies here take patches. Nobody reads it before they are applied.
    pub(super) fn begin_patches(&self) {
        if self.pack().is_some() {
            *self.pending() = Some(Patches::default());
        }
    }

    /// Replaces a value of a topic of the pack that lies here, unless it is newer. False if the pack takes
    /// none of this key: then it has to be unpacked.
    pub(super) fn patch(&self, topic: Packed<'_>, partition: i32, value: &Value<'_>) -> bool {
        let mut pending = self.pending();
        let (Some(patches), Some(row)) = (&mut *pending, topic.row(partition)) else {
            return false;
        };
        let pack = topic.pack();
        let is_full = patches.len() * VALUES_PER_PATCH >= pack.len();
        // A pack has fewer rows than this type can count.
        let patch = patches.get_mut(&(row as u32));
        let newest = patch.as_ref().map_or_else(|| pack.seq(row), |patch| patch.seq);
        if value.seq <= newest || !value.has_seq() {
            return true;
        }
        match patch {
            Some(patch) => *patch = Patch::new(value),
            None if is_full => return false,
            None => drop(patches.insert(row as u32, Patch::new(value))),
        }
        true
    }

    /// Lets the patches take the place of what they replace. It takes no others after this.
    pub(super) fn apply_patches(&self) {
        let patches = self.pending().take().filter(|patches| !patches.is_empty());
        if let (Some(pack), Some(patches)) = (self.pack(), patches) {
            pack.patch(patches);
        }
    }

    /// Whether the pack that lies here takes patches.
    pub(super) fn takes_patches(&self) -> bool {
        self.pending().is_some()
    }

    fn pending(&self) -> MutexGuard<'_, Option<Patches>> {
        // A patch is there or not: a panic leaves nothing half done.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic that is packed, or was.
pub(super) struct Found<'a> {
    pub(super) place: &'a Place,
    /// The number of the place.
    pub(super) number: usize,
    group: u32,
}

impl Found<'_> {
    /// The topic of this name, which led here, in the pack that lies here.
    pub(super) fn topic<'p>(&self, pack: &'p Pack, name: &str) -> Option<Packed<'p>> {
        pack.topic(self.group, name)
    }
}

impl Base {
    /// The base with these groups and packs, in order.
    pub(super) fn new(groups: Vec<Arc<Group>>, places: Vec<Place>) -> Base {
        Base { groups: groups.into(), places: places.into() }
    }

    /// The group with this number.
    pub(super) fn group(&self, number: u32) -> &Arc<Group> {
        &self.groups[number as usize]
    }

    /// Where a topic of this name would be.
    pub(super) fn find(&self, group: &str, topic: &str) -> Option<Found<'_>> {
        let group = self.number(group)?;
        let behind = self.places.partition_point(|place| {
            let (of, first) = &place.first;
            (*of, &**first) <= (group, topic)
        });
        let number = behind.checked_sub(1)?;
        Some(Found { place: self.places.get(number)?, number, group })
    }

    /// Where the topics of a group are, and the number of the group.
    pub(super) fn find_group(&self, group: &str) -> Option<(&[Place], u32)> {
        let group = self.number(group)?;
        let start = self.places.partition_point(|place| place.first.0 < group);
        let end = self.places.partition_point(|place| place.first.0 <= group);
        let range: Range<usize> = start.saturating_sub(1)..end;
        Some((self.places.get(range)?, group))
    }

    /// Where all topics are.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// About how many bytes of memory it takes, names not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        let packs = self.places.iter().filter_map(Place::pack);
        size_of_val(&*self.groups)
            + size_of_val(&*self.places)
            + packs.map(|pack| pack.memory_bytes()).sum::<usize>()
    }

    fn number(&self, group: &str) -> Option<u32> {
        let found = self.groups.binary_search_by(|found| (**found.name()).cmp(group));
        // Groups are counted with this type when they come in.
        found.ok().map(|number| number as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Barrier, atomic::AtomicUsize};
    use std::thread;

    use super::super::tests::{scan, steps, value};
    use super::super::{Builder, Index, Value, Writer};
    use crate::key::Key;

    const TOPICS: usize = 60;
    /// The value of partition 1 is deleted now and then, that of 0 never.
    const PARTITIONS: i32 = 2;

    fn name(topic: usize) -> (&'static str, String) {
        (["g", "h"][topic / (TOPICS / 2)], format!("t{topic:02}"))
    }

    /// Values with seq 1, in packs of a few topics.
    fn built() -> (Index, Writer) {
        let mut builder = Builder::with_packs(1, 3 * PARTITIONS as usize);
        for topic in 0..TOPICS {
            let (group, name) = name(topic);
            assert!(builder.topic(group, &name));
            // One of them has what takes a cell in a slot.
            let text = if topic % 2 == 0 { "" } else { "text" };
            let values = (0..PARTITIONS)
                .map(|partition| Ok((partition, Value { metadata: text, ..value(1) })));
            assert!(builder.set_all(values).unwrap_or_else(|never: Infallible| match never {}));
        }
        builder.finish()
    }

    /// What readers know of each key: the seq of the last change that was finished, doubled, and one
    /// more if it was a deletion.
    struct Told([[AtomicU64; PARTITIONS as usize]; TOPICS]);

    impl Told {
        fn get(&self, topic: usize, partition: i32) -> u64 {
            self.0[topic][partition as usize].load(Ordering::Acquire)
        }

        fn tell(&self, topic: usize, partition: i32, seq: u64, deleted: bool) {
            let told = seq << 1 | u64::from(deleted);
            self.0[topic][partition as usize].store(told, Ordering::Release);
        }

        /// Checks what was found of a key of which `told` was known before.
        fn check(told: u64, partition: i32, found: Option<u64>) {
            match found {
                Some(seq) => assert!(seq << 1 >= told, "{seq} came back, {told} was known"),
                None => assert!(partition > 0, "a value that was there all the while is missing"),
            }
        }
    }

    #[test]
    fn nobody_who_only_reads_waits_for_the_lock_of_the_tables() {
        let (index, mut writer) = built();
        let handle = index.resolve("g", "t00");
        index.delete_topic(&mut writer, &handle, 9);
        let _held = index.changing();
        // One that was unpacked and is gone, one that is packed, and those that never were.
        assert!(index.with_topic("g", "t00", |_| ()).is_none());
        assert!(index.read(Key::new("g", "t00", 0)).is_none());
        assert!(index.read(Key::new("h", "t59", 0)).is_some());
        for (group, topic) in [("g", "t"), ("g", "u"), ("f", "t00"), ("i", "t00")] {
            assert!(index.with_topic(group, topic, |_| ()).is_none());
            assert!(index.read(Key::new(group, topic, 0)).is_none());
        }
        assert_eq!(scan(&index, "g").len(), (TOPICS / 2 - 1) * PARTITIONS as usize);
        assert_eq!(index.groups(), ["g", "h"]);
    }

    #[test]
    fn a_visit_gives_a_topic_once_that_is_unpacked_while_it_runs() {
        // A pack for each topic. What is unpacked fills one leaf of the group's list and begins a
        // second one, which a visit looks at when it has been through the first.
        let (unpacked, topics) = (66, 70);
        let names: Vec<_> = (0..topics).map(|topic| format!("t{topic:02}")).collect();
        let mut builder = Builder::with_packs(1, 1);
        for name in &names {
            assert!(builder.topic("g", name));
            let values = std::iter::once(Ok((0, value(1))));
            assert!(builder.set_all(values).unwrap_or_else(|never: Infallible| match never {}));
        }
        let (index, _writer) = builder.finish();
        names[..unpacked].iter().for_each(|name| drop(index.resolve("g", name)));
        let mut visited = Vec::new();
        index.visit_group("g", |topic, _, _| {
            if visited.is_empty() {
                drop(index.resolve("g", &names[unpacked]));
            }
            visited.push(topic.to_owned());
        });
        assert_eq!(visited, names);
    }

    #[test]
    fn readers_miss_nothing_and_see_nothing_again_while_topics_are_unpacked() {
        for round in 0..steps(150, 1) {
            let (index, mut writer) = built();
            let told = Told(std::array::from_fn(|_| Default::default()));
            let done = AtomicBool::new(false);
            let (start, seen) = (Barrier::new(3), AtomicUsize::new(0));
            thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    while !done.load(Ordering::Relaxed) {
                        for topic in 0..TOPICS {
                            let (group, name) = name(topic);
                            for partition in 0..PARTITIONS {
                                let known = told.get(topic, partition);
                                let found = index.read(Key::new(group, &name, partition));
                                Told::check(known, partition, found.map(|found| found.seq.0));
                            }
                        }
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
                scope.spawn(|| {
                    start.wait();
                    while !done.load(Ordering::Relaxed) {
                        let known = |topic| [told.get(topic, 0), told.get(topic, 1)];
                        let known: Vec<_> = (0..TOPICS).map(known).collect();
                        let mut found = vec![[None; PARTITIONS as usize]; TOPICS];
                        for group in ["g", "h"] {
                            let all = scan(&index, group);
                            assert!(
                                all.windows(2).all(|pair| {
                                    (&pair[0].0, pair[0].1) < (&pair[1].0, pair[1].1)
                                })
                            );
                            for (name, partition, value) in all {
                                let topic: usize = name[1..].parse().unwrap();
                                found[topic][partition as usize] = Some(value.seq.0);
                            }
                        }
                        for (known, found) in known.iter().zip(&found) {
                            for partition in 0..PARTITIONS {
                                let at = partition as usize;
                                Told::check(known[at], partition, found[at]);
                            }
                        }
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
                start.wait();
                let mut random = round;
                // Until the readers have been through all of it some times.
                for seq in (2..).take_while(|seq| *seq < 300 || seen.load(Ordering::Relaxed) < 4) {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let topic = (random >> 33) as usize % TOPICS;
                    let (group, name) = name(topic);
                    let handle = index.resolve(group, &name);
                    let partition = (random >> 50) as i32 & 1;
                    let deleted = partition == 1 && random >> 52 & 1 == 0;
                    if deleted {
                        index.delete(&mut writer, &handle, partition, seq);
                    } else {
                        assert!(index.set(
                            &mut writer,
                            &handle,
                            handle.spot(partition),
                            value(seq)
                        ));
                    }
                    told.tell(topic, partition, seq, deleted);
                }
                done.store(true, Ordering::Relaxed);
            });
            assert_eq!(index.group_count(), 2);
            assert!(index.topics().len() == TOPICS);
        }
    }
}
