//! Many values at once: what a replay does.

use std::sync::Arc;

use super::base::{Place, VALUES_PER_PATCH};
use super::names::Named;
use super::pack::Pack;
use super::slot::{Change, Value};
use super::topic::Topic;
use super::{Index, Writer, is};

/// One value to set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set<'a> {
    /// The place of its topic in the list of topics that it comes with.
    pub(crate) topic: u32,
    pub(crate) partition: i32,
    pub(crate) value: Value<'a>,
}

impl Set<'_> {
    /// How many it takes for the loads of all to overlap.
    pub(crate) const MANY: usize = 64;
}

/// Where the values of a topic go in a replay.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// To its slots.
    Topic(Arc<Topic>),
    /// To patches of a pack, as long as it takes them.
    Packed(PackedTarget),
}

/// A topic of a pack.
#[derive(Clone)]
pub(crate) struct PackedTarget {
    /// The number of the pack's place.
    place: usize,
    /// The number of the topic.
    topic: u32,
    /// The pack, which may have been unpacked since.
    pack: Arc<Pack>,
}

impl Target {
    /// The topic, unless it is packed.
    pub(crate) fn topic(&self) -> Option<&Arc<Topic>> {
        match self {
            Target::Topic(topic) => Some(topic),
            Target::Packed(_) => None,
        }
    }
}

impl Index {
    /// Lets packs take patches, until [`publish`](Index::publish). Nobody reads the index before that.
    ///
    /// `values` are to come at least. If they are more than all packs take, patches would be made for
    /// nothing: the packs that they come to are unpacked at once.
    pub(crate) fn begin_patches(&self, values: u64) {
        if values <= self.keys() / VALUES_PER_PATCH as u64 {
            self.base.places().iter().for_each(Place::begin_patches);
        }
    }

    /// Shows what was patched. From here on packs are unpacked instead.
    pub(crate) fn publish(&self) {
        self.base.places().iter().for_each(Place::apply_patches);
    }

    /// Where values of a topic of this name go. The topic is made, as [`resolve`](Index::resolve) does it,
    /// if it is not there, and left packed if its pack takes patches.
    pub(crate) fn target(&self, hash: u64, group: &str, topic: &str) -> Target {
        if let Ok(found) = self.topics.find(hash, is(group, topic), Arc::clone) {
            return Target::Topic(found);
        }
        if let Some(found) =
            self.base.find(group, topic).filter(|found| found.place.takes_patches())
            && let Some(pack) = found.place.pack()
            && let Some(packed) = found.topic(&pack, topic)
        {
            let topic = packed.number();
            return Target::Packed(PackedTarget { place: found.number, topic, pack });
        }
        Target::Topic(self.resolve(group, topic))
    }

    /// The names of a target's group and topic.
    pub(crate) fn names_of<'a>(&'a self, target: &'a Target) -> (&'a str, &'a str) {
        match target {
            Target::Topic(topic) => (topic.group(), topic.name()),
            Target::Packed(PackedTarget { topic, pack, .. }) => {
                let packed = pack.numbered(*topic);
                (self.base.group(packed.group()).name(), packed.name())
            }
        }
    }

    /// The topic of a target, which is unpacked if need be, and resolved anew if it left the index.
    pub(crate) fn unpacked(&self, target: &mut Target) -> Arc<Topic> {
        if let Target::Topic(topic) = target
            && !topic.is_detached()
        {
            return Arc::clone(topic);
        }
        let (group, name) = self.names_of(target);
        let topic = self.resolve(group, name);
        *target = Target::Topic(Arc::clone(&topic));
        topic
    }

    /// Sets the tag of a target's topic.
    pub(crate) fn set_tag(&self, target: &Target, tag: u64) {
        match target {
            Target::Topic(topic) => topic.set_tag(tag),
            Target::Packed(PackedTarget { place, topic, pack }) => {
                if self.base.places()[*place].pack().is_some() {
                    return pack.numbered(*topic).set_tag(tag);
                }
                let (group, name) = self.names_of(target);
                self.with_resolved(group, name, |topic| topic.set_tag(tag));
            }
        }
    }

    /// Sets values in their order, each as [`set`](Index::set) does it. A topic that left the index
    /// is resolved again, in the list too. Values of topics that are not in the list are left out.
    ///
    /// Topics and slots are far apart in memory, so a value costs two cache misses, one after the
    /// other. The misses of several values overlap if nothing else is in between: first all topics
    /// are looked at, then all slots, and only then the values are set.
    pub(crate) fn set_many(&self, writer: &mut Writer, topics: &mut [Target], sets: &[Set<'_>]) {
        for sets in sets.chunks(Set::MANY) {
            let mut units = [0; Set::MANY];
            for (unit, set) in units.iter_mut().zip(sets) {
                // The slots of a detached topic are no longer its own.
                let topic = topics.get(set.topic as usize).and_then(Target::topic);
                let topic = topic.filter(|topic| !topic.is_detached());
                *unit = topic.and_then(|topic| topic.find(set.partition)).unwrap_or(0);
            }
            let units = &units[..sets.len()];
            let slots = units.iter().filter(|unit| **unit != 0);
            std::hint::black_box(slots.fold(0, |sum, unit| sum ^ self.arena.slot(*unit).touch()));
            for (unit, set) in units.iter().zip(sets) {
                let Some(target) = topics.get_mut(set.topic as usize) else { continue };
                match target {
                    // Setting detaches no topic, so the slot still belongs to this one.
                    Target::Topic(topic) if *unit != 0 => {
                        let slot = self.arena.slot(*unit);
                        if slot.set(&mut writer.allocator, &set.value) == Change::OverNothing {
                            self.count_up(topic);
                        }
                    }
                    Target::Packed(packed) if self.patch(packed, set) => {}
                    _ => self.set_one(writer, target, set),
                }
            }
        }
    }

    /// Sets a value in a topic that has no slot for it yet, is packed, or left the index.
    fn set_one(&self, writer: &mut Writer, target: &mut Target, set: &Set<'_>) {
        let mut topic = self.unpacked(target);
        while !self.set(writer, &topic, topic.spot(set.partition), set.value) {
            topic = self.resolve(topic.group(), topic.name());
            *target = Target::Topic(Arc::clone(&topic));
        }
    }

    fn patch(&self, target: &PackedTarget, set: &Set<'_>) -> bool {
        let PackedTarget { place, topic, ref pack } = *target;
        self.base.places()[place].patch(pack.numbered(topic), set.partition, &set.value)
    }
}

impl std::fmt::Debug for PackedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedTarget")
            .field("place", &self.place)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
