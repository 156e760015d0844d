//! What every [`Dir`] has to keep, as tests that each implementation runs.

use std::io::ErrorKind::{NotFound, UnexpectedEof};
use std::sync::Arc;

use super::lock::store_in;
use super::{Access, DIRECT_ALIGN, Dir, SegmentFile};
use crate::error::ErrorKind;

/// Runs all of them, each in a directory of its own.
pub(super) fn check_all(with_dir: impl FnMut(Test)) {
    const TESTS: [Test; 13] = [
        a_created_file_is_zeros_of_its_size,
        a_replaced_file_lives_on_in_its_handles,
        what_is_written_is_read,
        a_write_past_the_end_is_an_error_and_writes_nothing,
        a_read_past_the_end_is_an_error,
        a_file_opened_for_reading_cannot_be_written,
        a_file_opened_for_writing_can_be_written,
        a_growing_file_has_what_was_appended,
        a_rename_replaces_its_target,
        a_removed_file_lives_on_in_its_handles,
        all_names_are_listed,
        one_lock_at_a_time,
        threads_write_and_sync_side_by_side,
    ];
    TESTS.into_iter().for_each(with_dir);
}

/// One test; it gets a directory that is empty.
pub(super) type Test = fn(&dyn Dir);

fn bytes_of(file: &dyn SegmentFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; file.size() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// As many bytes from the start as can be read to an aligned place at once.
fn aligned_bytes_of(file: &dyn SegmentFile) -> Vec<u8> {
    let len = file.size() as usize / DIRECT_ALIGN * DIRECT_ALIGN;
    let mut bytes = vec![0xEE; len + DIRECT_ALIGN];
    let at = bytes.as_ptr().addr().wrapping_neg() % DIRECT_ALIGN;
    file.read_at(0, &mut bytes[at..at + len]).unwrap();
    bytes[at..at + len].to_vec()
}

fn bytes_in(dir: &dyn Dir, name: &str) -> Vec<u8> {
    bytes_of(&*dir.open(name, Access::Read).unwrap())
}

fn sorted(dir: &dyn Dir) -> Vec<String> {
    let mut names = dir.list().unwrap();
    names.sort();
    names
}

fn a_created_file_is_zeros_of_its_size(dir: &dyn Dir) {
    for size in [0, 1, 511, 4096, 4097, 20_000] {
        let file = dir.create("a", size).unwrap();
        assert_eq!(file.size(), size);
        assert_eq!(bytes_of(&*file), vec![0; size as usize]);
        file.write_at(size, b"").unwrap();
        file.sync().unwrap();
        for access in [Access::Read, Access::Read, Access::Write] {
            let file = dir.open("a", access).unwrap();
            assert_eq!(file.size(), size);
            assert_eq!(bytes_of(&*file), vec![0; size as usize]);
            file.sync().unwrap();
        }
    }
    dir.sync().unwrap();
}

fn a_replaced_file_lives_on_in_its_handles(dir: &dyn Dir) {
    let old = dir.create("a", 9000).unwrap();
    let reader = dir.open("a", Access::Read).unwrap();
    old.write_at(8990, b"old").unwrap();
    let new = dir.create("a", 10).unwrap();
    assert_eq!(new.size(), 10);
    old.write_at(5000, b"still").unwrap();
    old.sync().unwrap();
    assert_eq!(bytes_of(&*reader)[8990..8993], *b"old");
    assert_eq!(bytes_of(&*reader)[5000..5005], *b"still");
    assert_eq!(bytes_in(dir, "a"), [0; 10]);
    assert_eq!(sorted(dir), ["a"]);
}

fn what_is_written_is_read(dir: &dyn Dir) {
    let size = 3 * 4096 + 100;
    let file = dir.create("a", size).unwrap();
    let reader = dir.open("a", Access::Follow).unwrap();
    let once = dir.open("a", Access::Read).unwrap();
    let cached = dir.open("a", Access::Settled).unwrap();
    let mut expected = vec![0; size as usize];
    let writes = [(0, 1), (4090, 12), (511, 2), (8192, 4096), (size - 1, 1), (size - 200, 200)];
    for (fill, (position, len)) in (1..).zip(writes) {
        let bytes = vec![fill; len];
        file.write_at(position, &bytes).unwrap();
        expected[position as usize..][..len].copy_from_slice(&bytes);
        assert_eq!(bytes_of(&*file), expected);
        assert_eq!(bytes_of(&*reader), expected);
        for file in [&once, &cached] {
            assert_eq!(bytes_of(&**file), expected);
            assert_eq!(aligned_bytes_of(&**file), expected[..3 * DIRECT_ALIGN]);
        }
        let mut part = vec![0; len];
        reader.read_at(position, &mut part).unwrap();
        assert_eq!(part, bytes);
    }
    file.sync().unwrap();
    dir.sync().unwrap();
    drop((file, reader, once, cached));
    assert_eq!(bytes_in(dir, "a"), expected);
    let once = dir.open("a", Access::Read).unwrap();
    assert_eq!(aligned_bytes_of(&*once), expected[..3 * DIRECT_ALIGN]);
}

fn a_write_past_the_end_is_an_error_and_writes_nothing(dir: &dyn Dir) {
    let created = dir.create("a", 1000).unwrap();
    let opened = dir.open("a", Access::Write).unwrap();
    for file in [created, opened] {
        for (position, len) in [(999, 2), (1000, 1), (0, 1001), (u64::MAX, 1), (u64::MAX - 1, 2)] {
            let error = file.write_at(position, &vec![1; len]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
        assert!(file.write_at(1001, b"").is_err());
    }
    assert_eq!(bytes_in(dir, "a"), vec![0; 1000]);
}

fn a_read_past_the_end_is_an_error(dir: &dyn Dir) {
    let file = dir.create("a", 1000).unwrap();
    for (position, len) in [(999, 2), (1000, 1), (0, 1001), (u64::MAX, 1), (u64::MAX - 1, 2)] {
        let error = file.read_at(position, &mut vec![0; len]).unwrap_err();
        assert_eq!(error.kind(), UnexpectedEof);
    }
    file.read_at(1000, &mut []).unwrap();
}

fn a_file_opened_for_reading_cannot_be_written(dir: &dyn Dir) {
    dir.create("a", 1000).unwrap();
    for access in [Access::Read, Access::Settled, Access::Follow] {
        let file = dir.open("a", access).unwrap();
        let error = file.write_at(0, b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        file.sync().unwrap();
        assert_eq!(bytes_in(dir, "a"), vec![0; 1000]);
    }
    for access in [Access::Read, Access::Follow, Access::Write] {
        assert_eq!(dir.open("b", access).unwrap_err().kind(), NotFound);
    }
    assert_eq!(sorted(dir), ["a"]);
}

fn a_file_opened_for_writing_can_be_written(dir: &dyn Dir) {
    dir.create("a", 5000).unwrap().write_at(0, b"first").unwrap();
    let file = dir.open("a", Access::Write).unwrap();
    file.write_at(4096, b"second").unwrap();
    file.sync().unwrap();
    drop(file);
    let bytes = bytes_in(dir, "a");
    assert_eq!(bytes.len(), 5000);
    assert_eq!((&bytes[..5], &bytes[4096..4102]), (&b"first"[..], &b"second"[..]));
}

fn a_growing_file_has_what_was_appended(dir: &dyn Dir) {
    let replaced = dir.create("a", 100).unwrap();
    let mut file = dir.create_growing("a").unwrap();
    assert!(bytes_in(dir, "a").is_empty());
    let mut expected = Vec::new();
    for (fill, len) in (1..).zip([3, 509, 1, 511, 0, 4096, 70_000]) {
        file.append(&vec![fill; len]).unwrap();
        expected.resize(expected.len() + len, fill);
        assert_eq!(bytes_in(dir, "a"), expected);
    }
    expected[..5].copy_from_slice(b"first");
    file.replace_head(b"first").unwrap();
    file.sync().unwrap();
    assert!(file.replace_head(&vec![0; expected.len() + 1]).is_err());
    dir.rename("a", "b").unwrap();
    file.append(b"last").unwrap();
    expected.extend_from_slice(b"last");
    assert_eq!(bytes_in(dir, "b"), expected);
    assert_eq!(bytes_of(&*replaced), [0; 100]);
}

fn a_rename_replaces_its_target(dir: &dyn Dir) {
    let a = dir.create("a", 10).unwrap();
    let b = dir.create("b", 20).unwrap();
    b.write_at(0, b"b").unwrap();
    dir.rename("a", "b").unwrap();
    dir.sync().unwrap();
    assert_eq!(sorted(dir), ["b"]);
    a.write_at(0, b"a").unwrap();
    assert_eq!(bytes_in(dir, "b"), *b"a\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes_of(&*b)[0], b'b');
    assert_eq!(dir.rename("a", "c").unwrap_err().kind(), NotFound);
    dir.rename("b", "b").unwrap();
    assert_eq!(sorted(dir), ["b"]);
}

fn a_removed_file_lives_on_in_its_handles(dir: &dyn Dir) {
    let file = dir.create("a", 100).unwrap();
    dir.remove("a").unwrap();
    dir.sync().unwrap();
    assert_eq!(dir.remove("a").unwrap_err().kind(), NotFound);
    assert_eq!(dir.open("a", Access::Read).unwrap_err().kind(), NotFound);
    file.write_at(0, b"x").unwrap();
    file.sync().unwrap();
    assert_eq!(bytes_of(&*file)[0], b'x');
    assert!(dir.list().unwrap().is_empty());
}

fn all_names_are_listed(dir: &dyn Dir) {
    assert!(dir.list().unwrap().is_empty());
    let names: Vec<String> = (100..400).map(|n| format!("file-{n}")).collect();
    for name in &names {
        dir.create(name, 1).unwrap();
    }
    assert_eq!(sorted(dir), names);
}

fn one_lock_at_a_time(dir: &dyn Dir) {
    assert_eq!(store_in(dir).unwrap(), None);
    let lock = dir.lock().unwrap();
    assert_eq!(lock.store_id(), None);
    assert_eq!(store_in(dir).unwrap(), None);
    assert_eq!(sorted(dir), ["LOCK"]);
    let error = dir.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert_eq!(error.path(), Some(dir.path()));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    for id in [7, u128::MAX] {
        lock.record_store(id).unwrap();
        assert_eq!(lock.store_id(), Some(id));
        assert_eq!(store_in(dir).unwrap(), Some(id));
    }
    drop(lock);
    let lock = dir.lock().unwrap();
    assert_eq!(lock.store_id(), Some(u128::MAX));
    assert_eq!(dir.lock().unwrap_err().kind(), ErrorKind::Locked);
}

fn threads_write_and_sync_side_by_side(dir: &dyn Dir) {
    let file: Arc<dyn SegmentFile> = dir.create("a", 4 * 1000).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let file = &file;
            scope.spawn(move || {
                for at in (0..1000).step_by(50) {
                    file.write_at(u64::from(thread) * 1000 + at, &[thread + 1; 50]).unwrap();
                    let mut back = [0; 50];
                    file.read_at(u64::from(thread) * 1000 + at, &mut back).unwrap();
                    assert_eq!(back, [thread + 1; 50]);
                }
                file.sync().unwrap();
            });
        }
    });
    let expected: Vec<u8> = (1..=4).flat_map(|thread| [thread; 1000]).collect();
    assert_eq!(bytes_in(dir, "a"), expected);
}
