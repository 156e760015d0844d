//! Files only: a directory, its lock, and files of fixed size. Nothing here knows what the bytes
//! mean.
//!
//! Everything the engine does to a disk goes through the two traits below, so that the whole engine
//! also runs on [`sim`], a disk that can crash, fill up and fail. What must be durable when a call
//! returns is part of each contract, since a store that gets this wrong loses data only on the day
//! of the power cut.

#![cfg_attr(
    not(feature = "testkit"),
    allow(unreachable_pub, reason = "the traits are public as a part of `testkit` only")
)]

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;

#[cfg(test)]
mod contract;
pub(crate) mod disk;
pub(crate) mod latch;
pub(crate) mod lock;
mod mapped;
#[cfg(feature = "testkit")]
pub(crate) mod sim;

/// One store directory.
pub trait Dir: Send + Sync + fmt::Debug {
    /// Where the directory is, for messages.
    fn path(&self) -> &Path;

    /// Takes the writer's lock, or fails with `Locked` and the holder's process id. The lock is held
    /// until the value is dropped, and vanishes with the process.
    fn lock(&self) -> Result<Box<dyn DirLock>>;

    /// Keeps writers out until the value is dropped, without creating or changing anything, or fails
    /// with `Locked`. Without a lock file there is nothing to hold, and nobody is kept out.
    fn exclude_writers(&self) -> Result<Option<Box<dyn fmt::Debug>>>;

    /// The names of all regular files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `size` zero bytes, replacing one of that name.
    ///
    /// On return the blocks are allocated, and content and size are durable; the name is not, until
    /// [`Dir::sync`]. A full disk is an error here, so that it cannot be one in a mapped write. A
    /// failed call leaves no file behind.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>>;

    /// Creates an empty file to be written from its start to its end, replacing one of that name.
    ///
    /// Unlike [`Dir::create`] it promises nothing for a crash: neither name nor content is durable.
    fn create_growing(&self, name: &str) -> io::Result<Box<dyn GrowingFile>>;

    /// Opens a file as it is. Only with [`Access::Write`] may it be written.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>>;

    /// Renames a file, replacing `to`. Durable with the next [`Dir::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable with the next [`Dir::sync`]. Open handles of it stay valid.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names as they are now durable.
    fn sync(&self) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading what the device has, of a file that nobody writes meanwhile: bytes that are only cached,
    /// and were given up by a failed flush, are not read. It may go past the page cache.
    Read,
    /// Reading a file that nobody writes, and that got its name when all of it was durable: what is cached
    /// of it is what its writer made durable, so it need not be read again from the device. An error of
    /// its flush that nobody was told is told by [`SegmentFile::sync`].
    Settled,
    /// Reading what another process may be writing at the same time, without making its writes any
    /// slower: what is cached stays so, and nothing is read ahead.
    Follow,
    /// Reading and writing. Blocks that a copy of the store left unallocated or shared are made the
    /// file's own first, so that a later write cannot fail for want of room.
    Write,
}

/// The lock on a directory, and the one fact that is kept in its file: which store lives here.
pub trait DirLock: Send + Sync + fmt::Debug {
    /// The id that [`record_store`](DirLock::record_store) left, if any.
    fn store_id(&self) -> Option<u128>;

    /// Records which store lives in this directory. Durable on return.
    fn record_store(&self, id: u128) -> io::Result<()>;
}

/// A file that is written from its start to its end by the one who created it.
pub trait GrowingFile: Send + fmt::Debug {
    /// Writes `bytes` behind what was written before. A full disk is an error. After an error the
    /// file is of no use.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes `bytes` over the first bytes of the file, which has at least as many.
    fn replace_head(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes content and size durable. After an error the file is of no use.
    fn sync(&mut self) -> io::Result<()>;
}

/// Where a file [is read directly](SegmentFile::is_direct), that is so for reads of a multiple of this,
/// from a multiple of it, to memory at a multiple of it.
pub(crate) const DIRECT_ALIGN: usize = 4096;

/// A file whose size never changes.
///
/// Reads and writes may overlap with each other and with a sync. Two overlapping writes to the same
/// bytes are the caller's mistake.
pub trait SegmentFile: Send + Sync + fmt::Debug {
    /// The size in bytes, as it was when the file was created or opened.
    fn size(&self) -> u64;

    /// Whether aligned reads go past the page cache: then they cost hardly any processor time, and
    /// waiting for one means waiting for the device.
    fn is_direct(&self) -> bool {
        false
    }

    /// Whether aligned reads have to wait for the device, as is known from the start or from one that did.
    /// Before that, what is in the page cache is taken from there.
    fn has_waited(&self) -> bool {
        false
    }

    /// Fills `into` from `position`. Reading past the end is an `UnexpectedEof` error. A device
    /// error is an error, never a signal.
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `position`. On return the bytes survive the death of the process,
    /// not power loss. Writing past the end is an error and writes nothing. After any other error
    /// an unknown part of the range may have been written.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes that returned before this call durable. After an error it is unknown which
    /// of them are, and repeating the call would not tell.
    fn sync(&self) -> io::Result<()>;

    /// As [`SegmentFile::sync`], for a file that is written from its start on and now ends at `end`: the
    /// blocks behind that may be made ready for later syncs. What they hold stays the same.
    fn sync_tail(&self, end: u64) -> io::Result<()> {
        let _ = end;
        self.sync()
    }
}
