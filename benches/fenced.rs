//! What fencing costs: a buffered commit by slot with and without it, and taking partitions over.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pagemark::group::Coordinator;
use pagemark::group::classic::{
    ClassicConfig, CommitRequest, JoinRequest, MemberIdentity, Protocol, Reply, RequestId,
    SyncRequest,
};
use pagemark::group::coordinator::CoordinatorConfig;
use pagemark::{Commit, Durability, Key, NextOffset, OffsetStore, Options, TopicPartition};

const GROUP: &str = "consumer-group-0000001";
const PARTITIONS: i32 = 1_000;

fn join() -> JoinRequest {
    JoinRequest {
        request: RequestId(1),
        member_id: String::new(),
        group_instance_id: Some("i".into()),
        client_id: "bench".into(),
        client_host: "local".into(),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 45_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: [].into() }],
        requires_member_id: false,
        can_skip_assignment: true,
    }
}

/// A group of one member, static, that has all partitions.
fn member(coordinator: &Coordinator) -> CommitRequest {
    let answers = coordinator.join(0, GROUP, join(), 1);
    let Reply::Join(Ok(joined)) = &answers.effects[0].reply else { panic!() };
    let member = MemberIdentity::fixed(&joined.member_id, "i");
    let sync = SyncRequest {
        request: RequestId(2),
        member: member.clone(),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    };
    assert_eq!(coordinator.sync(0, GROUP, sync).effects.len(), 1);
    CommitRequest { member, generation: 1, is_transactional: false }
}

fn open(store: &OffsetStore) -> Coordinator {
    let classic = ClassicConfig::new().initial_rebalance_delay_ms(0);
    let classic = classic.session_timeouts_ms(1, 1_800_000);
    Coordinator::open(store.clone(), CoordinatorConfig::new().classic(classic), 0).unwrap()
}

/// Rounds of both kinds take turns, so that what else the machine does hits both.
fn commits(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Buffered).open(dir.path()).unwrap();
    let coordinator = open(&store);
    let by = coordinator.committer(GROUP, member(&coordinator)).unwrap();
    let slots: Vec<_> =
        (0..PARTITIONS).map(|p| store.slot(Key::new(GROUP, "orders", p)).unwrap()).collect();
    let fenced: Vec<_> = (0..PARTITIONS).map(|p| by.slot("orders", p, None).unwrap()).collect();
    // As a host reads its clock for each commit; so does the store for one without a timestamp.
    let clock = Instant::now();
    let now = || clock.elapsed().as_millis() as i64;
    let at = |i: usize| i * 7_919 % PARTITIONS as usize;
    let unfenced = |i: usize| {
        let commit = Commit::new(NextOffset(i as i64)).timestamp_ms(now());
        black_box(slots[at(i)].commit(commit).unwrap());
    };
    let is_fenced = |i: usize| {
        black_box(fenced[at(i)].commit(now(), NextOffset(i as i64)).unwrap().unwrap());
    };
    let mut ratios = Vec::new();
    for _ in 0..401 {
        let time = |commit: &dyn Fn(usize)| {
            let begin = Instant::now();
            (0..5_000).for_each(commit);
            begin.elapsed().as_secs_f64()
        };
        let without = time(&unfenced);
        ratios.push(time(&is_fenced) / without);
    }
    ratios.sort_by(f64::total_cmp);
    println!("fenced / unfenced: median {:.2} of {} rounds", ratios[200], ratios.len());
    let mut group = criterion.benchmark_group("fenced");
    for (name, commit) in [("unfenced", &unfenced as &dyn Fn(usize)), ("by a member", &is_fenced)] {
        let mut i = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                i += 1;
                commit(i);
            });
        });
    }
    group.finish();
}

/// Claiming 10,000 partitions with all their offsets, on a disk.
fn claims(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Buffered).open(dir.path()).unwrap();
    let coordinator = open(&store);
    let partitions: Vec<_> = (0..10_000)
        .map(|i| TopicPartition::new(format!("topic-{:03}", i % 100), i / 100))
        .collect();
    for of in &partitions {
        store.commit(Key::new("takers", of.topic(), of.partition()), NextOffset(7)).unwrap();
    }
    criterion.bench_function("fenced/claim 10,000 partitions", |bencher| {
        bencher.iter(|| {
            let claimed = coordinator.claim(0, "takers", "worker", &partitions).unwrap();
            assert_eq!(claimed.len(), partitions.len());
        });
    });
}

const GROUPS: i64 = 100_000;

/// The coordinator of 100,000 groups with a member each, one of which has something to do now and then.
fn many_groups(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Buffered).open(dir.path()).unwrap();
    let coordinator = open(&store);
    drop(member(&coordinator));
    coordinator.stop();
    let mut states = BTreeMap::new();
    store.visit_states(GROUP, pagemark::StateOwner::Membership, |name, _, bytes| {
        states.insert(name.to_owned(), bytes.to_vec());
    });
    for group in 0..GROUPS {
        let mut batch = pagemark::CommitBatch::new(&format!("group-{group:06}"));
        for (name, bytes) in &states {
            batch.put_state(pagemark::StateOwner::Membership, name, 0, bytes);
        }
        store.commit_batch(&batch).unwrap();
    }
    let mut group = criterion.benchmark_group("fenced, 100,000 groups");
    group.sample_size(10);
    group.bench_function("open", |bencher| bencher.iter(|| open(&store)));
    let coordinator = open(&store);
    group.bench_function("next deadline", |bencher| bencher.iter(|| coordinator.next_deadline()));
    group.bench_function("tick, nothing is due", |bencher| bencher.iter(|| coordinator.tick(1)));
    let mut now = 1;
    group.bench_function("tick, one is due", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                // Somebody gets an id and does not join with it: there is nothing to store when its time
                // is over, a millisecond later.
                let join = JoinRequest {
                    group_instance_id: None,
                    session_timeout_ms: 1,
                    requires_member_id: true,
                    ..join()
                };
                drop(coordinator.join(now, "group-050000", join, 7));
                now += 1;
                let begin = Instant::now();
                drop(black_box(coordinator.tick(now)));
                spent += begin.elapsed();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, commits, claims, many_groups);
criterion_main!(benches);
