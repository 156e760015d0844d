//! The disk as a file system of the kernel.
//!
//! The kernel has the page cache and the mappings. What arrives here is what it would send to a
//! device: the pages that it writes back, on its own or for a sync, the syncs, and the changes of
//! names. One thread takes the requests one by one, so a moment between two of them is a moment of
//! the whole disk.

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::disk::{Disk, ROOT};
use crate::said::Said;
use crate::support::Lots;

/// The file in the root that a process writes what it has to say to. Its writes come through the same
/// queue as all others and take effect at once, so it is known what was said before a cut.
pub(crate) const SAID: &str = "said";
/// The number of that file, which no other one gets.
const SAID_NODE: u64 = u64::MAX;

/// The kernel may remember everything for ever: nobody else changes this disk.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// The moment at which the power goes.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) disk: Disk,
    /// What the process had said by then.
    pub(crate) said: Said,
    /// The request that never happened.
    pub(crate) request: &'static str,
}

/// What is behind the mount.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) disk: Disk,
    pub(crate) said: Said,
    /// Where cuts go. None when no more are wanted.
    pub(crate) cuts: Option<SyncSender<Cut>>,
    pub(crate) lots: Lots,
}

impl Device {
    /// The power may go before any request. A recovery and a backup make few of them, and each one
    /// matters.
    fn before(&mut self, request: &'static str) {
        let matters = self.said.is_opening || self.said.is_backing_up;
        let requests_per_cut = if matters { 5 } else { 24 };
        if self.lots.below(requests_per_cut) > 0 {
            return;
        }
        let (disk, said) = (self.disk.clone(), self.said.clone());
        if let Some(cuts) = &self.cuts {
            // Waits when there are more cuts than can be looked at. If nobody looks any longer, the
            // campaign has failed and the process comes to its end without cuts.
            let _ = cuts.send(Cut { disk, said, request });
        }
    }

    fn attr(&self, node: u64) -> Option<FileAttr> {
        let size = match self.disk.bytes(node) {
            Some(bytes) => bytes.len() as u64,
            None if self.disk.is_dir(node) || node == SAID_NODE => 0,
            None => return None,
        };
        let is_dir = self.disk.is_dir(node);
        Some(FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_dir { FileType::Directory } else { FileType::RegularFile },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// The file system. Clones share the device.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    device: Arc<Mutex<Device>>,
    /// Whether the kernel keeps back what is written by calls, as other file systems do, or sends
    /// each of these writes at once.
    write_back: bool,
}

impl Mount {
    pub(crate) fn new(device: Device, write_back: bool) -> Mount {
        Mount { device: Arc::new(Mutex::new(device)), write_back }
    }

    pub(crate) fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, reply: ReplyEmpty, done: Option<()>) {
        match done {
            Some(()) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn make(&self, dir: INodeNo, name: &OsStr, is_dir: bool) -> Option<FileAttr> {
        let mut device = self.device();
        device.before(if is_dir { "mkdir" } else { "create" });
        let node = device.disk.create(dir.0, name.to_str()?, is_dir)?;
        device.attr(node)
    }
}

impl Filesystem for Mount {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.write_back {
            let added = config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE);
            added.map_err(|_| io::Error::other("this kernel has no write-back cache for FUSE"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let device = self.device();
        let is_said = dir.0 == ROOT && name == SAID;
        let node = match is_said {
            true => Some(SAID_NODE),
            false => name.to_str().and_then(|name| device.disk.lookup(dir.0, name)),
        };
        match node.and_then(|node| device.attr(node)) {
            Some(attr) => reply.entry(&FOR_EVER, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.device().attr(node.0) {
            Some(attr) => reply.attr(&FOR_EVER, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut device = self.device();
        if let Some(size) = size {
            device.before("truncate");
            device.disk.resize(node.0, size as usize);
        }
        match device.attr(node.0) {
            Some(attr) => reply.attr(&FOR_EVER, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.make(dir, name, true) {
            Some(attr) => reply.entry(&FOR_EVER, &attr, Generation(0)),
            None => reply.error(Errno::EINVAL),
        }
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let keep = FopenFlags::FOPEN_KEEP_CACHE;
        match self.make(dir, name, false) {
            Some(attr) => reply.created(&FOR_EVER, &attr, Generation(0), FileHandle(0), keep),
            None => reply.error(Errno::EINVAL),
        }
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut device = self.device();
        device.before("unlink");
        let done = name.to_str().and_then(|name| device.disk.remove(dir.0, name));
        self.answer(reply, done);
    }

    fn rename(
        &self,
        _: &Request,
        from_dir: INodeNo,
        from: &OsStr,
        to_dir: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        // A store does neither.
        if from_dir != to_dir || !flags.is_empty() {
            return reply.error(Errno::EXDEV);
        }
        let mut device = self.device();
        device.before("rename");
        let names = from.to_str().zip(to.to_str());
        let done = names.and_then(|(from, to)| device.disk.rename(from_dir.0, from, to));
        self.answer(reply, done);
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = match node.0 {
            SAID_NODE => FopenFlags::FOPEN_DIRECT_IO,
            _ => FopenFlags::FOPEN_KEEP_CACHE,
        };
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let device = self.device();
        let bytes = device.disk.bytes(node.0).unwrap_or_default();
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + size as usize);
        reply.data(&bytes[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut device = self.device();
        if node.0 == SAID_NODE {
            let heard = device.said.hear(bytes);
            // The most telling moment: something was promised, and nothing has happened since.
            device.before("word");
            return match heard {
                Some(()) => reply.written(bytes.len() as u32),
                None => reply.error(Errno::EINVAL),
            };
        }
        device.before("write");
        match device.disk.write(node.0, offset as usize, bytes) {
            Some(()) => reply.written(bytes.len() as u32),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut device = self.device();
        device.before("fsync");
        let done = device.disk.sync(node.0);
        self.answer(reply, done);
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut device = self.device();
        device.before("fsyncdir");
        let done = device.disk.sync(node.0);
        self.answer(reply, done);
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let mut device = self.device();
        device.before("fallocate");
        let size = device.disk.bytes(node.0).map_or(0, <[u8]>::len);
        let done = device.disk.resize(node.0, size.max((offset + length) as usize));
        self.answer(reply, done);
    }

    fn readdir(
        &self,
        _: &Request,
        dir: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let device = self.device();
        let Some(names) = device.disk.list(dir.0) else { return reply.error(Errno::ENOTDIR) };
        for (place, (name, node)) in (1..).zip(names).skip(offset as usize) {
            let is_dir = device.disk.is_dir(node);
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(node), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
