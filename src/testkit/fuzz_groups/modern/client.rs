//! A member of a group by member epochs, as it knows itself.

use crate::group::modern::{
    ConsumerGroup, DescribedMember, HeartbeatRequest, HeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH,
    Partitions, STATIC_LEAVE_EPOCH,
};

/// A heartbeat, and what it says.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) id: String,
    pub(super) epoch: i32,
    pub(super) request: HeartbeatRequest,
    pub(super) timeout_ms: Option<u32>,
    instance: Option<String>,
    owned: Option<Partitions>,
}

impl Heartbeat {
    pub(super) fn new(id: &str, epoch: i32) -> Heartbeat {
        let request = HeartbeatRequest::new(id, epoch);
        let (timeout_ms, instance, owned) = (None, None, None);
        Heartbeat { id: id.to_owned(), epoch, request, timeout_ms, instance, owned }
    }

    pub(super) fn with(self, what: impl FnOnce(HeartbeatRequest) -> HeartbeatRequest) -> Heartbeat {
        Heartbeat { request: what(self.request), ..self }
    }

    pub(super) fn of_instance(self, instance: &str) -> Heartbeat {
        let heartbeat = self.with(|request| request.group_instance_id(instance));
        Heartbeat { instance: Some(instance.to_owned()), ..heartbeat }
    }

    pub(super) fn reading(self, topics: Vec<&str>, timeout_ms: u32) -> Heartbeat {
        let heartbeat = self.with(|of| of.topics(topics).rebalance_timeout_ms(timeout_ms));
        Heartbeat { timeout_ms: Some(timeout_ms), ..heartbeat }
    }

    pub(super) fn owning(self, owned: Partitions) -> Heartbeat {
        let heartbeat = self.with(|request| request.owned(owned.clone()));
        Heartbeat { owned: Some(owned), ..heartbeat }
    }
}

/// What is stored of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Life {
    /// It is a member.
    Member,
    /// It has left, and its place is kept.
    Away,
    /// It is no member, or none any more.
    #[default]
    Removed,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) life: Life,
    /// The epoch that it was told last.
    pub(super) epoch: i32,
    pub(super) instance: Option<String>,
    /// What it was told last that it may own.
    pub(super) told: Partitions,
    /// What it was told and has not given up.
    pub(super) owned: Partitions,
    /// How long it ever wanted to have to give something up, at most.
    pub(super) timeout_ms: Option<u32>,
    /// Whether it has heard what it is now.
    is_current: bool,
    /// The epoch that it was in when it was last looked, and the one before, as far as they are known.
    at: Option<i32>,
    previous: Option<i32>,
}

impl Client {
    /// A member of which nothing is known but what the group says.
    pub(super) fn of(member: &DescribedMember) -> Client {
        let is_away = member.member_epoch == STATIC_LEAVE_EPOCH;
        let held = member.assigned.iter().chain(member.revoking.iter());
        Client {
            life: if is_away { Life::Away } else { Life::Member },
            epoch: member.member_epoch,
            instance: member.group_instance_id.clone(),
            told: member.assigned.clone(),
            owned: if is_away { Partitions::new() } else { all(held) },
            is_current: !is_away,
            timeout_ms: Some(u32::MAX),
            at: Some(member.member_epoch),
            previous: None,
        }
    }

    /// A heartbeat is taken in the epoch of the member; also in the one before, if what it says that it
    /// owns is still its own; and when it joins, from somebody who is no member, or is away.
    pub(super) fn expect_accepted(&self, heartbeat: &Heartbeat, member: Option<&DescribedMember>) {
        let Heartbeat { epoch, owned, .. } = heartbeat;
        let Some(member) = member else {
            assert_eq!(*epoch, JOIN_EPOCH, "{heartbeat:?} of no member is accepted");
            return;
        };
        let is_held = |(topic, partition)| {
            member.assigned.contains(topic, partition) || member.revoking.contains(topic, partition)
        };
        let missed_an_answer = self.previous.is_none_or(|previous| previous == *epoch)
            && owned.as_ref().is_some_and(|owned| owned.iter().all(is_held));
        let is_back = member.member_epoch == STATIC_LEAVE_EPOCH && *epoch == JOIN_EPOCH;
        let is_right = *epoch == member.member_epoch || *epoch < JOIN_EPOCH;
        assert!(is_right || is_back || missed_an_answer, "{heartbeat:?} of {self:?} is accepted");
    }

    /// Takes note of the epoch that the group has for it.
    pub(super) fn is_at(&mut self, epoch: Option<i32>) {
        if self.at == epoch {
            return;
        }
        let has_joined = self.at.is_none_or(|at| at < JOIN_EPOCH);
        self.previous = if has_joined { Some(JOIN_EPOCH) } else { self.at };
        self.at = epoch;
    }

    /// It gives up what it does not say that it owns, and everything when it leaves or begins anew.
    pub(super) fn says(&mut self, heartbeat: &Heartbeat) {
        if heartbeat.epoch < JOIN_EPOCH {
            self.owned = Partitions::new();
        } else if let Some(said) = &heartbeat.owned {
            self.owned = both(&self.owned, said);
        }
    }

    /// What the group has made of it.
    pub(super) fn is_in(&mut self, heartbeat: &Heartbeat) {
        self.is_current &= self.life == Life::Member;
        if self.life == Life::Removed {
            self.instance.clone_from(&heartbeat.instance);
        }
        if heartbeat.epoch == JOIN_EPOCH {
            self.epoch = JOIN_EPOCH;
        }
        self.timeout_ms = heartbeat.timeout_ms.max(self.timeout_ms);
        self.life = match heartbeat.epoch {
            LEAVE_EPOCH => Life::Removed,
            STATIC_LEAVE_EPOCH => Life::Away,
            _ => Life::Member,
        };
    }

    pub(super) fn misses(&mut self) {
        self.is_current = false;
    }

    pub(super) fn hear(&mut self, response: &HeartbeatResponse) {
        if self.life != Life::Member {
            return;
        }
        assert!(response.member_epoch >= self.epoch, "{self:?} hears {response:?}");
        self.epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            self.is_current = true;
            self.told = assignment.clone();
            self.owned = all(self.owned.iter().chain(assignment.iter()));
        }
    }

    /// What it sends next when it does what it is told.
    pub(super) fn next(&mut self, id: &str) -> Option<Heartbeat> {
        self.owned = both(&self.owned, &self.told);
        let joins = self.life == Life::Away || self.epoch == JOIN_EPOCH;
        let heartbeat = match (self.life, joins) {
            (Life::Removed, _) => return None,
            (_, true) => {
                Heartbeat::new(id, JOIN_EPOCH).reading(vec!["t"], 20_000).owning(Partitions::new())
            }
            (_, false) => Heartbeat::new(id, self.epoch).owning(self.owned.clone()),
        };
        Some(match &self.instance {
            Some(instance) => heartbeat.of_instance(instance),
            None => heartbeat,
        })
    }

    /// What it owns by what it heard is its own, unless it was removed, and then it commits nothing.
    pub(super) fn check(&self, id: &str, group: &ConsumerGroup, member: Option<&DescribedMember>) {
        let commits = |epoch: i32| epoch >= 0 && group.check_commit(id, epoch).is_ok();
        let is_owner = |(topic, partition)| group.owner(topic, partition) == Some(id);
        if self.life != Life::Member {
            assert!(!commits(self.epoch) && !commits(JOIN_EPOCH), "{id:?} {self:?} commits");
            assert_eq!(member.is_some(), self.life == Life::Away, "{id:?} {self:?}");
            return;
        }
        assert!(member.is_some(), "{id:?} {self:?} is no member");
        let Some(member) = member else { return };
        assert_eq!(member.group_instance_id, self.instance, "{id:?} is somebody else");
        assert!(member.member_epoch >= self.epoch, "{id:?} {self:?} goes back to {member:?}");
        assert!(self.owned.iter().all(is_owner), "{id:?} {self:?} owns what is not its own");
        assert!(!commits(self.epoch.saturating_sub(1)), "{id:?} {self:?} commits late");
        if self.is_current && self.epoch >= 0 {
            assert_eq!((member.member_epoch, &member.assigned), (self.epoch, &self.told), "{id:?}");
            assert!(commits(self.epoch), "{id:?} {self:?} cannot commit");
        }
    }
}

fn all<'a>(partitions: impl Iterator<Item = (&'a str, i32)>) -> Partitions {
    let mut all = Partitions::new();
    partitions.for_each(|(topic, partition)| {
        all.insert(topic, partition);
    });
    all
}

fn both(one: &Partitions, other: &Partitions) -> Partitions {
    all(one.iter().filter(|(topic, partition)| other.contains(topic, *partition)))
}
