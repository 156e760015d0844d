//! The rules of the protocol, one by one.

use super::*;
use pagemark::group::GroupError::*;
use pagemark::group::modern::{ConsumerGroupState, Expiry, MemberState, ServerAssignor};

const SESSION_MS: i64 = 45_000;

/// A group with one topic of some partitions, and the time.
struct Room {
    group: ConsumerGroup,
    topics: Topics,
    now_ms: i64,
}

impl Room {
    fn new(partitions: i32) -> Room {
        Room::with(ConsumerGroupConfig::new(), partitions)
    }

    fn with(config: ConsumerGroupConfig, partitions: i32) -> Room {
        let group = ConsumerGroup::open(config, [], 0).unwrap();
        Room { group, topics: topics(&[("t", partitions)]), now_ms: 0 }
    }

    fn try_send(&mut self, request: HeartbeatRequest) -> Result<HeartbeatResponse, GroupError> {
        let before = self.group.describe();
        let step = self.group.heartbeat(self.now_ms, &request, &self.topics);
        if step.is_err() {
            assert_eq!(self.group.describe(), before, "a refusal changes nothing");
        }
        step.map(|step| step.response)
    }

    /// Sends a heartbeat, and returns the epoch and the assignment of the answer.
    fn send(&mut self, request: HeartbeatRequest) -> (i32, Option<Partitions>) {
        let response = self.try_send(request).unwrap();
        (response.member_epoch, response.assignment)
    }

    fn refusal(&mut self, request: HeartbeatRequest) -> GroupError {
        self.try_send(request).unwrap_err()
    }

    fn member(&self, id: &str) -> (MemberState, i32) {
        let members = self.group.describe().members;
        let member = members.into_iter().find(|member| member.member_id == id).unwrap();
        (member.state, member.member_epoch)
    }

    fn tick(&mut self, ms: i64) -> Vec<(String, Expiry)> {
        self.now_ms += ms;
        self.group.tick(self.now_ms).members
    }
}

fn beat(id: &str, epoch: i32) -> HeartbeatRequest {
    HeartbeatRequest::new(id, epoch)
}

fn owns(id: &str, epoch: i32, owned: &str) -> HeartbeatRequest {
    beat(id, epoch).owned(partitions(owned))
}

fn fixed(id: &str, epoch: i32, instance: &str) -> HeartbeatRequest {
    let request = if epoch == JOIN_EPOCH { join(id, &["t"]) } else { beat(id, epoch) };
    request.group_instance_id(instance)
}

#[test]
fn a_partition_goes_to_its_new_owner_when_the_old_one_has_given_it_up() {
    let mut room = Room::new(4);
    assert_eq!(room.group.state(), ConsumerGroupState::Empty);
    assert_eq!(room.send(join("a", &["t"])), (1, Some(partitions("t:0,1,2,3"))));
    assert_eq!(room.group.state(), ConsumerGroupState::Stable);
    assert_eq!(room.send(join("b", &["t"])), (2, Some(Partitions::new())));
    assert_eq!(room.group.state(), ConsumerGroupState::Reconciling);
    assert_eq!(room.member("b"), (MemberState::UnreleasedPartitions, 2));

    // A is told, says nothing of it, says that it still owns all, and then that it does not.
    assert_eq!(room.send(beat("a", 1)), (1, Some(partitions("t:0,1"))));
    assert_eq!(room.member("a"), (MemberState::UnrevokedPartitions, 1));
    assert_eq!(room.send(beat("a", 1)), (1, None));
    assert_eq!(room.send(beat("b", 2)), (2, None));
    assert_eq!(room.send(owns("a", 1, "t:0,1,2,3")), (1, Some(partitions("t:0,1"))));
    assert_eq!(room.group.owner("t", 2), Some("a"));
    assert_eq!(room.send(owns("a", 1, "t:0,1")), (2, Some(partitions("t:0,1"))));
    assert_eq!(room.group.owner("t", 2), None);

    assert_eq!(room.send(beat("b", 2)), (2, Some(partitions("t:2,3"))));
    assert_eq!(room.group.owner("t", 2), Some("b"));
    assert_eq!(room.group.state(), ConsumerGroupState::Stable);
    assert_eq!(room.send(beat("b", 2)), (2, None), "nothing is new to it");
}

#[test]
fn one_who_leaves_or_falls_silent_holds_nothing() {
    let mut room = Room::new(2);
    room.send(join("a", &["t"]));
    room.send(join("b", &["t"]));
    assert_eq!(room.send(beat("a", LEAVE_EPOCH)), (LEAVE_EPOCH, None));
    assert_eq!(room.group.state(), ConsumerGroupState::Assigning);
    assert_eq!(room.refusal(beat("a", LEAVE_EPOCH)), UnknownMemberId);
    assert_eq!(room.send(beat("b", 2)), (3, Some(partitions("t:0,1"))));

    room.send(join("c", &["t"]));
    assert_eq!(room.group.next_deadline(), Some(SESSION_MS));
    assert_eq!(room.tick(SESSION_MS - 1), []);
    room.send(join("c", &["t"]));
    assert_eq!(room.tick(1), [("b".into(), Expiry::Session)]);
    assert_eq!(room.refusal(beat("b", 3)), UnknownMemberId);
    assert_eq!(room.send(beat("c", 4)), (5, Some(partitions("t:0,1"))));
    assert_eq!(room.group.next_deadline(), Some(2 * SESSION_MS));
}

#[test]
fn one_who_does_not_give_up_in_time_is_removed() {
    let mut room = Room::new(2);
    room.send(join("a", &["t"]).rebalance_timeout_ms(10_000));
    room.send(join("b", &["t"]));
    room.send(beat("a", 1));
    for _ in 0..9 {
        assert_eq!(room.tick(1_000), []);
        room.send(owns("a", 1, "t:0,1"));
    }
    assert_eq!(room.group.next_deadline(), Some(10_000), "heartbeats do not give it more time");
    assert_eq!(room.tick(1_000), [("a".into(), Expiry::Revocation)]);
    assert_eq!(room.send(beat("b", 2)), (3, Some(partitions("t:0,1"))));
}

#[test]
fn one_who_gave_up_in_time_is_not_removed() {
    let mut room = Room::new(2);
    room.send(join("a", &["t"]).rebalance_timeout_ms(10_000));
    room.send(join("b", &["t"]));
    room.send(beat("a", 1));
    room.send(owns("a", 1, "t:0"));
    assert_eq!(room.tick(11_000), []);
}

#[test]
fn a_member_that_missed_an_answer_says_everything_again() {
    let mut room = Room::new(4);
    assert_eq!(room.send(join("a", &["t"])), room.send(join("a", &["t"])), "its join, too");
    room.send(join("b", &["t"]));
    room.send(beat("a", 1));
    room.send(owns("a", 1, "t:0,1")); // and the answer with epoch 2 is lost
    assert_eq!(room.refusal(beat("a", 1)), FencedMemberEpoch, "what does it own?");
    assert_eq!(room.refusal(owns("a", 1, "t:0,1,2")), FencedMemberEpoch, "not its own any more");
    assert_eq!(room.send(owns("a", 1, "t:0,1")), (2, Some(partitions("t:0,1"))));

    room.send(beat("a", 2));
    assert_eq!(room.refusal(join("a", &["t"])), FencedMemberEpoch, "two epochs ago");
    assert_eq!(room.refusal(owns("a", 3, "t:0")), FencedMemberEpoch, "not there yet");
}

/// Kafka would hand the partition over.
#[test]
fn a_late_heartbeat_of_the_epoch_before_releases_nothing() {
    let mut room = Room::new(2);
    room.send(join("a", &["t"]));
    room.send(join("b", &["t"]));
    room.send(beat("a", 1));
    room.send(owns("a", 1, "t:0"));
    room.send(beat("b", 2));
    let late = owns("a", 2, "t:0");
    room.send(beat("b", LEAVE_EPOCH));
    assert_eq!(room.send(beat("a", 2)), (3, Some(partitions("t:0,1"))));
    room.send(join("c", &["t"]));
    assert_eq!(room.send(late), (3, Some(partitions("t:0,1"))), "what it might have missed");
    assert_eq!(room.send(beat("a", 3)), (3, Some(partitions("t:0"))));
    assert_eq!(room.group.owner("t", 1), Some("a"), "it was told so, and has not said otherwise");
    assert_eq!(room.send(beat("c", 4)), (4, None));
    room.send(owns("a", 3, "t:0"));
    assert_eq!(room.send(beat("c", 4)), (4, Some(partitions("t:1"))));
}

#[test]
fn commits_and_fetches_carry_the_epoch_of_their_member() {
    let mut room = Room::new(2);
    assert_eq!(room.group.check_commit("tool", -1), Ok(()));
    assert_eq!(room.group.check_commit("tool", 0), Err(UnknownMemberId));
    room.send(join("a", &["t"]));
    room.send(join("b", &["t"]));
    for epoch in [-2, -1, 0, 2] {
        assert_eq!(room.group.check_commit("a", epoch), Err(StaleMemberEpoch), "{epoch}");
        assert_eq!(room.group.check_fetch(Some("a"), epoch), Err(StaleMemberEpoch), "{epoch}");
    }
    assert_eq!(room.group.check_commit("a", 1), Ok(()));
    assert_eq!(room.group.check_fetch(Some("a"), 1), Ok(()));
    assert_eq!(room.group.check_commit("c", 1), Err(UnknownMemberId));
    assert_eq!(room.group.check_commit("", -1), Err(UnknownMemberId), "from outside");
    assert_eq!(room.group.check_fetch(None, -1), Ok(()));
    assert_eq!(room.group.check_fetch(None, 1), Err(UnknownMemberId));

    // Still its own while it gives it up, and not any more when it has.
    room.send(beat("a", 1));
    assert_eq!(room.group.check_commit("a", 1), Ok(()));
    room.send(owns("a", 1, "t:0"));
    assert_eq!(room.group.check_commit("a", 1), Err(StaleMemberEpoch));
    assert_eq!(room.group.check_commit("a", 2), Ok(()));
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut room = Room::new(4);
    room.send(fixed("a1", JOIN_EPOCH, "a"));
    room.send(fixed("b1", JOIN_EPOCH, "b"));
    assert_eq!(room.refusal(fixed("a2", JOIN_EPOCH, "a")), UnreleasedInstanceId);
    assert_eq!(room.send(fixed("a1", JOIN_EPOCH, "a")).0, 1, "the answer to its join was lost");
    room.send(fixed("a1", 1, "a").owned(partitions("t:0,1")));
    let epoch = room.group.describe().group_epoch;

    assert_eq!(room.send(fixed("a1", STATIC_LEAVE_EPOCH, "a")), (STATIC_LEAVE_EPOCH, None));
    assert_eq!(room.group.check_commit("a1", STATIC_LEAVE_EPOCH), Err(StaleMemberEpoch));
    assert_eq!(room.refusal(fixed("a1", 2, "a")), FencedMemberEpoch, "it has left");
    room.send(fixed("b1", 2, "b"));
    assert_eq!(room.group.owner("t", 0), Some("a1"), "kept for it");
    assert_eq!(room.refusal(fixed("b1", JOIN_EPOCH, "a")), InvalidRequest, "that is B");
    assert_eq!(room.send(fixed("a2", JOIN_EPOCH, "a")), (2, Some(partitions("t:0,1"))));
    assert_eq!(room.group.describe().group_epoch, epoch, "nobody else has to move");
    assert_eq!(room.refusal(fixed("a1", 2, "a")), FencedInstanceId);
    assert_eq!(room.refusal(fixed("a1", LEAVE_EPOCH, "a")), FencedInstanceId);
    assert_eq!(room.refusal(fixed("x", 1, "x")), UnknownMemberId);
    assert_eq!(room.refusal(fixed("x", LEAVE_EPOCH, "x")), UnknownMemberId);
    assert_eq!(room.refusal(fixed("a2", 2, "x")), UnknownMemberId);
    assert_eq!(room.refusal(fixed("a2", JOIN_EPOCH, "x")), InvalidRequest);

    // Under its own id it may come back, too, and with another subscription the group moves on.
    room.send(fixed("a2", STATIC_LEAVE_EPOCH, "a"));
    assert_eq!(room.send(fixed("a2", JOIN_EPOCH, "a")).0, 2);
    room.send(fixed("a2", STATIC_LEAVE_EPOCH, "a"));
    assert_eq!(room.send(fixed("a3", JOIN_EPOCH, "a").topics(["u"])), (3, Some(Partitions::new())));

    // One that does not come back is removed when its session is over.
    room.send(fixed("a3", STATIC_LEAVE_EPOCH, "a"));
    room.tick(SESSION_MS - 1);
    room.send(fixed("b1", 2, "b"));
    assert_eq!(room.tick(1), [("a3".into(), Expiry::Session)]);
}

#[test]
fn what_a_static_member_was_giving_up_when_it_left_is_given_up() {
    let mut room = Room::new(2);
    room.send(fixed("a1", JOIN_EPOCH, "a"));
    room.send(join("b", &["t"]));
    room.send(fixed("a1", 1, "a"));
    assert_eq!(room.send(beat("b", 2)), (2, None));
    room.send(fixed("a1", STATIC_LEAVE_EPOCH, "a"));
    assert_eq!(room.send(beat("b", 2)), (2, Some(partitions("t:1"))));
    assert_eq!(room.send(fixed("a2", JOIN_EPOCH, "a")), (2, Some(partitions("t:0"))));
}

#[test]
fn topics_and_subscriptions_change_the_group() {
    let mut room = Room::new(1);
    room.send(join("a", &["t", "u"]));
    room.topics = topics(&[("t", 1), ("other", 9)]);
    assert_eq!(room.send(beat("a", 1)), (1, None), "nobody reads the other one");
    room.topics = topics(&[("t", 2), ("u", 1)]);
    assert_eq!(room.send(beat("a", 1)), (2, Some(partitions("t:0,1 u:0"))));
    assert!(room.group.is_subscribed_to("u") && !room.group.is_subscribed_to("other"));

    // A topic goes: its partitions are to be given up like others.
    room.topics = topics(&[("t", 2), ("u", 0)]);
    assert_eq!(room.send(beat("a", 2)), (2, Some(partitions("t:0,1"))));
    assert_eq!(room.send(owns("a", 2, "t:0,1")), (3, Some(partitions("t:0,1"))));

    assert_eq!(room.send(beat("a", 3).topics(["t", "t", "u"])), (3, None), "the same as before");
    assert_eq!(room.send(beat("a", 3).topics(["u"])), (3, Some(Partitions::new())));
    assert_eq!(room.send(owns("a", 3, "")), (4, Some(Partitions::new())));
    assert!(!room.group.is_subscribed_to("t"));
}

#[test]
fn most_members_decide_who_assigns() {
    let mut room = Room::new(3);
    let mut ask = |id: &str, assignor: Option<ServerAssignor>| {
        let request = join(id, &["t"]);
        room.send(match assignor {
            Some(assignor) => request.assignor(assignor),
            None => request,
        });
        room.group.describe().assignor
    };
    assert_eq!(ask("a", None), ServerAssignor::Uniform);
    assert_eq!(ask("b", Some(ServerAssignor::Range)), ServerAssignor::Range);
    assert_eq!(ask("c", Some(ServerAssignor::Uniform)), ServerAssignor::Uniform);
    assert_eq!(ask("d", Some(ServerAssignor::Range)), ServerAssignor::Range);
    for assignor in [ServerAssignor::Uniform, ServerAssignor::Range] {
        assert_eq!(assignor.name().parse(), Ok(assignor));
    }
    assert_eq!("sticky".parse::<ServerAssignor>(), Err(UnsupportedAssignor));

    // Range gives neighbours, whatever was before; uniform keeps what is.
    for (assignor, expected) in
        [(ServerAssignor::Uniform, "t:2,3"), (ServerAssignor::Range, "t:0,1")]
    {
        let mut room = Room::with(ConsumerGroupConfig::new().assignor(assignor), 4);
        for id in ["a", "b"] {
            room.send(join(id, &["t"]));
        }
        room.send(beat("a", LEAVE_EPOCH));
        room.send(join("c", &["t"]));
        let target = room.group.describe().members[0].target.clone();
        assert_eq!(target, partitions(expected), "{assignor:?}");
    }
}

#[test]
fn what_a_request_has_to_bring() {
    let mut room = Room::new(1);
    room.send(join("a", &["t"]));
    let long = "x".repeat(1_025);
    let wrong = [
        ("no id", join("", &["t"])),
        ("a long id", join(&long, &["t"])),
        ("no instance id", join("b", &["t"]).group_instance_id("")),
        ("a long instance id", join("b", &["t"]).group_instance_id(&long)),
        ("a long client id", join("b", &["t"]).client("x".repeat(40_000), "")),
        ("a long client host", join("b", &["t"]).client("", "x".repeat(40_000))),
        ("a topic without a name", join("b", &["t", ""])),
        ("a topic with a long name", join("b", &[&"x".repeat(40_000)])),
        ("topics with too many bytes", join("b", &vec![&*"x".repeat(1 << 10); 1_025])),
        ("owned partitions in a join", join("b", &["t"]).owned(partitions("t:0"))),
        (
            "no owned partitions in a join",
            HeartbeatRequest::new("b", 0).topics(["t"]).rebalance_timeout_ms(1),
        ),
        (
            "no timeout in a join",
            HeartbeatRequest::new("b", 0).topics(["t"]).owned(Partitions::new()),
        ),
        (
            "no topics in a join",
            HeartbeatRequest::new("b", 0).rebalance_timeout_ms(1).owned(Partitions::new()),
        ),
        ("an epoch that there is not", beat("a", -3)),
        ("a static leave of a dynamic member", beat("a", STATIC_LEAVE_EPOCH)),
    ];
    for (what, request) in wrong {
        assert_eq!(room.refusal(request), InvalidRequest, "{what}");
    }
    assert_eq!(room.refusal(beat("b", i32::MAX)), UnknownMemberId);
    room.send(join("b", &vec![&*"x".repeat(1 << 10); 1_024]));
    room.send(beat("b", LEAVE_EPOCH));
    assert_eq!(room.refusal(beat("b", 1)), UnknownMemberId);
}

#[test]
fn a_full_group_takes_nobody_new() {
    let mut room = Room::with(ConsumerGroupConfig::new().max_size(1), 2);
    room.send(fixed("a1", JOIN_EPOCH, "a"));
    assert_eq!(room.refusal(join("b", &["t"])), GroupMaxSizeReached);
    assert_eq!(room.send(fixed("a1", 1, "a")), (1, None));
    room.send(fixed("a1", STATIC_LEAVE_EPOCH, "a"));
    assert_eq!(room.refusal(join("b", &["t"])), GroupMaxSizeReached);
    assert_eq!(room.send(fixed("a2", JOIN_EPOCH, "a")).0, 1, "it is not new");
}

#[test]
fn only_an_empty_group_can_be_deleted() {
    let mut room = Room::new(1);
    room.send(join("a", &["t"]));
    assert_eq!(room.group.delete(), Err(NonEmptyGroup));
    room.send(beat("a", LEAVE_EPOCH));
    let records = room.group.delete().unwrap();
    assert!(!records.is_empty() && records.iter().all(|record| record.value().is_none()));
    assert_eq!(room.group.state(), ConsumerGroupState::Dead);
    assert_eq!(room.group.state().name(), "Dead");
    assert_eq!(room.refusal(join("a", &["t"])), CoordinatorNotAvailable);
    assert_eq!(room.group.check_commit("a", -1), Err(CoordinatorNotAvailable));
    assert_eq!(room.group.delete(), Err(CoordinatorNotAvailable));
}

/// All that was ever stored of a group whose members left and that was deleted is gone.
#[test]
fn nothing_stays_of_a_deleted_group() {
    let mut room = Room::new(3);
    let mut stored = Stored::default();
    for request in
        [join("a", &["t"]), join("b", &["t"]), beat("a", LEAVE_EPOCH), beat("b", LEAVE_EPOCH)]
    {
        stored.take(&room.group.heartbeat(0, &request, &room.topics).unwrap().records);
    }
    assert_eq!(stored.0.keys().collect::<Vec<_>>(), ["consumer"], "the epoch goes on");
    stored.take(&room.group.delete().unwrap());
    assert!(stored.0.is_empty());
}

#[test]
fn a_clock_that_is_set_back_costs_nobody_time() {
    let mut room = Room::new(1);
    room.now_ms = 1_000_000;
    room.send(join("a", &["t"]));
    room.tick(10_000);
    assert_eq!(room.group.next_deadline(), Some(1_000_000 + SESSION_MS));
    room.tick(-900_000);
    assert_eq!(room.group.next_deadline(), Some(110_000 + SESSION_MS - 10_000), "what was left");
    assert_eq!(room.tick(SESSION_MS - 10_001), []);
    assert_eq!(room.tick(1).len(), 1);

    // A time that was read a little too early is not a clock that was set back: it does not count twice.
    room.send(join("b", &["t"]));
    for _ in 0..SESSION_MS {
        room.tick(-1);
        assert_eq!(room.tick(1), []);
    }
    for end in [i64::MAX, i64::MIN, i64::MAX, i64::MIN] {
        room.now_ms = end;
        let _ = room.group.tick(end);
        assert_eq!(room.send(join("c", &["t"])).1.map(|partitions| partitions.len()), Some(1));
        room.send(beat("c", LEAVE_EPOCH));
    }
}

#[test]
fn after_a_restart_everybody_has_their_full_time() {
    let mut room = Room::new(2);
    let mut stored = Stored::default();
    let requests = [
        join("a", &["t"]).rebalance_timeout_ms(10_000),
        join("b", &["t"]),
        beat("a", 1), // has to give up one of them
    ];
    for request in requests {
        stored.take(&room.group.heartbeat(0, &request, &room.topics).unwrap().records);
    }
    let mut group = stored.open(&ConsumerGroupConfig::new(), 1_000_000);
    assert_eq!(group.describe(), room.group.describe());
    assert_eq!(group.next_deadline(), Some(1_010_000));
    assert_eq!(group.tick(1_009_999).members, []);
    assert_eq!(group.tick(1_010_000).members, [("a".into(), Expiry::Revocation)]);
    assert_eq!(group.tick(1_000_000 + SESSION_MS).members, [("b".into(), Expiry::Session)]);
}
