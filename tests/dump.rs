//! What a dump tells of each file of a store, against what the store shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pagemark::dump::{Body, Change, Ending, Summary, dump};
use pagemark::testkit::FixedEnvironment;
use pagemark::{
    Commit, CommitBatch, Environment, ErrorKind, Key, NextOffset, OffsetStore, StateOwner,
};

mod support;
use support::options;

/// Group, topic and partition.
type Place = (String, String, i32);

/// A value in short: its seq, and all that was committed.
type Kept = (u64, i64, Option<i32>, i64, Option<i64>, String);

/// Commits of all kinds, deletes, a snapshot and segments behind it.
fn make(path: &Path) {
    let store = options(1).open(path).unwrap();
    for i in 0..400 {
        let plain = Commit::new(NextOffset(i64::from(i))).timestamp_ms(1000 + i64::from(i));
        let full = plain.leader_epoch(i).metadata("kept with it").expire_at_ms(5000);
        let topic = if i % 2 == 0 { "even" } else { "odd" };
        store.commit(Key::new("g", topic, i % 9), plain).unwrap();
        store.commit(Key::new("g", "full", i % 5), full).unwrap();
        if i == 150 {
            store.compact().unwrap();
        }
    }
    store.delete(Key::new("g", "even", 4)).unwrap();
    store.delete_topic("g", "odd").unwrap();
    let mut batch = CommitBatch::new("other");
    batch.commit("t", 0, NextOffset(1)).commit("u", 1, NextOffset(2));
    store.commit_batch(&batch).unwrap();
    store.delete_group("other").unwrap();
    store.commit(Key::new("last", "t", 0), NextOffset(7)).unwrap();
    store.close().unwrap();
}

/// The snapshot and then the segments in order, as their names say.
fn files(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = names.filter(|path| !path.ends_with("LOCK")).collect();
    files.sort();
    files
}

/// Applies a change, as it is told, to what is known.
fn apply(known: &mut BTreeMap<Place, Kept>, seq: u64, change: &Change<'_>) {
    match *change {
        Change::Commit {
            group,
            topic,
            partition,
            offset,
            leader_epoch,
            timestamp_ms,
            expire_at_ms,
            metadata,
        } => {
            let kept = (seq, offset, leader_epoch, timestamp_ms, expire_at_ms, metadata.to_owned());
            known.insert((group.into(), topic.into(), partition), kept);
        }
        Change::Delete { group, topic, partition } => {
            known.remove(&(group.into(), topic.into(), partition));
        }
        Change::DeleteTopic { group, topic } => {
            known.retain(|(g, t, _), _| (g.as_str(), t.as_str()) != (group, topic));
        }
        ref other => panic!("{other:?}"),
    }
}

/// Dumps a file into what is known, and holds each record to its place.
fn read(path: &Path, known: &mut BTreeMap<Place, Kept>) -> Summary {
    let (mut records, mut position, mut is_sealed) = (0, 4096, false);
    let summary = dump(path, |record| {
        assert_eq!((record.position, is_sealed), (position, false), "{record:?}");
        records += 1;
        position += record.length;
        match &record.body {
            Body::Batch(changes) => {
                changes.iter().for_each(|change| apply(known, record.seq, change));
            }
            Body::Values(values) => {
                values.iter().for_each(|(seq, change)| apply(known, *seq, change));
            }
            Body::Seal { .. } => is_sealed = true,
            Body::Start { .. } | Body::Base { .. } => assert_eq!(records, 1),
            Body::Name { .. } | Body::Open { .. } => {}
            other => panic!("{other:?}"),
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.records, summary.end), (records, position));
    assert_eq!(summary.ending, if is_sealed { Ending::Sealed } else { Ending::Blank });
    assert_eq!(summary.size, fs::metadata(path).unwrap().len());
    summary
}

/// What the store itself shows.
fn shown(store: &OffsetStore) -> BTreeMap<Place, Kept> {
    let mut shown = BTreeMap::new();
    for group in store.groups() {
        for (key, value) in store.fetch_group(&group) {
            let kept = (
                value.seq().get(),
                value.offset().0,
                value.leader_epoch(),
                value.commit_timestamp_ms(),
                value.expire_at_ms(),
                value.metadata().to_owned(),
            );
            shown.insert((group.clone(), key.topic().to_owned(), key.partition()), kept);
        }
    }
    shown
}

#[test]
fn the_files_of_a_store_tell_all_that_it_shows() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path());
    let files = files(temp.path());
    assert!(files.len() > 2, "a snapshot and segments: {files:?}");
    let mut known = BTreeMap::new();
    let summaries: Vec<Summary> = files.iter().map(|path| read(path, &mut known)).collect();
    let (first, rest) = summaries.split_first().unwrap();
    assert_eq!((first.kind, first.ending), ("snapshot", Ending::Sealed));
    assert!(rest.iter().all(|s| s.kind == "segment" && s.store_id == first.store_id));
    let last = &summaries[summaries.len() - 1];
    assert_eq!((last.ending, last.marks[0].state), (Ending::Blank, "closed"));
    assert_eq!(last.marks[0].position, last.end);
    assert!(!known.is_empty());
    assert_eq!(known, shown(&options(2).open(temp.path()).unwrap()));
}

#[test]
fn what_is_no_file_of_a_store_is_told_apart_from_one_that_was_cut() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path());
    let whole = fs::read(files(temp.path()).last().unwrap()).unwrap();
    let other = temp.path().join("other");
    let kind = |bytes: &[u8]| {
        fs::write(&other, bytes).unwrap();
        dump(&other, |_| {}).map_err(|error| error.kind())
    };
    assert!(kind(&whole).is_ok());
    assert_eq!(kind(&whole[..4095]).unwrap_err(), ErrorKind::NotAStore);
    assert_eq!(kind(&[7; 4096]).unwrap_err(), ErrorKind::NotAStore);
    assert_eq!(kind(&whole[..4096]).unwrap_err(), ErrorKind::Corrupt);
    assert_eq!(kind(&[&whole[..], &[0]].concat()).unwrap_err(), ErrorKind::Corrupt);
    let broken = [&whole[..whole.len() - 1], &[1]].concat();
    assert_eq!(kind(&broken).unwrap().ending, Ending::Broken);
}

#[test]
fn a_segment_names_each_topic_and_each_name_of_a_state_once() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("store");
    let store = options(1).open(&path).unwrap();
    let now_ms = FixedEnvironment::new(1).now_ms();
    for round in 0..300 {
        // Each time one of them is new, and the others are known.
        let mut batch = CommitBatch::new("g");
        for number in round..round + 4 {
            batch.commit(&format!("topic {number}"), 0, NextOffset(round));
            batch.put_state(StateOwner::Application, &format!("name {number}"), 0, b"bytes");
        }
        store.commit_batch(&batch).unwrap();
    }
    store.close().unwrap();
    let files = files(&path);
    assert!(files.len() > 2, "{files:?}");
    for file in files {
        let mut names = Vec::new();
        dump(&file, |record| match record.body {
            Body::Name { topic, .. } => names.push(topic.to_owned()),
            Body::Start { base_timestamp_ms, .. } => assert_eq!(base_timestamp_ms, now_ms),
            _ => {}
        })
        .unwrap();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{}", file.display());
    }
}

#[test]
fn a_snapshot_has_few_records_of_which_none_is_long() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("store");
    let store = options(1).open(&path).unwrap();
    for partition in 0..5_000 {
        store.commit(Key::new("g", "t", partition), NextOffset(1)).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let mut ends = Vec::new();
    dump(&files(&path)[0], |record| match &record.body {
        Body::Values(values) => ends.push((record.position, values.len())),
        Body::Seal { .. } => ends.push((record.position, 0)),
        _ => {}
    })
    .unwrap();
    let lens: Vec<u64> = ends.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let (_, full) = lens.split_last().unwrap();
    assert_eq!(ends.iter().map(|(_, values)| values).sum::<usize>(), 5_000);
    assert!(
        full.len() > 2 && full.iter().all(|len| (32 << 10..33 << 10).contains(len)),
        "{lens:?}"
    );
}
