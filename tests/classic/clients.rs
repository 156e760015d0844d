//! Simulated members: they do what Kafka's consumer does, as far as a group can tell.

use std::collections::BTreeMap;

use pagemark::TopicPartition;
use pagemark::group::assign::{
    Assignor, RangeAssignor, RoundRobinAssignor, StickyAssignor, Subscription,
};
use pagemark::group::classic::{
    JoinRequest, Joined, JoinedMember, MemberIdentity, Reply, RequestId,
};
use pagemark::group::consumer_protocol::{ConsumerAssignment, ConsumerSubscription};
use pagemark::group::{Advice, GroupError};

use super::host::{Host, join, protocol};
use super::oracle::Oracle;

/// The topics, and how many partitions each has.
pub(crate) const TOPICS: [(&str, i32); 3] = [("audit", 1), ("orders", 4), ("refunds", 3)];

pub(crate) fn partitions_per_topic() -> BTreeMap<String, i32> {
    TOPICS.map(|(topic, count)| (topic.into(), count)).into()
}

/// Where a member is on its way to a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The process does not run.
    Stopped,
    ToJoin,
    Joining(RequestId),
    ToSync(Vec<(String, Vec<u8>)>),
    Syncing(RequestId),
    /// It has its share.
    Working,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// `d` and a number for a dynamic member, `s` and a number for a static one.
    pub(crate) name: String,
    pub(crate) topics: Vec<&'static str>,
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) phase: Phase,
    pub(crate) member_id: String,
    pub(crate) generation: i32,
    pub(crate) share: Vec<TopicPartition>,
}

impl Client {
    pub(crate) fn new(name: String) -> Client {
        Client {
            name,
            topics: vec!["orders"],
            protocols: vec!["range"],
            phase: Phase::Stopped,
            member_id: String::new(),
            generation: -1,
            share: Vec::new(),
        }
    }

    pub(crate) fn identity(&self) -> MemberIdentity {
        let group_instance_id = self.name.starts_with('s').then(|| self.name.clone());
        MemberIdentity { member_id: self.member_id.clone(), group_instance_id }
    }

    /// The process ends without a word.
    pub(crate) fn crash(&mut self) {
        *self = Client { phase: Phase::Stopped, ..self.clone() };
        self.forget();
    }

    fn forget(&mut self) {
        self.member_id.clear();
        self.generation = -1;
        self.share.clear();
    }

    fn join_request(&self) -> JoinRequest {
        JoinRequest {
            group_instance_id: self.identity().group_instance_id,
            client_id: self.name.clone(),
            protocols: self.protocols.iter().map(|name| protocol(name, &self.topics)).collect(),
            ..join(&self.member_id)
        }
    }

    /// Does the next thing, whatever that is.
    pub(crate) fn act(&mut self, host: &mut Host, oracle: &mut Oracle) {
        match self.phase.clone() {
            Phase::Stopped => {}
            Phase::ToJoin => {
                self.share.clear();
                let request = host.join(&self.join_request());
                self.phase = Phase::Joining(request);
            }
            Phase::ToSync(assignments) => {
                let assignments: Vec<_> =
                    assignments.iter().map(|(id, bytes)| (&id[..], &bytes[..])).collect();
                let request = host.sync(&self.identity(), self.generation, &assignments);
                self.phase = Phase::Syncing(request);
            }
            Phase::Joining(request) | Phase::Syncing(request) => {
                match host.reply(request).cloned() {
                    Some(reply) => self.hear(reply, oracle),
                    // The connection broke when the coordinator was started anew.
                    None if !host.is_waiting(request) => self.phase = Phase::ToJoin,
                    None => {}
                }
            }
            Phase::Working => {
                let heard = host.heartbeat_of(&self.identity(), self.generation);
                if let Err(error) = heard {
                    self.refused(error);
                }
            }
        }
    }

    fn hear(&mut self, reply: Reply, oracle: &mut Oracle) {
        match reply {
            Reply::Join(Ok(joined)) => {
                oracle.saw_joined(&joined);
                self.generation = joined.generation;
                self.member_id = joined.member_id.clone();
                let leads = joined.leader == joined.member_id && !joined.skip_assignment;
                self.phase = Phase::ToSync(if leads { lead(&joined) } else { Vec::new() });
            }
            Reply::Join(Err(refusal)) => {
                self.refused(refusal.error);
                if refusal.error == GroupError::MemberIdRequired {
                    self.member_id = refusal.member_id;
                }
            }
            Reply::Sync(Ok(synced)) => {
                self.share = ConsumerAssignment::decode(&synced.assignment).unwrap().partitions;
                oracle.saw_share(self.generation, &self.member_id, &self.share);
                self.phase = Phase::Working;
            }
            Reply::Sync(Err(error)) => self.refused(error),
            Reply::Leave(_) => panic!("{reply:?} was not asked for"),
        }
    }

    fn refused(&mut self, error: GroupError) {
        match error.advice() {
            Advice::Stop => return self.crash(),
            Advice::Retry | Advice::Rejoin => self.phase = Phase::ToJoin,
        }
        if error == GroupError::UnknownMemberId {
            self.forget();
        }
    }
}

/// What the leader assigns, by the assignor that the group has chosen.
fn lead(joined: &Joined) -> Vec<(String, Vec<u8>)> {
    let assignor: &dyn Assignor = match joined.protocol.as_deref() {
        Some("range") => &RangeAssignor,
        Some("roundrobin") => &RoundRobinAssignor,
        Some("sticky") => &StickyAssignor,
        protocol => panic!("nobody has {protocol:?}"),
    };
    let members: Vec<_> = joined.members.iter().map(subscription).collect();
    let assignment = assignor.assign(&members, &partitions_per_topic()).unwrap();
    let encode = |share: &[TopicPartition]| ConsumerAssignment::new(share).encode();
    assignment.iter().map(|(id, share)| (id.to_owned(), encode(share))).collect()
}

fn subscription(of: &JoinedMember) -> Subscription {
    let subscription = ConsumerSubscription::decode(&of.metadata).unwrap();
    let subscription = subscription.of_member(&of.member.member_id);
    match &of.member.group_instance_id {
        Some(instance_id) => subscription.group_instance_id(instance_id),
        None => subscription,
    }
}
