//! A group of the classic protocol, its clients, and what they were told.

mod told;

use std::collections::BTreeMap;

use self::told::Told;
use super::{Change, Game, Input, JITTER_MS, LATE_MS, States, store};
use crate::Result;
use crate::group::classic::{
    ClassicConfig, ClassicDescription, ClassicGroup, ClassicState, CommitRequest, Effect,
    JoinRequest, LeaveRequest, MemberIdentity, Protocol, Record, Reply, RequestId, Step,
    SyncRequest,
};

const CLIENTS: [&str; 4] = ["a", "b", "c", ""];
const INSTANCES: [&str; 4] = ["a", "s", "sa", ""];
/// The bounds of what a member may ask for as its session.
const SESSIONS_MS: (i32, i32) = (6_000, 1_800_000);
/// How many members a group may have.
const MAX_SIZE: usize = 3;
/// Longer than any timeout of a member.
const LONG_MS: i64 = 1 << 31;
/// More than a group needs of them to get rid of all its members, one reason after the other.
const LONG_TIMES: usize = 16;

/// What a request that waits has asked for.
enum Asked {
    /// To be a member, under the id that it has, with this session.
    Join(String, i32),
    /// What this member has in a generation.
    Sync(MemberIdentity, i32),
    /// To be none.
    Leave,
}

impl Asked {
    fn fits(&self, reply: &Reply) -> bool {
        matches!(
            (self, reply),
            (Asked::Join(..), Reply::Join(_))
                | (Asked::Sync(..), Reply::Sync(_))
                | (Asked::Leave, Reply::Leave(_))
        )
    }
}

pub(in crate::testkit) struct Classic {
    group: ClassicGroup,
    /// Requests have numbers of their own.
    requests: u64,
    waiting: BTreeMap<RequestId, Asked>,
    /// What is let out when the records are stored.
    unsent: Vec<Effect>,
    /// Whether the records to be stored delete the group.
    is_deleted: bool,
    /// Whether the leader had to assign before the request.
    is_assigning: bool,
    told: Told,
}

impl Game for Classic {
    fn open(states: &States, now_ms: i64) -> Result<Classic> {
        let group = open(states, now_ms)?;
        let told = Told::new(&group.describe(), states.is_empty());
        let (waiting, unsent) = (BTreeMap::new(), Vec::new());
        Ok(Classic {
            group,
            requests: 0,
            waiting,
            unsent,
            is_deleted: false,
            is_assigning: false,
            told,
        })
    }

    fn play(&mut self, now_ms: i64, input: &mut Input<'_>) -> Vec<Change> {
        let kind = input.below(12);
        let member = self.member(input);
        self.is_assigning = self.group.state() == ClassicState::CompletingRebalance;
        let step = match kind {
            0..5 => self.join(now_ms, member, input),
            5..8 => self.sync(now_ms, member, input),
            8 => {
                self.speak(now_ms, &member, input);
                Step::default()
            }
            9 => {
                let members = if input.below(4) == 0 {
                    vec![member, self.member(input)]
                } else {
                    vec![member]
                };
                let request = self.ask(Asked::Leave);
                self.group.leave(now_ms, LeaveRequest { request, members })
            }
            10 => self.tick(now_ms),
            _ => self.group.delete(now_ms).unwrap_or_default(),
        };
        self.is_deleted = self.group.state() == ClassicState::Dead;
        let changes = step.records.iter().map(|record| (record.name(), record.value())).collect();
        self.unsent = step.effects;
        changes
    }

    fn let_out(&mut self, now_ms: i64) {
        let group = self.group.describe();
        self.told.learn_names(&group);
        self.forget_if_deleted();
        for Effect { request, reply } in std::mem::take(&mut self.unsent) {
            let asked = self.waiting.remove(&request);
            let fits = asked.as_ref().is_some_and(|asked| asked.fits(&reply));
            assert!(fits, "{request:?} does not wait for {reply:?}");
            match (asked, reply) {
                (Some(Asked::Join(as_id, session_ms)), Reply::Join(Ok(joined))) => {
                    assert!(as_id.is_empty() || as_id == joined.member_id, "{joined:?} is another");
                    self.told.asks(&joined.member_id, session_ms);
                    self.told.joined(&joined, &group);
                }
                (Some(Asked::Sync(member, generation)), Reply::Sync(Ok(synced))) => {
                    self.told.synced(&member, generation, &synced.assignment);
                    // Whoever has waited for the leader gets a whole session with the answer.
                    if self.is_assigning {
                        self.expect_session(now_ms, &member);
                    }
                }
                (_, Reply::Join(Err(refusal))) => self.told.refused(&refusal),
                _ => {}
            }
        }
    }

    fn give_up(&mut self) {
        self.is_deleted = false;
        let unsent = std::mem::take(&mut self.unsent);
        for Effect { request, reply } in self.group.clone().abandon(unsent) {
            let is_refused =
                matches!(reply, Reply::Join(Err(_)) | Reply::Sync(Err(_)) | Reply::Leave(Err(_)));
            assert!(is_refused, "what is not stored is told: {reply:?}");
            assert!(self.waiting.remove(&request).is_some(), "{request:?} waits for no answer");
        }
        let waiting: Vec<_> = self.waiting.keys().collect();
        assert!(waiting.is_empty(), "{waiting:?} wait for ever");
    }

    fn restart(&mut self, states: &States, now_ms: i64) {
        self.forget_if_deleted();
        let opened = open(states, now_ms);
        assert!(opened.is_ok(), "what is stored does not open: {opened:?}, {states:?}");
        self.group = opened.unwrap_or_else(|_| self.group.clone());
        self.unsent.clear();
        self.waiting.clear();
    }

    fn check(&mut self, states: &States, now_ms: i64) {
        let reopened = open(states, now_ms).map(|group| group.describe());
        assert!(reopened.is_ok(), "what is stored does not open: {reopened:?}, {states:?}");
        let Ok(reopened) = reopened else { return };
        let live = self.group.describe();
        match live.state {
            ClassicState::Dead => assert!(states.is_empty(), "{states:?} are of no group"),
            // One that is too large begins a rebalance when it is loaded.
            ClassicState::Stable if live.members.len() <= MAX_SIZE => {
                assert_eq!(reopened, live, "a group comes back as it was");
            }
            _ => {
                assert_eq!(reopened.generation, live.generation, "a number is stored at once");
                assert_ne!(reopened.state, ClassicState::CompletingRebalance);
                let is_there =
                    |of: &MemberIdentity| live.members.iter().any(|member| member.member == *of);
                assert!(reopened.members.iter().all(|member| is_there(&member.member)));
            }
        }
        self.told.check(&live, &reopened);
    }

    /// All clients fall silent.
    fn calm_down(&mut self, states: &mut States, now_ms: i64) {
        let mut now_ms = now_ms.min(LATE_MS);
        for _ in 0..LONG_TIMES {
            let step = self.group.tick(now_ms);
            store(states, step.records.iter().map(|of| (of.name(), of.value())).collect());
            self.unsent = step.effects;
            self.let_out(now_ms);
            self.check(states, now_ms);
            now_ms += LONG_MS;
        }
        let waiting: Vec<_> = self.waiting.keys().collect();
        assert!(waiting.is_empty(), "{waiting:?} wait for ever");
        let left = self.group.describe().members;
        assert!(left.is_empty(), "{left:?} never leave");
    }
}

fn open(states: &States, now_ms: i64) -> Result<ClassicGroup> {
    let mut records = Vec::new();
    for (name, value) in states {
        let record = Record::decode(name, value)?;
        assert_eq!((&record.name(), record.value().as_ref()), (name, Some(value)));
        records.push(record);
    }
    let (min, max) = SESSIONS_MS;
    let config = ClassicConfig::new().session_timeouts_ms(min, max).max_size(MAX_SIZE);
    ClassicGroup::open(config, records, now_ms)
}

impl Classic {
    /// Somebody who was told that it is a member, who is one or not, or nobody in particular.
    fn member(&self, input: &mut Input<'_>) -> MemberIdentity {
        let is_static = input.below(4) == 0;
        let instance_id = is_static.then(|| input.pick(INSTANCES).to_owned());
        let members = self.group.describe().members;
        let known = match input.below(4) {
            0 => None,
            1 => Some(MemberIdentity::dynamic(input.pick(CLIENTS))),
            2 => input.one_of(self.told.clients()).map(|(member, _)| member.clone()),
            _ => input.one_of(&members).map(|member| member.member.clone()),
        };
        let member = known.unwrap_or_default();
        MemberIdentity { group_instance_id: instance_id.or(member.group_instance_id), ..member }
    }

    /// Another group may have the name of one that is deleted.
    fn forget_if_deleted(&mut self) {
        if self.is_deleted {
            self.told =
                Told::new(&ClassicDescription { generation: 0, ..self.group.describe() }, true);
        }
    }

    fn ask(&mut self, what: Asked) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.waiting.insert(request, what);
        request
    }

    fn join(&mut self, now_ms: i64, member: MemberIdentity, input: &mut Input<'_>) -> Step {
        let mut join = join(member, input);
        let asked = Asked::Join(join.member_id.clone(), join.session_timeout_ms);
        join.request = self.ask(asked);
        // One that is too short is refused.
        if join.session_timeout_ms >= SESSIONS_MS.0 {
            self.told.asks(&join.member_id, join.session_timeout_ms);
        }
        self.group.join(now_ms, join, input.random())
    }

    fn sync(&mut self, now_ms: i64, member: MemberIdentity, input: &mut Input<'_>) -> Step {
        let described = self.group.describe();
        let generation = self.generation(&member, input);
        let request = self.ask(Asked::Sync(member.clone(), generation));
        let share = |member: &MemberIdentity| {
            // No two requests bring the same.
            let bytes = [&request.0.to_le_bytes()[..], member.member_id.as_bytes()].concat();
            (member.member_id.clone(), bytes.into())
        };
        let is_left_out = input.below(4);
        let members = described.members.iter().map(|member| &member.member).enumerate();
        let members = members.filter(|(at, _)| *at + 1 != is_left_out);
        let assignments: Vec<_> = members.map(|(_, member)| share(member)).collect();
        if described.leader.as_ref() == Some(&member.member_id) {
            self.told.brought(generation, &assignments, &self.group.describe());
        }
        let (protocol_type, protocol) = (None, described.protocol);
        let sync =
            SyncRequest { request, member, generation, protocol_type, protocol, assignments };
        self.group.sync(now_ms, sync)
    }

    /// What somebody believes to be the newest generation: mostly what it was told.
    fn generation(&self, member: &MemberIdentity, input: &mut Input<'_>) -> i32 {
        let newest = self.group.generation();
        let mut told = self.told.clients().iter().rev();
        let told = told.find(|(of, _)| of.member_id == member.member_id).map(|(_, told)| *told);
        let told = told.unwrap_or(newest);
        input.pick([
            told,
            told,
            newest,
            newest,
            newest.wrapping_sub(1),
            newest.wrapping_add(1),
            0,
            -1,
        ])
    }

    /// Somebody commits or says that it is there. Whoever is heard has its whole session from then on.
    fn speak(&mut self, now_ms: i64, member: &MemberIdentity, input: &mut Input<'_>) {
        let generation = self.generation(member, input);
        let before = self.group.describe();
        let is_member = before.members.iter().any(|of| of.member == *member);
        let is_current = is_member && generation == before.generation;
        let is_transactional = input.below(4) == 1;
        let is_commit = input.below(2) == 1;
        let (is_accepted, is_heard) = if is_commit {
            let commit = CommitRequest { member: member.clone(), generation, is_transactional };
            let checked = self.group.check_commit(now_ms, &commit);
            (checked.is_ok(), checked.is_ok() && !is_transactional)
        } else {
            let heard = self.group.heartbeat(now_ms, member, generation);
            let is_called = heard == Err(crate::group::GroupError::RebalanceInProgress);
            (heard.is_ok() || is_called, heard.is_ok() || is_called)
        };
        // Who takes part in no group commits to an empty one, and in transactions.
        let is_nobody = is_commit && generation < 0 && *member == MemberIdentity::default();
        let is_outside = is_commit && generation < 0 && before.state == ClassicState::Empty;
        let passes = is_outside || is_nobody && is_transactional;
        if is_accepted && !passes {
            self.told.accepted(member, generation, &before);
        }
        if before.state != ClassicState::Stable {
            return;
        }
        assert_eq!(is_accepted, is_current || passes, "{member:?} of {generation} in {before:?}");
        if is_heard && is_current {
            self.expect_session(now_ms, member);
        }
    }

    /// In a group that waits for nothing else, a member lives as long as its session.
    fn expect_session(&self, now_ms: i64, member: &MemberIdentity) {
        if now_ms >= LATE_MS || !self.told.is_all {
            return;
        }
        let is_there = |after_ms: i64| {
            let mut group = self.group.clone();
            // What is due is done there for nobody to hear of.
            drop(group.tick(now_ms + after_ms));
            group.describe().members.iter().any(|of| of.member == *member)
        };
        let (_, longest) = SESSIONS_MS;
        let session_ms = self.told.session_ms(&member.member_id).map_or(0, i64::from);
        // Whoever has not synced has to do that first.
        let has_synced = self.told.has_share(&member.member_id, self.group.generation());
        let lives = !has_synced || is_there(session_ms.max(1) - 1);
        assert!(lives, "{member:?} was heard and is removed");
        let over = i64::from(longest) + JITTER_MS;
        assert!(!is_there(over), "{member:?} is silent and stays");
    }

    /// Does what is due when it is due.
    fn tick(&mut self, now_ms: i64) -> Step {
        let due = self.group.next_deadline().unwrap_or(now_ms).max(now_ms);
        let step = self.group.tick(due);
        let next = self.group.next_deadline();
        assert!(next.is_none_or(|next| next > due || due >= LATE_MS), "what was due stays due");
        step
    }
}

fn join(member: MemberIdentity, input: &mut Input<'_>) -> JoinRequest {
    let metadata = |topic: &str| {
        // A subscription of one topic, in the form of Kafka's consumers.
        let mut metadata = vec![0, 1, 0, 0, 0, 1, 0, topic.len() as u8];
        metadata.extend(topic.as_bytes());
        metadata.into()
    };
    let protocol = |name: &&str| Protocol { name: (*name).into(), metadata: metadata(name) };
    JoinRequest {
        request: RequestId(0),
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: input.pick(CLIENTS).into(),
        client_host: "host".into(),
        session_timeout_ms: input.pick([6_000, 45_000, 1_800_000, 0, -1]),
        rebalance_timeout_ms: input.pick([60_000, 0, i32::MAX, -1]),
        protocol_type: input.pick(["consumer", "consumer", "connect", ""]).into(),
        protocols: input.topics().iter().map(protocol).collect(),
        requires_member_id: input.below(2) == 1,
        can_skip_assignment: input.below(2) == 1,
    }
}
