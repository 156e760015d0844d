//! Salvage: everything that can be read comes back, verdicts are right, and nothing is invented.

mod support;

#[path = "support/hooked.rs"]
mod hooked;
#[path = "salvage/report.rs"]
mod report;

use std::collections::{BTreeMap, BTreeSet};

use hooked::{Call, Hooked};
use pagemark::testkit::{Dir, Op, SimDisk, salvage_in, verify_in};
use pagemark::{
    Commit, ErrorKind, Key, NextOffset, OffsetStore, Options, SalvageReport, StateOwner, Verdict,
    salvage,
};
use support::{Player, State, Step, history, observe, options, states};

type Name = (String, String, i32);
type StateName = (String, StateOwner, String, i32);

/// A closed store of a snapshot and some segments, what it shows, and all that it ever held.
struct Original {
    disk: SimDisk,
    state: State,
    ever: BTreeMap<Name, BTreeSet<(i64, String)>>,
    states_ever: BTreeMap<StateName, BTreeSet<Vec<u8>>>,
}

fn original(seed: u64, len: usize, compacts: bool) -> Original {
    let mut steps = history(seed, len);
    steps.retain(|step| compacts || *step != Step::Compact);
    if compacts {
        steps.push(Step::Compact);
    }
    let behind = history(seed + 1000, len);
    steps.extend(behind.into_iter().filter(|step| *step != Step::Compact));
    let mut player = Player::new(SimDisk::new(), options(seed));
    for steps in steps.chunks(9) {
        player = Player::new(player.disk.process_crash(), player.options);
        player.play(steps).unwrap();
    }
    let state = observe(player.store.as_ref().unwrap());
    player.store.take().unwrap().close().unwrap();
    let mut ever: BTreeMap<Name, BTreeSet<(i64, String)>> = BTreeMap::new();
    let mut states_ever: BTreeMap<StateName, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for state in states(&steps) {
        state.states.into_iter().for_each(|(id, bytes)| {
            states_ever.entry(id).or_default().insert(bytes);
        });
        state.offsets.into_iter().for_each(|(key, value)| {
            ever.entry(key).or_default().insert(value);
        });
    }
    Original { disk: player.disk.power_cut(0), state, ever, states_ever }
}

fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    disk.files().into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

impl Original {
    /// Salvages a changed copy, and checks that what comes of it is true. Returns the report and how
    /// many keys are not as they were.
    fn check(&self, damaged: &SimDisk, context: &str) -> (SalvageReport, usize) {
        let before = contents(damaged);
        let to = SimDisk::new();
        let report = salvage_in(damaged, to.dir()).unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(contents(damaged), before, "{context}: the source was written");
        let verified = verify_in(&*to.dir()).unwrap();
        assert!(verified.is_clean() && verified.closed, "{context}: {verified:#?}");
        let saved = observe(&options(1).open_in(to.dir()).unwrap());
        let differing = self.judge(&report, &saved, context);
        (report, differing)
    }

    /// Checks that what was saved is true, and that the report says what is not there. Returns how many
    /// keys are not as they were.
    fn judge(&self, report: &SalvageReport, saved: &State, context: &str) -> usize {
        let verdict = |(group, topic, partition): &Name| {
            let is_it = |k: &&pagemark::SalvagedKey| {
                (&k.group, &k.topic, k.partition) == (group, topic, Some(*partition))
            };
            report.uncertain.iter().find(is_it).map_or(Verdict::Exact, |key| key.verdict)
        };
        let context = || format!("{context}: {report:#?}");
        for (key, value) in &saved.offsets {
            match verdict(key) {
                Verdict::Exact => {
                    assert_eq!(Some(value), self.state.offsets.get(key), "{}", context())
                }
                Verdict::PossiblyOld => {
                    assert!(self.ever[key].contains(value), "{key:?} invented: {}", context());
                }
                Verdict::Lost => panic!("{key:?} is there: {}", context()),
            }
        }
        self.judge_states(report, saved, &context);
        let (own, found) = (&self.state.offsets, &saved.offsets);
        let differing = |key: &&Name| own.get(*key) != found.get(*key);
        let all: BTreeSet<&Name> = own.keys().chain(found.keys()).collect();
        let differing = all.into_iter().filter(differing).count();
        assert!(differing == 0 || !report.gaps.is_empty() || report.bytes_skipped > 0);
        let missing = own.keys().any(|key| !found.contains_key(key));
        assert!(!missing || report.bytes_skipped > 0 || !report.gaps.is_empty(), "{}", context());
        assert_eq!(report.kept(), found.len() as u64, "{}", context());
        differing
    }

    /// Checks that each state that was saved once was what it is, and is the newest if the report
    /// says so.
    fn judge_states(&self, report: &SalvageReport, saved: &State, context: &dyn Fn() -> String) {
        let verdict = |(group, owner, name, part): &StateName| {
            let is_it = |s: &&pagemark::SalvagedState| {
                (&s.group, s.owner, &s.name, s.part) == (group, owner.number(), name, *part)
            };
            report.uncertain_states.iter().find(is_it).map_or(Verdict::Exact, |s| s.verdict)
        };
        let mut exact = 0;
        for (id, bytes) in &saved.states {
            exact += u64::from(verdict(id) == Verdict::Exact);
            match verdict(id) {
                Verdict::Exact => {
                    assert_eq!(self.state.states.get(id), Some(bytes), "{}", context())
                }
                Verdict::PossiblyOld => {
                    assert!(self.states_ever[id].contains(bytes), "{id:?} invented: {}", context());
                }
                Verdict::Lost => panic!("{id:?} is there: {}", context()),
            }
        }
        assert_eq!(exact, report.states_exact, "{}", context());
        let missing = self.state.states.keys().any(|id| !saved.states.contains_key(id));
        assert!(!missing || report.bytes_skipped > 0 || !report.gaps.is_empty(), "{}", context());
    }
}

#[test]
fn a_whole_store_comes_back_exactly() {
    for seed in 0..30 {
        let original = original(seed, 40, seed % 3 != 0);
        let (report, differing) = original.check(&original.disk, "whole");
        assert_eq!((differing, report.possibly_old, report.lost), (0, 0, 0), "{report:#?}");
        assert!(report.gaps.is_empty() && report.bytes_skipped == 0, "{report:#?}");
        assert!(report.uncertain_states.is_empty(), "{report:#?}");
        assert_eq!(report.states_exact, original.state.states.len() as u64);
    }
}

#[test]
fn a_flipped_bit_costs_no_more_than_its_record() {
    let (mut exact, mut uncertain) = (0, 0);
    for (seed, compacts) in [(4, true), (5, false)] {
        let original = original(seed, 40, compacts);
        for (name, bytes) in contents(&original.disk) {
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for byte in 0..(used + 64).min(bytes.len()) {
                let text = byte > 0 && bytes[byte] == b'm' && bytes[byte - 1] == b'm';
                if (text || (1072..4096).contains(&byte)) && byte % 16 != 0 {
                    continue;
                }
                let mut bytes = bytes.clone();
                bytes[byte] ^= 1 << (byte * 5 % 8);
                let flipped = original.disk.deep_clone();
                flipped.put(&name, bytes);
                let context = format!("{name} byte {byte}");
                let (report, differing) = original.check(&flipped, &context);
                exact += report.exact;
                uncertain += report.possibly_old;
                if byte >= 64 {
                    // A batch has at most nine changes, a delete concerns a group, and a name a topic.
                    assert!(differing <= 12, "{context}: {differing} differ: {report:#?}");
                    assert!(report.unreadable.is_empty() || name == "LOCK", "{report:#?}");
                }
            }
        }
    }
    assert!(exact > 10_000 && uncertain > 10_000, "{exact} exact, {uncertain} possibly old");
}

#[test]
fn an_operation_of_a_salvage_that_fails_once_or_for_good_invents_nothing() {
    let (mut met, mut failed) = (0, 0);
    let original = original(7, 30, true);
    let faults = Op::ALL.into_iter().flat_map(|kind| {
        [(false, false), (false, true), (true, false), (true, true)].map(|way| (kind, way))
    });
    for (kind, (lasts, is_source)) in faults {
        for n in 0.. {
            let (from, to) = (original.disk.deep_clone(), SimDisk::new());
            let disk = if is_source { &from } else { &to };
            match lasts {
                true => disk.fail_from(kind, n, std::io::ErrorKind::Other),
                false => disk.fail_nth(kind, n, std::io::ErrorKind::Other),
            }
            let before = contents(&from);
            let result = salvage_in(&from, to.dir());
            let context = format!("{kind:?} {lasts} {n} {is_source}");
            assert_eq!(contents(&from), before, "{context}: the source was written");
            if disk.failures() == 0 {
                assert_eq!(result.unwrap().exact, original.state.offsets.len() as u64, "{context}");
                break;
            }
            met += 1;
            failed += u64::from(result.is_err());
            for lot in 0..4 {
                let saved = options(1).open_in(to.power_cut(lot).dir());
                match (&result, saved.map(|store| observe(&store))) {
                    // What cannot be read is a gap, and told.
                    (Ok(report), Ok(saved)) => drop(original.judge(report, &saved, &context)),
                    // What cannot be written is an error, and a part may be there.
                    (Err(_), Ok(saved)) => saved.offsets.iter().for_each(|(key, value)| {
                        assert!(
                            original.ever[key].contains(value),
                            "{context}: {key:?} is invented"
                        );
                    }),
                    (Ok(_), Err(error)) => panic!("{context}: {error}"),
                    (Err(_), Err(_)) => {}
                }
            }
        }
    }
    println!("{met} faults");
    assert!(met > 60 && failed > 30 && failed < met, "{met} met, {failed} failed");
}

#[test]
fn missing_cut_and_zeroed_files_are_told_as_what_they_are() {
    for seed in 40..60 {
        let original = original(seed, 60, seed % 3 != 0);
        let files = contents(&original.disk);
        let alone = files.len() == 2;
        for (name, bytes) in files.iter().filter(|(name, _)| name != "LOCK" && !alone) {
            let missing = original.disk.deep_clone();
            missing.delete(name);
            let (report, _) = original.check(&missing, &format!("{name} is missing"));
            assert!(!report.gaps.is_empty(), "{name}: {report:#?}");
            for len in [0, 64, 4096, 4200, bytes.len() / 2, bytes.len() - 1] {
                let cut = original.disk.deep_clone();
                cut.put(name, bytes[..len].to_vec());
                original.check(&cut, &format!("{name} is cut at {len}"));
            }
            for sector in (4096..bytes.len()).step_by(4096) {
                let zeroed = original.disk.deep_clone();
                let mut bytes = bytes.clone();
                let end = (sector + 4096).min(bytes.len());
                bytes[sector..end].fill(0);
                zeroed.put(name, bytes);
                original.check(&zeroed, &format!("{name} is zeroed at {sector}"));
            }
        }
    }
}

#[test]
fn all_of_a_value_is_kept_and_the_source_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let store = Options::new().max_metadata_bytes(65_535).open(&from).unwrap();
    let long = "m".repeat(65_535);
    for partition in 0..300 {
        let commit = Commit::new(NextOffset(i64::MAX))
            .leader_epoch(partition)
            .metadata(&long)
            .timestamp_ms(-5 - i64::from(partition));
        store.commit_with(Key::new("g", "t", partition), commit, Default::default()).unwrap();
    }
    assert_eq!(salvage(&from, &to).unwrap_err().kind(), ErrorKind::Locked);
    store.delete(Key::new("g", "t", 7)).unwrap();
    let expected = store.fetch_group("g");
    store.close().unwrap();
    let listing = |dir: &std::path::Path| {
        let entry = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.clone(), std::fs::read(path).unwrap())
        };
        std::fs::read_dir(dir).unwrap().map(entry).collect::<BTreeMap<_, _>>()
    };
    let before = listing(&from);
    let mut last = None;
    let report = pagemark::salvage_with(&from, &to, |progress| last = Some(progress)).unwrap();
    assert_eq!((report.exact, report.uncertain.len()), (299, 0), "{report:#?}");
    assert_eq!(last.map(|p| p.done), last.map(|p| p.total));
    assert!(listing(&from) == before, "the source was changed");
    let saved = OffsetStore::open(&to).unwrap();
    for ((key, value), (saved_key, saved)) in expected.iter().zip(saved.fetch_group("g")) {
        assert_eq!(*key, saved_key);
        assert_eq!(value.offset(), saved.offset());
        assert_eq!(value.leader_epoch(), saved.leader_epoch());
        assert_eq!(value.metadata(), saved.metadata());
        assert_eq!(value.commit_timestamp_ms(), saved.commit_timestamp_ms());
    }
    assert_eq!(salvage(&from, &to).unwrap_err().kind(), ErrorKind::InvalidArgument, "not empty");
    let nowhere = dir.path().join("nowhere");
    assert_eq!(salvage(&nowhere, &to).unwrap_err().kind(), ErrorKind::NotAStore);
    let empty = SimDisk::new();
    let error = salvage_in(&empty, SimDisk::new().dir()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore);
    assert!(empty.files().is_empty() && empty.lock().is_ok());
}

#[test]
fn a_file_that_was_extended_by_far_is_read_to_its_own_end() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    let store = OffsetStore::open(&from).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(7)).unwrap();
    store.close().unwrap();
    let first = from.join("00000000000000000001.log");
    let file = std::fs::OpenOptions::new().write(true).open(&first).unwrap();
    // More than there is memory for, and no block of it is real.
    file.set_len(1 << 42).unwrap();
    let inside = from.join("to");
    assert_eq!(salvage(&from, &inside).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(!inside.exists(), "the source is not written to");
    let report = salvage(&from, &to).unwrap();
    assert_eq!((report.exact, report.bytes_skipped), (1, (1 << 42) - (64 << 10)));
    let found = OffsetStore::open(&to).unwrap().fetch(Key::new("g", "t", 0)).unwrap();
    assert_eq!(found.offset(), NextOffset(7));
}

#[test]
fn a_length_that_no_memory_has_room_for_is_an_error() {
    const LEN: u64 = 1 << 62;
    let disk = original(1, 40, true).disk;
    let name = disk.files().into_iter().find(|name| name.ends_with(".snapshot")).unwrap();
    let mut bytes = disk.contents(&name).unwrap();
    bytes[40..48].copy_from_slice(&LEN.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    disk.put(&name, bytes);
    let long = name.clone();
    let from = Hooked::new(disk.dir(), move |call| match call {
        Call::Size(name, size) if name == long => *size = LEN,
        _ => {}
    });
    let to = SimDisk::new();
    let error = salvage_in(&*from, to.dir()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.path().unwrap().ends_with(&name) && to.files().is_empty(), "{error}");
}
