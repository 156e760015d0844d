//! All ways of reading the same store agree: its own view, readers that are new and one that lives on,
//! `verify`, a store that is opened from a backup, and one that is salvaged. After each step of a
//! history, and on what each kind of crash leaves.

mod support;

#[path = "support/mount.rs"]
mod mount;

use std::collections::BTreeMap;
use std::fmt::Debug;

use mount::Mount;
use pagemark::testkit::{SimDisk, salvage_in, verify_in};
use pagemark::{CommittedOffset, OffsetReader, OffsetStore, Seq, StateOwner, TopicPartition};
use support::{Lots, Player, State, Step, history, observe, observe_reader, options};

/// Everything that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    keys: Vec<ShownKey>,
    /// Group, owner, name and part to bytes.
    states: BTreeMap<(String, StateOwner, String, i32), Vec<u8>>,
}

/// A key with all of its value, and the seq of its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ShownKey {
    group: String,
    key: TopicPartition,
    offset: i64,
    leader_epoch: Option<i32>,
    metadata: String,
    timestamp_ms: i64,
    expire_at_ms: Option<i64>,
    seq: Seq,
}

fn keys(
    groups: Vec<String>,
    fetch_group: impl Fn(&str) -> Vec<(TopicPartition, CommittedOffset)>,
) -> Vec<ShownKey> {
    let of_group = |group: &String| {
        let values = fetch_group(group).into_iter();
        let group = group.clone();
        values.map(move |(key, value)| ShownKey {
            group: group.clone(),
            key,
            offset: value.offset().0,
            leader_epoch: value.leader_epoch(),
            metadata: value.metadata().to_owned(),
            timestamp_ms: value.commit_timestamp_ms(),
            expire_at_ms: value.expire_at_ms(),
            seq: value.seq(),
        })
    };
    groups.iter().flat_map(of_group).collect()
}

fn by_store(store: &OffsetStore) -> Shown {
    let keys = keys(store.groups(), |group| store.fetch_group(group));
    Shown { keys, states: observe(store).states }
}

fn by_reader(reader: &OffsetReader) -> Shown {
    let keys = keys(reader.groups(), |group| reader.fetch_group(group));
    Shown { keys, states: observe_reader(reader).states }
}

/// How often what was shown in one way was compared with what the store itself shows.
#[derive(Debug, Default)]
struct Compared {
    steps: u64,
    crashes: u64,
    readers: u64,
    verified: u64,
    backups: u64,
    salvaged: u64,
    values: u64,
    states: u64,
}

impl Compared {
    /// Two ways show the same, seqs included.
    fn same(&mut self, found: &Shown, own: &Shown, context: &dyn Debug) {
        assert_eq!(found, own, "{context:?}");
        self.values += own.keys.len() as u64;
        self.states += own.states.len() as u64;
    }

    /// Looks at a directory without opening it as a store: by a reader, and byte by byte.
    fn look(&mut self, disk: &SimDisk, own: &Shown, context: &dyn Debug) {
        let reader = OffsetReader::open_in(Mount::new(disk)).unwrap();
        self.same(&by_reader(&reader), own, context);
        self.readers += 1;
        let verified = verify_in(disk).unwrap();
        assert!(verified.is_clean(), "{context:?}: {verified:#?}");
        let counts = (own.keys.len() as u64, own.states.len() as u64);
        assert_eq!((verified.keys, verified.states), counts, "{context:?}");
        assert_eq!(verified.last_seq, reader.last_seq(), "{context:?}");
        self.verified += 1;
    }

    /// Salvages a store that nobody has open and that has no torn tail.
    fn salvage(&mut self, disk: &SimDisk, own: &Shown, context: &dyn Debug) {
        let to = SimDisk::new();
        let report = salvage_in(disk, to.dir()).unwrap();
        let exact = (report.exact, report.possibly_old, report.lost, report.states_exact);
        let all = (own.keys.len() as u64, 0, 0, own.states.len() as u64);
        assert_eq!(exact, all, "{context:?}: {report:#?}");
        assert!(report.uncertain_states.is_empty(), "{context:?}: {report:#?}");
        let saved = by_store(&options(2).open_in(to.dir()).unwrap());
        // It has a history of its own.
        let plain = |key: &ShownKey| ShownKey { seq: Seq::default(), ..key.clone() };
        let [saved, own] = [&saved, own].map(|shown| Shown {
            keys: shown.keys.iter().map(plain).collect(),
            states: shown.states.clone(),
        });
        self.same(&saved, &own, context);
        self.salvaged += 1;
    }

    /// Backs an open store up, and opens a copy of that.
    fn back_up(&mut self, store: &OffsetStore, dest: &SimDisk, context: &dyn Debug) {
        let own = by_store(store);
        store.backup_in(dest).unwrap();
        self.look(dest, &own, context);
        let copy = dest.deep_clone();
        self.salvage(&copy, &own, context);
        self.same(&by_store(&options(3).open_in(copy.dir()).unwrap()), &own, context);
        self.backups += 1;
    }

    /// Compares what each way shows of what a crash left. Returns it, opened and told by itself.
    fn crash(&mut self, image: &SimDisk, context: &dyn Debug) -> (SimDisk, Shown) {
        let opened = image.deep_clone();
        let store = options(4).open_in(opened.dir()).unwrap();
        let own = by_store(&store);
        self.look(image, &own, context);
        if store.recovery_report().cut.is_none() {
            self.salvage(image, &own, context);
        }
        // What recovery left, with the store open and when it dies once more.
        self.look(&opened, &own, context);
        self.salvage(&opened.process_crash(), &own, context);
        self.back_up(&store, &SimDisk::new(), context);
        self.crashes += 1;
        (opened.process_crash(), own)
    }
}

/// Deletes what is due, in the store and in the model.
fn expire(store: &OffsetStore, model: &mut State) {
    for (group, key, _) in store.expired() {
        model.offsets.remove(&(group, key.topic().to_owned(), key.partition())).unwrap();
    }
    store.expire().unwrap();
}

#[test]
fn every_way_shows_the_same_after_each_step_and_each_crash() {
    let mut compared = Compared::default();
    for seed in 0..24 {
        let mut lots = Lots(seed);
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&[]).unwrap();
        let mount = Mount::new(&player.disk);
        let [steady, late] = [(); 2].map(|()| OffsetReader::open_in(mount.clone()).unwrap());
        let dest = SimDisk::new();
        // What may be there after a power cut.
        let mut models = vec![State::new()];
        for (number, step) in history(seed, 40).iter().enumerate() {
            let context = (seed, number, step);
            player.play(std::slice::from_ref(step)).unwrap();
            let store = player.store.as_ref().unwrap();
            let mut model = models.last().unwrap().clone();
            step.apply(&mut model);
            if matches!(step, Step::Sync | Step::Compact | Step::Reopen) {
                models.clear();
            }
            models.push(model.clone());
            if lots.below(8) == 0 {
                expire(store, &mut model);
                store.sync().unwrap();
                models = vec![model.clone()];
            }
            assert_eq!(observe(store), model, "{context:?}");
            let own = by_store(store);
            compared.look(&player.disk, &own, &context);
            let readers = if lots.below(8) == 0 { &[&steady, &late][..] } else { &[&steady] };
            for reader in readers {
                reader.refresh().unwrap();
                compared.same(&by_reader(reader), &own, &context);
                compared.readers += 1;
            }
            if lots.below(4) == 0 {
                compared.back_up(store, &dest, &context);
            }
            compared.steps += 1;
            let died = compared.crash(&player.disk.process_crash(), &context);
            compared.same(&died.1, &own, &context);
            let mut left = died.0;
            for lot in [0, 1, lots.draw()] {
                (left, _) = compared.crash(&player.disk.power_cut(lot), &(context, lot));
            }
            if lots.below(8) == 0 {
                mount.replace(&left);
                player = Player::new(left, player.options);
                player.play(&[]).unwrap();
                let store = player.store.as_ref().unwrap();
                let found = observe(store);
                assert!(models.contains(&found), "{context:?}: {found:?}");
                models = vec![found];
                steady.refresh().unwrap();
                compared.same(&by_reader(&steady), &by_store(store), &context);
                compared.readers += 1;
            }
        }
    }
    println!("{compared:?}");
    assert!(compared.states > 10_000, "{compared:?}");
    assert!(compared.readers > 10_000 && compared.verified > 10_000);
    assert!(compared.backups > 4_000 && compared.salvaged > 10_000);
}
