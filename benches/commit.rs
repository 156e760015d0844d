//! What a commit costs: buffered by names, by slot and by batch, and synced.

mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pagemark::Durability;
use workload::{Workload, commit, filled};

fn commits(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut workload = Workload::new();
    let store = filled(&dir, &workload);
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    group.bench_function("buffered by names", |bencher| {
        bencher.iter(|| {
            let (key, number) = workload.pick();
            store.commit_with(key, commit(number), Durability::Buffered).unwrap()
        });
    });
    let slots: Vec<_> = (0..100_000).map(|i| store.slot(workload.key(i)).unwrap()).collect();
    let mut number = 0;
    group.bench_function("buffered by slot", |bencher| {
        bencher.iter(|| {
            number += 1;
            let slot = &slots[number * 7_919 % slots.len()];
            slot.commit_with(commit(number as i64), Durability::Buffered).unwrap()
        });
    });
    group.bench_function("synced", |bencher| {
        bencher.iter(|| {
            let (key, number) = workload.pick();
            store.commit_with(key, commit(number), Durability::Synced).unwrap()
        });
    });
    group.throughput(Throughput::Elements(100));
    let batches: Vec<_> = (0..1_000).map(|i| workload.batch(i, 5)).collect();
    let mut next = 0;
    group.bench_function("batch of 100", |bencher| {
        bencher.iter(|| {
            next += 1;
            let batch = &batches[next * 17 % batches.len()];
            store.commit_batch_with(batch, Durability::Buffered).unwrap()
        });
    });
    group.finish();
    let (key, number) = workload.pick();
    store.commit(key, commit(number)).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset().0, number, "the store still works");
}

criterion_group!(benches, commits);
criterion_main!(benches);
