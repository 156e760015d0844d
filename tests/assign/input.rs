//! Input that is wrong, old or contradictory.

use super::*;
use pagemark::ErrorKind;

fn refused(members: &[Member]) -> Vec<(ErrorKind, String)> {
    let members: Vec<Subscription> = members.iter().map(Member::subscription).collect();
    let topics = topics(&[("t", 3)]);
    let error = |assignor: &&dyn Assignor| assignor.assign(&members, &topics).unwrap_err();
    ALL.iter().map(error).map(|error| (error.kind(), error.to_string())).collect()
}

#[test]
fn two_members_of_one_name_are_refused() {
    let twice = [Member::new("a", &["t"]), Member::new("a", &[]).instance("i")];
    for (kind, message) in refused(&twice) {
        assert_eq!(kind, ErrorKind::InvalidArgument);
        assert_eq!(message, "two members have the member id \"a\"");
    }
    let twice = [Member::new("a", &["t"]).instance("i"), Member::new("b", &[]).instance("i")];
    for (kind, message) in refused(&twice) {
        assert_eq!(kind, ErrorKind::InvalidArgument);
        assert_eq!(message, "two members have the group instance id \"i\"");
    }
}

#[test]
fn nothing_to_share_is_no_error() {
    for assignor in ALL {
        assert_eq!(shown(&assign(assignor, &[], &topics(&[("t", 3)]))).len(), 0);
        let members = [
            Member::new("idle", &[]),
            Member::new("lost", &["gone", "empty", "negative"]),
            Member::new("twice", &["t", "t"]),
        ];
        let topics = topics(&[("empty", 0), ("negative", -1), ("t", 3), ("unread", 3)]);
        let expected = ["idle:", "lost:", "twice: t-0 t-1 t-2"];
        assert_eq!(shown(&assign(assignor, &members, &topics)), expected, "{}", assignor.name());
    }
}

#[test]
fn a_topic_that_a_member_names_twice_counts_once() {
    let members = [Member::new("a", &["t", "t"]), Member::new("b", &["t"])];
    for assignor in ALL {
        let assignment = assign(assignor, &members, &topics(&[("t", 4)]));
        let counts: Vec<usize> = assignment.iter().map(|(_, names)| names.len()).collect();
        assert_eq!(counts, [2, 2], "{}", assignor.name());
    }
}

#[test]
fn what_cannot_be_kept_is_forgotten() {
    let topics = topics(&[("t", 2), ("u", 2)]);
    let members = [
        Member::new("a", &["t"]).owns(3, "u-0 gone-0 t-2 t--1 t-1 t-1"),
        Member::new("b", &["t", "u"]).owns(3, "u-1"),
    ];
    for (assignor, withheld) in
        [(&StickyAssignor as &dyn Assignor, ""), (&CooperativeStickyAssignor, "u-0")]
    {
        let assignment = assign(assignor, &members, &topics);
        assert_eq!(assignment.get("a"), Some(&partitions("t-0 t-1")[..]));
        // A has not given it up yet, though it does not subscribe to its topic any more.
        assert_eq!(assignment.withheld(), partitions(withheld));
        let all = partitions("u-0 u-1");
        assert_eq!(assignment.get("b"), Some(&all[if withheld.is_empty() { 0 } else { 1 }..]));
    }
}

#[test]
fn the_newest_generation_owns_a_partition() {
    let topics = topics(&[("t", 2)]);
    for (generation, expected) in [(4, ["a: t-1", "b: t-0"]), (6, ["a: t-0", "b: t-1"])] {
        let members = [
            Member::new("a", &["t"]).owns(generation, "t-0"),
            Member::new("b", &["t"]).owns(5, "t-0"),
        ];
        for assignor in [&StickyAssignor as &dyn Assignor, &CooperativeStickyAssignor] {
            assert_eq!(shown(&assign(assignor, &members, &topics)), expected);
        }
    }
    // A generation that is not known is the oldest, but it counts if nobody else claims the partition.
    let members =
        [Member::new("a", &["t"]).owns(-1, "t-1 t-0"), Member::new("b", &["t"]).owns(0, "t-0")];
    assert_eq!(shown(&assign(&StickyAssignor, &members, &topics)), ["a: t-1", "b: t-0"]);
    let members = [Member::new("a", &["t"]), Member::new("b", &["t"]).owns(-7, "t-0")];
    assert_eq!(shown(&assign(&StickyAssignor, &members, &topics)), ["a: t-1", "b: t-0"]);
}

#[test]
fn what_two_claim_in_one_generation_is_nobodys() {
    let topics = topics(&[("t", 3)]);
    let claims = |generations: [i32; 3]| -> Vec<Member> {
        let members = ["a", "b", "c"].iter().zip(generations);
        members.map(|(id, generation)| Member::new(id, &["t"]).owns(generation, "t-2")).collect()
    };
    let contested = claims([5, 5, 4]);
    let assignment = assign(&StickyAssignor, &contested, &topics);
    assert_eq!(shown(&assignment), ["a: t-0", "b: t-1", "c: t-2"], "as if nobody owned it");

    // Neither of them may go on with it, and the round after gives it to one of the three.
    let first = assign(&CooperativeStickyAssignor, &contested, &topics);
    assert_eq!(first.withheld(), partitions("t-2"));
    assert_eq!(shown(&first), ["a: t-0", "b: t-1", "c:"]);
    let second = assign(&CooperativeStickyAssignor, &after(&contested, &first, 6), &topics);
    assert_eq!(shown(&second), ["a: t-0", "b: t-1", "c: t-2"]);

    // A newer claim ends the dispute.
    let settled = assign(&CooperativeStickyAssignor, &claims([5, 6, 5]), &topics);
    assert_eq!(shown(&settled), ["a: t-0", "b: t-2", "c: t-1"]);
    assert!(settled.withheld().is_empty());
}
