//! Torn tails and rot: what must be cut is cut, what had been promised is never lost in silence,
//! and nothing is ever invented.

mod support;

#[path = "recovery/reads.rs"]
mod reads;
#[path = "recovery/stated.rs"]
mod stated;

use std::time::Duration;

use pagemark::testkit::{Op, SimDisk};
use pagemark::{
    Commit, CommitBatch, Error, ErrorKind, Key, NextOffset, OffsetStore, Options, StateOwner,
};
use support::{Lots, Player, State, Step, history, observe, options, record_bounds, states};

const FIRST: &str = "00000000000000000001.log";
const RECORDS_START: usize = 4096;
const SECTOR: usize = 512;

/// Whether the record that begins here is a batch.
fn is_batch(bytes: &[u8], at: usize) -> bool {
    bytes[at + 4] == 0x01
}

/// A history without anything that makes a log durable.
fn unsynced_history(seed: u64, len: usize) -> Vec<Step> {
    let mut steps = history(seed, 10 * len);
    steps.retain(|step| !matches!(step, Step::Sync | Step::Compact | Step::Reopen));
    steps.retain(|step| match step {
        Step::Batch { changes, .. } => {
            changes.iter().all(|(_, _, value)| value.as_ref().is_none_or(|v| v.1.len() < 100))
        }
        _ => true,
    });
    steps.truncate(len);
    steps
}

/// The store that the death of the process leaves after a history, and what it shows after each of
/// its records.
fn dead_store(steps: &[Step], seed: u64) -> (SimDisk, Options, Vec<State>) {
    let mut player = Player::new(SimDisk::new(), options(seed));
    let mut shown = vec![State::new()];
    let mut last_seq = 0;
    for step in steps {
        player.play(std::slice::from_ref(step)).unwrap();
        let store = player.store.as_ref().unwrap();
        let receipt = store.commit_batch(&pagemark::CommitBatch::new("g")).unwrap();
        // A delete of nothing leaves no record.
        if receipt.seq().get() > last_seq {
            last_seq = receipt.seq().get();
            shown.push(observe(store));
        }
    }
    (player.disk.process_crash(), player.options.clone(), shown)
}

fn open(disk: &SimDisk, options: &Options) -> Result<OffsetStore, Error> {
    options.open_in(disk.dir())
}

fn with(disk: &SimDisk, name: &str, bytes: Vec<u8>) -> SimDisk {
    let disk = disk.deep_clone();
    disk.put(name, bytes);
    disk
}

#[test]
fn a_log_cut_at_any_byte_shows_exactly_the_records_before_the_cut() {
    let (disk, options, shown) = dead_store(&unsynced_history(1, 12), 1);
    let whole = disk.contents(FIRST).unwrap();
    let bounds = record_bounds(&whole);
    let end = *bounds.last().unwrap();
    let batches =
        |cut: usize| bounds.windows(2).filter(|b| b[1] <= cut && is_batch(&whole, b[0])).count();
    assert_eq!(batches(end), shown.len() - 1);
    for cut in RECORDS_START..=end {
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        // Bytes that were zero anyway are not missed.
        let kept = (cut..=end).find(|at| *at == end || whole[*at] != 0).unwrap();
        let opened = open(&with(&disk, FIRST, bytes), &options);
        if kept < bounds[1] {
            // The first record was durable before the file had its name.
            assert!(opened.unwrap_err().is_corruption(), "cut at {cut}");
            continue;
        }
        let store = opened.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(observe(&store), shown[batches(kept)], "cut at {cut}");
        assert!(!store.recovery_report().clean);
    }
}

#[test]
fn a_flipped_bit_in_an_unsynced_log_cuts_it_there() {
    let (disk, options, shown) = dead_store(&unsynced_history(2, 8), 2);
    let whole = disk.contents(FIRST).unwrap();
    let bounds = record_bounds(&whole);
    let end = *bounds.last().unwrap();
    let all = shown.len() - 1;
    for bit in 0..end * 8 {
        let byte = bit / 8;
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (bit % 8);
        let opened = open(&with(&disk, FIRST, bytes), &options);
        if byte < 64 || (RECORDS_START..bounds[1]).contains(&byte) {
            assert!(opened.unwrap_err().is_corruption(), "bit {bit}");
            continue;
        }
        let store = opened.unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        let before = |b: &&[usize]| b[1] <= byte && is_batch(&whole, b[0]);
        let kept = match byte < RECORDS_START {
            true => all,
            false => bounds.windows(2).filter(before).count(),
        };
        assert_eq!(observe(&store), shown[kept], "bit {bit}");
        assert_eq!(store.recovery_report().cut.is_some(), byte >= RECORDS_START, "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_in_a_synced_log_is_refused_but_for_the_last_flush() {
    let steps: Vec<Step> =
        unsynced_history(3, 6).into_iter().flat_map(|step| [step, Step::Sync]).collect();
    let (disk, options, shown) = dead_store(&steps, 3);
    let disk = disk.power_cut(0);
    let whole = disk.contents(FIRST).unwrap();
    let bounds = record_bounds(&whole);
    let last = bounds[bounds.len() - 2];
    let all = shown.last().unwrap();
    for bit in RECORDS_START * 8..bounds[bounds.len() - 1] * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match open(&with(&disk, FIRST, bytes), &options) {
            Ok(store) => {
                assert!(bit / 8 >= last, "bit {bit} of a durable record went unnoticed");
                assert_ne!(&observe(&store), all);
            }
            Err(error) => {
                assert!(error.is_corruption(), "{error}");
                assert!(bit / 8 < last, "bit {bit}");
                assert!(error.path().unwrap().ends_with(FIRST));
                let position = error.position().unwrap() as usize;
                assert!(position <= bit / 8 && bounds.contains(&position), "{error}");
            }
        }
    }
}

#[test]
fn an_idle_store_vouches_for_its_last_commit_too() {
    use pagemark::dump::dump;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FIRST);
    let store = Options::new().flush_interval(Duration::from_millis(1)).open(dir.path()).unwrap();
    let seq = store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap().seq().get();
    let started = std::time::Instant::now();
    while dump(&path, |_| {}).unwrap().marks[0].durable_seq < seq {
        assert!(started.elapsed() < Duration::from_secs(60), "nobody writes a mark");
        std::thread::yield_now();
    }
    // The store is not closed; what stands in the file is what a crash would leave.
    let mut bytes = std::fs::read(&path).unwrap();
    let last = record_bounds(&bytes)[2];
    bytes[last + 12] ^= 1;
    let disk = SimDisk::new();
    disk.put(FIRST, bytes);
    let error = open(&disk, &options(1)).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert_eq!(error.position(), Some(last as u64));
}

/// A store of some segments that died now and then, and was closed in order in the end.
fn closed_store(seed: u64, len: usize) -> (SimDisk, Options, State) {
    let mut player = Player::new(SimDisk::new(), options(seed));
    for steps in history(seed, len).chunks(7) {
        let disk = player.disk.process_crash();
        player = Player::new(disk, player.options);
        player.play(steps).unwrap();
    }
    let state = observe(player.store.as_ref().unwrap());
    player.store.take().unwrap().close().unwrap();
    (player.disk.power_cut(0), player.options, state)
}

/// The segments, and the snapshot if there is one, in the order of the history.
fn segments(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|name| name != "LOCK").collect()
}

/// A changed store either shows all that it held or is refused as damaged.
fn expect_all_or_damage(disk: &SimDisk, options: &Options, state: &State, context: &str) -> bool {
    match open(disk, options) {
        Ok(store) => {
            assert_eq!(&observe(&store), state, "{context}: silent loss");
            true
        }
        Err(error) => {
            assert!(error.is_corruption(), "{context}: {error}");
            assert!(error.path().is_some(), "{context}: {error}");
            false
        }
    }
}

#[test]
fn no_flipped_bit_of_a_closed_store_is_a_silent_loss() {
    let (disk, options, state) = closed_store(4, 30);
    let names = segments(&disk);
    assert!(names.len() >= 2, "{names:?}");
    let (mut whole, mut refused) = (0, 0);
    for name in names {
        let bytes = disk.contents(&name).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for byte in 0..bytes.len() {
            // Of text that repeats and of zeros that nobody reads, one bit in each byte is enough.
            let plain = byte >= used || (bytes[byte] == b'm' && bytes[byte - 1] == b'm');
            let empty = (1024 + 48..RECORDS_START).contains(&byte);
            for bit in 0..if plain || empty { 1 } else { 8 } {
                let mut bytes = bytes.clone();
                bytes[byte] ^= 1 << ((bit + byte) % 8);
                let disk = with(&disk, &name, bytes);
                let context = format!("{name} byte {byte} bit {bit}");
                match expect_all_or_damage(&disk, &options, &state, &context) {
                    true => whole += 1,
                    false => refused += 1,
                }
                if (RECORDS_START..used).contains(&byte) {
                    assert!(refused > 0);
                }
            }
        }
    }
    assert!(whole > 0 && refused > 1_000, "{whole} whole, {refused} refused");
}

#[test]
fn no_zeroed_or_misplaced_sector_of_a_closed_store_is_a_silent_loss() {
    for seed in [4, 5] {
        let (disk, options, state) = closed_store(seed, 30);
        let (other_disk, _, _) = closed_store(seed + 100, 30);
        let names = segments(&disk);
        let mut sources = vec![vec![0; SECTOR], vec![0xff; SECTOR]];
        for disk in [&disk, &other_disk] {
            for name in segments(disk) {
                let bytes = disk.contents(&name).unwrap();
                sources.extend(bytes.chunks(SECTOR).map(<[u8]>::to_vec));
            }
        }
        sources.sort();
        sources.dedup();
        for name in &names {
            let bytes = disk.contents(name).unwrap();
            for at in (0..bytes.len()).step_by(SECTOR) {
                for (i, source) in sources.iter().enumerate() {
                    let mut bytes = bytes.clone();
                    // The last sector of a snapshot may be a short one.
                    let len = source.len().min(bytes.len() - at);
                    bytes[at..at + len].copy_from_slice(&source[..len]);
                    let context = format!("{name} sector at {at} from {i}");
                    let disk = with(&disk, name, bytes);
                    expect_all_or_damage(&disk, &options, &state, &context);
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_is_damage_whenever_its_store_died() {
    for seed in 400..440 {
        let (disk, options, _) = closed_store(seed, 50);
        for name in segments(&disk) {
            let missing = disk.deep_clone();
            missing.delete(&name);
            let opened = open(&missing, &options);
            assert!(opened.is_err_and(|error| error.is_corruption()), "seed {seed}: {name}");
        }
    }
}

#[test]
fn a_file_that_ends_with_its_header_is_a_segment_that_was_cut() {
    let (disk, options) = (SimDisk::new(), options(1));
    drop(options.open_in(disk.dir()).unwrap());
    let bytes = disk.contents(FIRST).unwrap();
    for (len, kind) in [(63, ErrorKind::NotAStore), (64, ErrorKind::Corrupt)] {
        let alone = SimDisk::new();
        alone.put(FIRST, &bytes[..len]);
        assert_eq!(open(&alone, &options).unwrap_err().kind(), kind, "{len} bytes");
    }
}

#[test]
fn a_snapshot_of_another_length_or_kind_is_refused_at_its_header() {
    let (disk, options) = (SimDisk::new(), options(1));
    let store = options.open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let file = |end: &str| disk.files().into_iter().find(|name| name.ends_with(end)).unwrap();
    let name = file(".snapshot");
    let bytes = disk.contents(&name).unwrap();
    let mut longer = bytes.clone();
    longer.resize(bytes.len() + 4096, 0);
    let segment = disk.contents(&file(".log")).unwrap();
    for other in [longer, bytes[..4096].to_vec(), bytes[..100].to_vec(), segment] {
        let error = open(&with(&disk, &name, other), &options).map(|_| ()).unwrap_err();
        assert!(error.is_corruption() && error.path().unwrap().ends_with(&name), "{error}");
        assert_eq!(error.position(), Some(0), "{error}");
    }
}

#[test]
fn missing_exchanged_cut_and_foreign_files_are_refused_by_name() {
    let (disk, options, state) = closed_store(6, 60);
    let (other, _, _) = closed_store(7, 60);
    // A fork of the same store that went on differently.
    let fork = disk.deep_clone();
    let mut player = Player::new(fork, options.clone());
    let mut steps = history(66, 40);
    steps.retain(|step| !matches!(step, Step::Compact));
    player.play(&steps).unwrap();
    player.store.take().unwrap().close().unwrap();
    let fork = player.disk;
    let names = segments(&disk);
    assert!(names.len() >= 3, "{names:?}");
    let refused = |disk: &SimDisk, context: &str| {
        let error = open(disk, &options).map(|_| ()).unwrap_err();
        assert!(error.is_corruption(), "{context}: {error}");
        error
    };
    for name in &names {
        let bytes = disk.contents(name).unwrap();
        for len in [0, 1, 100, 4096, 5000, bytes.len() - 1] {
            let error = refused(&with(&disk, name, bytes[..len].to_vec()), "cut");
            assert!(error.path().unwrap().ends_with(name), "{error}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        refused(&with(&disk, name, longer), "extended");
        for foreign in segments(&other) {
            refused(&with(&disk, name, other.contents(&foreign).unwrap()), "of another store");
        }
        for other in names.iter().filter(|other| *other != name) {
            refused(&with(&disk, name, disk.contents(other).unwrap()), "exchanged");
        }
        let text = b"These are notes and no segment. ".repeat(bytes.len() / 32);
        let error = refused(&with(&disk, name, text.clone()), "foreign");
        assert!(error.path().unwrap().ends_with(name), "{error}");
        let alone = SimDisk::new();
        alone.put(name, text);
        let error = open(&alone, &options).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
        assert!(error.path().unwrap().ends_with(name), "{error}");
        let mut future = bytes.clone();
        future[8] = 2;
        let checksum = crc32fast::hash(&future[..60]);
        future[60..64].copy_from_slice(&checksum.to_le_bytes());
        let error = open(&with(&disk, name, future), &options).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
    }
    // The segment that the fork went on in has another end now, and the same name and salt.
    let last = names.last().unwrap();
    let behind = segments(&fork).into_iter().find(|name| name > last).unwrap();
    let mixed = with(&disk, &behind, fork.contents(&behind).unwrap());
    refused(&mixed, "the end of a fork");
    let mixed = with(&fork, last, disk.contents(last).unwrap());
    refused(&mixed, "the middle of a fork");
    let empty = disk.deep_clone();
    for name in &names {
        empty.delete(name);
    }
    refused(&empty, "all segments are missing");
    // A file that is not ours is left alone.
    let guest = with(&disk, "notes.txt", b"mine".to_vec());
    assert_eq!(observe(&open(&guest, &options).unwrap()), state);
    assert_eq!(guest.contents("notes.txt").unwrap(), b"mine");
}

#[test]
fn refusing_a_store_changes_nothing() {
    let (disk, options, _) = closed_store(8, 40);
    let name = &segments(&disk)[0];
    let mut bytes = disk.contents(name).unwrap();
    bytes[RECORDS_START + 100] ^= 1;
    let disk = with(&disk, name, bytes);
    let all = |disk: &SimDisk| -> Vec<_> {
        disk.files().iter().filter(|name| *name != "LOCK").map(|n| disk.contents(n)).collect()
    };
    let before = all(&disk);
    assert!(open(&disk, &options).unwrap_err().is_corruption());
    assert_eq!(all(&disk), before);
}

#[test]
fn seqs_rise_over_crashes_and_are_never_handed_out_twice() {
    let mut lots = Lots(9);
    let mut disk = SimDisk::new();
    let options = options(9);
    let mut handed_out = 0;
    for round in 0..60 {
        let store = open(&disk, &options).unwrap();
        for i in 0..lots.below(8) {
            let key = Key::new("g", "t", i as i32);
            let receipt = store.commit(key, NextOffset(round)).unwrap();
            assert!(receipt.seq().get() > handed_out, "round {round}");
            handed_out = receipt.seq().get();
            if lots.below(5) == 0 {
                store.sync().unwrap();
            }
        }
        if lots.below(3) == 0 {
            store.close().unwrap();
        }
        disk = disk.power_cut(lots.below(5));
    }
    assert!(handed_out > 0);
}

#[test]
fn the_model_is_replayed_whatever_the_history() {
    for seed in 200..260 {
        let history = history(seed, 60);
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&history).unwrap();
        let expected = states(&history).pop().unwrap();
        assert_eq!(observe(player.store.as_ref().unwrap()), expected, "seed {seed}: in memory");
        let disk = player.disk.process_crash();
        let store = open(&disk, &player.options).unwrap();
        assert_eq!(observe(&store), expected, "seed {seed}: replayed");
    }
}

#[test]
fn a_delete_holds_where_a_topic_was_emptied_and_came_back() {
    let disk = SimDisk::new();
    let key = |partition| Key::new("g", "orders", partition);
    let store = open(&disk, &options(1)).unwrap();
    store.commit(key(0), NextOffset(1)).unwrap();
    store.compact().unwrap();
    // The state has the name of the topic, so the segment names it twice. The topic is emptied, and comes
    // back in the same batch.
    let mut batch = CommitBatch::new("g");
    batch.delete("orders", 0);
    batch.commit("orders", 1, NextOffset(2));
    batch.put_state(StateOwner::Application, "orders", 0, b"state");
    store.commit_batch(&batch).unwrap();
    store.close().unwrap();
    let store = open(&disk, &options(1)).unwrap();
    store.delete(key(1)).unwrap();
    // So much that more than one segment is behind the snapshot.
    let text = "x".repeat(1000);
    for partition in 0..20 {
        let commit = Commit::new(NextOffset(1)).metadata(&text);
        store.commit(Key::new("g", "other", partition), commit).unwrap();
    }
    store.close().unwrap();
    let logs = disk.files().iter().filter(|name| name.ends_with(".log")).count();
    assert!(logs > 1 && disk.files().iter().any(|name| name.ends_with(".snapshot")));
    let store = open(&disk, &options(1)).unwrap();
    assert_eq!((store.fetch(key(0)), store.fetch(key(1))), (None, None));
    assert_eq!(store.stats().keys, 20);
}
