//! A level that several threads want at once.

use std::sync::Arc;

use super::*;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::model;
use crate::sync::thread;

#[test]
fn a_level_is_made_once_and_seen_whole() {
    model(3, || {
        let array = Arc::new(Growing::<AtomicU32>::new());
        let threads = [1, 2].map(|i| {
            let array = Arc::clone(&array);
            thread::spawn(move || {
                // Loom finds a use of an entry that does not happen after its creation.
                let seen = array.get(0).map_or(0, |entry| entry.load(Ordering::Relaxed));
                array.ensure(i).store(i as u32, Ordering::Relaxed);
                assert!([0, 3].contains(&seen));
            })
        });
        array.ensure(0).store(3, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let entry = |i| array.get(i).map(|entry| entry.load(Ordering::Relaxed));
        assert_eq!([entry(0), entry(1), entry(2)], [Some(3), Some(1), Some(2)]);
    });
}
