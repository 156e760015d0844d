use std::os::unix::fs::MetadataExt;

use super::*;
use crate::error::ErrorKind;
use crate::io::DIRECT_ALIGN;
use crate::io::contract;

const BOTH: [WritePath; 2] = [WritePath::Mapped, WritePath::Pwrite];

fn open(path: &Path, write_path: WritePath) -> DiskDir {
    DiskDir::open(path, false, write_path).unwrap()
}

#[test]
fn the_contract_holds_on_both_write_paths() {
    for write_path in BOTH {
        contract::check_all(|test| {
            let temp = tempfile::tempdir().unwrap();
            test(&open(temp.path(), write_path));
        });
    }
}

#[test]
fn a_missing_directory_is_created_without_its_parents() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("new");
    let error = DiskDir::open(&path, false, WritePath::Auto).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore);
    assert_eq!(error.path(), Some(&*path));
    assert!(!path.exists());

    let error = DiskDir::open(&path.join("b"), true, WritePath::Auto).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(!path.exists());

    for _ in 0..2 {
        let dir = DiskDir::open(&path, true, WritePath::Auto).unwrap();
        assert_eq!(dir.path(), path);
        assert!(dir.list().unwrap().is_empty());
    }
}

#[test]
fn a_file_is_not_a_store() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    fs::write(&path, "text").unwrap();
    for create in [false, true] {
        for path in [path.clone(), path.join("below")] {
            let error = DiskDir::open(&path, create, WritePath::Auto).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
            assert_eq!(error.path(), Some(&*path));
        }
    }
    assert_eq!(fs::read(&path).unwrap(), b"text");
}

#[test]
fn only_regular_files_are_listed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), WritePath::Auto);
    fs::create_dir(temp.path().join("directory")).unwrap();
    std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    fs::write(temp.path().join::<&std::ffi::OsStr>(odd), "").unwrap();
    assert_eq!(dir.list().unwrap(), ["file"]);
    assert_eq!(dir.list().unwrap(), ["file"]);
}

#[test]
fn a_renamed_directory_is_still_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (temp.path().join("old"), temp.path().join("new"));
    let dir = DiskDir::open(&old, true, WritePath::Auto).unwrap();
    let lock = dir.lock().unwrap();
    fs::rename(&old, &new).unwrap();
    fs::create_dir(&old).unwrap();
    dir.create("a", 10).unwrap().write_at(0, b"a").unwrap();
    dir.rename("a", "b").unwrap();
    dir.create("c", 10).unwrap();
    dir.remove("c").unwrap();
    dir.sync().unwrap();
    lock.record_store(1).unwrap();
    assert_eq!(dir.open("b", Access::Read).unwrap().size(), 10);
    assert_eq!(fs::read(new.join("b")).unwrap()[0], b'a');
    assert!(new.join("LOCK").exists());
    assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
}

#[test]
fn a_write_reaches_the_file_itself_and_never_changes_its_size() {
    let temp = tempfile::tempdir().unwrap();
    for write_path in BOTH {
        let dir = open(temp.path(), write_path);
        let file = dir.create("a", 10_000).unwrap();
        file.write_at(9_998, b"ab").unwrap();
        let content = fs::read(temp.path().join("a")).unwrap();
        assert_eq!(content.len(), 10_000);
        assert_eq!(content[9_996..], *b"\0\0ab");
        // What others write is what is read, mapped or not.
        fs::File::options()
            .write(true)
            .open(temp.path().join("a"))
            .unwrap()
            .write_all_at(b"other", 5)
            .unwrap();
        let mut back = [0; 5];
        file.read_at(5, &mut back).unwrap();
        assert_eq!(back, *b"other");
    }
}

#[test]
fn a_created_file_has_all_of_its_blocks() {
    let temp = tempfile::tempdir().unwrap();
    for write_path in BOTH {
        open(temp.path(), write_path).create("a", 1 << 20).unwrap();
        let metadata = fs::metadata(temp.path().join("a")).unwrap();
        assert_eq!(metadata.len(), 1 << 20);
        assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_blocks_that_come_next_are_written_and_not_only_reserved() {
    use rustix::fs::{SeekFrom, seek};
    const MIB: u64 = 1 << 20;
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a");
    for write_path in BOTH {
        let dir = open(temp.path(), write_path);
        // What is written at the latest, if the log ends there.
        for (end, at_least) in [(0, MIB), (MIB / 2, MIB), (MIB, 3 * MIB / 2), (5 * MIB, 6 * MIB)] {
            let file = dir.create("a", 8 * MIB).unwrap();
            for position in (0..end).step_by(4096) {
                file.write_at(position, b"record").unwrap();
            }
            if end > 0 {
                file.sync_tail(end).unwrap();
            }
            drop(file);
            // Pages in the cache count as data, whatever the blocks behind them are.
            let file = File::open(&path).unwrap();
            drop_cached(&file);
            assert_eq!(seek(&file, SeekFrom::Data(0)), Ok(0));
            let written = seek(&file, SeekFrom::Hole(0)).unwrap();
            assert!(written >= at_least, "{write_path:?}, {end}: {written}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn holes_are_filled_before_a_file_is_mapped() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a");
    let sparse = File::create(&path).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"kept", 5000).unwrap();
    if !allocates(&sparse) {
        return;
    }
    let blocks = || fs::metadata(&path).unwrap().blocks() * 512;
    let dir = open(temp.path(), WritePath::Mapped);
    dir.open("a", Access::Read).unwrap();
    assert!(blocks() < 1 << 20, "reading allocates nothing");
    let file = dir.open("a", Access::Write).unwrap();
    assert!(blocks() >= 1 << 20, "{} bytes allocated", blocks());
    assert_eq!(file.size(), 1 << 20);
    file.write_at(1 << 19, b"new").unwrap();
    let content = fs::read(&path).unwrap();
    assert_eq!((&content[5000..5004], &content[1 << 19..][..3]), (&b"kept"[..], &b"new"[..]));
}

/// Whether blocks can be reserved here, tried on the first byte of a file that is not empty.
fn allocates(file: &File) -> bool {
    allocate(file, 1).unwrap()
}

#[test]
fn a_failed_creation_leaves_no_file_behind() {
    let temp = tempfile::tempdir().unwrap();
    for write_path in BOTH {
        let dir = open(temp.path(), write_path);
        dir.create("a", 10).unwrap();
        let probe = File::options().write(true).open(temp.path().join("a")).unwrap();
        // More than any file system has, and more than a file can have. Where nothing refuses this at
        // once, it would fill the machine's disk first.
        let sizes = if allocates(&probe) { [1 << 62, u64::MAX].as_slice() } else { &[] };
        for size in sizes.iter().copied() {
            dir.create("a", size).unwrap_err();
            assert!(dir.list().unwrap().is_empty());
        }
        fs::create_dir(temp.path().join("directory")).unwrap();
        dir.create("directory", 10).unwrap_err();
        fs::remove_dir(temp.path().join("directory")).unwrap();
    }
}

#[test]
fn a_file_that_was_cut_is_an_error_to_readers() {
    let temp = tempfile::tempdir().unwrap();
    for write_path in BOTH {
        let dir = open(temp.path(), write_path);
        let file = dir.create("a", 10_000).unwrap();
        File::options().write(true).open(temp.path().join("a")).unwrap().set_len(5_000).unwrap();
        let error = file.read_at(4_999, &mut [0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let again = dir.open("a", Access::Write).unwrap();
        assert_eq!(again.size(), 5_000);
        again.write_at(4_999, b"x").unwrap();
        assert!(again.write_at(5_000, b"x").is_err());
    }
}

#[test]
fn the_write_path_is_resolved_by_the_file_system() {
    let temp = tempfile::tempdir().unwrap();
    assert_ne!(open(temp.path(), WritePath::Auto).write_path(), WritePath::Auto);
    assert_eq!(open(temp.path(), WritePath::Pwrite).write_path(), WritePath::Pwrite);
    if cfg!(target_os = "linux") {
        assert_eq!(open(temp.path(), WritePath::Mapped).write_path(), WritePath::Mapped);
        // The process file system is none that anybody knows to be fit.
        assert_eq!(open(Path::new("/proc"), WritePath::Auto).write_path(), WritePath::Pwrite);
    }
}

#[test]
fn only_mapped_files_opened_for_writing_are_mapped() {
    let temp = tempfile::tempdir().unwrap();
    for write_path in BOTH {
        let dir = open(temp.path(), write_path);
        let mapped = |file: Arc<dyn SegmentFile>| !format!("{file:?}").contains("map: None");
        let expected = dir.write_path() == WritePath::Mapped;
        assert_eq!(mapped(dir.create("a", 10).unwrap()), expected);
        assert_eq!(mapped(dir.open("a", Access::Write).unwrap()), expected);
        assert!(!mapped(dir.open("a", Access::Read).unwrap()));
        assert!(!mapped(dir.create("empty", 0).unwrap()));
        assert!(!mapped(dir.open("empty", Access::Write).unwrap()));
    }
}

#[test]
fn random_numbers_differ() {
    let numbers: std::collections::HashSet<u64> = (0..100).map(|_| random_u64()).collect();
    assert_eq!(numbers.len(), 100);
}

#[test]
fn what_cannot_be_opened_or_created_says_what_was_tried() {
    let temp = tempfile::tempdir().unwrap();
    let missing = temp.path().join("missing").join("new");
    let error = DiskDir::open(&missing, true, WritePath::Auto).unwrap_err();
    assert!(error.to_string().contains("create the directory"), "{error}");
    // A link to nothing: there is no directory to open, and the name is taken.
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(temp.path().join("nowhere"), &link).unwrap();
    let error = DiskDir::open(&link, true, WritePath::Auto).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("open the directory"), "{error}");
    // A directory in the place of a file.
    let dir = open(temp.path(), WritePath::Auto);
    fs::create_dir(temp.path().join("taken")).unwrap();
    assert_eq!(dir.create("taken", 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(dir.create_growing("taken").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert!(temp.path().join("taken").is_dir());
}

#[test]
fn readers_keep_a_writer_out_and_a_writer_them() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open(temp.path(), WritePath::Auto);
    assert!(dir.exclude_writers().unwrap().is_none(), "there is no lock file yet");
    let writer = dir.lock().unwrap();
    assert_eq!(dir.exclude_writers().unwrap_err().kind(), ErrorKind::Locked);
    drop(writer);
    let (first, second) = (dir.exclude_writers().unwrap(), dir.exclude_writers().unwrap());
    assert!(first.is_some() && second.is_some());
    drop(first);
    assert_eq!(dir.lock().unwrap_err().kind(), ErrorKind::Locked);
    drop(second);
    dir.lock().unwrap();
}

#[test]
fn a_path_below_a_file_lies_nowhere() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(is_within(&temp.path().join("new"), temp.path()).unwrap());
    assert!(is_within(temp.path(), temp.path()).unwrap());
    assert!(!is_within(temp.path(), &temp.path().join("file")).unwrap());
    assert!(is_within(&file.join("below"), temp.path()).is_err());
}

#[test]
fn a_read_goes_past_the_page_cache_only_if_all_of_it_is_aligned() {
    let memory = vec![0; 4 * DIRECT_ALIGN];
    let start = memory.as_ptr().addr().wrapping_neg() % DIRECT_ALIGN;
    let aligned = |position, skip, len| cache::is_aligned(position, &memory[start + skip..][..len]);
    assert!(aligned(0, 0, DIRECT_ALIGN) && aligned(DIRECT_ALIGN as u64, 0, 2 * DIRECT_ALIGN));
    let off = DIRECT_ALIGN / 2;
    assert!(!aligned(off as u64, 0, DIRECT_ALIGN), "the position");
    assert!(!aligned(0, off, DIRECT_ALIGN), "the memory");
    assert!(!aligned(0, 0, off), "the length");
    assert!(!aligned(off as u64, off, DIRECT_ALIGN) && !aligned(off as u64, 0, off));
    assert!(!aligned(0, off, off) && !aligned(off as u64, off, off));
}

#[test]
fn what_is_read_from_the_cache_or_past_it_is_what_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3 * DIRECT_ALIGN + 700).map(|at| (at * 7 % 251) as u8).collect();
    let path = temp.path().join("a");
    let parts = [(0, bytes.len()), (1, 1), (DIRECT_ALIGN - 1, 2), (DIRECT_ALIGN, DIRECT_ALIGN)];
    for drop_first in [false, true] {
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        if drop_first {
            cache::drop_cached(&file);
        }
        let settled = open(temp.path(), WritePath::Auto).open("a", Access::Settled).unwrap();
        for (position, len) in parts.into_iter().chain([(bytes.len() - 9, 9)]) {
            let expected = &bytes[position..position + len];
            let mut read = vec![0; len];
            if cache::read_cached(&file, position as u64, &mut read) {
                assert_eq!(read, expected);
            }
            settled.read_at(position as u64, &mut read).unwrap();
            assert_eq!(read, expected);
            // Where a file system knows no such reads, it says so when it is opened.
            if let Ok(direct) = open_file(&File::open(temp.path()).unwrap(), "a", DIRECT) {
                read.fill(0);
                cache::read_direct(&direct, position as u64, &mut read).unwrap();
                assert_eq!(read, expected);
            }
        }
    }
    // Behind the end there is nothing, however little is missing.
    let file = File::open(&path).unwrap();
    assert!(!cache::read_cached(&file, bytes.len() as u64 - 1, &mut [0; 2]));
    if let Ok(direct) = open_file(&File::open(temp.path()).unwrap(), "a", DIRECT) {
        cache::read_direct(&direct, bytes.len() as u64 - 1, &mut [0; 2]).unwrap_err();
    }
}

#[cfg(target_os = "linux")]
const DIRECT: OFlags = OFlags::RDONLY.union(OFlags::DIRECT);
#[cfg(not(target_os = "linux"))]
const DIRECT: OFlags = OFlags::RDONLY;

#[test]
#[cfg(target_os = "linux")]
fn the_file_system_decides_what_is_mapped_and_read_directly() {
    let temp = tempfile::tempdir().unwrap();
    let kind = rustix::fs::fstatfs(File::open(temp.path()).unwrap()).unwrap().f_type as u32;
    let (is_disk, is_memory) = ([0xEF53, 0x5846_5342].contains(&kind), kind == 0x0102_1994);
    let dir = open(temp.path(), WritePath::Auto);
    assert_eq!(dir.write_path() == WritePath::Mapped, is_disk || is_memory);
    dir.create("a", 4096).unwrap();
    // All of it comes into the page cache.
    fs::read(temp.path().join("a")).unwrap();
    for (access, is_direct, waits) in [
        (Access::Read, is_disk, is_disk),
        (Access::Settled, is_disk, false),
        (Access::Follow, false, false),
        (Access::Write, false, false),
    ] {
        let file = dir.open("a", access).unwrap();
        file.read_at(0, &mut [0; 4096]).unwrap();
        let found = (file.is_direct(), file.has_waited());
        assert_eq!(found, (is_direct, waits), "{access:?}");
    }
}

#[test]
fn the_type_of_a_name_is_not_that_of_what_it_leads_to() {
    let temp = tempfile::tempdir().unwrap();
    let dir = File::open(temp.path()).unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
    assert_eq!(file_type(&dir, "file").unwrap(), Some(FileType::RegularFile));
    assert_eq!(file_type(&dir, "link").unwrap(), Some(FileType::Symlink));
    assert_eq!(file_type(&dir, "none").unwrap(), None);
}

#[test]
fn a_parent_may_refuse_but_not_fail() {
    use io::ErrorKind::*;
    for kind in [PermissionDenied, InvalidInput, ReadOnlyFilesystem, Unsupported] {
        assert!(is_refusal(kind));
    }
    for kind in [Other, NotFound, StorageFull, QuotaExceeded, Interrupted] {
        assert!(!is_refusal(kind));
    }
}

#[test]
fn what_is_read_directly_may_be_long_and_begin_anywhere() {
    let temp = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..700_001u32).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
    fs::write(temp.path().join("a"), &bytes).unwrap();
    let file = File::open(temp.path().join("a")).unwrap();
    for (start, end) in [(0, bytes.len()), (1, bytes.len()), (4095, 300_000), (4096, 8193), (9, 9)]
    {
        let mut into = vec![0; end - start];
        cache::read_direct(&file, start as u64, &mut into).unwrap();
        assert!(into == bytes[start..end], "from {start} to {end}");
    }
    let error = cache::read_direct(&file, 699_999, &mut [0; 3]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
