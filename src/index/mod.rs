//! The in-memory table of newest values: what every fetch reads and every commit updates.
//!
//! ```text
//! Index -> hash table of (group, topic) -> Topic -> runs of slots   by key
//!       -> hash table of groups -> Group -> sorted list of topics   by group
//!       -> ordered map of states                                    by group
//! ```
//!
//! Any number of threads read at any time, without a lock and without waiting for a writer, even for
//! one that was stopped in the middle of a store. Changes are made by one thread at a time, the one
//! that has the [`Writer`]. The walls are these:
//!
//! - `slot` holds one value. All that is said about memory order starts there.
//! - `arena` holds the memory of slots and of long values, which is reused but never freed.
//! - `topic` leads from a partition to a slot and knows when slots belong to nobody any more.
//! - `many` sets many values at once, and `build` makes an index out of values in order.
//! - `pack` holds such values until they need slots, and `base` says where.
//! - `states` has what is kept for groups beside their offsets. It is the one part with a lock.
//! - `table`, `names`, `group`, `sorted` and `growing` are the containers: names once, in order.
//!
//! A topic is in the hash table from the first [`resolve`](Index::resolve) of its name on, and in the
//! list of its group while it has a live key. Only the writer takes it out of either. A topic that the
//! index began with is in neither before somebody needs more of it than to read it.

mod arena;
mod base;
mod build;
mod columns;
mod debug;
mod group;
mod growing;
mod many;
#[cfg(test)]
mod model_tests;
mod names;
mod pack;
#[cfg(test)]
mod patch_tests;
#[cfg(test)]
mod size_tests;
mod slot;
mod sorted;
mod states;
mod table;
#[cfg(test)]
mod tests;
mod topic;

use std::iter;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use self::arena::{Allocator, Arena};
use self::base::{Base, Place};
pub(crate) use self::build::Builder;
use self::group::Group;
pub(crate) use self::many::{Set, Target};
use self::names::{NameHasher, Named, Registry, TopicName};
use self::pack::{Pack, Packed};
use self::slot::Change;
pub(crate) use self::slot::Value;
pub(crate) use self::states::{State, StateId, States};
use self::table::{Changing, Table};
pub(crate) use self::topic::{Spot, Topic};
use crate::key::{CommittedOffset, Key};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The table of newest values.
pub(crate) struct Index {
    hasher: NameHasher,
    topics: Table<Topic>,
    groups: Registry<Group>,
    topic_names: Registry<TopicName>,
    /// Topics that are in no table yet.
    base: Base,
    states: States,
    changing: Mutex<Changing>,
    arena: Arc<Arena>,
    /// Apart from the rest, which readers use and nobody writes.
    counts: CachePadded<Counts>,
}

/// The right to change an [`Index`]. There is one for each; who has it is the only one who writes.
pub(crate) struct Writer {
    allocator: Allocator,
}

/// Numbers that only the writer changes.
#[derive(Default)]
struct Counts {
    keys: AtomicU64,
    groups: AtomicU64,
}

/// Reads. They never wait.
impl Index {
    /// An empty index and its writer. Names are hashed with `seed`: it should be hard to guess for
    /// those who choose the names.
    pub(crate) fn new(seed: u64) -> (Index, Writer) {
        let allocator = Allocator::new();
        let index = Index {
            hasher: NameHasher::new(seed),
            topics: Table::new(),
            groups: Registry::new(),
            topic_names: Registry::new(),
            base: Base::default(),
            changing: Mutex::new(Changing { allocator: Allocator::of(allocator.arena().clone()) }),
            states: States::default(),
            arena: allocator.arena().clone(),
            counts: CachePadded::default(),
        };
        (index, Writer { allocator })
    }

    /// The newest value of a key. Whether it is durable is not known here: it says no.
    pub(crate) fn read(&self, key: Key<'_>) -> Option<CommittedOffset> {
        let (group, topic, partition) = (key.group(), key.topic(), key.partition());
        let mut out = CommittedOffset::default();
        let hash = self.hasher.pair(group, topic);
        let mut in_table = || {
            let read = |topic: &Arc<Topic>| topic.read(partition, &mut out);
            self.topics.find(hash, is(group, topic), read).ok()
        };
        let found = match in_table() {
            Some(found) => found,
            None => {
                let base = self.base.find(group, topic)?;
                match base.place.pack() {
                    Some(pack) => base.topic(&pack, topic)?.read(partition, &mut out),
                    None => in_table()?,
                }
            }
        };
        found.then_some(out)
    }

    /// Calls `then` with a topic that is in the index. It may be one without a live key.
    pub(crate) fn with_topic<R>(
        &self,
        group: &str,
        topic: &str,
        then: impl FnOnce(&Arc<Topic>) -> R,
    ) -> Option<R> {
        let hash = self.hasher.pair(group, topic);
        self.topics
            .find(hash, is(group, topic), then)
            .or_else(|then| {
                if let Some(found) = self.base.find(group, topic) {
                    self.unpack_if([found.place], |pack| found.topic(pack, topic).is_some());
                }
                self.topics.find(hash, is(group, topic), then)
            })
            .ok()
    }

    /// Calls `visit` with the topic, partition and value of every key of a group, sorted by topic,
    /// then partition. A key that has a value all the while is visited exactly once.
    pub(crate) fn visit_group(
        &self,
        group: &str,
        mut visit: impl FnMut(&str, i32, &mut CommittedOffset),
    ) {
        let mut out = CommittedOffset::default();
        // What is packed before what is not: a topic that is unpacked in between is in both.
        let (places, number) = self.base.find_group(group).unwrap_or_default();
        let packs: Vec<Arc<Pack>> = places.iter().filter_map(Place::pack).collect();
        let of_group = |topic: &Packed<'_>| topic.group() == number;
        let mut packed = packs.iter().flat_map(|pack| pack.topics()).filter(of_group).peekable();
        // The group is held, not the table: a visit may take long and would keep what was removed
        // from the table alive.
        let Some(group) = self.groups.get(self.hasher.one(group), group) else { return };
        group.topics().for_each(|topic| {
            while let Some(packed) = packed.next_if(|packed| packed.name() <= topic.name()) {
                if packed.name() < topic.name() {
                    packed
                        .visit(&mut out, |partition, value| visit(packed.name(), partition, value));
                }
            }
            topic.visit(&mut out, |partition, value| visit(topic.name(), partition, value));
        });
        packed.for_each(|packed| {
            packed.visit(&mut out, |partition, value| visit(packed.name(), partition, value));
        });
    }

    /// The topics of a group that have a live key, sorted by name.
    pub(crate) fn group_topics(&self, group: &str) -> Vec<Arc<Topic>> {
        let (places, _) = self.base.find_group(group).unwrap_or_default();
        self.unpack_if(places, |_| true);
        let group = self.groups.get(self.hasher.one(group), group);
        group.map_or_else(Vec::new, |group| group.topics().to_vec())
    }

    /// The topics that have a live key, each once, sorted by group and name. One that has a live key
    /// all the while is there.
    ///
    /// A group that loses its last topic meanwhile may come back under the same name and be there a
    /// second time. The topics of the first one are detached then.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.unpack_if(self.base.places(), |_| true);
        let mut groups = self.groups.all();
        groups.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        let mut topics = Vec::with_capacity(self.topics.len());
        for group in groups {
            group.topics().for_each(|topic| topics.push(Arc::clone(topic)));
        }
        topics
    }

    /// The groups that have a live key, sorted.
    pub(crate) fn groups(&self) -> Vec<String> {
        let groups = self.groups.all();
        let live = groups.iter().filter(|group| group.live().load(Ordering::Relaxed) > 0);
        let mut names: Vec<_> = live.map(|group| String::from(&**group.name())).collect();
        names.sort_unstable();
        // A group that went may have come back meanwhile.
        names.dedup();
        names
    }

    /// What is kept for groups beside their offsets.
    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    /// How many keys have a value.
    pub(crate) fn keys(&self) -> u64 {
        self.counts.keys.load(Ordering::Relaxed)
    }

    /// How many groups have a live key.
    pub(crate) fn group_count(&self) -> u64 {
        self.counts.groups.load(Ordering::Relaxed)
    }

    /// About how many bytes of memory the index takes, the text of the names not counted.
    ///
    /// Exact for slots, long values and what is packed, an estimate from the number of topics and
    /// groups for the rest.
    pub(crate) fn memory_bytes(&self) -> u64 {
        // The reference counts, a node and two buckets in a hash table, a place in a sorted list. A
        // group's counter has reference counts of its own.
        const ENTRY: usize = 88;
        let topics = self.topics.len() * (size_of::<Topic>() + ENTRY);
        let groups = self.groups.len() * (size_of::<Group>() + size_of::<[usize; 4]>() + 2 * ENTRY);
        let names = self.topic_names.len() * (size_of::<TopicName>() + ENTRY);
        let states = self.states.totals();
        let memory = self.arena.reserved_bytes() + self.base.memory_bytes();
        let fixed = size_of::<Index>() + memory + topics + groups + names;
        fixed as u64 + states.bytes + states.count * (size_of::<State>() + ENTRY) as u64
    }

    /// The topic of this name, made if it is not there. Until a value is set in it, it is seen by no
    /// read; if none will be, give it to [`discard_if_empty`](Index::discard_if_empty).
    pub(crate) fn resolve(&self, group: &str, topic: &str) -> Arc<Topic> {
        self.with_resolved(group, topic, Arc::clone)
    }

    /// The hash of a group and topic, for tables beside this one.
    pub(crate) fn hash(&self, group: &str, topic: &str) -> u64 {
        self.hasher.pair(group, topic)
    }

    /// Calls `then` with the topic that [`resolve`](Index::resolve) would return, without counting a
    /// reference to it.
    pub(crate) fn with_resolved<R>(
        &self,
        group: &str,
        topic: &str,
        then: impl FnOnce(&Arc<Topic>) -> R,
    ) -> R {
        let hash = self.hasher.pair(group, topic);
        match self.topics.find(hash, is(group, topic), then) {
            Ok(result) => result,
            Err(then) => then(&self.make(hash, group, topic)),
        }
    }
}

/// Changes. Each needs the writer.
impl Index {
    /// Sets the value of a key, at a spot of the topic, unless the key has a newer value or a newer
    /// deletion.
    ///
    /// Returns false if the topic left the index meanwhile: nothing was done then, and the name must
    /// be resolved again.
    #[must_use = "nothing was set if the topic was detached"]
    pub(crate) fn set(
        &self,
        writer: &mut Writer,
        topic: &Arc<Topic>,
        spot: Spot<'_>,
        value: Value<'_>,
    ) -> bool {
        self.check(writer, topic);
        if topic.is_detached() {
            return false;
        }
        let slot = spot.slot.unwrap_or_else(|| {
            self.arena.slot(topic.find_or_make(&mut writer.allocator, spot.partition))
        });
        let change = slot.set(&mut writer.allocator, &value);
        if change == Change::OverNothing {
            self.count_up(topic);
        }
        true
    }

    /// Deletes a key, unless it has a newer value. Returns whether a value was deleted.
    ///
    /// The deletion of a key that was ever set is remembered, so that no older value can be set again,
    /// as long as the topic has another live key. With its last key the topic leaves the index, and
    /// so do its deletions.
    pub(crate) fn delete(
        &self,
        writer: &mut Writer,
        topic: &Arc<Topic>,
        partition: i32,
        seq: u64,
    ) -> bool {
        self.check(writer, topic);
        if topic.is_detached() {
            return false;
        }
        let Some(unit) = topic.find(partition) else { return false };
        let change = self.arena.slot(unit).delete(&mut writer.allocator, seq);
        if change == Change::OverLive {
            self.count_down(writer, topic, 1);
        }
        change == Change::OverLive
    }

    /// Deletes every key of a topic that has no newer value. Returns how many values were deleted.
    pub(crate) fn delete_topic(&self, writer: &mut Writer, topic: &Arc<Topic>, seq: u64) -> u32 {
        self.check(writer, topic);
        if topic.is_detached() {
            return 0;
        }
        let mut deleted = 0;
        topic.for_each_run(|_, unit, class| {
            for slot in self.arena.slots(unit, class) {
                if slot.is_live() && slot.delete(&mut writer.allocator, seq) == Change::OverLive {
                    deleted += 1;
                }
            }
        });
        self.count_down(writer, topic, deleted);
        deleted
    }

    /// Takes a topic out of the index if it has no live key: what to do with a topic that was
    /// resolved for a commit that failed.
    pub(crate) fn discard_if_empty(&self, writer: &mut Writer, topic: &Arc<Topic>) {
        self.check(writer, topic);
        if !topic.is_detached() && topic.live() == 0 {
            self.detach(writer, topic);
        }
    }

    fn count_up(&self, topic: &Arc<Topic>) {
        let (live, group_live) = (topic.live(), topic.group_live());
        topic.count_up();
        add(&self.counts.keys, 1);
        if live > 0 {
            return;
        }
        if group_live == 0 {
            add(&self.counts.groups, 1);
        }
        let group = topic.group();
        // A topic in the table keeps its group in the registry.
        let Some(group) = self.groups.get(self.hasher.one(group), group) else { return };
        let _changing = self.changing();
        group.topics().insert(topic.clone());
    }

    fn count_down(&self, writer: &mut Writer, topic: &Arc<Topic>, deleted: u32) {
        topic.count_down(deleted);
        subtract(&self.counts.keys, u64::from(deleted));
        if deleted == 0 || topic.live() > 0 {
            return;
        }
        if topic.group_live() == 0 {
            subtract(&self.counts.groups, 1);
        }
        let group = topic.group();
        if let Some(group) = self.groups.get(self.hasher.one(group), group) {
            let _changing = self.changing();
            group.topics().remove(topic.name());
        }
        self.detach(writer, topic);
    }

    /// Ends the life of a topic that is in no list.
    fn detach(&self, writer: &mut Writer, topic: &Arc<Topic>) {
        topic.detach(&mut writer.allocator);
        let (group, name) = (topic.group(), topic.name());
        let mut changing = self.changing();
        // The table has one topic of a name, and none but the writer takes it out: it is this one.
        self.topics.remove(&mut changing, self.hasher.pair(group, name), is(group, name));
        self.groups.release(&mut changing, self.hasher.one(group), group);
        self.topic_names.release(&mut changing, self.hasher.one(name), name);
    }

    /// Puts a new topic into the table, unless another thread was faster.
    #[cold]
    fn make(&self, hash: u64, group: &str, topic: &str) -> Arc<Topic> {
        let mut changing = self.changing();
        if let Some(found) = self.base.find(group, topic)
            && found.place.pack().is_some_and(|pack| found.topic(&pack, topic).is_some())
        {
            self.unpack(&mut changing, found.place);
        }
        self.topics.find(hash, is(group, topic), Arc::clone).unwrap_or_else(|_| {
            let group = self.groups.acquire(&mut changing, self.hasher.one(group), group);
            let name = self.topic_names.acquire(&mut changing, self.hasher.one(topic), topic);
            let made = Arc::new(Topic::new(self.arena.clone(), &group, name.name().clone()));
            self.topics.insert(&mut changing, hash, made.clone());
            made
        })
    }

    /// Unpacks what is packed in these places, if it `is` to be. The lock is taken for each place that
    /// has such a pack, and for no other: who asks for a name that is nowhere waits for nobody.
    fn unpack_if<'a>(
        &self,
        places: impl IntoIterator<Item = &'a Place>,
        is: impl Fn(&Pack) -> bool,
    ) {
        let packed = |place: &&Place| place.pack().is_some_and(|pack| is(&pack));
        let places = places.into_iter().filter(packed);
        places.for_each(|place| self.unpack(&mut self.changing(), place));
    }

    /// Makes topics with slots of what lies packed in a place.
    fn unpack(&self, changing: &mut Changing, place: &Place) {
        let Some(pack) = place.pack() else { return };
        place.apply_patches();
        let mut rest = pack.topics().peekable();
        while let Some(number) = rest.peek().map(|packed| packed.group()) {
            let group = self.base.group(number);
            let of_group = iter::from_fn(|| rest.next_if(|packed| packed.group() == number));
            let topics = of_group.map(|packed| {
                let name = packed.name();
                let text = self.topic_names.acquire(changing, self.hasher.one(name), name);
                let topic = Topic::new(self.arena.clone(), group, text.name().clone());
                topic.begin(&mut changing.allocator, packed.values());
                topic.set_tag(packed.tag());
                Arc::new(topic)
            });
            let topics: Vec<Arc<Topic>> = topics.collect();
            group.topics().extend(&topics);
            for topic in topics {
                let hash = self.hasher.pair(group.name(), topic.name());
                self.topics.insert(changing, hash, topic);
            }
        }
        place.clear();
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // No change stops half way short of the process running out of memory, so there is nothing
        // that a panic of another thread could have left broken.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, writer: &Writer, topic: &Topic) {
        debug_assert!(Arc::ptr_eq(&self.arena, writer.allocator.arena()), "the index's own writer");
        debug_assert!(Arc::ptr_eq(&self.arena, topic.arena()), "the index's own topic");
    }
}

/// Whether a topic has these names.
fn is(group: &str, name: &str) -> impl Fn(&Topic) -> bool {
    move |topic| topic.name() == name && topic.group() == group
}

/// Adds where only the writer writes, which needs no atomic addition.
fn add(count: &AtomicU64, number: u64) {
    count.store(count.load(Ordering::Relaxed) + number, Ordering::Relaxed);
}

fn subtract(count: &AtomicU64, number: u64) {
    count.store(count.load(Ordering::Relaxed) - number, Ordering::Relaxed);
}
