//! Readers follow a store that somebody else writes: whatever the writer does, crashes included, they
//! show what it shows.

mod support;

#[path = "reader/failing.rs"]
mod failing;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "support/mount.rs"]
mod mount;
#[path = "reader/overtaken.rs"]
mod overtaken;
#[path = "reader/writer.rs"]
mod writer;

use std::io;
use std::sync::Arc;

use mount::Mount;
use pagemark::dump::Change;
use pagemark::testkit::{Op, SimDisk};
use pagemark::{Commit, ErrorKind, Key, NextOffset, OffsetReader, Refreshed, Seq};
use pagemark::{StateChange, StateOwner};
use support::{
    Lots, Player, State, Step, history, observe, observe_reader, options, record_bounds, states,
};

/// A reader, and beside it what the changes say that it has read.
struct Tailing {
    reader: OffsetReader,
    state: State,
    seq: Seq,
}

impl Tailing {
    fn new(mount: &Arc<Mount>) -> Tailing {
        let reader = OffsetReader::open_in(mount.clone()).unwrap();
        let (state, seq) = (observe_reader(&reader), reader.last_seq());
        Tailing { reader, state, seq }
    }

    /// A refresh that may fail with the machine.
    fn survive(&mut self) -> bool {
        let refreshed = self.reader.refresh();
        (self.state, self.seq) = (observe_reader(&self.reader), self.reader.last_seq());
        match refreshed {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                false
            }
        }
    }

    fn refresh(&mut self) -> Refreshed {
        let mut changes = 0;
        let Tailing { reader, state, seq } = self;
        let refreshed = reader.refresh_with(|at, change| {
            assert!(at >= *seq, "{change:?} in the order of the log");
            *seq = at;
            changes += 1;
            apply(state, change);
        });
        let refreshed = refreshed.unwrap();
        assert_eq!(refreshed.changes, changes);
        let shown = observe_reader(reader);
        if refreshed.restarted {
            (*state, *seq) = (shown, reader.last_seq());
        } else {
            assert_eq!(shown, *state, "the changes say what the view shows");
            assert!(*seq <= reader.last_seq());
        }
        refreshed
    }
}

fn apply(state: &mut State, change: &Change<'_>) {
    match *change {
        Change::Commit { group, topic, partition, offset, metadata, .. } => {
            let value = (offset, metadata.into());
            state.offsets.insert((group.into(), topic.into(), partition), value);
        }
        Change::Delete { group, topic, partition } => {
            state.offsets.remove(&(group.into(), topic.into(), partition));
        }
        Change::DeleteTopic { group, topic } => {
            state.offsets.retain(|key, _| key.0 != group || key.1 != topic);
        }
        Change::State { group, owner, name, part, change } => {
            let owner = StateOwner::ALL.into_iter().find(|known| known.number() == owner).unwrap();
            let id = (group.into(), owner, name.into(), part);
            match change {
                StateChange::Put(bytes) => drop(state.states.insert(id, bytes.into())),
                StateChange::Append(bytes) => state.states.entry(id).or_default().extend(bytes),
                StateChange::Delete => drop(state.states.remove(&id)),
            }
        }
        _ => panic!("{change:?}"),
    }
}

/// What a writer and a reader say of the same store agrees.
fn compare(player: &Player, reader: &OffsetReader, context: &dyn std::fmt::Debug) {
    let store = player.store.as_ref().unwrap();
    assert_eq!(observe_reader(reader), observe(store), "{context:?}");
    assert!(reader.durable_seq() <= store.durable_seq(), "{context:?}");
}

#[test]
fn a_reader_that_follows_shows_what_the_writer_shows_whatever_it_does() {
    let (mut followed, mut restarted, mut durable) = (0, 0, 0);
    for seed in 0..150 {
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&[]).unwrap();
        let mount = Mount::new(&player.disk);
        // One looks after each step, one now and then, and new ones come all the time.
        let (mut steady, mut late) = (Tailing::new(&mount), Tailing::new(&mount));
        let mut lots = Lots(seed);
        for (number, step) in history(seed, 60).iter().enumerate() {
            player.play(std::slice::from_ref(step)).unwrap();
            let context = (seed, number, step);
            let refreshed = steady.refresh();
            compare(&player, &steady.reader, &context);
            // Nothing that it needs is ever gone when it looks this often.
            assert!(!refreshed.restarted, "{context:?}");
            if lots.below(12) == 0 {
                let refreshed = late.refresh();
                compare(&player, &late.reader, &context);
                restarted += u32::from(refreshed.restarted);
                followed += u32::from(!refreshed.restarted);
            }
            let fresh = OffsetReader::open_in(mount.clone()).unwrap();
            compare(&player, &fresh, &context);
            assert_eq!(fresh.last_seq(), steady.reader.last_seq(), "{context:?}");
            if matches!(step, Step::Compact | Step::Reopen) {
                let seq = player.store.as_ref().unwrap().durable_seq();
                assert_eq!(steady.reader.durable_seq(), seq, "{context:?}");
                assert_eq!(fresh.durable_seq(), seq, "{context:?}");
                durable += 1;
            }
            assert_eq!(steady.refresh(), Refreshed::default(), "{context:?}");
        }
    }
    println!("{followed} late ones followed, {restarted} started over, {durable} looks at seqs");
    assert!(followed > 100 && restarted > 50 && durable > 100);
}

/// The offset of the key that the next test keeps.
fn kept(reader: &OffsetReader) -> i64 {
    reader.fetch(Key::new("kept", "t", 0)).unwrap().offset().0
}

#[test]
fn a_reader_that_was_left_behind_shows_no_deleted_key() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    let reader = OffsetReader::open_in(Mount::new(&disk)).unwrap();
    store.commit(Key::new("gone", "t", 0), NextOffset(1)).unwrap();
    store.commit(Key::new("kept", "t", 0), NextOffset(1)).unwrap();
    reader.refresh().unwrap();
    store.delete_group("gone").unwrap();
    for round in 2..6 {
        store.commit(Key::new("kept", "t", 0), NextOffset(round)).unwrap();
        store.compact().unwrap();
    }
    store.commit(Key::new("kept", "t", 0), NextOffset(6)).unwrap();
    assert_eq!((reader.groups(), kept(&reader)), (vec!["gone".into(), "kept".into()], 1));
    // It reads its own segment to the end, and then finds the next one gone. Until all of the new
    // state is there, it shows the old one.
    let mut visited = Vec::new();
    let refreshed = reader.refresh_with(|_, change| match *change {
        Change::Commit { offset, .. } => visited.push((offset, kept(&reader))),
        _ => assert!(matches!(change, Change::DeleteTopic { group: "gone", .. }), "{change:?}"),
    });
    let refreshed = refreshed.unwrap();
    assert_eq!((refreshed.changes, refreshed.restarted), (3, true));
    assert_eq!((visited.len(), visited[1]), (2, (6, 2)));
    assert_eq!((reader.groups(), kept(&reader)), (vec!["kept".into()], 6));
}

#[test]
fn a_reader_outlives_the_death_of_the_writer_and_of_the_system() {
    let len = 24;
    let (mut crashes, mut went_back) = (0, 0);
    for seed in 100..130 {
        let history = history(seed, len);
        let states = states(&history);
        let operations = {
            let mut player = Player::new(SimDisk::new(), options(seed));
            player.play(&history).unwrap();
            player.disk.operations()
        };
        let mut lots = Lots(seed);
        for stop in (0..operations).step_by(7) {
            for lot in 0..4 {
                let mut player = Player::new(SimDisk::new(), options(seed));
                player.play(&[]).unwrap();
                let mount = Mount::new(&player.disk);
                let mut reader = Tailing::new(&mount);
                player.disk.freeze_in_write(stop, lots.below(40) as usize);
                for step in &history {
                    // A look at a frozen disk is an error, which is another thing to get over.
                    if player.play(std::slice::from_ref(step)).is_err() || player.disk.is_frozen() {
                        break;
                    }
                    if lots.below(3) > 0 && !reader.survive() {
                        break;
                    }
                }
                // The process died with the first lot, the system with the others.
                let disk = match lot {
                    0 => player.disk.process_crash(),
                    _ => player.disk.power_cut(lots.below(4) * lot),
                };
                let context = (seed, stop, lot);
                crashes += 1;
                mount.replace(&disk);
                let before = observe_reader(&reader.reader);
                // What it had open is on the machine that stopped.
                reader.survive();
                let looked = lots.below(2) == 0;
                if looked {
                    // Nobody has cut the torn tail yet.
                    let fresh = OffsetReader::open_in(mount.clone()).unwrap();
                    let opened = options(seed).open_in(disk.deep_clone().dir()).unwrap();
                    assert_eq!(observe_reader(&fresh), observe(&opened), "{context:?}");
                    reader.refresh();
                    if lot == 0 {
                        assert_eq!(observe_reader(&reader.reader), observe(&opened), "{context:?}");
                    }
                }
                let mut next = Player::new(disk, options(seed));
                next.play(&[]).unwrap();
                reader.refresh();
                compare(&next, &reader.reader, &context);
                let shown = observe_reader(&reader.reader);
                let shown_at = states.iter().position(|state| *state == shown).unwrap();
                went_back += u32::from(!states[shown_at..].contains(&before));
                for step in &history[..8] {
                    next.play(std::slice::from_ref(step)).unwrap();
                    if lots.below(3) > 0 {
                        reader.refresh();
                        compare(&next, &reader.reader, &(context, step));
                    }
                }
                reader.refresh();
                compare(&next, &reader.reader, &context);
            }
        }
    }
    println!("{crashes} crashes, after {went_back} of them the view went back");
    assert!(crashes > 1000);
}

#[test]
fn a_reader_goes_back_with_a_store_that_could_not_be_flushed() {
    let mut went_back = 0;
    for seed in 0..300 {
        let disk = SimDisk::new();
        let mut player = Player::new(disk.clone(), options(seed));
        player.play(&[]).unwrap();
        let mount = Mount::new(&disk);
        let mut reader = Tailing::new(&mount);
        let history = history(seed, 30);
        let mut lots = Lots(seed);
        disk.fail_nth(Op::SyncFile, lots.below(12), io::ErrorKind::Other);
        let failed = history.iter().any(|step| {
            let played = player.play(std::slice::from_ref(step));
            reader.refresh();
            played.is_err()
        });
        if !failed {
            continue;
        }
        let before = observe_reader(&reader.reader);
        drop(player.store.take());
        let mut next = Player::new(disk, options(seed));
        next.play(&[]).unwrap();
        reader.refresh();
        compare(&next, &reader.reader, &seed);
        went_back += u32::from(observe_reader(&reader.reader) != before);
        for step in &history {
            next.play(std::slice::from_ref(step)).unwrap();
            reader.refresh();
            compare(&next, &reader.reader, &(seed, step));
        }
    }
    println!("{went_back} views went back");
    assert!(went_back > 20);
}

#[test]
fn a_session_that_was_not_seen_is_not_skipped_although_the_next_one_fits() {
    let key = |partition| Key::new("g", "t", partition);
    let disk = SimDisk::new();
    let mount = Mount::new(&disk);
    let store = options(1).open_in(disk.dir()).unwrap();
    store.commit(key(0), NextOffset(1)).unwrap();
    store.sync().unwrap();
    // As long as the record of a session and a commit together.
    store.commit(key(0), Commit::new(NextOffset(2)).metadata(&"m".repeat(22))).unwrap();
    let reader = OffsetReader::open_in(mount.clone()).unwrap();
    assert_eq!(reader.fetch(key(0)).unwrap().offset(), NextOffset(2));
    let end = |disk: &SimDisk| record_bounds(&disk.contents(FIRST).unwrap()).pop();
    let seen = end(&disk);

    let second = disk.power_cut(0);
    let store = options(1).open_in(second.dir()).unwrap();
    store.commit(key(1), NextOffset(3)).unwrap();
    assert_eq!(end(&second), seen);
    let third = second.process_crash();
    let store = options(1).open_in(third.dir()).unwrap();
    store.commit(key(2), NextOffset(4)).unwrap();
    mount.replace(&third);
    assert!(reader.refresh().unwrap().restarted);
    assert_eq!(observe_reader(&reader), observe(&store));
}

/// The name of a store's first segment.
const FIRST: &str = "00000000000000000001.log";

/// A store with a snapshot, sealed segments and an active one, that was closed or not.
fn left_behind(seed: u64, closed: bool) -> SimDisk {
    let mut player = Player::new(SimDisk::new(), options(seed));
    player.play(&history(seed, 40)).unwrap();
    if closed {
        player.store.take().unwrap().close().unwrap();
    }
    player.disk.process_crash()
}

/// What opening a damaged store as a writer and as a reader comes to.
fn both(disk: &SimDisk, seed: u64) -> [std::result::Result<State, ErrorKind>; 2] {
    let reader = OffsetReader::open_in(Mount::new(disk));
    let writer = options(seed).create_if_missing(false).open_in(disk.deep_clone().dir());
    [
        reader.map(|reader| observe_reader(&reader)).map_err(|error| error.kind()),
        writer.map(|store| observe(&store)).map_err(|error| error.kind()),
    ]
}

#[test]
fn a_reader_refuses_what_open_refuses_and_shows_what_open_shows() {
    let (mut refused, mut shown) = (0, 0);
    for seed in 0..8 {
        let disk = left_behind(seed, seed % 2 == 0);
        let mut lots = Lots(seed);
        for name in disk.files() {
            let bytes = disk.contents(&name).unwrap();
            let mut check = |edit: &dyn Fn(&SimDisk), what: &str| {
                let damaged = disk.deep_clone();
                edit(&damaged);
                let [reader, writer] = both(&damaged, seed);
                assert_eq!(reader, writer, "seed {seed}, {name}: {what}");
                refused += u32::from(writer.is_err());
                shown += u32::from(writer.is_ok());
            };
            check(&|_| {}, "untouched");
            check(&|disk| assert!(disk.delete(&name)), "deleted");
            check(&|disk| disk.put(&name, *b"somebody else's"), "replaced");
            check(&|disk| disk.put(&name, &bytes[..bytes.len() / 2]), "cut");
            check(&|disk| assert!(disk.rename_file(&name, &name.replace('0', "1"))), "renamed");
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 100;
            for sector in (0..used.min(bytes.len())).step_by(512) {
                let end = (sector + 512).min(bytes.len());
                let bit = sector * 8 + lots.below(8 * (end - sector) as u64) as usize;
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                check(&|disk| disk.put(&name, &flipped[..]), &format!("bit {bit} flipped"));
                let mut zeroed = bytes.clone();
                zeroed[sector..end].fill(0);
                check(&|disk| disk.put(&name, &zeroed[..]), &format!("sector {sector} zeroed"));
            }
        }
    }
    println!("{refused} stores refused, {shown} shown");
    assert!(refused > 300 && shown > 100);
}

#[test]
fn damage_under_a_reader_is_an_error_and_gone_when_it_is_mended() {
    let seed = 3;
    let mut player = Player::new(SimDisk::new(), options(seed));
    player.play(&history(seed, 30)).unwrap();
    let reader = OffsetReader::open_in(Mount::new(&player.disk)).unwrap();
    player.play(&history(seed + 1, 20)).unwrap();
    player.store.take().unwrap().close().unwrap();
    let name = player.disk.files().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let whole = player.disk.contents(&name).unwrap();
    let mut damaged = whole.clone();
    let bounds = record_bounds(&whole);
    damaged[bounds[bounds.len() - 2] + 12] ^= 1;
    player.disk.put(&name, damaged);
    for _ in 0..2 {
        let error = reader.refresh().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.path().unwrap().ends_with(&name) && error.position().is_some(), "{error}");
    }
    player.disk.put(&name, whole);
    assert!(reader.refresh().unwrap().restarted);
    player.play(&[]).unwrap();
    compare(&player, &reader, &());
}

#[test]
fn a_panic_of_the_visitor_loses_nothing() {
    let mut player = Player::new(SimDisk::new(), options(1));
    player.play(&[]).unwrap();
    let reader = OffsetReader::open_in(Mount::new(&player.disk)).unwrap();
    player.play(&history(1, 20)).unwrap();
    let panicking =
        std::panic::AssertUnwindSafe(|| reader.refresh_with(|_, _| panic!("on purpose")));
    std::panic::catch_unwind(panicking).unwrap_err();
    assert!(reader.refresh().unwrap().restarted);
    compare(&player, &reader, &());
}
