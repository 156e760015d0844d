//! What clients of a classic group were told, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::MAX_SIZE;
use crate::group::GroupError;
use crate::group::classic::{
    ClassicDescription, ClassicState, JoinRefusal, Joined, MemberIdentity,
};

/// Member ids, or group instance ids, which stay when a process starts anew.
type Who = String;

/// What each member has.
type Shares = BTreeMap<Who, Arc<[u8]>>;

pub(super) struct Told {
    /// Whether it is all that was ever told, and all that is stored was stored by the group.
    pub(super) is_all: bool,
    /// The generation that the group had before anything that is known here.
    since: i32,
    /// The newest generation that anyone was told of.
    newest: i32,
    /// Who leads each generation, and with which assignor.
    leaders: BTreeMap<i32, (Who, Option<String>)>,
    /// What leaders have brought, and what members were told that they have.
    brought: BTreeMap<i32, Vec<Shares>>,
    shares: BTreeMap<i32, Shares>,
    /// The group instance ids of members.
    names: BTreeMap<String, Who>,
    /// The member id that the process with a group instance id was told last.
    processes: BTreeMap<Who, String>,
    /// Who was a member when it was last looked, and who is none any more.
    members: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// The shortest session that each member has ever asked for.
    sessions: BTreeMap<String, i32>,
    /// Who was told to be a member of which generation, in this order.
    clients: Vec<(MemberIdentity, i32)>,
}

impl Told {
    /// Nothing is known but how the group is.
    pub(super) fn new(group: &ClassicDescription, is_all: bool) -> Told {
        let mut told = Told {
            is_all,
            since: group.generation,
            newest: group.generation,
            leaders: BTreeMap::new(),
            brought: BTreeMap::new(),
            shares: BTreeMap::new(),
            names: BTreeMap::new(),
            processes: BTreeMap::new(),
            members: ids(group),
            gone: BTreeSet::new(),
            sessions: BTreeMap::new(),
            clients: Vec::new(),
        };
        told.learn_names(group);
        told
    }

    pub(super) fn clients(&self) -> &[(MemberIdentity, i32)] {
        &self.clients
    }

    pub(super) fn learn_names(&mut self, group: &ClassicDescription) {
        for member in &group.members {
            let MemberIdentity { member_id, group_instance_id } = &member.member;
            if let Some(instance_id) = group_instance_id {
                self.names.insert(member_id.clone(), instance_id.clone());
            }
        }
    }

    pub(super) fn asks(&mut self, member_id: &str, session_ms: i32) {
        let shortest = self.sessions.entry(member_id.to_owned()).or_insert(session_ms);
        *shortest = session_ms.min(*shortest);
    }

    pub(super) fn session_ms(&self, member_id: &str) -> Option<i32> {
        self.sessions.get(member_id).copied()
    }

    fn who(&self, member_id: &str) -> Who {
        match self.names.get(member_id) {
            Some(instance_id) => format!("static {instance_id}"),
            None => format!("dynamic {member_id}"),
        }
    }

    /// A generation has one leader and one assignor, and its number is given once. A process with a
    /// group instance id takes the place of the one before.
    pub(super) fn joined(&mut self, joined: &Joined, group: &ClassicDescription) {
        assert!(joined.generation >= self.newest, "{joined:?} behind {}", self.newest);
        self.newest = joined.generation;
        let told = (self.who(&joined.leader), joined.protocol.clone());
        let first = self.leaders.entry(joined.generation).or_insert_with(|| told.clone());
        let is_same = *first == told || joined.generation == i32::MAX;
        assert!(is_same, "{joined:?} in the generation of {first:?}");
        let id = &joined.member_id;
        assert!(!self.gone.contains(id), "{joined:?} came back");
        let sees_itself = joined.members.iter().any(|member| member.member.member_id == *id);
        assert!(sees_itself || joined.members.is_empty(), "{joined:?} is not its own member");
        let member = group.members.iter().find(|member| member.member.member_id == *id);
        let Some(member) = member.map(|member| member.member.clone()) else { return };
        if let Some(instance_id) = &member.group_instance_id {
            let before = self.processes.insert(instance_id.clone(), id.clone());
            self.gone.extend(before.filter(|before| before != id));
        }
        self.clients.push((member, joined.generation));
    }

    pub(super) fn refused(&mut self, refusal: &JoinRefusal) {
        if refusal.error == GroupError::MemberIdRequired {
            let id = &refusal.member_id;
            assert!(!self.members.contains(id) && !self.gone.contains(id), "{id:?} is somebody's");
            self.clients.push((MemberIdentity::dynamic(id), 0));
        }
    }

    /// A leader says what each member has, or it is refused.
    pub(super) fn brought(
        &mut self,
        generation: i32,
        assignments: &[(String, Arc<[u8]>)],
        group: &ClassicDescription,
    ) {
        self.learn_names(group);
        let by_who = assignments.iter().map(|(id, bytes)| (self.who(id), Arc::clone(bytes)));
        let by_who = by_who.collect();
        self.brought.entry(generation).or_default().push(by_who);
    }

    /// All members of a generation have what one of its leader's requests has said.
    pub(super) fn synced(&mut self, member: &MemberIdentity, generation: i32, share: &Arc<[u8]>) {
        assert!(generation >= self.newest, "{member:?} has a share of {generation}");
        let who = self.who(&member.member_id);
        let shares = self.shares.entry(generation).or_default();
        let first = shares.entry(who).or_insert_with(|| Arc::clone(share));
        if generation == i32::MAX {
            return;
        }
        assert_eq!(first, share, "{member:?} has two shares of generation {generation}");
        let nothing: Arc<[u8]> = [].into();
        let is_of = |brought: &Shares| {
            shares.iter().all(|(who, share)| brought.get(who).unwrap_or(&nothing) == share)
        };
        let is_brought = self.brought.get(&generation).is_some_and(|all| all.iter().any(is_of));
        assert!(is_brought || generation == self.since, "nobody has brought {shares:?}");
    }

    pub(super) fn has_share(&self, member_id: &str, generation: i32) -> bool {
        let shares = self.shares.get(&generation);
        shares.is_some_and(|shares| shares.contains_key(&self.who(member_id)))
    }

    /// Whoever is let pass is a member of the newest generation, and nobody has its place.
    pub(super) fn accepted(
        &self,
        by: &MemberIdentity,
        generation: i32,
        group: &ClassicDescription,
    ) {
        assert!(generation >= self.newest, "{by:?} passes in generation {generation}");
        assert_eq!(generation, group.generation, "{by:?} passes");
        assert!(!self.gone.contains(&by.member_id), "{by:?} passes and is gone");
        let mut members = group.members.iter().map(|member| &member.member);
        let is_member = |of: &MemberIdentity| {
            of.member_id == by.member_id
                && (by.group_instance_id.is_none() || of.group_instance_id == by.group_instance_id)
        };
        assert!(members.any(is_member), "{by:?} passes and is no member");
    }

    /// No generation that was told is forgotten, and nobody comes back under an id that was given up.
    pub(super) fn check(&mut self, live: &ClassicDescription, reopened: &ClassicDescription) {
        for group in [live, reopened] {
            assert!(group.generation >= self.newest, "{group:?} is behind {}", self.newest);
        }
        // A process may be a member and its coordinator die before it is told.
        self.learn_names(live);
        let now = ids(live);
        self.gone.extend(self.members.difference(&now).cloned());
        for back in [&now, &ids(reopened)] {
            let back: Vec<_> = self.gone.intersection(back).collect();
            assert!(back.is_empty(), "{back:?} came back");
        }
        self.members = now;
        let mut instances: Vec<_> =
            live.members.iter().filter_map(|of| of.member.group_instance_id.as_ref()).collect();
        instances.sort_unstable();
        assert!(instances.windows(2).all(|pair| pair[0] != pair[1]), "{live:?} has two of one");
        let mut dynamic = live.members.iter().map(|member| &member.member);
        let is_told = |of: &MemberIdentity| {
            let mut told = self.clients.iter().rev();
            of.group_instance_id.is_some()
                || told.any(|(told, in_it)| told == of && *in_it == live.generation)
        };
        let all_told = live.generation == self.since || dynamic.all(is_told);
        let is_led = live.leader.as_ref().is_some_and(|leader| self.members.contains(leader));
        match live.state {
            ClassicState::Empty | ClassicState::Dead => assert!(live.members.is_empty()),
            ClassicState::PreparingRebalance => {}
            ClassicState::CompletingRebalance => {
                assert!(!live.members.is_empty() && all_told, "{live:?} has members by chance");
            }
            ClassicState::Stable => {
                assert!(all_told, "{live:?} has members by chance");
                assert!(is_led, "nobody leads {live:?}");
                // Those who have a group instance id stay in a rebalance that they do not join, and
                // are not counted when others do (`acceptJoiningMember` of Kafka's coordinator).
                let counted =
                    live.members.iter().filter(|of| of.member.group_instance_id.is_none());
                assert!(counted.count() <= MAX_SIZE, "{live:?} has too many members");
            }
        }
    }
}

fn ids(group: &ClassicDescription) -> BTreeSet<String> {
    group.members.iter().map(|member| member.member.member_id.clone()).collect()
}
