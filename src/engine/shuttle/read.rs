//! Readers: fetches beside commits, and a view of the log that is refreshed meanwhile.

use std::sync::Arc;

use super::{World, explore, key};
use crate::Durability::{Buffered, Synced};
use crate::OffsetReader;
use crate::sync::thread;

#[test]
fn no_fetch_goes_back() {
    explore(|| {
        let world = World::new(false);
        let fetch = |world: &World| (0..3).for_each(|_| drop(world.fetch(0)));
        world.race(&[
            |world| {
                for offset in 0..3 {
                    world.commit_long(0, offset, Buffered, 20).unwrap();
                }
            },
            fetch,
            fetch,
            |world| {
                world.store.sync().unwrap();
            },
        ]);
        world.check();
    });
}

/// Refreshes of two threads and fetches of a third, beside a writer that compacts.
#[test]
fn a_view_never_goes_back_and_misses_nothing_that_was_there_before_a_refresh() {
    explore(|| {
        let world = World::new(false);
        world.commit_batch(&[0, 1], 1, Synced).unwrap();
        let reader = OffsetReader::open_in(world.disk.dir()).unwrap();
        let refresh = {
            let (world, reader) = (Arc::clone(&world), reader.clone());
            move || {
                for _ in 0..2 {
                    let before = world.known.lock().unwrap().newest(0, u64::MAX).unwrap().0;
                    reader.refresh().unwrap();
                    let found = reader.fetch(key(0)).unwrap();
                    assert!(found.seq().get() >= before, "missed what was there");
                }
            }
        };
        let fetch = {
            let (world, reader) = (Arc::clone(&world), reader.clone());
            move || {
                let mut last = 0;
                for _ in 0..4 {
                    let found = reader.fetch(key(0)).unwrap();
                    let seq = found.seq().get();
                    assert!(seq >= last, "went back from {last} to {seq}");
                    last = seq;
                    // What it calls durable is on the disk.
                    if found.is_durable() {
                        assert!(world.durable() >= seq, "shown as durable too early");
                    }
                }
            }
        };
        let readers =
            [thread::spawn(refresh.clone()), thread::spawn(refresh), thread::spawn(fetch)];
        world.race(&[
            |world| {
                world.commit(0, 2, Buffered).unwrap();
                world.commit(0, 3, Synced).unwrap();
            },
            |world| {
                // Behind two of them a view that was left behind has to start over.
                world.store.compact().unwrap();
                world.commit(1, 4, Buffered).unwrap();
                world.store.compact().unwrap();
            },
        ]);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        drop(reader);
        world.check();
    });
}
