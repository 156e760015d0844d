//! The last key of a topic goes while others commit to it: the topic leaves the index, and its slots
//! are dealt out again.

use super::{World, explore, key};
use crate::Durability::{Buffered, Synced};
use crate::{Key, NextOffset};

#[test]
fn a_commit_that_meets_a_delete_is_not_lost() {
    explore(|| {
        let world = World::new(false);
        world.commit(0, 1, Buffered).unwrap();
        world.race(&[
            |world| {
                world.delete(0).unwrap();
                world.fetch(0);
            },
            |world| {
                world.commit(0, 2, Buffered).unwrap();
                world.fetch(0);
            },
            |world| {
                world.commit_batch(&[0, 1], 3, Synced).unwrap();
                world.fetch(0);
                world.delete(1).unwrap();
            },
        ]);
        world.check();
    });
}

#[test]
fn a_handle_outlives_its_topic() {
    explore(|| {
        let world = World::new(false);
        world.commit(0, 1, Buffered).unwrap();
        world.race(&[
            |world| {
                let slot = world.store.slot(key(0)).unwrap();
                let seq = slot.commit_with(NextOffset(2), Buffered).unwrap().seq();
                // Deleted since, or this, or what is newer.
                assert!(slot.fetch().is_none_or(|found| found.seq() >= seq));
                assert!([None, Some(NextOffset(2))].contains(&slot.offset()));
            },
            |world| {
                world.store.delete_group("g").unwrap();
                // In the same memory, if the group is gone.
                world.store.commit_with(Key::new("h", "u", 0), NextOffset(9), Buffered).unwrap();
            },
        ]);
        let other = world.store.fetch(Key::new("h", "u", 0)).unwrap();
        assert_eq!(other.offset(), NextOffset(9));
    });
}
