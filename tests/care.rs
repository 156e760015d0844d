//! Verify: what it says agrees with what opening decides, and no changed bit escapes it.

mod support;

#[path = "support/hooked.rs"]
mod hooked;
#[path = "care/places.rs"]
mod places;

use std::sync::atomic::{AtomicBool, Ordering};

use pagemark::testkit::{SimDisk, verify_in};
use pagemark::{
    Error, ErrorKind, FindingKind, Key, NextOffset, Options, Severity, VerifyReport, verify,
};
use support::{Player, Step, history, observe, options, states};

fn report(disk: &SimDisk) -> VerifyReport {
    verify_in(&*disk.dir()).unwrap()
}

/// A store of a snapshot and some segments that died now and then, and was closed in the end.
fn closed_store(seed: u64, len: usize) -> Player {
    let mut player = Player::new(SimDisk::new(), options(seed));
    let mut steps = history(seed, len);
    steps.push(Step::Compact);
    let behind = history(seed + 1000, len);
    steps.extend(behind.into_iter().filter(|step| *step != Step::Compact));
    for steps in steps.chunks(9) {
        player = Player::new(player.disk.process_crash(), player.options);
        player.play(steps).unwrap();
    }
    player.store.take().unwrap().close().unwrap();
    player.disk = player.disk.power_cut(0);
    player
}

fn has(disk: &SimDisk, end: &str) -> usize {
    disk.files().iter().filter(|name| name.ends_with(end)).count()
}

#[test]
fn verify_agrees_with_open_at_every_crash() {
    let (mut images, mut cut, mut leftover) = (0, 0, 0);
    for seed in 0..16 {
        let steps = history(seed, 16);
        let mut whole = Player::new(SimDisk::new(), options(seed));
        whole.play(&steps).unwrap();
        drop(whole.store.take());
        for stop in 0..=whole.disk.operations() {
            let mut player = Player::new(SimDisk::new(), options(seed));
            player.disk.freeze_at(stop);
            let _ = player.play(&steps);
            for lot in 0..8 {
                let disk = player.disk.power_cut(lot);
                let before = contents(&disk);
                let report = match verify_in(&*disk.dir()) {
                    Ok(report) => report,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
                        assert!(disk.files().is_empty(), "{error}");
                        continue;
                    }
                };
                assert_eq!(contents(&disk), before, "nothing is changed");
                assert!(report.is_clean(), "{seed} {stop} {lot}: {report:#?}");
                let store = player.options.open_in(disk.dir()).unwrap();
                let recovered = store.recovery_report();
                if !recovered.created {
                    assert_eq!(report.keys, store.stats().keys, "{seed} {stop} {lot}");
                    assert_eq!(report.closed, recovered.clean, "{seed} {stop} {lot}");
                }
                let found = |kind| report.findings.iter().any(|finding| finding.kind == kind);
                assert_eq!(found(FindingKind::Tail), recovered.cut.is_some(), "{report:#?}");
                let before = before.iter().map(|(name, _)| name.as_str());
                let gone = |name: &&str| !disk.files().iter().any(|file| file == name);
                let gone = before.filter(gone).filter(|name| !name.ends_with(".tmp")).count();
                assert!(gone == 0 || found(FindingKind::Leftover) || found(FindingKind::Tail));
                images += 1;
                cut += u32::from(found(FindingKind::Tail));
                leftover += u32::from(found(FindingKind::Leftover));
                // What open left is clean, too.
                assert!(self::report(&disk).is_clean());
            }
        }
    }
    assert!(images > 5_000 && cut > 100 && leftover > 10, "{images} {cut} {leftover}");
}

fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    disk.files().into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

#[test]
fn no_flipped_bit_of_any_file_escapes() {
    let player = closed_store(4, 40);
    let disk = &player.disk;
    assert!(has(disk, ".snapshot") == 1 && has(disk, ".log") >= 2, "{:?}", disk.files());
    let whole = report(disk);
    assert!(whole.is_clean() && whole.closed && whole.findings.is_empty(), "{whole:#?}");
    let state = observe(&player.options.open_in(disk.deep_clone().dir()).unwrap());
    let (mut damaged, mut noted) = (0, 0);
    for (name, bytes) in contents(disk) {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for byte in 0..bytes.len() {
            // Of text that repeats and of zeros some bits are enough.
            let text = byte > 0 && bytes[byte] == b'm' && bytes[byte - 1] == b'm';
            let plain = text || byte >= used || (1072..4096).contains(&byte);
            for bit in 0..if plain { usize::from(byte % 8 == 0) } else { 8 } {
                let mut bytes = bytes.clone();
                bytes[byte] ^= 1 << ((bit + byte / 8) % 8);
                let is_digit = bytes[byte].is_ascii_digit();
                let flipped = disk.deep_clone();
                flipped.put(&name, bytes);
                let report = report(&flipped);
                let context = format!("{name} byte {byte}: {report:#?}");
                // One digit of a process id is as good as another, and nobody relies on it.
                if report.findings.is_empty() {
                    assert!(name == "LOCK" && byte >= 52 && is_digit, "{context}");
                }
                match player.options.open_in(flipped.dir()) {
                    Ok(store) => {
                        assert_eq!(observe(&store), state, "{context}");
                        noted += 1;
                        let stray = |f: &pagemark::Finding| f.kind == FindingKind::StrayBytes;
                        assert!(report.is_clean() || report.findings.iter().any(stray));
                    }
                    Err(error) => {
                        assert!(!report.is_clean(), "{context}: {error}");
                        let same = report.findings.iter().any(|finding| {
                            finding.severity == Severity::Damage
                                && Some(finding.path.as_path()) == error.path()
                                && finding.position == error.position()
                        });
                        assert!(same, "{context}: {error}");
                        damaged += 1;
                    }
                }
            }
        }
    }
    assert!(noted > 1_000 && damaged > 10_000, "{noted} noted, {damaged} damaged");
}

#[test]
fn the_first_page_holds_a_header_and_two_marks_and_nothing_else() {
    // Where docs/format.md puts the marks, behind a header of 64 bytes.
    const MARKS: [std::ops::Range<usize>; 2] = [512..560, 1024..1072];
    let disk = closed_store(4, 20).disk;
    let name = disk.files().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    let whole = disk.contents(&name).unwrap();
    for mark in MARKS {
        assert!(whole[mark].iter().any(|byte| *byte != 0), "both marks are written");
    }
    let flipped = |places: &[usize]| {
        let mut bytes = whole.clone();
        places.iter().for_each(|at| bytes[*at] ^= 1);
        let flipped = disk.deep_clone();
        flipped.put(&name, bytes);
        let of_page = |f: &pagemark::Finding| f.path.ends_with(&name) && f.position < Some(4096);
        let findings = report(&flipped).findings.into_iter().filter(of_page);
        findings.map(|f| (f.kind, f.severity, f.position.unwrap())).collect::<Vec<_>>()
    };
    for at in [64, 65, 511, 512, 530, 559, 560, 561, 1023, 1024, 1071, 1072, 1073, 4095] {
        let expected = match MARKS.iter().find(|mark| mark.contains(&at)) {
            Some(mark) => (FindingKind::Mark, Severity::Note, mark.start as u64),
            None => (FindingKind::StrayBytes, Severity::Damage, at as u64),
        };
        assert_eq!(flipped(&[at]), [expected], "byte {at}");
    }
    assert_eq!(flipped(&[540, 1050]), [(FindingKind::Mark, Severity::Damage, 512)]);
    assert_eq!(flipped(&[]), []);
}

#[test]
fn every_damaged_file_is_named_and_not_only_the_first() {
    let player = closed_store(6, 80);
    let disk = &player.disk;
    let logs: Vec<String> =
        disk.files().into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() >= 4, "{logs:?}");
    let damaged = disk.deep_clone();
    for name in [&logs[0], &logs[2]] {
        let mut bytes = disk.contents(name).unwrap();
        bytes[4096 + 60] ^= 1;
        damaged.put(name, bytes);
    }
    let named = |report: &VerifyReport, name: &str| {
        let is_it =
            |f: &&pagemark::Finding| f.severity == Severity::Damage && f.path.ends_with(name);
        report.findings.iter().filter(is_it).count()
    };
    let found = report(&damaged);
    assert_eq!((named(&found, &logs[0]), named(&found, &logs[2])), (1, 1), "{found:#?}");
    let missing = disk.deep_clone();
    missing.delete(&logs[1]);
    assert!(!report(&missing).is_clean());
    let text = report(&missing).findings[0].to_string();
    assert!(text.starts_with("damage: simulated/") && text.contains(" at byte "), "{text}");
}

#[test]
fn directories_that_hold_no_store_or_one_that_is_gone() {
    let disk = SimDisk::new();
    let none = |error: Error| assert_eq!(error.kind(), ErrorKind::NotAStore);
    none(verify_in(&*disk.dir()).unwrap_err());
    disk.put("notes.txt", b"mine".to_vec());
    none(verify_in(&*disk.dir()).unwrap_err());
    let dir = tempfile::tempdir().unwrap();
    none(verify(dir.path().join("nowhere")).unwrap_err());
    assert!(!dir.path().join("nowhere").exists());
    none(verify(dir.path()).unwrap_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "not even a lock file");

    let player = closed_store(5, 20);
    let guest = player.disk.deep_clone();
    guest.put("notes.txt", b"mine".to_vec());
    let report = report(&guest);
    assert!(report.is_clean());
    // Random in both halves.
    let id = report.store_id.unwrap();
    assert!(id >> 64 != 0 && id << 64 != 0, "{id:032x}");
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].kind, FindingKind::Foreign);
    for name in guest.files().iter().filter(|name| *name != "LOCK" && *name != "notes.txt") {
        guest.delete(name);
    }
    assert!(!self::report(&guest).is_clean(), "all files are gone, and the lock names a store");
}

#[test]
fn a_store_that_commits_and_compacts_is_never_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Options::new().segment_size(16 << 10).open(&path).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut compactions = 0;
            for round in 0.. {
                for i in 0..200 {
                    let key = Key::new("g", ["t", "u"][i % 2], (i % 70) as i32);
                    let offset = NextOffset(round * 200 + i as i64);
                    match i % 50 {
                        0 => store.commit(key, offset).unwrap(),
                        _ => {
                            store.commit_with(key, offset, pagemark::Durability::Buffered).unwrap()
                        }
                    };
                }
                store.compact().unwrap();
                compactions += 1;
                if stop.load(Ordering::Relaxed) {
                    return compactions;
                }
            }
            compactions
        });
        let mut last = 0;
        for _ in 0..300 {
            let report = verify(&path).unwrap();
            assert!(report.is_clean(), "{:#?}", report.findings);
            assert!(report.last_seq.get() >= last, "history goes forward");
            last = report.last_seq.get();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0);
        assert!(last > 0);
    });
    let progress = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&progress);
    let report = pagemark::verify_with(&path, move |p| told.lock().unwrap().push(p)).unwrap();
    assert!(report.is_clean());
    let progress = progress.lock().unwrap();
    assert!(progress.windows(2).all(|p| p[0].done <= p[1].done && p[1].done <= p[1].total));
    let last = progress.last().unwrap();
    assert_eq!(last.done, last.total, "{last:?}");
}

#[test]
fn histories_of_all_kinds_are_clean_while_they_are_open() {
    for seed in 300..330 {
        let steps = history(seed, 40);
        let expected = states(&steps);
        let mut player = Player::new(SimDisk::new(), options(seed));
        for (step, state) in steps.iter().zip(&expected[1..]) {
            player.play(std::slice::from_ref(step)).unwrap();
            let report = report(&player.disk);
            assert!(report.is_clean(), "{seed}: {report:#?}");
            assert_eq!(report.keys, state.offsets.len() as u64, "{seed} after {step:?}");
            assert!(!report.closed || matches!(step, Step::Reopen));
        }
    }
}
