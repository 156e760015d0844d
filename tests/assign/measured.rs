//! Balance and stickiness in figures: groups that members join and leave.
//!
//! `cargo test --test assign measured -- --nocapture` prints the table of `docs/benchmarks.md`.

use super::oracle::{Problem, fewest_moves_of_equals};
use super::*;
use support::mix;

const TOPICS: usize = 40;
const CHANGES: u64 = 200;

/// What was seen of one assignor over all changes of a group.
#[derive(Debug, Default)]
struct Seen {
    /// The largest difference between what two members have, and the sum of all differences.
    widest: usize,
    spread: usize,
    moved: usize,
    /// How many the same changes would have moved at least, had all assignments been balanced.
    fewest: usize,
    /// The most rounds that a change took.
    rounds: usize,
}

fn sizes() -> Topics {
    (0..TOPICS).map(|i| (format!("t{i:02}"), 5 + (mix(i as u64) % 41) as i32)).collect()
}

/// A member that subscribes to all topics, or to every fourth of them as its number decides.
fn member(number: u64, is_equal: bool) -> Member {
    let reads = |i: &usize| is_equal || mix(number * 1_000 + *i as u64).is_multiple_of(4);
    let topics: Vec<String> = (0..TOPICS).filter(reads).map(|i| format!("t{i:02}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    Member::new(&format!("m{:04}", mix(number) % 10_000), &topics)
}

/// Between 20 and 60 members: one joins or one leaves.
fn change(members: &mut Vec<Member>, step: u64, is_equal: bool) {
    let joins = members.len() < 20 || (members.len() < 60 && mix(step).is_multiple_of(2));
    if joins {
        members.push(member(1_000 + step, is_equal));
    } else {
        members.remove((mix(!step) % members.len() as u64) as usize);
    }
}

/// Goes on until nothing is withheld any more.
fn rebalance(
    assignor: &dyn Assignor,
    members: &[Member],
    topics: &Topics,
    generation: i32,
) -> (GroupAssignment, usize) {
    let mut rounds = 1;
    let mut assignment = assign(assignor, members, topics);
    while !assignment.withheld().is_empty() {
        assignment = assign(assignor, &after(members, &assignment, generation), topics);
        rounds += 1;
        assert!(rounds < 10, "{} never comes to an end", assignor.name());
    }
    (assignment, rounds)
}

fn play(assignor: &dyn Assignor, is_equal: bool) -> Seen {
    let topics = sizes();
    let mut members: Vec<Member> = (0..40).map(|number| member(number, is_equal)).collect();
    let (start, _) = rebalance(assignor, &members, &topics, 0);
    members = after(&members, &start, 0);
    let mut seen = Seen::default();
    for step in 1..=CHANGES {
        change(&mut members, step, is_equal);
        let problem = Problem::new(&members, &topics);
        let (assignment, rounds) = rebalance(assignor, &members, &topics, step as i32);
        let sticky = assign(&StickyAssignor, &members, &topics);
        let fewest = problem.quality_of(&sticky).moved;
        if is_equal {
            let all = topics.values().sum::<i32>() as usize;
            assert_eq!(fewest, fewest_moves_of_equals(&members, all));
        } else if step.is_multiple_of(20) {
            assert_eq!(problem.improvement(&sticky), None);
        }
        let loads = || assignment.iter().map(|(_, partitions)| partitions.len());
        let spread = loads().max().unwrap() - loads().min().unwrap();
        seen.widest = seen.widest.max(spread);
        seen.spread += spread;
        seen.moved += problem.quality_of(&assignment).moved;
        seen.fewest += fewest;
        seen.rounds = seen.rounds.max(rounds);
        members = after(&members, &assignment, step as i32);
    }
    seen
}

#[test]
fn joins_and_leaves() {
    for is_equal in [true, false] {
        println!("{} subscriptions:", if is_equal { "equal" } else { "unequal" });
        println!("| assignor | max - min, mean | at worst | moved by a change | rounds |");
        for assignor in ALL {
            let seen = play(assignor, is_equal);
            let (spread, moved) = (seen.spread as f64, seen.moved as f64);
            let (spread, moved) = (spread / CHANGES as f64, moved / CHANGES as f64);
            let Seen { widest, rounds, .. } = seen;
            let name = assignor.name();
            println!("| `{name}` | {spread:.1} | {widest} | {moved:.1} | {rounds} |");
            let is_sticky = name.contains("sticky");
            assert!(!is_sticky || seen.moved == seen.fewest, "{name}: {seen:?}");
            assert_eq!(widest <= 1, is_sticky || is_equal && name == "roundrobin", "{name}");
            assert_eq!(rounds, if name == "cooperative-sticky" { 2 } else { 1 }, "{name}");
        }
    }
}
