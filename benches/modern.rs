//! What a change of a group costs its coordinator: 1,000 members of 100 topics with 10,000 partitions.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pagemark::group::modern::{
    ConsumerGroup, ConsumerGroupConfig, ConsumerGroupState, HeartbeatRequest, JOIN_EPOCH,
    Partitions, Record,
};

const MEMBERS: usize = 1_000;

type Topics = BTreeMap<String, i32>;

/// A group, and its members as they see themselves: epoch and owned partitions.
#[derive(Clone)]
struct Room {
    group: ConsumerGroup,
    topics: Topics,
    members: Vec<(String, i32, Partitions)>,
}

fn join(id: &str, topics: &Topics) -> HeartbeatRequest {
    let join = HeartbeatRequest::new(id, JOIN_EPOCH).topics(topics.keys());
    join.rebalance_timeout_ms(60_000).owned(Partitions::new())
}

impl Room {
    /// A group at rest, and all records that it has given out.
    fn new() -> (Room, Vec<Record>) {
        let topics: Topics = (0..100).map(|i| (format!("topic-{i:02}"), 100)).collect();
        let group = ConsumerGroup::open(ConsumerGroupConfig::new(), [], 0).unwrap();
        let mut room = Room { group, topics: Topics::new(), members: Vec::new() };
        let mut records = Vec::new();
        for i in 0..MEMBERS {
            records.extend(room.join(&format!("member-{i:04}"), &topics));
        }
        // The topics come when all are there, so that partitions are shared once.
        room.topics = topics;
        records.extend(room.round());
        records.extend(room.settle().1);
        (room, records)
    }

    fn join(&mut self, id: &str, topics: &Topics) -> Vec<Record> {
        let step = self.group.heartbeat(0, &join(id, topics), &self.topics).unwrap();
        let response = step.response;
        self.members.push((
            response.member_id,
            response.member_epoch,
            response.assignment.unwrap(),
        ));
        step.records
    }

    /// A heartbeat of each member, which says what it owns and gives up at once what it shall not own.
    fn round(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for (id, epoch, owned) in &mut self.members {
            let request = HeartbeatRequest::new(&id[..], *epoch).owned(owned.clone());
            let step = self.group.heartbeat(0, &request, &self.topics).unwrap();
            records.extend(step.records);
            *epoch = step.response.member_epoch;
            *owned = step.response.assignment.unwrap();
        }
        records
    }

    /// Goes on until everybody has what they shall have, and returns in how many rounds.
    fn settle(&mut self) -> (usize, Vec<Record>) {
        let (mut rounds, mut records) = (0, Vec::new());
        while self.group.state() != ConsumerGroupState::Stable {
            records.extend(self.round());
            rounds += 1;
        }
        (rounds, records)
    }
}

fn changes(criterion: &mut Criterion) {
    let (room, stored) = Room::new();
    let stored = stored.iter().filter_map(|record| Some((record.name(), record.value()?)));
    let stored: BTreeMap<String, Vec<u8>> = stored.collect();
    let owned: usize = room.members.iter().map(|(.., owned)| owned.len()).sum();
    assert_eq!(owned, 10_000);
    let mut joined = room.clone();
    let records = joined.join("new", &room.topics);
    let bytes: usize = records.iter().filter_map(Record::value).map(|value| value.len()).sum();
    let (rounds, later) = joined.clone().settle();
    println!(
        "a join: {} records of {bytes} bytes; its hand-over: {rounds} rounds, {} records",
        records.len(),
        later.len()
    );

    let mut group = criterion.benchmark_group("modern, 1,000 members and 10,000 partitions");
    group.sample_size(20);
    group.bench_function("one heartbeat that changes nothing", |bencher| {
        let mut room = room.clone();
        let request = HeartbeatRequest::new(&room.members[500].0[..], room.members[500].1);
        bencher.iter(|| room.group.heartbeat(0, &request, &room.topics).unwrap());
    });
    group.bench_function("one join", |bencher| {
        let join = |joined: &mut Room| joined.join("new", &room.topics);
        bencher.iter_batched_ref(|| room.clone(), join, BatchSize::LargeInput);
    });
    group.bench_function("its hand-over, all heartbeats", |bencher| {
        bencher.iter_batched_ref(|| joined.clone(), Room::settle, BatchSize::LargeInput);
    });
    group.bench_function("open from its records", |bencher| {
        bencher.iter(|| {
            let records = stored.iter().map(|(name, value)| Record::decode(name, value).unwrap());
            black_box(ConsumerGroup::open(ConsumerGroupConfig::new(), records, 0).unwrap())
        });
    });
    group.finish();
}

criterion_group!(benches, changes);
criterion_main!(benches);
