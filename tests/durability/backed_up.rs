//! A store with a backup beside it and a reader that follows, as a subject of the driver: whatever ends
//! it ends the backup, too.

use std::sync::Arc;

use pagemark::testkit::{
    Dir, Failed, SimDisk, State, Step, StoreSubject, Subject, Tally, check_files, observe,
    rough_history, verify_in,
};
use pagemark::{CommittedOffset, Durability, OffsetReader, OffsetStore, TopicPartition};

use crate::beside::{Beside, PREFIX};
use crate::support::observe_reader;
use crate::{driver, store, support, unless_set};

/// The store. [`Step::Sync`] backs it up besides.
struct BackedUp(StoreSubject);

/// A store that is open, and what goes with it.
struct Opened {
    store: OffsetStore,
    reader: OffsetReader,
    backup: Beside,
}

/// Every value with its key.
type Values = Vec<(String, TopicPartition, CommittedOffset)>;

fn values(
    groups: Vec<String>,
    fetch_group: impl Fn(&str) -> Vec<(TopicPartition, CommittedOffset)>,
) -> Values {
    let of_group = |group: String| {
        let values = fetch_group(&group).into_iter();
        values.map(move |(key, value)| (group.clone(), key, value))
    };
    groups.into_iter().flat_map(of_group).collect()
}

fn by_store(store: &OffsetStore) -> Values {
    values(store.groups(), |group| store.fetch_group(group))
}

impl Subject for BackedUp {
    type Open = Opened;

    fn open(&self, dir: Arc<dyn Dir>, seed: u64) -> Result<Opened, Failed> {
        let store = self.0.open(Arc::clone(&dir), seed)?;
        let reader = OffsetReader::open_in(Arc::clone(&dir))?;
        Ok(Opened { store, reader, backup: Beside(dir) })
    }

    fn apply(&self, open: &mut Opened, step: &Step) -> Result<Durability, Failed> {
        let broken = |error: pagemark::Error| Failed::Broken(error.to_string());
        if *step == Step::Sync {
            // In front of the flush: a backup has to care for itself that the store keeps what it has.
            open.store.backup_in(&open.backup).map_err(broken)?;
            let copy = OffsetReader::open_in(Arc::new(Beside(Arc::clone(&open.backup.0))));
            let shown = observe_reader(&copy.map_err(broken)?);
            assert_eq!(shown, observe(&open.store), "the backup is the store at this moment");
        }
        let level = self.0.apply(&mut open.store, step)?;
        open.reader.refresh().map_err(broken)?;
        Ok(level)
    }

    fn observe(&self, open: &Opened) -> State {
        let shown = observe(&open.store);
        assert_eq!(observe_reader(&open.reader), shown, "the reader shows what the store does");
        shown
    }

    fn close(&self, open: Opened) -> Result<(), Failed> {
        self.0.close(open.store)
    }

    fn inspect(&self, open: &Opened, disk: &SimDisk) -> Result<(), String> {
        let (beside, own): (Vec<_>, Vec<_>) =
            disk.files().into_iter().partition(|name| name.starts_with(PREFIX));
        check_files(&own)?;
        // Opened as a store it is one with a history of its own, so it is a copy that is opened.
        let backup = Arc::new(Beside(disk.deep_clone().dir()));
        let verified = verify_in(&*backup).map_err(|error| error.to_string());
        let copy = match support::options(7).open_in(backup) {
            Ok(copy) => by_store(&copy),
            Err(error) if !error.is_corruption() => return Err(format!("the backup: {error}")),
            Err(_) if may_be_refused(&beside, &own) => return Ok(()),
            Err(error) => {
                return Err(format!("the backup is refused: {error}\n{beside:?} {own:?}"));
            }
        };
        let Ok(verified) = verified else { return Ok(()) };
        is_a_moment(&copy, verified.last_seq.get(), &by_store(&open.store))
    }
}

/// Whether a backup may be refused: the first one if it has no files yet, or one that has to get the
/// snapshot of the store.
fn may_be_refused(beside: &[String], own: &[String]) -> bool {
    let snapshot = own.iter().find(|name| name.ends_with(".snapshot"));
    let is_there = |name: &String| beside.contains(&format!("{PREFIX}{name}"));
    !beside.iter().any(|name| name.ends_with(".log"))
        || snapshot.is_some_and(|name| !is_there(name))
}

/// Checks that a backup with everything up to a seq shows a moment of the store's own history.
fn is_a_moment(copy: &Values, last_seq: u64, own: &Values) -> Result<(), String> {
    let is_old = |(.., value): &&(_, _, CommittedOffset)| value.seq().get() <= last_seq;
    if let Some(entry) = own.iter().filter(is_old).find(|entry| !copy.contains(entry)) {
        return Err(format!("the backup up to {last_seq} lacks {entry:?}"));
    }
    for (group, key, value) in copy {
        let own = own.iter().find(|(own_group, own_key, _)| own_group == group && own_key == key);
        if own.is_some_and(|(.., own)| own.seq() < value.seq()) {
            return Err(format!("the backup has a value that the store has not: {value:?}"));
        }
    }
    Ok(())
}

#[test]
fn whatever_ends_a_store_its_backup_is_a_moment_of_it_or_refused_and_readers_see_the_same() {
    let histories = unless_set("PAGEMARK_TEST_BACKUPS", 40);
    let mut seen = Tally::default();
    let draw = |seed| {
        let mut steps = rough_history(seed, 12);
        [4, 9].iter().for_each(|at| steps[*at] = Step::Sync);
        steps
    };
    for (durability, faults) in [(Durability::Buffered, false), (Durability::Synced, true)] {
        let histories = if faults { histories / 10 } else { histories };
        let subject = BackedUp(store(durability));
        let driver = driver().lots(3).faults(faults);
        seen.merge(driver.run(&subject, 5_000..5_000 + histories, draw).unwrap());
    }
    println!("{seen}");
    assert!(seen.images() > 200 * histories, "{seen}");
}
