//! A store with groups of every kind, and the coordinator that has it open.

use std::collections::BTreeMap;

use pagemark::group::Coordinator;
use pagemark::group::classic::{
    CommitRequest, JoinRequest, MemberIdentity, Protocol, Reply, RequestId, SyncRequest,
};
use pagemark::group::coordinator::{CoordinatorConfig, PartitionCommit};
use pagemark::group::modern::{HeartbeatRequest, JOIN_EPOCH, Partitions};
use pagemark::{Commit, NextOffset, OffsetStore, TopicPartition};

use crate::{Outcome, Place};

pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) coordinator: Coordinator,
    now: i64,
}

/// A member of a classic group: its group instance id, and what its leader assigns to it.
pub(crate) type Assigned<'a> = (&'a str, &'a [u8]);

impl Stage {
    pub(crate) fn new() -> Stage {
        let place = Place::new();
        let store = OffsetStore::open(place.path("s")).expect("a store");
        let now = 1_000_000;
        let coordinator = Coordinator::open(store, CoordinatorConfig::new(), now).expect("groups");
        coordinator.set_topics(BTreeMap::from([("orders".to_owned(), 2), ("audit".to_owned(), 1)]));
        Stage { place, coordinator, now }
    }

    /// Runs `pagemark groups` beside the coordinator.
    pub(crate) fn groups(&self, arguments: &str) -> Outcome {
        self.place.run(&format!("groups {arguments} --dir s"))
    }

    /// A generation of a classic group begins and is assigned. Returns the ids of its members.
    pub(crate) fn classic(
        &mut self,
        group: &str,
        protocol_type: &str,
        members: &[Assigned<'_>],
    ) -> Vec<String> {
        let ids = self.join(group, protocol_type, members);
        let assignments =
            ids.iter().zip(members).map(|(id, (_, bytes))| (id.clone(), (*bytes).into()));
        let sync = SyncRequest {
            request: RequestId(0),
            member: MemberIdentity::fixed(&ids[0], members[0].0),
            generation: 1,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        let answers = self.coordinator.sync(self.now, group, sync);
        assert!(matches!(&answers.effects[0].reply, Reply::Sync(Ok(_))), "{answers:?}");
        ids
    }

    /// The same up to where the leader, who is the first member, would assign.
    pub(crate) fn join(
        &mut self,
        group: &str,
        protocol_type: &str,
        members: &[Assigned<'_>],
    ) -> Vec<String> {
        for (number, (instance_id, _)) in (1..).zip(members) {
            let join = JoinRequest {
                request: RequestId(number),
                member_id: String::new(),
                group_instance_id: Some((*instance_id).to_owned()),
                client_id: format!("{instance_id}-client"),
                client_host: "/10.0.0.7".into(),
                session_timeout_ms: 45_000,
                rebalance_timeout_ms: 60_000,
                protocol_type: protocol_type.into(),
                protocols: vec![Protocol { name: "range".into(), metadata: (*b"any").into() }],
                requires_member_id: true,
                can_skip_assignment: true,
            };
            let answers = self.coordinator.join(self.now, group, join, number.into());
            assert!(answers.effects.is_empty(), "the group waits for more members");
        }
        // Each member that comes makes the wait longer.
        let mut effects = Vec::new();
        while effects.is_empty() {
            self.now = self.coordinator.next_deadline().expect("the end of the wait");
            effects = self.coordinator.tick(self.now).effects;
        }
        effects.sort_by_key(|effect| effect.request);
        let ids = effects.into_iter().map(|effect| match effect.reply {
            Reply::Join(Ok(joined)) => joined.member_id,
            other => panic!("{other:?}"),
        });
        ids.collect()
    }

    /// A heartbeat of a member of the newer protocol that joins and reads `orders`.
    pub(crate) fn consumer(&self, group: &str, id: &str, instance_id: Option<&str>) -> i32 {
        let mut beat = HeartbeatRequest::new(id, JOIN_EPOCH).topics(["orders"]);
        beat = beat.rebalance_timeout_ms(60_000).owned(Partitions::new());
        if let Some(instance_id) = instance_id {
            beat = beat.group_instance_id(instance_id);
        }
        self.beat(group, beat)
    }

    pub(crate) fn beat(&self, group: &str, beat: HeartbeatRequest) -> i32 {
        let beat = beat.client("client", "/10.0.0.8");
        let response = self.coordinator.consumer_heartbeat(self.now, group, &beat);
        response.expect("a member").member_epoch
    }

    /// A commit of a member, or with an empty id and a negative epoch of somebody from outside.
    pub(crate) fn commit(&self, group: &str, by: (&str, i32), commits: &[PartitionCommit<'_>]) {
        let member = MemberIdentity::dynamic(by.0);
        let by = CommitRequest { member, generation: by.1, is_transactional: false };
        let committed = self.coordinator.commit(self.now, group, &by, commits);
        assert!(committed.expect("a commit").iter().all(Result::is_ok));
    }

    /// Claims a partition of `orders` and returns the epoch of the claim.
    pub(crate) fn claim(&self, group: &str, owner: &str, partition: i32) -> u64 {
        let of = [TopicPartition::new("orders", partition)];
        let claimed = self.coordinator.claim(self.now, group, owner, &of);
        claimed.expect("a claim")[0].epoch.0
    }
}

pub(crate) const OUTSIDE: (&str, i32) = ("", -1);

/// The commit of one partition.
pub(crate) fn at(topic: &str, partition: i32, offset: i64) -> PartitionCommit<'_> {
    let commit = Commit::new(NextOffset(offset)).leader_epoch(3).timestamp_ms(0);
    PartitionCommit::new(topic, partition, commit)
}

/// Partitions of one topic as the leader of a classic group assigns them.
pub(crate) fn assignment(topic: &str, partitions: &[i32]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0, 1];
    bytes.extend((topic.len() as i16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend((partitions.len() as i32).to_be_bytes());
    for partition in partitions {
        bytes.extend(partition.to_be_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}
