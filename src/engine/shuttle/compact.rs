//! Compactions beside commits and reads.

use super::{World, explore};
use crate::Durability::{Buffered, Synced};

#[test]
fn a_compaction_loses_nothing_that_is_committed_meanwhile() {
    explore(|| {
        let world = World::new(false);
        world.commit_batch(&[0, 1, 2], 1, Buffered).unwrap();
        world.race(&[
            |world| {
                world.commit(0, 2, Synced).unwrap();
                world.commit(0, 3, Buffered).unwrap();
            },
            |world| {
                world.fetch(0);
                world.delete(1).unwrap();
                world.fetch(0);
                world.fetch(1);
            },
            |world| {
                let before: Vec<_> =
                    world.known.lock().unwrap().acknowledged.keys().copied().collect();
                world.store.compact().unwrap();
                // What was committed before is durable now.
                let newest = before.iter().map(|(_, seq)| *seq).max().unwrap();
                assert!(world.durable() >= newest);
                world.cut_power();
            },
        ]);
        world.check();
    });
}

#[test]
fn two_compactions_come_one_after_the_other() {
    explore(|| {
        let world = World::new(true);
        world.commit_batch(&[0, 1], 1, Buffered).unwrap();
        let compact = |world: &World| {
            world.store.compact().unwrap();
            world.cut_power();
        };
        world.race(&[
            compact,
            |world| {
                world.commit(0, 2, Synced).unwrap();
            },
            compact,
        ]);
        world.check();
    });
}
