//! The coordinator of the tests: a simulated one, and its one group as most of them reach it.

use std::ops::{Deref, DerefMut};

use pagemark::group::GroupError;
use pagemark::group::classic::{
    ClassicConfig, ClassicDescription, JoinRequest, MemberIdentity, Protocol, RequestId,
    SyncRequest,
};
use pagemark::group::consumer_protocol::ConsumerSubscription;
use pagemark::group::coordinator::{
    CoordinatorConfig, CoordinatorError, GroupDescription, ListFilter, stored,
};
use pagemark::testkit::{GroupSim, SimDisk};
use pagemark::{Durability, OffsetReader, OffsetStore};

use super::support::options;

pub(crate) const SESSION_MS: i32 = 10_000;
pub(crate) const GROUP: &str = "readers";

pub(crate) fn config(delay_ms: i32) -> CoordinatorConfig {
    let classic = ClassicConfig::new().initial_rebalance_delay_ms(delay_ms);
    // Nobody in here assigns what cannot be.
    CoordinatorConfig::new().classic(classic).check_assignments(true)
}

pub(crate) fn open_store(disk: &SimDisk, seed: u64) -> pagemark::Result<OffsetStore> {
    options(seed).durability(Durability::Synced).open_in(disk.dir())
}

pub(crate) struct Host(GroupSim);

impl Deref for Host {
    type Target = GroupSim;

    fn deref(&self) -> &GroupSim {
        &self.0
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut GroupSim {
        &mut self.0
    }
}

impl Host {
    pub(crate) fn new(seed: u64, delay_ms: i32) -> Host {
        let options = options(seed).durability(Durability::Synced);
        Host(GroupSim::open(seed, options, config(delay_ms)).unwrap())
    }

    pub(crate) fn join(&mut self, join: &JoinRequest) -> RequestId {
        self.0.join(GROUP, join.clone())
    }

    pub(crate) fn sync(
        &mut self,
        member: &MemberIdentity,
        generation: i32,
        assignments: &[(&str, &[u8])],
    ) -> RequestId {
        let assignments = assignments.iter().map(|(id, bytes)| ((*id).into(), (*bytes).into()));
        let sync = SyncRequest {
            request: RequestId(0),
            member: member.clone(),
            generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        self.0.sync(GROUP, sync)
    }

    pub(crate) fn leave(&mut self, member: MemberIdentity) -> RequestId {
        self.0.leave(GROUP, vec![member])
    }

    pub(crate) fn heartbeat_of(
        &mut self,
        member: &MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        let heard = self.coordinator().heartbeat(self.now_ms(), GROUP, member, generation);
        heard.map_err(|error| error.group_error())
    }

    pub(crate) fn describe(&self) -> Option<ClassicDescription> {
        match self.coordinator().describe(self.now_ms(), GROUP) {
            Ok(GroupDescription::Classic(described)) => Some(described),
            Err(CoordinatorError::Group(GroupError::GroupIdNotFound)) => None,
            other => panic!("{other:?}"),
        }
    }

    /// The process or the machine dies, and comes back with what the disk holds.
    pub(crate) fn crash(&mut self, power_cut: Option<u64>) {
        match power_cut {
            Some(lots) => self.0.power_cut(lots).unwrap(),
            None => self.0.process_crash().unwrap(),
        }
        self.check_stored();
    }

    /// Whoever only reads the store finds the groups that a coordinator finds which takes it over.
    fn check_stored(&self) {
        let reader = OffsetReader::open_in(self.disk().dir()).unwrap();
        let listed = self.coordinator().list(self.now_ms(), &ListFilter::default()).unwrap();
        let mut found = Vec::new();
        for group in stored::groups(&reader) {
            let Some(group_as_stored) = stored::describe(&reader, &group).unwrap() else {
                continue;
            };
            let mut described = self.coordinator().describe(self.now_ms(), &group).unwrap();
            if let GroupDescription::Classic(classic) = &mut described
                && classic.protocol_type.is_none()
            {
                // It begins when it is asked for, as nothing is stored of it.
                classic.state_since_ms = 0;
            }
            assert_eq!(group_as_stored.description, described, "{group}");
            let mode = self.coordinator().commit_mode(self.now_ms(), &group).unwrap();
            assert_eq!(group_as_stored.commit_mode, mode, "{group}");
            found.push(group);
        }
        assert_eq!(found, listed.into_iter().map(|group| group.group).collect::<Vec<_>>());
    }
}

/// A join of a consumer with one topic.
pub(crate) fn join(member_id: &str) -> JoinRequest {
    JoinRequest {
        request: RequestId(0),
        member_id: member_id.into(),
        group_instance_id: None,
        client_id: "client".into(),
        client_host: "host".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &["orders"])],
        requires_member_id: true,
        can_skip_assignment: true,
    }
}

/// A protocol with a subscription in the bytes of Kafka's consumers.
pub(crate) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let metadata = ConsumerSubscription::new(topics.iter().copied()).encode();
    Protocol { name: name.into(), metadata: metadata.into() }
}
