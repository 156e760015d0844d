//! The writer's lock on a store directory.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::{Access, Dir, DirLock};
use crate::error::{Error, Result};
use crate::sync::{Mutex, PoisonError};

/// The name of the lock file. It is created once and never deleted: a lock on a deleted file would
/// not keep out whoever creates the next one.
pub(crate) const LOCK_NAME: &str = "LOCK";

/// An exclusive lock on the file `LOCK` of a directory.
///
/// The lock belongs to the open file, not to the process: a second open in the same process is
/// refused too, and no close of an unrelated handle gives it up. The kernel frees it when the
/// process dies.
#[derive(Debug)]
pub(crate) struct DiskLock {
    file: File,
    dir: Arc<File>,
    store: Mutex<Option<u128>>,
    /// The process that took the lock, as opposed to one that it forked.
    process: u32,
}

impl DiskLock {
    /// Takes the lock in `dir`, or fails with `Locked`; `path` is for messages.
    pub(super) fn acquire(dir: &Arc<File>, path: &Path) -> Result<DiskLock> {
        let failed = |error: io::Error| Error::io("open the lock file", path, error);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(dir, LOCK_NAME, flags, Mode::from_raw_mode(0o666));
        let file = File::from(rustix::io::retry_on_intr(open).map_err(|e| failed(e.into()))?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::locked(path, holder(&file))),
            Err(TryLockError::Error(error)) => {
                return Err(Error::io("lock the lock file", path, error));
            }
        }
        let line = read_up_to(&file, 0, STORE_LINE_BYTES).map_err(failed)?;
        // What stands behind the lock is only for messages, so that a disk without room for it does
        // not keep a store closed.
        if line.len() < STORE_LINE_BYTES {
            let _ = file.write_all_at(&store_line(None), 0);
        }
        let pid = format!("pid {:010}\n", std::process::id());
        let _ = file.write_all_at(pid.as_bytes(), STORE_LINE_BYTES as u64);
        let store = Mutex::new(parse_store_line(&line));
        Ok(DiskLock { file, dir: Arc::clone(dir), store, process: std::process::id() })
    }
}

/// A lock that any number of readers may hold, and that keeps a writer out.
#[derive(Debug)]
pub(super) struct SharedLock {
    _file: File,
}

impl SharedLock {
    /// Takes the lock, or fails with `Locked`. There is none without a lock file.
    pub(super) fn acquire(dir: &Arc<File>, path: &Path) -> Result<Option<SharedLock>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(dir, LOCK_NAME, flags, Mode::empty());
        let file = match rustix::io::retry_on_intr(open) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::io("open the lock file", path, error.into())),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(SharedLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(Error::locked(path, holder(&file))),
            Err(TryLockError::Error(error)) => Err(Error::io("lock the lock file", path, error)),
        }
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // Closing the file would do, were it not for other threads of the program that start
        // processes: between fork and exec, those have the file open too. A forked process that ends
        // in order must not give up what is not its own.
        if self.process == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

impl DirLock for DiskLock {
    fn store_id(&self) -> Option<u128> {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_store(&self, id: u128) -> io::Result<()> {
        self.file.write_all_at(&store_line(Some(id)), 0)?;
        self.file.sync_all()?;
        // The lock file may be as new as the store, and a record without its name is lost.
        self.dir.sync_all()?;
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(())
    }
}

/// The first line of a lock file. Its width never changes and it has one sector to itself and the
/// process id, which is written on its own, so that no other write can tear it.
pub(super) fn store_line(id: Option<u128>) -> Vec<u8> {
    let id = id.map_or_else(|| format!("{:32}", "-"), |id| format!("{id:032x}"));
    format!("{STORE_WORDS}{id}\n").into_bytes()
}

/// The store that a lock file names. Anything that is not exactly such a line names none.
pub(super) fn parse_store_line(content: &[u8]) -> Option<u128> {
    let line = content.get(..STORE_LINE_BYTES)?;
    let id = line.strip_prefix(STORE_WORDS.as_bytes())?.strip_suffix(b"\n")?;
    // The parser of the standard library would also take a sign.
    if !id.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()
}

/// The store that the lock file of a directory names, for those who do not take the lock.
pub(crate) fn store_in(dir: &dyn Dir) -> io::Result<Option<u128>> {
    let file = match dir.open(LOCK_NAME, Access::Follow) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if file.size() < STORE_LINE_BYTES as u64 {
        return Ok(None);
    }
    let mut line = [0; STORE_LINE_BYTES];
    file.read_at(0, &mut line)?;
    Ok(parse_store_line(&line))
}

const STORE_WORDS: &str = "pagemark store ";
const STORE_LINE_BYTES: usize = STORE_WORDS.len() + 33;
const PID_LINE_BYTES: usize = 15;

/// What stands in a lock file, for those who only read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockContent {
    /// The store that it names, if any.
    pub(crate) store_id: Option<u128>,
    /// Whether its bytes are what a holder writes.
    pub(crate) is_regular: bool,
}

impl LockContent {
    /// How many bytes are enough: a byte more than it should have.
    pub(crate) const MOST: usize = STORE_LINE_BYTES + PID_LINE_BYTES + 1;

    pub(crate) fn parse(content: &[u8]) -> LockContent {
        let store_id = parse_store_line(content);
        let (line, pid) = content.split_at(STORE_LINE_BYTES.min(content.len()));
        let digits = pid.strip_prefix(b"pid ").and_then(|pid| pid.strip_suffix(b"\n"));
        // Without room for it there may be no second line.
        let pid_is_regular = pid.is_empty()
            || digits.is_some_and(|d| d.len() == 10 && d.iter().all(u8::is_ascii_digit));
        LockContent { store_id, is_regular: line == store_line(store_id) && pid_is_regular }
    }
}

/// The process id that the holder of the lock left, unless it is unreadable.
fn holder(file: &File) -> Option<u32> {
    let line = read_up_to(file, STORE_LINE_BYTES as u64, PID_LINE_BYTES).ok()?;
    let digits = line.strip_prefix(b"pid ")?.strip_suffix(b"\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|pid| *pid != 0)
}

/// Reads `len` bytes at `position`, or as many as there are.
fn read_up_to(file: &File, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::fs;

    const ID: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

    fn acquire(path: &Path) -> Result<DiskLock> {
        DiskLock::acquire(&Arc::new(File::open(path).unwrap()), path)
    }

    #[test]
    fn the_file_is_two_lines_of_text_at_fixed_places() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join(LOCK_NAME);
        let pid = std::process::id();
        let lock = acquire(temp.path()).unwrap();
        let blank = format!("pagemark store -{}\npid {pid:010}\n", " ".repeat(31));
        assert_eq!(fs::read_to_string(&file).unwrap(), blank);
        assert_eq!(lock.store_id(), None);

        lock.record_store(ID).unwrap();
        let full = format!("pagemark store 0123456789abcdef0011223344556677\npid {pid:010}\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), full);
        assert_eq!(full.len(), blank.len());
        assert_eq!(lock.store_id(), Some(ID));
        drop(lock);

        fs::write(&file, full.replace(&format!("{pid:010}"), "0000000001")).unwrap();
        let lock = acquire(temp.path()).unwrap();
        assert_eq!(lock.store_id(), Some(ID));
        assert_eq!(fs::read_to_string(&file).unwrap(), full);
    }

    #[test]
    fn the_second_lock_is_refused_and_names_the_holder() {
        let temp = tempfile::tempdir().unwrap();
        let lock = acquire(temp.path()).unwrap();
        let error = acquire(temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(error.path(), Some(temp.path()));
        assert!(error.to_string().contains(&format!("this process (pid {}", std::process::id())));

        let file = File::options().write(true).open(temp.path().join(LOCK_NAME)).unwrap();
        file.write_all_at(b"pid 0000004711\n", 48).unwrap();
        assert!(acquire(temp.path()).unwrap_err().to_string().contains("process 4711"));
        for garbage in
            [&b"pid 00000+4711\n"[..], b"pid 0000000000\n", b"\xff\xff\xff\xff 00004711\n"]
        {
            file.write_all_at(garbage, 48).unwrap();
            let error = acquire(temp.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            assert!(error.to_string().contains("another process"), "{error}");
        }
        file.set_len(50).unwrap();
        assert!(acquire(temp.path()).unwrap_err().to_string().contains("another process"));
        drop(lock);
        acquire(temp.path()).unwrap();
        assert!(temp.path().join(LOCK_NAME).exists());
    }

    #[test]
    fn programs_that_are_started_do_not_get_the_lock_file() {
        let temp = tempfile::tempdir().unwrap();
        let ends = |file: &File| {
            rustix::io::fcntl_getfd(file).unwrap().contains(rustix::io::FdFlags::CLOEXEC)
        };
        assert!(ends(&acquire(temp.path()).unwrap().file));
        let dir = Arc::new(File::open(temp.path()).unwrap());
        let shared = SharedLock::acquire(&dir, temp.path()).unwrap().unwrap();
        assert!(ends(&shared._file));
    }

    #[test]
    fn a_closed_handle_of_the_lock_file_does_not_free_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let _lock = acquire(temp.path()).unwrap();
        drop(File::open(temp.path().join(LOCK_NAME)).unwrap());
        assert_eq!(acquire(temp.path()).unwrap_err().kind(), ErrorKind::Locked);
    }

    #[test]
    fn a_line_that_is_not_exactly_one_names_no_store() {
        let good = store_line(Some(ID));
        assert_eq!(parse_store_line(&good), Some(ID));
        assert_eq!(parse_store_line(&store_line(None)), None);
        assert_eq!(parse_store_line(b""), None);
        assert_eq!(parse_store_line(&good[..47]), None);
        for at in [0, 14, 15, 46, 47] {
            let mut bad = good.clone();
            bad[at] = b'+';
            assert_eq!(parse_store_line(&bad), None, "byte {at}");
        }

        let temp = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"pagemark st", &[0xff; 200]] {
            fs::write(temp.path().join(LOCK_NAME), content).unwrap();
            let lock = acquire(temp.path()).unwrap();
            assert_eq!(lock.store_id(), None);
            lock.record_store(ID).unwrap();
            drop(lock);
            assert_eq!(acquire(temp.path()).unwrap().store_id(), Some(ID));
        }
    }

    #[test]
    fn a_lock_file_that_cannot_be_opened_is_an_io_error() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join(LOCK_NAME)).unwrap();
        let error = acquire(temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("open the lock file"), "{error}");
    }

    #[test]
    fn a_dropped_lock_is_free_although_a_copy_of_its_handle_is_open() {
        let temp = tempfile::tempdir().unwrap();
        let lock = acquire(temp.path()).unwrap();
        // As a process has it that another thread has just forked.
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        let mut lock = acquire(temp.path()).unwrap();
        // And a fork that ends gives up nothing.
        let _inherited = lock.file.try_clone().unwrap();
        lock.process += 1;
        drop(lock);
        assert_eq!(acquire(temp.path()).unwrap_err().kind(), ErrorKind::Locked);
    }

    #[test]
    fn the_store_of_a_directory_is_told_without_its_lock() {
        use crate::io::disk::DiskDir;
        use crate::options::WritePath;
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join(LOCK_NAME);
        let store = || store_in(&DiskDir::open(temp.path(), false, WritePath::Auto).unwrap());
        assert_eq!(store().unwrap(), None, "no lock file");
        let line = store_line(Some(ID));
        for (content, id) in [
            (&line[..], Some(ID)),
            ([&line[..], b"pid 0000000001\n"].concat().as_slice(), Some(ID)),
            (&line[..line.len() - 1], None),
            (&b""[..], None),
            (store_line(None).as_slice(), None),
        ] {
            fs::write(&file, content).unwrap();
            assert_eq!(store().unwrap(), id, "{content:?}");
        }
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(LOCK_NAME, &file).unwrap();
        store().unwrap_err();
    }

    #[test]
    fn what_no_holder_writes_is_irregular() {
        let (named, blank) = (store_line(Some(ID)), store_line(None));
        for (pid, is_regular) in [
            (&b""[..], true),
            (b"pid 0000004711\n", true),
            (b"pid 0000004711", false),
            (b"pid 4711\n", false),
            (b"pid 00000047110\n", false),
            (b"pid 000000471x\n", false),
            (b"pip 0000004711\n", false),
            (b"\n", false),
        ] {
            for (line, store_id) in [(&named, Some(ID)), (&blank, None)] {
                let content = LockContent::parse(&[line, pid].concat());
                assert_eq!(content, LockContent { store_id, is_regular }, "{pid:?}");
            }
            let garbage = vec![b'x'; STORE_LINE_BYTES];
            assert!(!LockContent::parse(&[&garbage, pid].concat()).is_regular);
        }
        assert!(!LockContent::parse(&named[..STORE_LINE_BYTES - 1]).is_regular);
    }
}
