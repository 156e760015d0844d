//! What a consumer pays for the bookkeeping of its commits, by record and by commit.

use std::future::{Ready, ready};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pagemark::consumer::{
    CommitError, CommitPolicy, CommitTarget, Committer, LogBounds, PartitionCommit, Position,
    StartPolicy,
};
use pagemark::{Error, NextOffset, TopicPartition};

/// A target that costs nothing, so that only the bookkeeping is measured.
struct Nowhere;

impl CommitTarget for Nowhere {
    type Durable = Ready<Result<(), CommitError>>;

    fn commit(&self, _: &[PartitionCommit<'_>]) -> Result<Self::Durable, CommitError> {
        Ok(ready(Ok(())))
    }
}

struct Endless;

impl LogBounds for Endless {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset, Error> {
        Ok(NextOffset(0))
    }

    fn latest(&self) -> Result<NextOffset, Error> {
        Ok(NextOffset(i64::MAX))
    }

    fn at_or_after(&self, _: i64) -> Result<Option<NextOffset>, Error> {
        Ok(None)
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("orders-by-region", partition)
}

fn committer(policy: CommitPolicy, partitions: i32) -> Committer<Nowhere> {
    let mut committer = Committer::new(Nowhere, policy, 0);
    for partition in 0..partitions {
        let (position, _) = Position::assign(None, StartPolicy::Earliest, &Endless, 0).unwrap();
        committer.assign(tp(partition), position).unwrap();
    }
    committer.commit_sync(Duration::from_secs(1)).unwrap();
    committer
}

/// One record after the other: read, done, and a look whether a commit is due.
fn records(criterion: &mut Criterion) {
    const BATCH: i64 = 500;
    let mut group = criterion.benchmark_group("commits, by record");
    group.throughput(Throughput::Elements(BATCH as u64));
    let every = |n| CommitPolicy::automatic().every(n);
    for (name, policy) in [
        ("never", CommitPolicy::manual()),
        ("every 500", every(500)),
        ("every 10", every(10)),
        ("every one", every(1)),
    ] {
        let mut committer = committer(policy, 10);
        let (orders, mut offset) = (tp(3), 0);
        group.bench_function(format!("automatic: {name}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    offset += 1;
                    let mut orders = committer.partition(&orders).unwrap();
                    orders.advance(NextOffset(offset), Some(7)).unwrap();
                    orders.done(NextOffset(offset)).unwrap();
                    committer.tick(0).unwrap();
                }
            });
        });
    }
    let mut committer = committer(CommitPolicy::manual(), 10);
    let (orders, mut offset) = (tp(3), 0);
    group.bench_function("looked up and ticked once for 500 records", |bencher| {
        bencher.iter(|| {
            let mut orders = committer.partition(&orders).unwrap();
            for _ in 0..BATCH {
                offset += 1;
                orders.advance(NextOffset(offset), Some(7)).unwrap();
                orders.done(NextOffset(offset)).unwrap();
            }
            committer.tick(0).unwrap();
        });
    });
    group.finish();
}

/// A commit of which one partition has changed.
fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commits, by commit");
    for partitions in [1, 10, 100, 1_000] {
        let mut committer = committer(CommitPolicy::manual(), partitions);
        let (orders, mut offset) = (tp(0), 0);
        group.bench_function(format!("one of {partitions} partitions has changed"), |bencher| {
            bencher.iter(|| {
                offset += 1;
                let mut orders = committer.partition(&orders).unwrap();
                orders.advance(NextOffset(offset), Some(7)).unwrap();
                orders.done(NextOffset(offset)).unwrap();
                committer.commit_async()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, records, commits);
criterion_main!(benches);
