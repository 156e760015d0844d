//! Groups that are played, and opened again from records that are not quite theirs.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::fuzz_record::take;
use crate::Result;
use crate::group::classic::{
    self, ClassicConfig, ClassicDescription, ClassicGroup, ClassicState, JoinRequest, LeaveRequest,
    MemberIdentity, Protocol, RequestId, SyncRequest,
};
use crate::group::modern::{
    self, ConsumerGroup, ConsumerGroupConfig, ConsumerGroupDescription, ConsumerGroupState,
    HeartbeatRequest, JOIN_EPOCH, LEAVE_EPOCH, Partitions, STATIC_LEAVE_EPOCH, ServerAssignor,
};

const MEMBERS: [&str; 4] = ["a", "b", "c", ""];
const TOPICS: [&str; 3] = ["t", "u", "orders"];
/// By how much the clock goes on between two requests, or back.
const ELAPSED_MS: [i64; 8] = [0, 1, 10, 3_000, 50_000, 400_000, -60_000, i64::MAX];
const MOST_REQUESTS: usize = 48;

/// The states of a group, by their names.
type States = BTreeMap<String, Vec<u8>>;

/// A state and its new bytes, or none if it is removed.
type Change = (String, Option<Vec<u8>>);

/// A group of one of the protocols.
pub(super) trait Group: Sized {
    type Description: PartialEq + Debug;

    fn open(states: &States, now_ms: i64) -> Result<Self>;

    /// Lets a drawn request come in, and returns what is to be stored.
    fn play(&mut self, now_ms: i64, input: &mut Input<'_>) -> Vec<Change>;

    /// What is there again after a restart, if all of it is stored.
    fn stored(&self) -> Option<Self::Description>;
}

/// Plays a group, changes what is stored of it, and goes on with what that opens as.
pub(super) fn fuzz_group<G: Group>(input: &[u8]) {
    let mut input = Input { bytes: input };
    let (mut states, mut now_ms) = (States::new(), 0);
    let mut earlier: Vec<(String, Vec<u8>)> = Vec::new();
    let Ok(mut group) = G::open(&states, now_ms) else { return };
    for _ in 0..MOST_REQUESTS {
        if input.bytes.is_empty() {
            break;
        }
        if input.below(12) == 0 {
            let mut changed = states.clone();
            edit(&mut changed, &earlier, &mut input);
            let Ok(opened) = G::open(&changed, now_ms) else { continue };
            (group, states) = (opened, changed);
        } else {
            now_ms = now_ms.saturating_add(input.pick(ELAPSED_MS));
            for (name, value) in group.play(now_ms, &mut input) {
                match value {
                    Some(value) => {
                        earlier.push((name.clone(), value.clone()));
                        states.insert(name, value);
                    }
                    None => drop(states.remove(&name)),
                }
            }
        }
        let reopened = G::open(&states, now_ms).map(|group| group.stored());
        assert!(
            reopened.is_ok(),
            "what a group has stored does not open: {reopened:?}, {states:?}"
        );
        if let Some(stored) = group.stored() {
            assert_eq!(reopened.ok().flatten(), Some(stored), "a group comes back as it was");
        }
    }
}

/// Changes what is stored in a way that nobody who stores records in order can.
fn edit(states: &mut States, earlier: &[(String, Vec<u8>)], input: &mut Input<'_>) {
    for _ in 0..=input.below(3) {
        let names: Vec<String> = states.keys().cloned().collect();
        let name = names.get(input.below(names.len().max(1)));
        match (input.below(5), name) {
            (0, Some(name)) => drop(states.remove(name)),
            (1, Some(name)) => {
                let other = names[input.below(names.len())].clone();
                if let Some(value) = states.get(&other).cloned() {
                    states.insert(name.clone(), value);
                }
            }
            (2, _) if !earlier.is_empty() => {
                let (name, value) = earlier[input.below(earlier.len())].clone();
                states.insert(name, value);
            }
            (_, Some(name)) => {
                let value = states.entry(name.clone()).or_default();
                let at = input.below(value.len().max(1));
                let byte = input.byte();
                if let Some(place) = value.get_mut(at) {
                    *place = byte;
                }
            }
            (_, None) => {}
        }
    }
}

/// Bytes that choices are made with. When they are used up, every choice is the first one.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let [byte] = take(&mut self.bytes);
        byte
    }

    /// A number below `n`, which is not zero.
    fn below(&mut self, n: usize) -> usize {
        let number: usize = if n > 256 {
            u16::from_le_bytes(take(&mut self.bytes)).into()
        } else {
            self.byte().into()
        };
        number % n
    }

    fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[self.below(N)]
    }

    fn topics(&mut self) -> Vec<&'static str> {
        let set = self.below(1 << TOPICS.len());
        (0..TOPICS.len()).filter(|i| set >> i & 1 == 1).map(|i| TOPICS[i]).collect()
    }
}

/// A group of the classic protocol.
pub(super) struct Classic(ClassicGroup);

impl Group for Classic {
    type Description = ClassicDescription;

    fn open(states: &States, now_ms: i64) -> Result<Classic> {
        let mut records = Vec::new();
        for (name, value) in states {
            let record = classic::Record::decode(name, value)?;
            assert_eq!((&record.name(), record.value().as_ref()), (name, Some(value)));
            records.push(record);
        }
        ClassicGroup::open(ClassicConfig::new().max_size(3), records, now_ms).map(Classic)
    }

    fn play(&mut self, now_ms: i64, input: &mut Input<'_>) -> Vec<Change> {
        let kind = input.below(12);
        let member = self.member(input);
        let group = &mut self.0;
        let step = match kind {
            0..5 => group.join(now_ms, join(member, input), input.byte().into()),
            5..8 => group.sync(now_ms, sync(group, member, input)),
            8 => {
                let generation = group.generation();
                let heard = group.heartbeat(now_ms, &member, generation);
                let is_there =
                    group.describe().members.iter().any(|m| m.member.member_id == member.member_id);
                assert!(heard.is_err() || is_there, "only members are heard");
                return Vec::new();
            }
            9 => group.leave(now_ms, LeaveRequest { request: RequestId(0), members: vec![member] }),
            10 => group.tick(group.next_deadline().unwrap_or(now_ms).max(now_ms)),
            _ => group.delete(now_ms).unwrap_or_default(),
        };
        step.records.iter().map(|record| (record.name(), record.value())).collect()
    }

    /// Members are stored when they have their assignments.
    fn stored(&self) -> Option<ClassicDescription> {
        (self.0.state() == ClassicState::Stable).then(|| self.0.describe())
    }
}

impl Classic {
    /// Who is a member, somebody who waits to be, or somebody else.
    fn member(&self, input: &mut Input<'_>) -> MemberIdentity {
        let members = self.0.describe().members;
        let is_static = input.below(4) == 0;
        let instance_id = is_static.then(|| input.pick(MEMBERS).to_owned());
        match input.below(3) {
            0 => MemberIdentity { member_id: String::new(), group_instance_id: instance_id },
            1 => MemberIdentity {
                member_id: input.pick(MEMBERS).into(),
                group_instance_id: instance_id,
            },
            _ => match members.get(input.below(members.len().max(1))) {
                Some(member) => member.member.clone(),
                None => MemberIdentity::default(),
            },
        }
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
        request: RequestId(input.byte().into()),
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: input.pick(MEMBERS).into(),
        client_host: "host".into(),
        session_timeout_ms: input.pick([6_000, 45_000, 1_800_000, 0, -1]),
        rebalance_timeout_ms: input.pick([60_000, 0, i32::MAX, -1]),
        protocol_type: input.pick(["consumer", "consumer", "connect", ""]).into(),
        protocols: input.topics().iter().map(protocol).collect(),
        requires_member_id: input.below(2) == 1,
        can_skip_assignment: input.below(2) == 1,
    }
}

fn sync(group: &ClassicGroup, member: MemberIdentity, input: &mut Input<'_>) -> SyncRequest {
    let described = group.describe();
    let share = |member: &classic::DescribedMember| {
        (member.member.member_id.clone(), vec![7; input.below(4)].into())
    };
    SyncRequest {
        request: RequestId(1),
        member,
        generation: described.generation,
        protocol_type: None,
        protocol: described.protocol.clone(),
        assignments: described.members.iter().map(share).collect(),
    }
}

/// A group by member epochs.
pub(super) struct Modern(ConsumerGroup);

impl Group for Modern {
    type Description = ConsumerGroupDescription;

    fn open(states: &States, now_ms: i64) -> Result<Modern> {
        let mut records = Vec::new();
        for (name, value) in states {
            let record = modern::Record::decode(name, value)?;
            assert_eq!((&record.name(), record.value().as_ref()), (name, Some(value)));
            records.push(record);
        }
        let config = ConsumerGroupConfig::new().max_size(3);
        ConsumerGroup::open(config, records, now_ms).map(Modern)
    }

    fn play(&mut self, now_ms: i64, input: &mut Input<'_>) -> Vec<Change> {
        let group = &mut self.0;
        let before = group.describe();
        let records = match input.below(16) {
            0 => group.tick(group.next_deadline().unwrap_or(now_ms).max(now_ms)).records,
            1 => group.delete().unwrap_or_default(),
            _ => {
                let request = heartbeat(&before, input);
                let partitions = TOPICS.map(|topic| (topic.to_owned(), input.below(4) as i32 - 1));
                match group.heartbeat(now_ms, &request, &BTreeMap::from(partitions)) {
                    Ok(step) => step.records,
                    Err(_) => {
                        assert_eq!(group.describe(), before, "a refusal changes nothing");
                        Vec::new()
                    }
                }
            }
        };
        let mut held = Partitions::new();
        for member in group.describe().members {
            let mut all = member.assigned.iter().chain(member.revoking.iter());
            assert!(all.all(|(topic, partition)| held.insert(topic, partition)), "held twice");
        }
        records.iter().map(|record| (record.name(), record.value())).collect()
    }

    fn stored(&self) -> Option<ConsumerGroupDescription> {
        (self.0.state() != ConsumerGroupState::Dead).then(|| self.0.describe())
    }
}

/// A heartbeat of somebody, mostly one that fits what is known of the member.
fn heartbeat(group: &ConsumerGroupDescription, input: &mut Input<'_>) -> HeartbeatRequest {
    let id = input.pick(MEMBERS);
    let member = group.members.iter().find(|member| member.member_id == id);
    let known = member.map_or(JOIN_EPOCH, |member| member.member_epoch);
    let late = known.saturating_sub(1);
    let epoch = input.pick([
        known,
        known,
        known,
        late,
        JOIN_EPOCH,
        LEAVE_EPOCH,
        STATIC_LEAVE_EPOCH,
        i32::MAX,
    ]);
    let mut request = HeartbeatRequest::new(id, epoch);
    if input.below(3) == 0 {
        request = request.group_instance_id(input.pick(MEMBERS));
    }
    if epoch == JOIN_EPOCH || input.below(4) == 0 {
        request =
            request.topics(input.topics()).rebalance_timeout_ms(input.pick([60_000, 0, u32::MAX]));
    }
    if input.below(4) == 0 {
        request = request.assignor(input.pick([ServerAssignor::Uniform, ServerAssignor::Range]));
    }
    match (input.below(4), member) {
        (0, _) => request,
        (1, Some(member)) => request.owned(member.assigned.clone()),
        (2, Some(member)) => request.owned(member.revoking.clone()),
        _ => request.owned(Partitions::new()),
    }
}
