//! What a compaction costs: a snapshot of 100,000 keys, written, read back and compared.

mod workload;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pagemark::{Durability, Key, NextOffset};
use workload::{Workload, filled};

fn compaction(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir, &Workload::new());
    let key = Key::new("one-more", "t", 0);
    let mut group = criterion.benchmark_group("compact");
    group.sample_size(10);
    group.throughput(Throughput::Elements(100_001));
    group.bench_function("100,000 keys", |bencher| {
        bencher.iter_batched(
            // Without a commit there is nothing to compact.
            || store.commit_with(key, NextOffset(1), Durability::Buffered).unwrap(),
            |_| assert_eq!(store.compact().unwrap().keys, 100_001),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, compaction);
criterion_main!(benches);
