//! The examples of Kafka's documentation and the rules that its tests fix.

use super::*;

fn expect(assignor: &dyn Assignor, members: &[Member], topics: &Topics, expected: &[&str]) {
    assert_eq!(shown(&assign(assignor, members, topics)), expected, "{}", assignor.name());
}

#[test]
fn the_names_are_those_of_kafka() {
    let names = ALL.map(Assignor::name);
    assert_eq!(names, ["range", "roundrobin", "sticky", "cooperative-sticky"]);
}

/// The examples in the documentation of `RangeAssignor` and `RoundRobinAssignor`.
#[test]
fn two_members_share_two_topics_of_three_partitions() {
    let topics = topics(&[("t0", 3), ("t1", 3)]);
    let members = ["c0", "c1"].map(|id| Member::new(id, &["t0", "t1"]));
    expect(&RangeAssignor, &members, &topics, &["c0: t0-0 t0-1 t1-0 t1-1", "c1: t0-2 t1-2"]);
    let in_turn = ["c0: t0-0 t0-2 t1-1", "c1: t0-1 t1-0 t1-2"];
    expect(&RoundRobinAssignor, &members, &topics, &in_turn);
    expect(&StickyAssignor, &members, &topics, &in_turn);
}

/// The example of unequal subscriptions, from `RoundRobinAssignor` and `StickyAssignor`.
#[test]
fn unequal_subscriptions_are_evened_out_by_the_sticky_assignors_only() {
    let topics = topics(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let members = [
        Member::new("c0", &["t0"]),
        Member::new("c1", &["t0", "t1"]),
        Member::new("c2", &["t0", "t1", "t2"]),
    ];
    let by_turn = ["c0: t0-0", "c1: t1-0", "c2: t1-1 t2-0 t2-1 t2-2"];
    expect(&RoundRobinAssignor, &members, &topics, &by_turn);
    let even = ["c0: t0-0", "c1: t1-0 t1-1", "c2: t2-0 t2-1 t2-2"];
    expect(&StickyAssignor, &members, &topics, &even);
    expect(&CooperativeStickyAssignor, &members, &topics, &even);

    // C0 has left.
    let rest = &after(&members, &assign(&StickyAssignor, &members, &topics), 1)[1..];
    let by_turn = ["c1: t0-0 t1-1", "c2: t1-0 t2-0 t2-1 t2-2"];
    expect(&RoundRobinAssignor, rest, &topics, &by_turn);
    expect(&StickyAssignor, rest, &topics, &["c1: t0-0 t1-0 t1-1", "c2: t2-0 t2-1 t2-2"]);
}

/// The first example of `StickyAssignor`.
#[test]
fn the_sticky_assignor_keeps_what_round_robin_moves() {
    let topics = topics(&[("t0", 2), ("t1", 2), ("t2", 2), ("t3", 2)]);
    let members = ["c0", "c1", "c2"].map(|id| Member::new(id, &["t0", "t1", "t2", "t3"]));
    let fresh = ["c0: t0-0 t1-1 t3-0", "c1: t0-1 t2-0 t3-1", "c2: t1-0 t2-1"];
    expect(&RoundRobinAssignor, &members, &topics, &fresh);
    expect(&StickyAssignor, &members, &topics, &fresh);

    // C1 has left. Which of its partitions goes where, the documentation leaves open.
    let owners = after(&members, &assign(&StickyAssignor, &members, &topics), 1);
    let rest = [owners[0].clone(), owners[2].clone()];
    let by_turn = ["c0: t0-0 t1-0 t2-0 t3-0", "c2: t0-1 t1-1 t2-1 t3-1"];
    expect(&RoundRobinAssignor, &rest, &topics, &by_turn);
    let kept = ["c0: t0-0 t0-1 t1-1 t3-0", "c2: t1-0 t2-0 t2-1 t3-1"];
    expect(&StickyAssignor, &rest, &topics, &kept);
}

#[test]
fn range_divides_a_topic_by_those_who_subscribe_to_it() {
    let topics = topics(&[("topic1", 3), ("topic2", 2)]);
    let members = [
        Member::new("consumer1", &["topic1"]),
        Member::new("consumer2", &["topic1", "topic2"]),
        Member::new("consumer3", &["topic1"]),
    ];
    let expected =
        ["consumer1: topic1-0", "consumer2: topic1-1 topic2-0 topic2-1", "consumer3: topic1-2"];
    expect(&RangeAssignor, &members, &topics, &expected);
}

#[test]
fn static_members_come_first_and_by_their_instance_id() {
    let topics = topics(&[("t", 5)]);
    let member = |id| Member::new(id, &["t"]);
    // By member id alone, "a" would be the first of them and "b" before "z".
    let members =
        [member("a"), member("b").instance("instance2"), member("z").instance("instance1")];
    expect(&RangeAssignor, &members, &topics, &["a: t-4", "b: t-2 t-3", "z: t-0 t-1"]);
    expect(&RoundRobinAssignor, &members, &topics, &["a: t-2", "b: t-1 t-4", "z: t-0 t-3"]);
    expect(&StickyAssignor, &members, &topics, &["a: t-2", "b: t-1 t-4", "z: t-0 t-3"]);
}

#[test]
fn a_static_member_keeps_its_place_under_a_new_member_id() {
    let topics = topics(&[("t0", 5), ("t1", 4)]);
    let group = |ids: [&str; 3]| -> Vec<Member> {
        let ids = ids.iter().zip(["i1", "i2", "i3"]);
        ids.map(|(id, instance)| Member::new(id, &["t0", "t1"]).instance(instance)).collect()
    };
    for assignor in [&RangeAssignor as &dyn Assignor, &RoundRobinAssignor] {
        let before = assign(assignor, &group(["a", "b", "c"]), &topics);
        let restarted = assign(assignor, &group(["z", "y", "a"]), &topics);
        for (old, new) in [("a", "z"), ("b", "y"), ("c", "a")] {
            assert_eq!(before.get(old), restarted.get(new), "{}", assignor.name());
        }
    }
}

#[test]
fn member_ids_have_the_order_of_java() {
    // In UTF-8 the first is less, in UTF-16 the second is: it begins with a surrogate.
    let members = ["\u{ff21}", "\u{1f600}"].map(|id| Member::new(id, &["t"]));
    let assignment = assign(&RangeAssignor, &members, &topics(&[("t", 1)]));
    assert_eq!(assignment.get("\u{1f600}"), Some(&partitions("t-0")[..]));
}
