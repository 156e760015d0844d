//! A member as its own process sees it.

use super::*;

/// What a client is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It sends heartbeats.
    Running,
    /// It has stopped sending them, and does not know what became of it.
    Hanging,
    /// Its process is gone, without a word or with one.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) topics: Vec<String>,
    pub(super) life: Life,
    /// The epoch that it was told last; 0 while it has to join.
    pub(super) epoch: i32,
    /// What it owns: it was told so and has not stopped using it.
    pub(super) owned: Partitions,
    /// What it was told last to own.
    pub(super) told: Partitions,
    /// Whether it sends heartbeats and does not give up anything.
    pub(super) is_slow: bool,
    /// Whether it does not know what the group knows of it.
    pub(super) has_to_say_all: bool,
    /// Whether it owns less than when it said so last.
    pub(super) has_to_say_owned: bool,
    /// Whether the group has removed it, as far as the test knows. The client may not.
    pub(super) is_removed: bool,
}

impl Client {
    pub(super) fn new(id: String, instance: Option<String>, topics: Vec<String>) -> Client {
        Client {
            id,
            instance,
            topics,
            life: Life::Running,
            epoch: JOIN_EPOCH,
            owned: Partitions::new(),
            told: Partitions::new(),
            is_slow: false,
            has_to_say_all: true,
            has_to_say_owned: true,
            is_removed: true,
        }
    }

    /// What it sends next.
    pub(super) fn request(&self, says_owned: bool) -> HeartbeatRequest {
        let mut request = self.bare(self.epoch);
        if self.has_to_say_all || self.epoch == JOIN_EPOCH {
            request = request.topics(&self.topics).rebalance_timeout_ms(super::world::REBALANCE_MS);
        }
        if says_owned || self.has_to_say_all || self.has_to_say_owned || self.epoch == JOIN_EPOCH {
            request = request.owned(self.owned.clone());
        }
        request
    }

    pub(super) fn bare(&self, epoch: i32) -> HeartbeatRequest {
        let request = HeartbeatRequest::new(&self.id, epoch).client("client", "host");
        match &self.instance {
            Some(instance) => request.group_instance_id(instance),
            None => request,
        }
    }

    /// Takes an answer in: what is new it owns at once, what is gone it stops using later.
    pub(super) fn hear(&mut self, response: &HeartbeatResponse) {
        assert!(response.member_epoch >= self.epoch, "{self:?} hears {response:?}");
        self.epoch = response.member_epoch;
        (self.has_to_say_all, self.has_to_say_owned) = (false, false);
        if let Some(assignment) = &response.assignment {
            self.told = assignment.clone();
            for (topic, partition) in assignment.iter() {
                self.owned.insert(topic, partition);
            }
        }
    }

    /// Stops using what it shall not own any more.
    pub(super) fn give_up(&mut self) {
        let before = self.owned.len();
        let kept = self.owned.iter().filter(|(topic, p)| self.told.contains(topic, *p));
        let mut owned = Partitions::new();
        kept.for_each(|(topic, partition)| {
            owned.insert(topic, partition);
        });
        self.owned = owned;
        self.has_to_say_owned |= self.owned.len() < before;
    }

    pub(super) fn refused(&mut self, error: GroupError, new_id: Option<String>) {
        match error {
            GroupError::UnknownMemberId | GroupError::FencedMemberEpoch => {
                self.forget();
                self.id = new_id.unwrap_or_else(|| self.id.clone());
            }
            GroupError::UnreleasedInstanceId if self.epoch == JOIN_EPOCH => {}
            GroupError::FencedInstanceId => {
                self.forget();
                self.life = Life::Gone;
            }
            other => panic!("{self:?} was refused: {other}"),
        }
    }

    /// Gives up everything, to join anew or never.
    pub(super) fn forget(&mut self) {
        (self.owned, self.told) = (Partitions::new(), Partitions::new());
        self.epoch = JOIN_EPOCH;
        self.has_to_say_all = true;
    }
}
