//! Names: how they are hashed, and a table that keeps each of them once.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use papaya::{Equivalent, HashMap};

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

/// Takes a hash for its own hash.
///
/// The tables keep the hash beside each entry. That is why they can grow without touching the names
/// of every entry, and why looking for an absent name compares no names.
#[derive(Clone, Copy, Default)]
pub(super) struct Hashed(u64);

impl BuildHasher for Hashed {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(0)
    }
}

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        // Every key of these tables writes one `u64`. This is for completeness.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Something that a [`Registry`] keeps under its name.
pub(super) trait Named {
    /// A new entry that nobody uses yet.
    fn new(name: Arc<str>) -> Self;

    /// Its name.
    fn name(&self) -> &Arc<str>;

    /// How many use it. It belongs to the registry.
    fn uses(&self) -> &AtomicU32;
}

/// A table of named things that are created by their first user and go with their last one.
///
/// Any thread may acquire and release. The count never rises from zero again, so that whoever
/// acquired something knows that it is in the table until it is released.
pub(super) struct Registry<T> {
    table: HashMap<Held<T>, (), Hashed>,
}

struct Held<T> {
    hash: u64,
    thing: Arc<T>,
}

struct Wanted<'a> {
    hash: u64,
    name: &'a str,
}

impl<T: Named> Registry<T> {
    /// A table without entries.
    pub(super) fn new() -> Registry<T> {
        Registry { table: HashMap::with_hasher(Hashed::default()) }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// What is kept under this name.
    pub(super) fn get(&self, hash: u64, name: &str) -> Option<Arc<T>> {
        let table = self.table.pin();
        table.get_key_value(&Wanted { hash, name }).map(|(held, ())| held.thing.clone())
    }

    /// Calls `visit` with everything, in no order.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&T)) {
        self.table.pin().keys().for_each(|held| visit(&held.thing));
    }

    /// What is kept under this name, with one more user.
    pub(super) fn acquire(&self, hash: u64, name: &str) -> Arc<T> {
        let table = self.table.pin();
        loop {
            if let Some((held, ())) = table.get_key_value(&Wanted { hash, name }) {
                let more = |uses| (uses > 0).then_some(uses + 1);
                let uses = held.thing.uses();
                if uses.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok() {
                    return held.thing.clone();
                }
                // Its last user is about to remove it. Doing it here means not to wait for that.
                self.remove_unused(hash, name);
            }
            let thing = Arc::new(T::new(name.into()));
            thing.uses().store(1, Ordering::Relaxed);
            if table.try_insert(Held { hash, thing: thing.clone() }, ()).is_ok() {
                return thing;
            }
        }
    }

    /// Takes back one use of a name that was acquired.
    pub(super) fn release(&self, hash: u64, name: &str) {
        let table = self.table.pin();
        let last = table
            .get_key_value(&Wanted { hash, name })
            .is_some_and(|(held, ())| held.thing.uses().fetch_sub(1, Ordering::AcqRel) == 1);
        if last {
            self.remove_unused(hash, name);
        }
    }

    fn remove_unused(&self, hash: u64, name: &str) {
        let unused = |held: &Held<T>, &(): &()| held.thing.uses().load(Ordering::Acquire) == 0;
        // Someone else may have removed it already, and even put a new one in its place.
        let _ = self.table.pin().remove_if(&Wanted { hash, name }, unused);
    }
}

impl<T> Hash for Held<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: Named> PartialEq for Held<T> {
    fn eq(&self, other: &Held<T>) -> bool {
        self.hash == other.hash && self.thing.name() == other.thing.name()
    }
}

impl<T: Named> Eq for Held<T> {}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: Named> Equivalent<Held<T>> for Wanted<'_> {
    fn equivalent(&self, held: &Held<T>) -> bool {
        self.hash == held.hash && self.name == &**held.thing.name()
    }
}

/// A topic name, kept once for all groups that have a topic of that name.
pub(super) struct TopicName {
    text: Arc<str>,
    uses: AtomicU32,
}

impl Named for TopicName {
    fn new(name: Arc<str>) -> TopicName {
        TopicName { text: name, uses: AtomicU32::new(0) }
    }

    fn name(&self) -> &Arc<str> {
        &self.text
    }

    fn uses(&self) -> &AtomicU32 {
        &self.uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_goes_with_its_last_user() {
        let names = Registry::<TopicName>::new();
        let first = names.acquire(7, "a");
        let second = names.acquire(7, "a");
        assert!(Arc::ptr_eq(first.name(), second.name()));
        // The same hash is not the same name.
        let other = names.acquire(7, "b");
        assert_eq!((&**first.name(), &**other.name(), names.len()), ("a", "b", 2));
        names.release(7, "a");
        assert!(names.get(7, "a").is_some());
        names.release(7, "a");
        assert!(names.get(7, "a").is_none());
        let again = names.acquire(7, "a");
        assert!(!Arc::ptr_eq(first.name(), again.name()));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn many_users_at_once_leave_nothing() {
        let names = Registry::<TopicName>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..5000 {
                        let (hash, name) = if i % 2 == 0 { (1, "x") } else { (2, "y") };
                        let held = names.acquire(hash, name);
                        let kept = names.get(hash, name);
                        assert!(kept.is_some_and(|kept| Arc::ptr_eq(&kept, &held)));
                        names.release(hash, name);
                    }
                });
            }
        });
        assert_eq!(names.len(), 0);
    }

    #[test]
    fn pairs_that_join_to_the_same_text_differ() {
        let hasher = NameHasher::new(1);
        assert_ne!(hasher.pair("ab", "c"), hasher.pair("a", "bc"));
        assert_ne!(hasher.one("a"), NameHasher::new(2).one("a"));
    }
}
