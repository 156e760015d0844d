//! Close, while others go on.

use super::{World, explore};
use crate::Durability::{self, Buffered, Synced};
use crate::ErrorKind;

/// Commits until it is refused.
fn commit_on(world: &World, partition: i32, durability: Durability) {
    for offset in 0..3 {
        if let Err(error) = world.commit(partition, offset, durability) {
            assert_eq!(error.kind(), ErrorKind::Closed);
            break;
        }
    }
}

#[test]
fn every_commit_is_refused_or_kept() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| commit_on(world, 0, Synced),
            |world| commit_on(world, 1, Buffered),
            |world| world.close().unwrap(),
            |world| match world.store.compact() {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            },
        ]);
        world.check();
    });
}

#[test]
fn of_two_threads_that_close_one_does() {
    explore(|| {
        let world = World::new(true);
        world.commit(1, 1, Buffered).unwrap();
        let close = |world: &World| {
            let others = world.known.lock().unwrap().closed.is_some();
            match world.close() {
                Ok(()) => assert!(!others),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
            }
        };
        world.race(&[close, |world| commit_on(world, 0, Buffered), close]);
        assert!(world.known.lock().unwrap().closed.is_some());
        world.check();
    });
}
