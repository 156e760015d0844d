//! A flush that fails, while others wait for it.

use std::io;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use super::{World, explore};
use crate::Durability::{Buffered, Synced};
use crate::ErrorKind;
use crate::Result;
use crate::testkit::Op;

/// What a store says that has failed, or is about to say so for the first time.
fn check_refusal<T>(result: Result<T>) {
    if let Err(error) = result {
        assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{error:?}");
    }
}

#[test]
fn everybody_is_told_of_a_failed_flush_and_nobody_waits_for_ever() {
    explore(|| {
        let world = World::new(false);
        world.disk.fail_nth(Op::SyncFile, thread_rng().gen_range(0..3), io::ErrorKind::Other);
        world.race(&[
            |world| (0..2).for_each(|offset| check_refusal(world.commit(0, offset, Synced))),
            |world| check_refusal(world.commit_batch(&[1, 2], 1, Synced)),
            |world| {
                if let Ok(seq) = world.commit(3, 1, Buffered) {
                    let hour = Some(Duration::from_secs(3600));
                    match world.store.wait_durable(seq, hour) {
                        Err(error) if error.kind() == ErrorKind::Timeout => {}
                        waited => check_refusal(waited),
                    }
                }
                check_refusal(world.store.sync());
            },
        ]);
        // Once it has failed it stays so. Otherwise nobody was told anything.
        if world.store.sync().is_err() {
            let error = world.commit(4, 1, Buffered).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned);
        }
        world.check();
    });
}

/// The names of segments are as durable as what is in them.
#[test]
fn a_directory_that_cannot_be_flushed_ends_the_store_too() {
    explore(|| {
        let world = World::new(true);
        world.disk.fail_nth(Op::SyncDir, 0, io::ErrorKind::Other);
        world.race(&[
            |world| {
                for offset in 0..3 {
                    check_refusal(world.commit_long(0, offset, Synced, 4000));
                }
            },
            |world| {
                for offset in 0..2 {
                    check_refusal(world.commit_long(1, offset, Synced, 4000));
                }
            },
        ]);
        assert!(world.store.sync().is_err());
        world.check();
    });
}
