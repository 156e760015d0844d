//! Assignments that cannot be: what their leader is told, and how the group goes on.

use std::collections::BTreeMap;

use pagemark::TopicPartition;
use pagemark::group::GroupError::{InvalidRequest, RebalanceInProgress};
use pagemark::group::classic::{JoinRequest, MemberIdentity, Reply, RequestId, SyncRequest};
use pagemark::group::consumer_protocol::{AssignmentError, ConsumerAssignment};
use pagemark::group::coordinator::Answers;

use super::host::{GROUP, Host, join, protocol};

/// A group that waits for what its leader assigns.
struct Pair {
    host: Host,
    leader: MemberIdentity,
    follower: MemberIdentity,
    newest: RequestId,
}

impl Pair {
    fn new() -> Pair {
        let mut host = Host::new(1, 3_000);
        let topics = ["audit", "orders"].map(|topic| (topic.to_owned(), 2));
        host.coordinator().set_topics(topics.into());
        let join = |host: &mut Host, instance: &str| {
            host.join(&JoinRequest { group_instance_id: Some(instance.into()), ..join("") })
        };
        let requests = [join(&mut host, "a"), join(&mut host, "b")];
        host.wait(6_000);
        let id_of = |request: &RequestId| match host.reply(*request).unwrap() {
            Reply::Join(Ok(joined)) => joined.member_id.clone(),
            other => panic!("{other:?}"),
        };
        let [a, b] = [id_of(&requests[0]), id_of(&requests[1])];
        let (leader, follower) = (MemberIdentity::fixed(a, "a"), MemberIdentity::fixed(b, "b"));
        assert_eq!(host.describe().unwrap().leader.as_ref(), Some(&leader.member_id));
        Pair { host, leader, follower, newest: requests[1] }
    }

    fn sync(&mut self, member: &MemberIdentity, shares: [&[(&str, i32)]; 2]) -> Answers {
        let encode = |share: &[(&str, i32)]| {
            let of = |(topic, partition): &(&str, i32)| TopicPartition::new(*topic, *partition);
            let partitions: Vec<_> = share.iter().map(of).collect();
            ConsumerAssignment::new(&partitions).encode().into()
        };
        let ids = [&self.leader.member_id, &self.follower.member_id];
        self.newest = self.host.request();
        let sync = SyncRequest {
            request: self.newest,
            member: member.clone(),
            generation: 1,
            protocol_type: None,
            protocol: None,
            assignments: ids.into_iter().cloned().zip(shares.map(encode)).collect(),
        };
        self.host.coordinator().sync(self.host.now_ms(), GROUP, sync)
    }

    fn refused(&mut self, shares: [&[(&str, i32)]; 2]) -> AssignmentError {
        let leader = self.leader.clone();
        let answers = self.sync(&leader, shares);
        assert_eq!(answers.effects.len(), 1, "nobody else is concerned");
        assert_eq!(answers.effects[0].reply, Reply::Sync(Err(InvalidRequest)));
        answers.refused_assignment.unwrap()
    }
}

#[test]
fn a_leader_that_assigns_what_cannot_be_is_refused_and_may_do_better() {
    let mut pair = Pair::new();
    let follower = pair.follower.clone();
    // What others bring is not asked for.
    let answers = pair.sync(&follower, [&[("orders", 0)], &[("orders", 0)]]);
    assert!(answers.effects.is_empty() && answers.refused_assignment.is_none());
    let error = pair.refused([&[("orders", 0)], &[("orders", 0)]]);
    assert!(matches!(error, AssignmentError::PartitionTwice { .. }), "{error}");
    let error = pair.refused([&[("orders", 2)], &[]]);
    assert!(matches!(error, AssignmentError::UnknownPartition { .. }), "{error}");
    let error = pair.refused([&[("audit", 0)], &[]]);
    assert!(matches!(error, AssignmentError::NotSubscribed { .. }), "{error}");

    let leader = pair.leader.clone();
    let answers = pair.sync(&leader, [&[("orders", 1)], &[("orders", 0)]]);
    assert!(answers.refused_assignment.is_none());
    let mut told: Vec<_> = answers.effects.into_iter().map(|effect| effect.reply).collect();
    assert_eq!(told.len(), 2);
    let Some(Reply::Sync(Ok(synced))) = told.pop() else { panic!() };
    let share = ConsumerAssignment::decode(&synced.assignment).unwrap();
    assert_eq!(share.partitions, [TopicPartition::new("orders", 0)]);
    // Once it is assigned, nobody assigns anything.
    let late = pair.sync(&leader, [&[("orders", 9)], &[]]);
    assert!(late.refused_assignment.is_none());
}

#[test]
fn a_group_goes_on_without_a_leader_that_assigns_nothing_that_can_be() {
    let mut pair = Pair::new();
    let follower = pair.follower.clone();
    assert!(pair.sync(&follower, [&[], &[]]).effects.is_empty());
    let followers = pair.newest;
    let _ = pair.refused([&[("orders", 0)], &[("orders", 0)]]);
    let leader = pair.leader.clone();
    for _ in 0..12 {
        pair.host.wait(4_999);
        assert_eq!(
            pair.host.heartbeat_of(&leader, 1),
            Ok(()),
            "it is a member as long as it may sync"
        );
    }
    pair.host.wait(20);
    assert!(pair.host.heartbeat_of(&leader, 1).is_err(), "its time is over");
    let refused = pair.host.reply(followers).unwrap();
    assert_eq!(*refused, Reply::Sync(Err(RebalanceInProgress)));
    let request = pair
        .host
        .join(&JoinRequest { group_instance_id: Some("b".into()), ..join(&follower.member_id) });
    let Reply::Join(Ok(joined)) = pair.host.reply(request).unwrap() else { panic!() };
    assert_eq!((joined.generation, &joined.leader), (2, &follower.member_id));
}

#[test]
fn groups_that_are_not_of_consumers_assign_what_they_like() {
    let mut host = Host::new(1, 0);
    host.coordinator().set_topics(BTreeMap::new());
    let connect = JoinRequest {
        protocol_type: "connect".into(),
        protocols: vec![protocol("sessioned", &["x"])],
        group_instance_id: Some("w".into()),
        ..join("")
    };
    let request = host.join(&connect);
    let Reply::Join(Ok(joined)) = host.reply(request).unwrap().clone() else { panic!() };
    let member = MemberIdentity::fixed(&joined.member_id, "w");
    let request = host.sync(&member, 1, &[(&joined.member_id, b"task 1")]);
    assert!(matches!(host.reply(request).unwrap(), Reply::Sync(Ok(_))));
}
