//! What reading records costs without an index behind it: a dump of one segment.

mod workload;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pagemark::dump::{Body, dump};
use pagemark::{Durability, Options};
use workload::{Workload, commit};

const COMMITS: u64 = 100_000;

fn decoding(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut workload = Workload::new();
    let options = Options::new().durability(Durability::Buffered).auto_compact(false);
    let store = options.open(dir.path()).unwrap();
    for _ in 0..COMMITS {
        let (key, number) = workload.pick();
        store.commit(key, commit(number)).unwrap();
    }
    store.close().unwrap();
    let largest = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .max_by_key(|entry| entry.metadata().unwrap().len());
    let path = largest.unwrap().path();
    let records = dump(&path, |_| {}).unwrap().records;
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(records));
    group.bench_function("read the records of a segment", |bencher| {
        bencher.iter(|| {
            let mut changes = 0;
            dump(&path, |record| {
                if let Body::Batch(batch) = &record.body {
                    changes += batch.len();
                }
            })
            .unwrap();
            assert!(changes > 0);
        });
    });
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
