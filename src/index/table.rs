//! A hash table that is read without locks and grows by one bucket at a time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::sync::atomic::{AtomicUsize, Ordering};

use super::arena::Allocator;
use super::growing::Growing;

/// Buckets of an empty table.
const START: usize = 8;
/// Buckets per entry. Most chains then have one entry or none.
const SPREAD: usize = 2;

/// The right to change the tables and lists of one index. There is one for each, and a lock around
/// it.
///
/// It is apart from the [`Writer`](super::Writer) because a commit adds a new topic before it takes
/// the lock of the log. Nobody takes it for a name that is there, and no reader ever does.
pub(super) struct Changing {
    /// The memory of topics that come into the tables with values.
    pub(super) allocator: Allocator,
}

/// Shared things by hash. What makes two things the same is up to the caller.
///
/// A bucket is a list of nodes that never change. A change builds the list anew, as far as needed,
/// and swaps its head, so that a removed entry leaves nothing behind, and adding and removing one
/// name for ever costs the same each time.
///
/// The table grows by linear hashing: a new bucket is split off an old one. First the new bucket is
/// filled, then the size is raised, then the old bucket is reduced. A reader that used the old size
/// and misses an entry because the old bucket was reduced already finds the size changed and tries
/// again.
pub(super) struct Table<T> {
    buckets: Growing<ArcSwapOption<Node<T>>>,
    size: AtomicUsize,
    len: AtomicUsize,
}

/// One entry of a bucket. The hash saves looking at things that are not meant.
struct Node<T> {
    hash: u64,
    thing: Arc<T>,
    next: Option<Arc<Node<T>>>,
}

impl<T> Table<T> {
    /// A table without entries.
    pub(super) fn new() -> Table<T> {
        Table::of(Vec::new())
    }

    /// A table with these entries, of which no two are the same.
    pub(super) fn of(entries: Vec<(u64, Arc<T>)>) -> Table<T> {
        let (len, size) = (entries.len(), START.max(entries.len() * SPREAD));
        let mut heads: Vec<Option<Arc<Node<T>>>> = Vec::new();
        heads.resize_with(size, || None);
        for (hash, thing) in entries {
            let head = &mut heads[bucket_of(hash, size)];
            *head = Some(Arc::new(Node { hash, thing, next: head.take() }));
        }
        let buckets = Growing::of(heads.into_iter().map(ArcSwapOption::new));
        Table { buckets, size: AtomicUsize::new(size), len: AtomicUsize::new(len) }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Calls `then` with the entry of this hash that `is` the right one, or gives `then` back.
    pub(super) fn find<R, F: FnOnce(&Arc<T>) -> R>(
        &self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        then: F,
    ) -> Result<R, F> {
        let mut size = self.size.load(Ordering::Acquire);
        loop {
            if let Some(bucket) = self.buckets.get(bucket_of(hash, size)) {
                let head = bucket.load();
                let found = nodes(head.as_ref()).find(|node| node.hash == hash && is(&node.thing));
                if let Some(node) = found {
                    return Ok(then(&node.thing));
                }
            }
            let now = self.size.load(Ordering::Acquire);
            if now == size {
                return Err(then);
            }
            size = now;
        }
    }

    /// Calls `visit` with every entry, in no order. Entries that come or go meanwhile may be visited
    /// or not, and one may be visited twice if the table grows.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Arc<T>)) {
        for (_, bucket) in self.buckets.iter() {
            nodes(bucket.load().as_ref()).for_each(|node| visit(&node.thing));
        }
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&self, _: &mut Changing, hash: u64, thing: Arc<T>) {
        let size = self.size.load(Ordering::Relaxed);
        let bucket = self.buckets.ensure(bucket_of(hash, size));
        let next = bucket.load_full();
        bucket.store(Some(Arc::new(Node { hash, thing, next })));
        let len = self.len() + 1;
        self.len.store(len, Ordering::Relaxed);
        for new in size..(len * SPREAD).clamp(size, size + SPREAD) {
            self.split(new);
        }
    }

    /// Removes the entry of this hash that `is` the right one, if it is there.
    pub(super) fn remove(&self, _: &mut Changing, hash: u64, is: impl Fn(&T) -> bool) {
        let size = self.size.load(Ordering::Relaxed);
        let bucket = self.buckets.ensure(bucket_of(hash, size));
        let head = bucket.load_full();
        let is = |node: &&Node<T>| node.hash == hash && is(&node.thing);
        let Some(found) = nodes(head.as_ref()).find(is) else { return };
        let before = nodes(head.as_ref()).take_while(|node| !is(node));
        bucket.store(before.fold(found.next.clone(), push));
        self.len.store(self.len() - 1, Ordering::Relaxed);
    }

    /// Makes the bucket `new`, the first one that is not used yet.
    fn split(&self, new: usize) {
        let old = self.buckets.ensure(new - (1 << new.ilog2()));
        let head = old.load_full();
        let moves = |node: &&Node<T>| bucket_of(node.hash, new + 1) == new;
        let moved = nodes(head.as_ref()).filter(moves).fold(None, push);
        // Most have nothing to move, and to store what is there already would cost as much.
        let any = moved.is_some();
        if any {
            self.buckets.ensure(new).store(moved);
        }
        self.size.store(new + 1, Ordering::Release);
        if any {
            old.store(nodes(head.as_ref()).filter(|node| !moves(node)).fold(None, push));
        }
    }
}

/// The bucket of a hash in a table of `size` buckets: as many bits of the hash as there are buckets
/// for, and one bit less where the bucket was not split off yet.
fn bucket_of(hash: u64, size: usize) -> usize {
    let whole = 1 << size.ilog2();
    let bucket = hash as usize & (2 * whole - 1);
    if bucket < size { bucket } else { bucket - whole }
}

fn nodes<T>(head: Option<&Arc<Node<T>>>) -> impl Iterator<Item = &Node<T>> {
    std::iter::successors(head, |node| node.next.as_ref()).map(|node| &**node)
}

/// A list with a copy of `node` in front.
fn push<T>(next: Option<Arc<Node<T>>>, node: &Node<T>) -> Option<Arc<Node<T>>> {
    Some(Arc::new(Node { hash: node.hash, thing: node.thing.clone(), next }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::steps;
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;

    fn get(table: &Table<u64>, hash: u64, thing: u64) -> bool {
        table.find(hash, |found| *found == thing, |found| **found).is_ok_and(|found| found == thing)
    }

    #[test]
    fn follows_a_set() {
        let (table, mut changing) = (Table::new(), Changing { allocator: Allocator::new() });
        let mut model = BTreeSet::new();
        let mut random = 1u64;
        let count = steps(20_000, 1_000);
        for i in 0..count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Three things share each hash.
            let thing = random >> 33 & 1023;
            let hash = (thing / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            assert_eq!(get(&table, hash, thing), model.contains(&thing));
            // Mostly adding at first, mostly removing later.
            if (random >> 50) % count > i {
                if model.insert(thing) {
                    table.insert(&mut changing, hash, Arc::new(thing));
                }
            } else {
                model.remove(&thing);
                table.remove(&mut changing, hash, |found| *found == thing);
            }
            assert_eq!(table.len(), model.len());
        }
        let mut all = BTreeSet::new();
        table.for_each(|thing| assert!(all.insert(**thing)));
        assert_eq!(all, model);
    }

    #[test]
    fn a_table_that_was_made_full_goes_on_like_any_other() {
        let hash = |thing: u64| (thing / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for len in 0..50 {
            let table = Table::of((0..len).map(|thing| (hash(thing), Arc::new(thing))).collect());
            let mut changing = Changing { allocator: Allocator::new() };
            for thing in len..2 * len {
                assert!(!get(&table, hash(thing), thing));
                table.insert(&mut changing, hash(thing), Arc::new(thing));
            }
            assert!((0..2 * len).all(|thing| get(&table, hash(thing), thing)));
            (0..2 * len).for_each(|thing| {
                table.remove(&mut changing, hash(thing), |found| *found == thing);
                assert!(!get(&table, hash(thing), thing));
            });
            assert_eq!(table.len(), 0);
        }
    }

    #[test]
    fn readers_miss_nothing_while_it_grows() {
        let hash = |thing: u64| thing.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for _ in 0..steps(200, 2) {
            let (table, mut changing) = (Table::new(), Changing { allocator: Allocator::new() });
            (0..16).for_each(|thing| table.insert(&mut changing, hash(thing), Arc::new(thing)));
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        (0..16).for_each(|thing| assert!(get(&table, hash(thing), thing)));
                    }
                });
                for thing in 16..500 {
                    table.insert(&mut changing, hash(thing), Arc::new(thing));
                    if thing % 3 == 0 {
                        table.remove(&mut changing, hash(thing), |found| *found == thing);
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
        }
    }
}
