//! What an assignment costs: 10,000 partitions of 100 topics for 1,000 members.

use std::collections::BTreeMap;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pagemark::group::assign::{
    Assignor, CooperativeStickyAssignor, RangeAssignor, RoundRobinAssignor, StickyAssignor,
    Subscription,
};

const MEMBERS: usize = 1_000;
const TOPICS: usize = 100;

type Topics = BTreeMap<String, i32>;

/// The number of partitions of a topic.
type Size = fn(usize) -> usize;

/// Whether a member subscribes to a topic.
type Reads = fn(usize, usize) -> bool;

/// A number that looks random for each pair.
fn mix(a: usize, b: usize) -> usize {
    let mixed = (a * 1_000 + b + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

fn topics(size: Size) -> Topics {
    (0..TOPICS).map(|i| (format!("topic-{i:02}"), size(i) as i32)).collect()
}

/// Nine in ten of the members own what they got when others were in the place of the rest.
fn members(topics: &Topics, reads: Reads) -> Vec<Subscription> {
    let subscribe = |id: String, member| {
        let read = topics.keys().enumerate().filter(|(topic, _)| reads(member, *topic));
        Subscription::new(id, read.map(|(_, name)| name))
    };
    let before: Vec<_> = (0..MEMBERS).map(|i| subscribe(format!("member-{i}"), i)).collect();
    let assignment = StickyAssignor.assign(&before, topics).unwrap();
    let member = |i: usize| {
        let id = format!("member-{i}");
        let owned = assignment.get(&id).unwrap().to_vec();
        match i % 10 {
            0 => subscribe(format!("member-{}", MEMBERS + i), MEMBERS + i),
            _ => subscribe(id, i).owned(1, owned),
        }
    };
    (0..MEMBERS).map(member).collect()
}

fn assignments(criterion: &mut Criterion) {
    let cases: [(&str, Size, Reads); 3] = [
        ("equal subscriptions", |_| 100, |_, _| true),
        ("one topic in ten", |_| 100, |member, topic| mix(member, topic).is_multiple_of(10)),
        // Small topics that many read and large ones that few read: no two members have the same.
        ("nested subscriptions", |topic| 2 * topic + 1, |member, topic| topic <= member % TOPICS),
    ];
    let assignors: [&dyn Assignor; 4] =
        [&RangeAssignor, &RoundRobinAssignor, &StickyAssignor, &CooperativeStickyAssignor];
    for (name, size, reads) in cases {
        let topics = topics(size);
        let members = members(&topics, reads);
        let mut group = criterion.benchmark_group(format!("assign, {name}"));
        group.throughput(Throughput::Elements(topics.values().sum::<i32>() as u64));
        for assignor in assignors {
            group.bench_function(assignor.name(), |bencher| {
                bencher.iter(|| assignor.assign(&members, &topics).unwrap());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, assignments);
criterion_main!(benches);
