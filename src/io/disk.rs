//! The real disk: a directory of the operating system and its files.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::retry_on_intr;

use self::cache::{drop_cached, keep_small, read_cached, read_direct};
use self::growing::GrowingDiskFile;
use super::lock::{DiskLock, LOCK_NAME, SharedLock};
use super::mapped::MappedFile;
use super::{Access, Dir, DirLock, GrowingFile, SegmentFile};
use crate::error::{Error, Result};
use crate::options::WritePath;
use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::Relaxed;

/// A directory of the operating system.
///
/// All names are looked up relative to the open directory, so that a store whose directory is
/// renamed or mounted over while it is open never touches somebody else's files.
#[derive(Debug)]
pub(crate) struct DiskDir {
    path: PathBuf,
    dir: Arc<File>,
    write_path: WritePath,
}

impl DiskDir {
    /// Opens the directory `path`. If it is missing it is created, but not its parents, or the call
    /// fails with `NotAStore`, as `create` says.
    pub(crate) fn open(path: &Path, create: bool, write_path: WritePath) -> Result<DiskDir> {
        let failed = |doing, error| Error::io(doing, path, error);
        let mut created = false;
        let mut opened = open_dir(rustix::fs::CWD, path);
        if create && matches!(&opened, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            match fs::create_dir(path) {
                Ok(()) => created = true,
                // Somebody else was faster, which serves as well.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create the directory", error)),
            }
            opened = open_dir(rustix::fs::CWD, path);
        }
        let dir = match opened {
            Ok(dir) => Arc::new(dir),
            Err(error) => {
                return Err(match error.kind() {
                    io::ErrorKind::NotFound if !create => {
                        Error::not_a_store("the directory does not exist").with_path(path)
                    }
                    io::ErrorKind::NotADirectory => {
                        Error::not_a_store("this is not a directory").with_path(path)
                    }
                    _ => failed("open the directory", error),
                });
            }
        };
        if create {
            sync_parent(&dir, created).map_err(|e| failed("sync the parent directory", e))?;
        }
        let write_path = resolve(write_path, &dir);
        Ok(DiskDir { path: path.to_owned(), dir, write_path })
    }

    /// How files are written: [`WritePath::Mapped`] or [`WritePath::Pwrite`], never `Auto`.
    pub(crate) fn write_path(&self) -> WritePath {
        self.write_path
    }
}

impl Dir for DiskDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        Ok(Box::new(DiskLock::acquire(&self.dir, &self.path)?))
    }

    fn exclude_writers(&self) -> Result<Option<Box<dyn std::fmt::Debug>>> {
        let shared = SharedLock::acquire(&self.dir, &self.path)?;
        Ok(shared.map(|lock| Box::new(lock) as Box<dyn std::fmt::Debug>))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in retry_on_intr(|| rustix::fs::Dir::read_from(&self.dir))? {
            let entry = entry?;
            // No file of a store has a name that is not UTF-8, so it is one of somebody else.
            let Ok(name) = entry.file_name().to_str() else { continue };
            let kind = match entry.file_type() {
                FileType::Unknown => file_type(&self.dir, name)?,
                known => Some(known),
            };
            if kind == Some(FileType::RegularFile) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        // A file of that name may be open and mapped. Cutting it to zero would turn the next store
        // into that mapping into a signal, so it keeps its bytes and only loses its name.
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open_file(&self.dir, name, flags)?;
        match prepare(file, size, self.write_path()) {
            Ok(file) => Ok(Arc::new(file)),
            Err(error) => {
                // The first error is the one that says what happened.
                let _ = self.remove(name);
                Err(error)
            }
        }
    }

    fn create_growing(&self, name: &str) -> io::Result<Box<dyn GrowingFile>> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(Box::new(GrowingDiskFile::new(open_file(&self.dir, name, flags)?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>> {
        let flags = match access {
            Access::Read | Access::Settled | Access::Follow => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        let file = open_file(&self.dir, name, flags)?;
        let direct = match access {
            Access::Read | Access::Settled => open_direct(&self.dir, name),
            Access::Follow | Access::Write => None,
        };
        let size = file.metadata()?.len();
        // Pages whose write-back failed before the file was opened stay in the page cache, look
        // clean, and hold bytes that the device does not have. They are dropped or gone past, so that
        // what is read is what the device holds. Nothing that is still to be written is lost by this.
        if access == Access::Write || (access == Access::Read && direct.is_none()) {
            drop_cached(&file);
        }
        if matches!(access, Access::Follow | Access::Write) {
            keep_small(&file);
        }
        let wants_map =
            access == Access::Write && self.write_path() == WritePath::Mapped && size > 0;
        let map = if wants_map && blocks::own(&file, size)? {
            Some(MappedFile::map(&file, size)?)
        } else {
            None
        };
        let may_be_cached = access == Access::Settled && direct.is_some();
        let misses_left = AtomicU32::new(if may_be_cached { MISSES } else { 0 });
        Ok(Arc::new(DiskFile { file, direct, misses_left, size, access, map }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.dir, from, &self.dir, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()))?)
    }

    fn sync(&self) -> io::Result<()> {
        self.dir.sync_all()
    }
}

/// Whether a directory is another or lies in it. `inner` need not exist, its parent must.
pub(crate) fn is_within(inner: &Path, outer: &Path) -> io::Result<bool> {
    let inner = match fs::canonicalize(inner) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = inner.parent().filter(|parent| !parent.as_os_str().is_empty());
            fs::canonicalize(parent.unwrap_or(Path::new(".")))?
        }
        found => found?,
    };
    Ok(inner.starts_with(fs::canonicalize(outer)?))
}

/// A random number from the operating system.
pub(crate) fn random_u64() -> u64 {
    system_random().unwrap_or_else(|| {
        // The standard library seeds its hash maps from the system in its own way and never fails.
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    })
}

/// After so many pieces of which something was not in the page cache no more is looked for there: asking
/// costs time, and makes the kernel read ahead.
const MISSES: u32 = 16;

/// An open file.
#[derive(Debug)]
struct DiskFile {
    file: File,
    /// The same file, to be read past the page cache: its pages would be read once and thrown away,
    /// and taking new memory for them costs more than all that is done with the bytes.
    direct: Option<File>,
    /// How often yet what could be read directly is looked for in the page cache and need not be there.
    misses_left: AtomicU32,
    size: u64,
    access: Access,
    map: Option<MappedFile>,
}

impl SegmentFile for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    fn has_waited(&self) -> bool {
        self.is_direct() && self.misses_left.load(Relaxed) < MISSES
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        if !fits(self.size, position, into.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let misses_left = self.misses_left.load(Relaxed);
        if misses_left > 0 {
            if read_cached(&self.file, position, into) {
                return Ok(());
            }
            self.misses_left.store(misses_left - 1, Relaxed);
        }
        if let Some(direct) = &self.direct {
            match read_direct(direct, position, into) {
                // The device has larger blocks than that.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                other => return other,
            }
            if self.access == Access::Read {
                drop_cached(&self.file);
            }
        }
        // Never through the mapping: see there.
        self.file.read_exact_at(into, position)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        if self.access != Access::Write {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !fits(self.size, position, bytes.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match &self.map {
            Some(map) => map.write_at(position, bytes),
            None => self.file.write_all_at(bytes, position),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(map) = &self.map {
            map.release();
        }
        // An error of an earlier write-back is told once to each open file, so all of them are asked
        // for on the one through which the bytes were written.
        self.file.sync_data()
    }

    fn sync_tail(&self, end: u64) -> io::Result<()> {
        if let Some(map) = &self.map {
            // If that fails, each new page costs its first flush some time.
            map.zero_ahead(end);
        }
        self.sync()
    }
}

/// Whether `len` bytes at `position` lie within `size` bytes.
pub(super) fn fits(size: u64, position: u64, len: usize) -> bool {
    position <= size && len as u64 <= size - position
}

/// Gives a new, empty file its blocks and its size, both durable.
fn prepare(file: File, size: u64, write_path: WritePath) -> io::Result<DiskFile> {
    let map = blocks::fill(&file, size, write_path == WritePath::Mapped)?;
    let misses_left = AtomicU32::new(0);
    Ok(DiskFile { file, direct: None, misses_left, size, access: Access::Write, map })
}

fn open_dir(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg + Copy) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(retry_on_intr(|| rustix::fs::openat(&at, path, flags, Mode::empty()))?))
}

fn open_file(dir: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    Ok(File::from(retry_on_intr(|| rustix::fs::openat(dir, name, flags, mode))?))
}

/// Makes the name of a directory durable, unless an earlier open has done so.
///
/// The lock file is created after this, so where it exists there is nothing left to do. Where it
/// does not, the directory may be new, and a store in a directory that is gone is gone too.
fn sync_parent(dir: &File, created: bool) -> io::Result<()> {
    if file_type(dir, LOCK_NAME)?.is_some() {
        return Ok(());
    }
    match open_dir(dir, "..").and_then(|parent| parent.sync_all()) {
        // Whoever made this directory saw to its name: the parent is closed to us, or it is the
        // mount point of something that knows no sync.
        Err(error) if !created && is_refusal(error.kind()) => Ok(()),
        other => other,
    }
}

fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, PermissionDenied | InvalidInput | ReadOnlyFilesystem | Unsupported)
}

/// The type of the file `name`, if there is one.
fn file_type(dir: &File, name: &str) -> io::Result<Option<FileType>> {
    match retry_on_intr(|| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
use linux::{allocate, open_direct, resolve, system_random, unshare};
#[cfg(not(target_os = "linux"))]
use portable::{allocate, open_direct, resolve, system_random, unshare};

/// What Linux offers beyond POSIX.
#[cfg(target_os = "linux")]
mod linux {
    use super::{File, OFlags, WritePath, io, open_file, retry_on_intr};
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;

    /// Chooses by the file system. Only those are mapped of which it is known that an allocated
    /// block can be written again without room for another one, and that a mapping shows what was
    /// written by a call. That leaves out btrfs, ZFS, bcachefs and f2fs (which write elsewhere),
    /// overlay (which copies up), and FUSE and network file systems.
    pub(super) fn resolve(write_path: WritePath, dir: &File) -> WritePath {
        if write_path != WritePath::Auto {
            return write_path;
        }
        match file_system(dir) {
            Some(EXT | XFS | TMPFS) => WritePath::Mapped,
            _ => WritePath::Pwrite,
        }
    }

    const EXT: u32 = 0xEF53;
    const XFS: u32 = 0x5846_5342;
    const TMPFS: u32 = 0x0102_1994;

    fn file_system(file: &File) -> Option<u32> {
        // The type of the field differs between machines; the numbers have 32 bits.
        retry_on_intr(|| rustix::fs::fstatfs(file)).map(|stat| stat.f_type as u32).ok()
    }

    /// Opens a file to be read past the page cache, if its file system is one of which it is known
    /// that what was written in any other way is seen by that.
    pub(super) fn open_direct(dir: &File, name: &str) -> Option<File> {
        let file = open_file(dir, name, OFlags::RDONLY | OFlags::DIRECT).ok()?;
        matches!(file_system(&file), Some(EXT | XFS)).then_some(file)
    }

    /// Reserves blocks for all of the file. False where that is not supported.
    pub(super) fn allocate(file: &File, size: u64) -> io::Result<bool> {
        fallocate(file, FallocateFlags::empty(), size)
    }

    /// Replaces blocks that are shared with a copy of the file, as far as that is supported.
    pub(super) fn unshare(file: &File, size: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::UNSHARE_RANGE, size) {
            // The mode is unknown to this kernel or file system.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn fallocate(file: &File, mode: FallocateFlags, size: u64) -> io::Result<bool> {
        match retry_on_intr(|| rustix::fs::fallocate(file, mode, 0, size)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn system_random() -> Option<u64> {
        let mut bytes = [0; 8];
        let flags = rustix::rand::GetRandomFlags::empty();
        // So few bytes come in one piece or not at all.
        match retry_on_intr(|| rustix::rand::getrandom(&mut bytes, flags)) {
            Ok(8) => Some(u64::from_ne_bytes(bytes)),
            _ => None,
        }
    }
}

/// Everywhere else: nothing that POSIX does not promise.
#[cfg(not(target_os = "linux"))]
mod portable {
    use super::{File, WritePath, io};

    /// Files are never mapped here: that a sync of a file includes what was stored into a mapping of
    /// it is a promise of Linux only.
    pub(super) fn resolve(_: WritePath, _: &File) -> WritePath {
        WritePath::Pwrite
    }

    pub(super) fn open_direct(_: &File, _: &str) -> Option<File> {
        None
    }

    pub(super) fn allocate(_: &File, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    pub(super) fn unshare(_: &File, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn system_random() -> Option<u64> {
        None
    }
}

mod blocks;
mod cache;
mod growing;
#[cfg(test)]
mod tests;
