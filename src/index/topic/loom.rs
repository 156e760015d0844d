//! The slots of a topic that left the index are dealt out again while a reader still has the topic.

use super::*;
use crate::index::slot::Value;
use crate::sync::model;
use crate::sync::thread;

fn value(seq: u64, metadata: &str) -> Value<'_> {
    Value {
        offset: seq as i64,
        leader_epoch: None,
        timestamp_ms: seq as i64,
        expire_at_ms: None,
        metadata,
        seq,
    }
}

/// Two topics of one group, the first one with a value, and whoever may change them.
struct Topics {
    allocator: Allocator,
    old: Arc<Topic>,
    new: Arc<Topic>,
}

impl Topics {
    fn new() -> Topics {
        let mut allocator = Allocator::of_units(6);
        let group = Group::new("g".into());
        let topic =
            |name: &str| Arc::new(Topic::new(allocator.arena().clone(), &group, name.into()));
        let (old, new) = (topic("old"), topic("new"));
        let unit = old.find_or_make(&mut allocator, 0);
        old.arena.slot(unit).set(&mut allocator, &value(1, ""));
        Topics { allocator, old, new }
    }

    /// Deletes the one value of the first topic, which then leaves the index.
    fn detach_the_old_one(&mut self) -> Unit {
        let unit = self.old.find(0).unwrap();
        self.old.arena.slot(unit).delete(&mut self.allocator, 2);
        self.old.detach(&mut self.allocator);
        unit
    }
}

/// The old value, or none. Not that of whoever has the slot now.
fn read(topic: &Topic) {
    let mut out = CommittedOffset::default();
    if topic.read(0, &mut out) {
        assert_eq!((out.offset.0, out.seq.0, &*out.metadata), (1, 1, ""));
    }
    let offset = topic.offset(0);
    assert!(offset.is_none_or(|offset| offset == 1), "{offset:?}");
}

#[test]
fn a_slot_of_another_topic_is_never_read_as_the_old_ones() {
    model(2, || {
        let mut topics = Topics::new();
        let old = Arc::clone(&topics.old);
        let reader = thread::spawn(move || read(&old));
        let unit = topics.detach_the_old_one();
        let again = topics.new.find_or_make(&mut topics.allocator, 0);
        assert_eq!(again, unit, "the slot is dealt out again");
        topics.new.arena.slot(unit).set(&mut topics.allocator, &value(3, ""));
        reader.join().unwrap();
        assert_eq!(topics.old.offset(0), None);
    });
}

#[test]
fn a_cell_is_never_read_as_a_slot_of_the_old_topic() {
    model(2, || {
        let mut topics = Topics::new();
        let other = topics.new.find_or_make(&mut topics.allocator, 0);
        let old = Arc::clone(&topics.old);
        let reader = thread::spawn(move || read(&old));
        topics.detach_the_old_one();
        // The words of the cell are the seqs and the values of a slot that was never there.
        let text = "seven wo\x07\0\0\0\0\0\0\0seven wo";
        topics.new.arena.slot(other).set(&mut topics.allocator, &value(3, text));
        reader.join().unwrap();
    });
}

#[test]
fn a_partition_that_is_found_has_an_empty_slot_at_least() {
    model(3, || {
        let mut topics = Topics::new();
        let new = Arc::clone(&topics.new);
        let reader = thread::spawn(move || {
            let mut out = CommittedOffset::default();
            assert!(!new.read(0, &mut out) || out.offset.0 == 5, "{out:?}");
            assert_eq!(new.offset(1), None);
        });
        // In the memory of the old topic's slots, where a reader may find an old value for long.
        topics.detach_the_old_one();
        let unit = topics.new.find_or_make(&mut topics.allocator, 0);
        topics.new.arena.slot(unit).set(&mut topics.allocator, &value(5, ""));
        reader.join().unwrap();
        assert_eq!(topics.new.offset(0), Some(5));
    });
}
