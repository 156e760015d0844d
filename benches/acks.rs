//! What it costs to complete records out of order, with a million of them in flight, and to write down
//! what is complete.

use std::collections::BTreeMap;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pagemark::NextOffset;
use pagemark::consumer::{AckLimits, AckTracker};

const RECORDS: i64 = 1_000_000;

/// The offsets in an order that looks random and is the same every time.
fn shuffled() -> Vec<i64> {
    let mut offsets: Vec<i64> = (0..RECORDS).collect();
    let mut state = 42_u64;
    for i in (1..offsets.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        offsets.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
    }
    offsets
}

fn handed_out() -> AckTracker {
    let mut acks = AckTracker::new(NextOffset(0), AckLimits::new()).unwrap();
    for offset in 0..RECORDS {
        acks.hand_out(offset).unwrap();
    }
    acks
}

fn complete_all(mut acks: AckTracker, offsets: &[i64]) -> AckTracker {
    for &offset in offsets {
        acks.complete(offset).unwrap();
    }
    acks
}

/// The other way to do it: a map from the start of each range to its end.
#[derive(Default)]
struct IntervalMap(BTreeMap<i64, i64>);

impl IntervalMap {
    fn complete(&mut self, offset: i64) {
        let after = self.0.remove(&(offset + 1));
        let end = after.unwrap_or(offset + 1);
        match self.0.range_mut(..offset).next_back() {
            Some((_, before)) if *before == offset => *before = end,
            _ => drop(self.0.insert(offset, end)),
        }
    }
}

fn completions(criterion: &mut Criterion) {
    let shuffled = shuffled();
    let in_order: Vec<i64> = (0..RECORDS).collect();
    // As with many workers: far apart now and then, near each other most of the time.
    let mut nearly = in_order.clone();
    nearly.chunks_mut(1_000).for_each(|chunk| chunk.sort_by_key(|n| n.wrapping_mul(7_919) % 1_000));
    let mut group = criterion.benchmark_group("acks");
    group.sample_size(10).throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("hand out", |bencher| bencher.iter(handed_out));
    for (name, offsets) in [
        ("complete in random order", &shuffled),
        ("complete in random order by thousands", &nearly),
        ("complete in order", &in_order),
    ] {
        group.bench_function(name, |bencher| {
            let complete = |acks| {
                let acks = complete_all(acks, offsets);
                assert_eq!(acks.watermark(), NextOffset(RECORDS));
                acks
            };
            bencher.iter_batched(handed_out, complete, BatchSize::LargeInput);
        });
    }
    group.bench_function("complete in random order in an interval map", |bencher| {
        bencher.iter(|| {
            let mut map = IntervalMap::default();
            shuffled.iter().for_each(|&offset| map.complete(offset));
            assert_eq!(map.0.len(), 1);
            map
        });
    });
    group.finish();
}

fn encodings(criterion: &mut Criterion) {
    let shuffled = shuffled();
    let (half, rest) = shuffled.split_at(shuffled.len() / 2);
    let mut acks = complete_all(handed_out(), half);
    let mut state = Vec::new();
    acks.encode_state(&mut state);
    let with_news = complete_all(acks.clone(), &rest[..100]);
    let mut delta = Vec::new();
    with_news.clone().encode_delta(&mut delta).unwrap();
    println!("a million records, half of them complete in random order:");
    println!("{} bytes of memory beyond the tracker", acks.memory_bytes());
    println!("{} bytes of state in {} ranges", state.len(), acks.range_count());
    println!("{} bytes in a delta of 100 completions", delta.len());
    let mut group = criterion.benchmark_group("acks of half a million");
    group.sample_size(10);
    group.bench_function("encode the state", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            acks.encode_state(&mut out);
        });
    });
    group.bench_function("decode the state", |bencher| {
        bencher.iter(|| AckTracker::decode_state(&state, AckLimits::new()).unwrap());
    });
    let mut restored = AckTracker::decode_state(&state, AckLimits::new()).unwrap();
    group.bench_function("apply a delta of 100", |bencher| {
        bencher.iter(|| assert!(restored.apply_delta(&delta).unwrap()));
    });
    // From the start again when all are complete, once in 5,000 times.
    let mut chunks = rest.chunks(100);
    let mut busy = acks.clone();
    group.bench_function("complete 100 and encode a delta", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            let Some(chunk) = chunks.next() else {
                (chunks, busy) = (rest.chunks(100), acks.clone());
                return;
            };
            for &offset in chunk {
                busy.complete(offset).unwrap();
            }
            out.clear();
            busy.encode_delta(&mut out).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, completions, encodings);
criterion_main!(benches);
