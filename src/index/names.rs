//! Names: how they are hashed, and a table that keeps each of them once.

use std::collections::HashSet;
use std::hash::Hasher;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::sync::atomic::{AtomicUsize, Ordering};

use super::table::{Changing, Table};

/// Hashes names with a seed that those who choose the names do not know.
pub(super) struct NameHasher {
    seed: u64,
    shared: SharedSeed,
}

impl NameHasher {
    /// The hasher for this seed.
    pub(super) fn new(seed: u64) -> NameHasher {
        NameHasher { seed, shared: SharedSeed::from_u64(seed) }
    }

    /// The hash of one name.
    pub(super) fn one(&self, name: &str) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    /// The hash of a group and a topic.
    pub(super) fn pair(&self, group: &str, topic: &str) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(group.as_bytes());
        // The length keeps apart what joins to the same text.
        hasher.write_usize(group.len());
        hasher.write(topic.as_bytes());
        hasher.finish()
    }
}

/// Something that a [`Registry`] keeps under its name.
pub(super) trait Named {
    /// A new entry that nobody uses yet.
    fn new(name: Arc<str>) -> Self;

    /// Its name.
    fn name(&self) -> &Arc<str>;

    /// How many use it. It belongs to the registry.
    fn uses(&self) -> &AtomicUsize;
}

/// A table of named things that are made for their first user and go with their last one.
pub(super) struct Registry<T> {
    table: Table<T>,
}

impl<T: Named> Registry<T> {
    /// A table without entries.
    pub(super) fn new() -> Registry<T> {
        Registry { table: Table::new() }
    }

    /// A table with these entries, of which no two have the same name.
    pub(super) fn of(entries: Vec<(u64, Arc<T>)>) -> Registry<T> {
        Registry { table: Table::of(entries) }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// What is kept under this name.
    pub(super) fn get(&self, hash: u64, name: &str) -> Option<Arc<T>> {
        self.table.find(hash, is(name), Arc::clone).ok()
    }

    /// Everything that is kept, in no order and each once. What is kept all the while is there.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let (mut all, mut met) = (Vec::new(), HashSet::new());
        self.table.for_each(|thing| {
            // If the table grows meanwhile, what goes to a new bucket may be met twice.
            if met.insert(Arc::as_ptr(thing)) {
                all.push(Arc::clone(thing));
            }
        });
        all
    }

    /// What is kept under this name, with one more user.
    pub(super) fn acquire(&self, changing: &mut Changing, hash: u64, name: &str) -> Arc<T> {
        let thing = self.get(hash, name).unwrap_or_else(|| {
            let thing = Arc::new(T::new(name.into()));
            self.table.insert(changing, hash, thing.clone());
            thing
        });
        thing.uses().fetch_add(1, Ordering::Relaxed);
        thing
    }

    /// Takes back one use of a name that was acquired.
    pub(super) fn release(&self, changing: &mut Changing, hash: u64, name: &str) {
        let unused = self
            .get(hash, name)
            .is_some_and(|thing| thing.uses().fetch_sub(1, Ordering::Relaxed) == 1);
        if unused {
            self.table.remove(changing, hash, is(name));
        }
    }
}

fn is<T: Named>(name: &str) -> impl Fn(&T) -> bool {
    move |thing| &**thing.name() == name
}

/// A topic name, kept once for all groups that have a topic of that name.
pub(super) struct TopicName {
    text: Arc<str>,
    uses: AtomicUsize,
}

impl Named for TopicName {
    fn new(name: Arc<str>) -> TopicName {
        TopicName { text: name, uses: AtomicUsize::new(0) }
    }

    fn name(&self) -> &Arc<str> {
        &self.text
    }

    fn uses(&self) -> &AtomicUsize {
        &self.uses
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Allocator;
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_goes_with_its_last_user() {
        let names = Registry::<TopicName>::new();
        let mut changing = Changing { allocator: Allocator::new() };
        let first = names.acquire(&mut changing, 7, "a");
        let second = names.acquire(&mut changing, 7, "a");
        assert!(Arc::ptr_eq(first.name(), second.name()));
        // The same hash is not the same name.
        let other = names.acquire(&mut changing, 7, "b");
        assert_eq!((&**first.name(), &**other.name(), names.len()), ("a", "b", 2));
        names.release(&mut changing, 7, "a");
        assert!(names.get(7, "a").is_some());
        names.release(&mut changing, 7, "a");
        assert!(names.get(7, "a").is_none());
        let again = names.acquire(&mut changing, 7, "a");
        assert!(!Arc::ptr_eq(first.name(), again.name()));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn pairs_that_join_to_the_same_text_differ() {
        let hasher = NameHasher::new(1);
        assert_ne!(hasher.pair("ab", "c"), hasher.pair("a", "bc"));
        assert_ne!(hasher.one("a"), NameHasher::new(2).one("a"));
    }
}
