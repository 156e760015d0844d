//! What opening costs: replay of a log of a million commits over 100,000 keys, closed in order, and
//! loading the snapshot that a compaction makes of it.

mod workload;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pagemark::{Durability, Options};
use workload::{Workload, commit};

const COMMITS: u64 = 1_000_000;

fn recovery(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut workload = Workload::new();
    // The log has to stay as long as it is.
    let options = Options::new().durability(Durability::Buffered).auto_compact(false);
    let store = options.open(dir.path()).unwrap();
    workload.fill(&store);
    for _ in 0..COMMITS {
        let (key, number) = workload.pick();
        store.commit(key, commit(number)).unwrap();
    }
    store.close().unwrap();
    let mut group = criterion.benchmark_group("recover");
    group.sample_size(10);
    group.throughput(Throughput::Elements(COMMITS + 100_000));
    group.bench_function("a million commits", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let store = options.open(dir.path()).unwrap();
                assert_eq!(store.recovery_report().changes, COMMITS + 100_000);
                store
            },
            BatchSize::PerIteration,
        );
    });
    options.open(dir.path()).unwrap().compact().unwrap();
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("a snapshot", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                let store = options.open(dir.path()).unwrap();
                assert_eq!(store.recovery_report().snapshot_keys, 100_000);
                store
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
