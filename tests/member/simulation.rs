//! Histories of groups of consumers.

use super::world::{Seen, World};

#[test]
fn whatever_happens_each_record_is_processed_and_none_that_is_stored_comes_again() {
    let mut all = Seen::default();
    // The last ones have found something.
    for seed in (0..150).chain([284, 1436, 1865]) {
        println!("history {seed}");
        let mut world = World::new(seed);
        for _ in 0..700 {
            world.disturb();
        }
        all.add(&world.finish());
    }
    println!("{all:?}");
    assert!(all.again > 100 && all.zombie > 0 && all.lost > 100 && all.unstored > 10, "{all:?}");
    assert!(all.revoked > 100 && all.fenced > 10 && all.waited > 100, "{all:?}");
    assert!(all.closed > 100 && all.cuts > 100 && all.beyond > 1_000, "{all:?}");
}
