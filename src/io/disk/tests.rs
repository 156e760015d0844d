use std::os::unix::fs::MetadataExt;

use super::*;
use crate::error::ErrorKind;
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
fn a_created_file_is_written_and_not_only_reserved() {
    use rustix::fs::{SeekFrom, seek};
    let temp = tempfile::tempdir().unwrap();
    for write_path in BOTH {
        open(temp.path(), write_path).create("a", 1 << 20).unwrap();
        let file = File::open(temp.path().join("a")).unwrap();
        assert_eq!(seek(&file, SeekFrom::Data(0)), Ok(0));
        assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(1 << 20));
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
