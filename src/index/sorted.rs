//! A sorted list that is read without locks and changed by one thread at a time.

use std::cmp::Ordering;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Something that a [`SortedList`] can keep.
pub(super) trait Item: Clone {
    /// What the list is sorted by.
    type Key: Ord + ?Sized;

    /// The key of this item.
    fn key(&self) -> &Self::Key;
}

/// A sorted list of short leaves of at most `LEAF` items.
///
/// A change copies one leaf, and the list of leaves only when their number changes, so that filling
/// a list of n items costs little more than n leaves instead of n lists. A reader that walks the list
/// sees each leaf as it was when it got there; items that stay in the list are always seen.
pub(super) struct SortedList<T, const LEAF: usize> {
    leaves: ArcSwap<Vec<Arc<Leaf<T>>>>,
}

/// A part of the list, never empty. After it was split or removed from the list it does not change
/// any more, so that a reader that still walks over it misses nothing that was there.
struct Leaf<T> {
    items: ArcSwap<Vec<T>>,
}

impl<T: Item, const LEAF: usize> SortedList<T, LEAF> {
    /// An empty list.
    pub(super) fn new() -> SortedList<T, LEAF> {
        SortedList { leaves: ArcSwap::default() }
    }

    /// The item with this key.
    pub(super) fn get(&self, key: &T::Key) -> Option<T> {
        let leaves = self.leaves.load();
        let items = leaves.get(leaf_for(&leaves, key)?)?.items.load();
        let at = position(&items, key).ok()?;
        items.get(at).cloned()
    }

    /// Calls `visit` with every item, in order.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&T)) {
        for leaf in self.leaves.load().iter() {
            leaf.items.load().iter().for_each(&mut visit);
        }
    }

    /// All items, in order.
    pub(super) fn to_vec(&self) -> Vec<T> {
        let mut all = Vec::new();
        self.for_each(|item| all.push(item.clone()));
        all
    }

    /// Adds an item whose key is not in the list. Only for one thread at a time.
    pub(super) fn insert(&self, item: T) {
        let leaves = self.leaves.load();
        let Some(index) = leaf_for(&leaves, item.key()) else {
            self.leaves.store(Arc::new(vec![Leaf::new(vec![item])]));
            return;
        };
        let old = leaves[index].items.load();
        let Err(at) = position(&old, item.key()) else { return };
        if old.len() < LEAF {
            let mut items = Vec::with_capacity(old.len() + 1);
            items.extend_from_slice(&old[..at]);
            items.push(item);
            items.extend_from_slice(&old[at..]);
            leaves[index].items.store(Arc::new(items));
            return;
        }
        // Keys that come in ascending order leave full leaves behind, others half full ones.
        let ascending = at == old.len() && index + 1 == leaves.len();
        let middle = if ascending { old.len() } else { old.len() / 2 };
        let mut low = old[..middle].to_vec();
        let mut high = old[middle..].to_vec();
        if at > middle || ascending {
            high.insert(at - middle, item);
        } else {
            low.insert(at, item);
        }
        let mut all = Vec::with_capacity(leaves.len() + 1);
        all.extend_from_slice(&leaves[..index]);
        all.extend([Leaf::new(low), Leaf::new(high)]);
        all.extend_from_slice(&leaves[index + 1..]);
        self.leaves.store(Arc::new(all));
    }

    /// Adds items in their order, whose keys are not in the list. Only for one thread at a time.
    pub(super) fn extend(&self, items: &[T]) {
        if !items.is_empty() && self.leaves.load().is_empty() {
            let leaves = items.chunks(LEAF).map(|items| Leaf::new(items.to_vec()));
            self.leaves.store(Arc::new(leaves.collect()));
        } else {
            items.iter().for_each(|item| self.insert(item.clone()));
        }
    }

    /// Removes the item with this key, if there is one. Only for one thread at a time.
    pub(super) fn remove(&self, key: &T::Key) {
        let leaves = self.leaves.load();
        let Some(index) = leaf_for(&leaves, key) else { return };
        let old = leaves[index].items.load();
        let Ok(at) = position(&old, key) else { return };
        if old.len() > 1 {
            leaves[index].items.store(Arc::new(without(&old, at)));
        } else {
            self.leaves.store(Arc::new(without(&leaves, index)));
        }
    }
}

impl<T> Leaf<T> {
    fn new(items: Vec<T>) -> Arc<Leaf<T>> {
        Arc::new(Leaf { items: ArcSwap::from_pointee(items) })
    }
}

/// The leaf that has the key if any leaf has it: the last one that starts at or before it. None only
/// if there are no leaves.
fn leaf_for<T: Item>(leaves: &[Arc<Leaf<T>>], key: &T::Key) -> Option<usize> {
    let after = leaves.partition_point(|leaf| {
        leaf.items.load().first().is_some_and(|first| first.key().cmp(key) != Ordering::Greater)
    });
    if leaves.is_empty() { None } else { Some(after.saturating_sub(1)) }
}

fn position<T: Item>(items: &[T], key: &T::Key) -> Result<usize, usize> {
    items.binary_search_by(|item| item.key().cmp(key))
}

fn without<T: Clone>(items: &[T], at: usize) -> Vec<T> {
    let mut rest = Vec::with_capacity(items.len() - 1);
    rest.extend_from_slice(&items[..at]);
    rest.extend_from_slice(&items[at + 1..]);
    rest
}

#[cfg(test)]
mod tests {
    use super::super::tests::steps;
    use super::*;
    use std::collections::BTreeSet;

    impl Item for u32 {
        type Key = u32;

        fn key(&self) -> &u32 {
            self
        }
    }

    fn check(list: &SortedList<u32, 4>, model: &BTreeSet<u32>) {
        assert_eq!(list.to_vec(), model.iter().copied().collect::<Vec<_>>());
        for leaf in list.leaves.load().iter() {
            assert!((1..=4).contains(&leaf.items.load().len()));
        }
    }

    #[test]
    fn follows_a_set() {
        let list = SortedList::<u32, 4>::new();
        let mut model = BTreeSet::new();
        let mut random = 1u32;
        for _ in 0..steps(3_000, 300) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = random >> 16 & 127;
            if random >> 24 & 1 == 0 {
                list.insert(key);
                model.insert(key);
            } else {
                list.remove(&key);
                model.remove(&key);
            }
            assert_eq!(list.get(&key), model.get(&key).copied());
            check(&list, &model);
        }
    }

    #[test]
    fn items_that_come_together_are_where_they_would_be_alone() {
        for (before, together) in
            [(0..0, 0..0), (0..0, 7..8), (0..0, 0..8), (0..0, 0..9), (3..4, 4..30), (50..57, 0..50)]
        {
            let list = SortedList::<u32, 4>::new();
            before.clone().for_each(|key| list.insert(key));
            list.extend(&together.clone().collect::<Vec<_>>());
            check(&list, &before.chain(together).collect());
        }
    }

    #[test]
    fn ascending_keys_fill_the_leaves() {
        let list = SortedList::<u32, 4>::new();
        (0..100).for_each(|key| list.insert(key));
        check(&list, &(0..100).collect());
        assert_eq!(list.leaves.load().len(), 25);
        (0..100).for_each(|key| list.remove(&key));
        check(&list, &BTreeSet::new());
        let list = SortedList::<u32, 4>::new();
        (0..100).rev().for_each(|key| list.insert(key));
        check(&list, &(0..100).collect());
    }
}
