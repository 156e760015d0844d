//! Many values at once: what a replay does.

use std::sync::Arc;

use super::slot::{Change, Value};
use super::topic::Topic;
use super::{Index, Writer};

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

impl Index {
    /// Sets values in their order, each as [`set`](Index::set) does it. A topic that left the index
    /// is resolved again, in the list too. Values of topics that are not in the list are left out.
    ///
    /// Topics and slots are far apart in memory, so a value costs two cache misses, one after the
    /// other. The misses of several values overlap if nothing else is in between: first all topics
    /// are looked at, then all slots, and only then the values are set.
    pub(crate) fn set_many(
        &self,
        writer: &mut Writer,
        topics: &mut [Arc<Topic>],
        sets: &[Set<'_>],
    ) {
        for sets in sets.chunks(Set::MANY) {
            let mut units = [0; Set::MANY];
            for (unit, set) in units.iter_mut().zip(sets) {
                // The slots of a detached topic are no longer its own.
                let topic = topics.get(set.topic as usize).filter(|topic| !topic.is_detached());
                *unit = topic.and_then(|topic| topic.find(set.partition)).unwrap_or(0);
            }
            let units = &units[..sets.len()];
            let slots = units.iter().filter(|unit| **unit != 0);
            std::hint::black_box(slots.fold(0, |sum, unit| sum ^ self.arena.slot(*unit).touch()));
            for (unit, set) in units.iter().zip(sets) {
                let Some(topic) = topics.get_mut(set.topic as usize) else { continue };
                if *unit == 0 {
                    while !self.set(writer, topic, topic.spot(set.partition), set.value) {
                        *topic = self.resolve(topic.group(), topic.name());
                    }
                    continue;
                }
                // Setting detaches no topic, so the slot still belongs to this one.
                let slot = self.arena.slot(*unit);
                if slot.set(&mut writer.allocator, &set.value) == Change::OverNothing {
                    self.count_up(topic);
                }
            }
        }
    }
}
