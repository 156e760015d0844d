//! Histories of many members: joins, leaves, deaths, lost answers, late heartbeats, growing topics,
//! clocks that jump, steps that are not stored, and restarts.

use super::world::{Seen, World};

const HISTORIES: u64 = 200;
const STEPS: usize = 250;

#[test]
fn whatever_happens_each_partition_has_one_owner_in_the_end() {
    let mut seen = Seen::default();
    for seed in 0..HISTORIES {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.disturb(&mut seen);
        }
        world.calm_down(&mut seen);
    }
    println!("{HISTORIES} histories of {STEPS} steps: {seen:?}");
    // All of it happened, many times.
    let Seen { joins, lost, unstored, late, fenced, expired, revocations_expired, .. } = seen;
    let Seen { waits, returns, unrevoked, unreleased, moves, rounds, .. } = seen;
    let least = [joins, lost, unstored, late, fenced, waits, expired, returns, unrevoked];
    assert!(least.iter().all(|count| *count > 100), "{seen:?}");
    assert!(revocations_expired > 20 && unreleased > 100 && moves > 1_000, "{seen:?}");
    // A hand-over: the target, the revocation, its report, and the new owner's next heartbeat.
    assert!(rounds <= 4, "{seen:?}");
}
