//! What a fetch costs: by names, by slot, and a whole group.

mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use workload::{Workload, filled};

fn fetches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut workload = Workload::new();
    let store = filled(&dir, &workload);
    let mut group = criterion.benchmark_group("fetch");
    group.bench_function("by names", |bencher| {
        bencher.iter(|| store.fetch(workload.pick().0).unwrap());
    });
    let slots: Vec<_> = (0..100_000).map(|i| store.slot(workload.key(i)).unwrap()).collect();
    let mut next = 0;
    group.bench_function("by slot", |bencher| {
        bencher.iter(|| {
            next += 7_919;
            slots[next % slots.len()].offset().unwrap()
        });
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("a group of 100 keys", |bencher| {
        bencher.iter(|| {
            let mut keys = 0;
            store.visit_group(workload.pick().0.group(), |_, _, _| keys += 1);
            assert_eq!(keys, 100);
        });
    });
    group.finish();
}

criterion_group!(benches, fetches);
criterion_main!(benches);
