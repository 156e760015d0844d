//! Group commit: who flushes for whom, and when it counts.

use std::time::Duration;

use super::{World, explore};
use crate::Durability::{Buffered, Synced};

#[test]
fn synced_and_buffered_commits_share_flushes() {
    explore(|| {
        let world = World::new(false);
        world.race(&[
            |world| {
                world.commit(0, 1, Synced).unwrap();
                world.commit(0, 2, Synced).unwrap();
            },
            |world| {
                world.commit(1, 3, Buffered).unwrap();
                world.commit_batch(&[0, 1, 2], 4, Synced).unwrap();
            },
            |world| {
                world.commit(2, 5, Buffered).unwrap();
                let seq = world.store.sync().unwrap();
                world.is_durable(seq);
            },
        ]);
        world.check();
    });
}

#[test]
fn whoever_waits_for_a_record_of_another_thread_is_told() {
    explore(|| {
        let world = World::new(false);
        world.race(&[
            |world| {
                let seq = world.commit(0, 1, Buffered).unwrap();
                world.store.wait_durable(seq, None).unwrap();
                world.is_durable(seq);
            },
            |world| {
                let seq = world.commit_batch(&[0, 1], 2, Buffered).unwrap();
                world.store.wait_durable(seq, None).unwrap();
                world.is_durable(seq);
            },
            |world| {
                world.commit(1, 3, Synced).unwrap();
            },
        ]);
        world.check();
    });
}

/// Time runs out by lot, also for the one who was called to flush next.
#[test]
fn whoever_leaves_early_strands_nobody() {
    explore(|| {
        let world = World::new(false);
        let impatient = |world: &World| {
            for offset in 0..2 {
                let seq = world.commit(0, offset, Buffered).unwrap();
                if world.store.wait_durable(seq, Some(Duration::from_secs(1))).is_ok() {
                    world.is_durable(seq);
                }
            }
        };
        let patient = |world: &World| {
            world.commit(1, 1, Synced).unwrap();
            world.commit(1, 2, Synced).unwrap();
        };
        world.race(&[impatient, patient, impatient, patient]);
        world.check();
    });
}

#[test]
fn the_interval_flusher_and_committers_do_not_disturb_each_other() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| {
                world.commit(0, 1, Buffered).unwrap();
                world.cut_power();
                world.commit(0, 2, Synced).unwrap();
            },
            |world| {
                world.commit(1, 3, Buffered).unwrap();
                world.cut_power();
            },
        ]);
        world.check();
    });
}

/// A segment of 16 KiB has room for two such commits, so that every second one needs a new segment.
#[test]
fn the_log_goes_on_in_the_next_segment_while_others_flush() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| {
                for offset in 0..3 {
                    world.commit_long(0, offset, Synced, 4000).unwrap();
                }
            },
            |world| {
                for offset in 0..3 {
                    world.commit_long(1, offset, Buffered, 4000).unwrap();
                    world.cut_power();
                }
            },
        ]);
        world.check();
    });
}
