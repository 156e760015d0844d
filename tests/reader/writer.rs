//! A process that commits and compacts as fast as it can, and another one that reads meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use pagemark::dump::Change;
use pagemark::{
    Commit, CommitBatch, Durability, ErrorKind, Key, NextOffset, OffsetReader, OffsetStore,
    Options, WritePath,
};

const VARIABLE: &str = "PAGEMARK_TEST_WRITER";
/// Commits of one writer; the variable asks for more, for a run of minutes.
const COMMITS: i64 = 4_000;
const COMMITS_VARIABLE: &str = "PAGEMARK_TEST_COMMITS";
/// After so many it deletes the group `gone` for good.
const DELETED_AT: i64 = 1_500;
const GROUPS: [&str; 3] = ["billing", "gone", "größe"];

fn options(write_path: WritePath) -> Options {
    Options::new().segment_size(16 << 10).durability(Durability::Buffered).write_path(write_path)
}

/// The text that goes with an offset of a key, so that no other is taken for it.
fn metadata(group: &str, partition: i32, offset: i64) -> String {
    let filler = "+".repeat((offset % 5 * 60) as usize);
    format!("{group}/{partition}@{offset}{filler}")
}

/// Not a test of its own: what the writing process runs.
#[test]
fn the_writer_of_the_other_tests() {
    let Ok(orders) = std::env::var(VARIABLE) else { return };
    let (pwrite, dir) = orders.split_once(' ').unwrap();
    let options = options(if pwrite == "true" { WritePath::Pwrite } else { WritePath::Auto });
    let mut store = options.open(dir).unwrap();
    let commits = std::env::var(COMMITS_VARIABLE).map_or(COMMITS, |text| text.parse().unwrap());
    for offset in 1..=commits {
        let group = GROUPS[(offset % 3) as usize];
        if group != "gone" || offset < DELETED_AT {
            let partition = (offset / 3 % 5) as i32;
            let text = metadata(group, partition, offset);
            let commit = Commit::new(NextOffset(offset)).metadata(&text);
            store.commit(Key::new(group, "t", partition), commit).unwrap();
        } else {
            store.delete_group(group).unwrap();
        }
        if offset % 10 == 0 {
            let mut pair = CommitBatch::new("pair");
            for partition in [0, 1] {
                let text = metadata("pair", partition, offset);
                pair.commit("t", partition, Commit::new(NextOffset(offset)).metadata(&text));
            }
            store.commit_batch(&pair).unwrap();
        }
        if offset % 40 == 0 {
            store.compact().unwrap();
        }
        if offset % 1_000 == 0 {
            store.close().unwrap();
            store = options.open(dir).unwrap();
        }
    }
    store.close().unwrap();
}

/// What one thread has seen of each key.
#[derive(Default)]
struct Seen {
    offsets: BTreeMap<(String, i32), i64>,
    /// Keys that were deleted.
    gone: BTreeSet<(String, i32)>,
}

impl Seen {
    fn look(&mut self, reader: &OffsetReader) {
        for group in GROUPS.into_iter().chain(["pair"]) {
            let mut missing: BTreeSet<_> =
                self.offsets.keys().filter(|key| key.0 == group).cloned().collect();
            for (key, value) in reader.fetch_group(group) {
                let (partition, offset) = (key.partition(), value.offset().0);
                assert_eq!(value.metadata(), metadata(group, partition, offset));
                let key = (group.to_owned(), partition);
                assert!(!self.gone.contains(&key), "the deleted {key:?} is back");
                missing.remove(&key);
                let before = self.offsets.insert(key, offset);
                assert!(before <= Some(offset), "{group} {partition}: {before:?}, then {offset}");
            }
            assert!(group == "gone" || missing.is_empty(), "{missing:?} was lost");
            self.gone.append(&mut missing);
        }
    }
}

fn read_while_somebody_writes(pwrite: bool) {
    let temp = tempfile::tempdir().unwrap();
    let dir: PathBuf = temp.path().join("store");
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer::the_writer_of_the_other_tests"])
        .env(VARIABLE, format!("{pwrite} {}", dir.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut ended = None;
    let reader = loop {
        match OffsetReader::open(&dir) {
            Ok(reader) => break reader,
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}"),
        }
        assert!(ended.is_none(), "the writer ended and left no store");
        ended = writer.try_wait().unwrap();
    };
    let done = AtomicBool::new(false);
    let late = OffsetReader::open(&dir).unwrap();
    let (mut refreshes, mut restarts, mut late_restarts) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut seen, mut late_seen) = (Seen::default(), Seen::default());
            while !done.load(Ordering::Relaxed) {
                seen.look(&reader);
                late_seen.look(&late);
            }
        });
        // The other thread ends also if this one panics.
        let _guard = Guard(&done);
        let (mut seen, mut late_seen, mut newest) = (Seen::default(), Seen::default(), 0);
        while ended.is_none() {
            ended = writer.try_wait().unwrap();
            let refreshed = reader.refresh_with(|_, change| {
                if let Change::Commit { offset, .. } = *change {
                    assert!(offset >= newest, "{offset} after {newest}");
                    newest = offset;
                }
            });
            refreshes += 1;
            restarts += u32::from(refreshed.unwrap().restarted);
            seen.look(&reader);
            let pair = reader.fetch_group("pair");
            assert!(pair.windows(2).all(|pair| pair[0].1.offset() == pair[1].1.offset()));
            if refreshes % 8 == 0 {
                OffsetReader::open(&dir).unwrap();
            }
            if refreshes % 200 == 0 {
                late_restarts += u32::from(late.refresh().unwrap().restarted);
                late_seen.look(&late);
            }
        }
    });
    assert!(ended.unwrap().success());
    println!(
        "{refreshes} refreshes, {restarts} started over, {late_restarts} of those that came late"
    );
    agree(&late, &dir);
    agree(&reader, &dir);
}

struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The next writer shows what the reader shows.
fn agree(reader: &OffsetReader, dir: &Path) {
    reader.refresh().unwrap();
    let store = OffsetStore::open(dir).unwrap();
    assert_eq!(reader.groups(), ["billing", "größe", "pair"]);
    assert_eq!(reader.groups(), store.groups());
    for group in reader.groups() {
        assert_eq!(reader.fetch_group(&group), store.fetch_group(&group));
    }
}

#[test]
fn a_reader_keeps_up_with_a_process_that_writes_through_a_mapping() {
    read_while_somebody_writes(false);
}

#[test]
fn a_reader_keeps_up_with_a_process_that_writes_by_calls() {
    read_while_somebody_writes(true);
}

#[test]
fn a_directory_that_may_only_be_read_is_enough_and_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let store = options(WritePath::Auto).open(temp.path()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(7)).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let files = || {
        let files = std::fs::read_dir(temp.path()).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (std::fs::read(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    let before = files();
    before.iter().for_each(|(_, file)| chmod(file, 0o444));
    chmod(temp.path(), 0o555);
    let reader = OffsetReader::open(temp.path()).unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.fetch(Key::new("g", "t", 0)).unwrap().offset(), NextOffset(7));
    assert!(reader.fetch(Key::new("g", "t", 0)).unwrap().is_durable());
    chmod(temp.path(), 0o755);
    assert_eq!(files(), before);
    let missing = OffsetReader::open(temp.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotAStore);
    assert!(!temp.path().join("missing").exists());
}
