//! The steps of one member: as a table for people, and all there are against what must hold.

use super::*;

const TOPIC: &str = "t";

/// A set in the notation of the table: one letter for each partition, `-` for none.
fn set(letters: &str) -> Partitions {
    let mut partitions = Partitions::new();
    for letter in letters.bytes().filter(|letter| *letter != b'-') {
        partitions.insert(TOPIC, i32::from(letter - b'a'));
    }
    partitions
}

fn letters(partitions: &Partitions) -> String {
    let letters: String =
        partitions.iter().map(|(_, partition)| char::from(b'a' + partition as u8)).collect();
    if letters.is_empty() { "-".into() } else { letters }
}

/// A member in the notation of the table: state, epoch, the epoch before, assigned, revoking.
fn member(text: &str) -> CurrentAssignment {
    let words: Vec<&str> = text.split_whitespace().collect();
    let state = match words[0] {
        "stable" => MemberState::Stable,
        "unrevoked" => MemberState::UnrevokedPartitions,
        "unreleased" => MemberState::UnreleasedPartitions,
        other => panic!("{other}"),
    };
    let [epoch, previous_epoch] = [1, 2].map(|at| words[at].parse().unwrap());
    let [assigned, revoking] = [3, 4].map(|at| set(words[at]));
    CurrentAssignment { state, epoch, previous_epoch, assigned, revoking }
}

fn text(member: &CurrentAssignment) -> String {
    let state = match member.state {
        MemberState::Stable => "stable",
        MemberState::UnrevokedPartitions => "unrevoked",
        MemberState::UnreleasedPartitions => "unreleased",
    };
    let CurrentAssignment { epoch, previous_epoch, .. } = member;
    let (assigned, revoking) = (letters(&member.assigned), letters(&member.revoking));
    format!("{state} {epoch} {previous_epoch} {assigned} {revoking}")
}

fn step(
    before: &CurrentAssignment,
    epoch: i32,
    target: &Partitions,
    owned: Option<&Partitions>,
    others: &Partitions,
) -> CurrentAssignment {
    let is_held = |topic: &str, partition| others.contains(topic, partition);
    reconcile(before, Target { epoch, partitions: target }, owned, is_held)
}

/// Each state with each thing that can have happened to it. `?` is a member that does not say what it
/// owns.
#[test]
fn each_state_with_each_input() {
    #[rustfmt::skip]
    let rows = [
        // before               target  owned  held by others  after
        // Nothing has changed.
        ("stable 4 3 ab -",     "4 ab", "?",   "-",  "stable 4 3 ab -"),
        ("stable 4 3 ab -",     "4 ab", "-",   "-",  "stable 4 3 ab -"),
        // The others have changed, and it has not.
        ("stable 4 3 ab -",     "5 ab", "?",   "-",  "stable 5 4 ab -"),
        // It gets more: what is free, and later the rest.
        ("stable 4 3 a -",      "5 ab", "?",   "-",  "stable 5 4 ab -"),
        ("stable 4 3 a -",      "5 ab", "?",   "b",  "unreleased 5 4 a -"),
        ("stable 4 3 a -",      "5 abc", "?",  "b",  "unreleased 5 4 ac -"),
        ("stable 0 0 - -",      "5 ab", "-",   "ab", "unreleased 5 0 - -"),
        ("unreleased 5 4 a -",  "5 ab", "a",   "b",  "unreleased 5 4 a -"),
        ("unreleased 5 4 a -",  "5 ab", "?",   "-",  "stable 5 4 ab -"),
        ("unreleased 5 4 a -",  "6 ab", "?",   "b",  "unreleased 6 5 a -"),
        ("unreleased 5 4 a -",  "6 a",  "?",   "b",  "stable 6 5 a -"),
        // It gets less: first it says so, then it moves on.
        ("stable 4 3 ab -",     "5 a",  "?",   "-",  "unrevoked 4 3 a b"),
        ("stable 4 3 ab -",     "5 a",  "ab",  "-",  "unrevoked 4 3 a b"),
        ("stable 4 3 ab -",     "5 a",  "a",   "-",  "stable 5 4 a -"),
        ("unreleased 5 4 ab -", "6 bc", "ab",  "c",  "unrevoked 5 4 b a"),
        ("unrevoked 4 3 a b",   "5 a",  "?",   "-",  "unrevoked 4 3 a b"),
        ("unrevoked 4 3 a b",   "5 a",  "ab",  "-",  "unrevoked 4 3 a b"),
        ("unrevoked 4 3 a b",   "5 a",  "b",   "-",  "unrevoked 4 3 a b"),
        ("unrevoked 4 3 a b",   "5 a",  "a",   "-",  "stable 5 4 a -"),
        ("unrevoked 4 3 a b",   "5 a",  "-",   "-",  "stable 5 4 a -"),
        // It gets less and more: more only then.
        ("stable 4 3 ab -",     "5 ac", "ab",  "-",  "unrevoked 4 3 a b"),
        ("unrevoked 4 3 a b",   "5 ac", "a",   "-",  "stable 5 4 ac -"),
        ("unrevoked 4 3 a b",   "5 ac", "a",   "c",  "unreleased 5 4 a -"),
        // The target changes on the way: what it still owns is given up as well.
        ("unrevoked 4 3 a b",   "6 -",  "a",   "-",  "unrevoked 4 3 - a"),
        ("unrevoked 4 3 a b",   "6 -",  "-",   "-",  "stable 6 4 - -"),
        // What it has given up may come back to it; what it has not is not taken back.
        ("unrevoked 4 3 a b",   "6 ab", "a",   "-",  "stable 6 4 ab -"),
        ("unrevoked 4 3 a b",   "6 ab", "ab",  "-",  "unrevoked 4 3 a b"),
        // A static member comes back to what was kept for it, and owns nothing of it yet.
        ("stable 0 0 ab -",     "5 ab", "-",   "-",  "stable 5 0 ab -"),
        ("stable 0 0 ab -",     "6 bc", "-",   "c",  "unreleased 6 0 b -"),
    ];
    for (before, target, owned, others, expected) in rows {
        let (epoch, target) = target.split_once(' ').unwrap();
        let owned = (owned != "?").then(|| set(owned));
        let (epoch, target, others) = (epoch.parse().unwrap(), set(target), set(others));
        let after = step(&member(before), epoch, &target, owned.as_ref(), &others);
        assert_eq!(text(&after), expected, "{before}, {target:?}, {owned:?}, {others:?}");
    }
}

/// What a partition is to the member and to the rest of the group.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// 0 not its own, 1 assigned, 2 to be revoked, 3 another's.
    role: u8,
    is_target: bool,
    is_owned: bool,
}

/// All members of three partitions, with all that can be said about each.
fn all(
    mut visit: impl FnMut(&CurrentAssignment, i32, &Partitions, Option<&Partitions>, &Partitions),
) {
    const FACTS: usize = 4 * 2 * 2;
    let facts = |number: usize| Facts {
        role: (number % 4) as u8,
        is_target: number / 4 % 2 == 1,
        is_owned: number / 8 == 1,
    };
    let states =
        [MemberState::Stable, MemberState::UnrevokedPartitions, MemberState::UnreleasedPartitions];
    for number in 0..FACTS.pow(3) {
        let facts = [0, 1, 2].map(|at| facts(number / FACTS.pow(at) % FACTS));
        let those = |is_in: &dyn Fn(&Facts) -> bool| {
            let mut partitions = Partitions::new();
            for (partition, _) in (0..).zip(&facts).filter(|(_, facts)| is_in(facts)) {
                partitions.insert(TOPIC, partition);
            }
            partitions
        };
        let [assigned, revoking, others] = [1, 2, 3].map(|role| those(&|f| f.role == role));
        let (target, owned) = (those(&|f| f.is_target), those(&|f| f.is_owned));
        for state in states {
            if (state == MemberState::UnrevokedPartitions) == revoking.is_empty() {
                continue;
            }
            for epoch in [7, 8] {
                let is_there = state == MemberState::Stable && epoch == 7;
                if is_there && assigned != target {
                    continue;
                }
                let (assigned, revoking) = (assigned.clone(), revoking.clone());
                let before =
                    CurrentAssignment { state, epoch: 7, previous_epoch: 6, assigned, revoking };
                visit(&before, epoch, &target, None, &others);
                visit(&before, epoch, &target, Some(&owned), &others);
            }
        }
    }
}

#[test]
fn whatever_the_input_nobody_loses_and_nobody_waits_for_nothing() {
    let mut steps = 0;
    all(|before, epoch, target, owned, others| {
        steps += 1;
        let after = step(before, epoch, target, owned, others);
        let context = format!("{before:?} to {epoch} {target:?}, {owned:?}, {others:?}: {after:?}");
        let has_given_up = |partition| owned.is_some_and(|owned| !owned.contains(TOPIC, partition));
        for partition in 0..3 {
            let is_in = |set: &Partitions| set.contains(TOPIC, partition);
            let was_held = is_in(&before.assigned) || is_in(&before.revoking);
            let is_held = is_in(&after.assigned) || is_in(&after.revoking);
            assert!(is_held || !was_held || has_given_up(partition), "taken away: {context}");
            assert!(!is_held || !is_in(others), "given twice: {context}");
            assert!(!is_in(&after.assigned) || !is_in(&after.revoking), "both: {context}");
            let is_new = is_in(&after.assigned) && !is_in(&before.assigned);
            assert!(!is_new || is_in(target) && after.epoch == epoch, "given early: {context}");
            // Of what it keeps in its old epoch, all is still to be its own, unless it waits.
            let is_kept_for_nothing = is_in(&after.assigned) && !is_in(target);
            assert!(!is_kept_for_nothing || after == *before, "kept: {context}");
        }
        let is_revoking = after.state == MemberState::UnrevokedPartitions;
        assert_eq!(is_revoking, !after.revoking.is_empty(), "{context}");
        assert_eq!(after.epoch, if is_revoking { before.epoch } else { epoch }, "{context}");
        let is_other_epoch = after.epoch != before.epoch;
        let previous = if is_other_epoch { before.epoch } else { before.previous_epoch };
        assert_eq!(after.previous_epoch, previous, "{context}");
        if !is_revoking {
            let (_, free) = target.split(|topic, partition| others.contains(topic, partition));
            assert_eq!(after.assigned, free, "{context}");
            assert_eq!(after.state == MemberState::Stable, free == *target, "{context}");
        } else {
            // It waits only for a partition that it has not said to have given up.
            let is_waiting = after.revoking.iter().any(|(_, partition)| !has_given_up(partition));
            assert!(is_waiting, "{context}");
        }
        assert_eq!(
            step(&after, epoch, target, owned, others),
            after,
            "not a fixed point: {context}"
        );
    });
    assert!(steps > 10_000, "{steps}");
}
