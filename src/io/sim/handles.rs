//! The simulated disk as the engine sees it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::content::Content;
use super::names::FileId;
use super::plan::{Op, Verdict, stopped};
use super::{SimDisk, State};
use crate::error::{Error, Result};
use crate::io::disk::fits;
use crate::io::lock::{LOCK_NAME, parse_store_line, store_line};
use crate::io::{Access, Dir, DirLock, GrowingFile, SegmentFile};
use crate::sync::MutexGuard;

impl Dir for SimDisk {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        let mut state = self.state();
        if state.plan.is_stopped() {
            return Err(Error::io("open the lock file", self.path(), stopped()));
        }
        if state.locked {
            return Err(Error::locked(self.path(), Some(std::process::id())));
        }
        state.locked = true;
        if state.names.get(LOCK_NAME).is_err() {
            state.add(LOCK_NAME, store_line(None));
        }
        drop(state);
        Ok(Box::new(SimLock { disk: self.clone() }))
    }

    fn exclude_writers(&self) -> Result<Option<Box<dyn std::fmt::Debug>>> {
        let mut state = self.state();
        if state.locked {
            return Err(Error::locked(self.path(), Some(std::process::id())));
        }
        // Nobody reads twice at once here, so that the one lock will do.
        state.locked = true;
        drop(state);
        Ok(Some(Box::new(SimLock { disk: self.clone() })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.start(Op::List)?;
        Ok(state.names.live().keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let mut state = self.start_create(name)?;
        let room = state.capacity.is_none_or(|capacity| fits_in(capacity, state.used(), size));
        let bytes = usize::try_from(size).ok().filter(|_| room);
        let bytes = bytes.ok_or(io::ErrorKind::StorageFull)?;
        let file = state.add(name, vec![0; bytes]);
        self.handle(&mut state, file, Access::Write)
    }

    fn create_growing(&self, name: &str) -> io::Result<Box<dyn GrowingFile>> {
        let mut state = self.start_create(name)?;
        let file = state.add(name, Vec::new());
        state.inode(file)?.handles += 1;
        Ok(Box::new(GrowingSimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>> {
        let mut state = self.state();
        state.start(Op::Open)?;
        let file = state.names.get(name)?;
        let inode = state.inode(file)?;
        // Opening a file makes the kernel forget what it can. What a mapping holds it cannot forget.
        if !is_follower(access) && inode.handles == inode.followers {
            inode.content.drop_cached();
        }
        self.handle(&mut state, file, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.start(Op::Rename)?;
        state.names.rename(from, to)?;
        state.collect();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.start(Op::Remove)?;
        state.names.remove(name)?;
        state.collect();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.start(Op::SyncDir)?;
        state.names.sync();
        state.collect();
        Ok(())
    }
}

/// Whether a handle of this kind leaves the page cache as it is.
fn is_follower(access: Access) -> bool {
    matches!(access, Access::Settled | Access::Follow)
}

impl SimDisk {
    /// Counts a creation, and takes the name from the file that it replaces.
    fn start_create(&self, name: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let failure = match state.begin(Op::Create) {
            Verdict::Run => None,
            Verdict::Fail(error) => Some(error),
            Verdict::Stop(_) => return Err(stopped()),
        };
        // Replacing is two changes of the directory, and a failed call has made the first of them.
        if state.names.remove(name).is_ok() {
            state.collect();
        }
        failure.map_or(Ok(state), Err)
    }

    fn handle(
        &self,
        state: &mut State,
        file: FileId,
        access: Access,
    ) -> io::Result<Arc<dyn SegmentFile>> {
        let inode = state.inode(file)?;
        inode.handles += 1;
        inode.followers += usize::from(is_follower(access));
        let size = inode.content.live().len() as u64;
        Ok(Arc::new(SimFile { disk: self.clone(), file, size, access }))
    }

    fn sync_file(&self, file: FileId) -> io::Result<()> {
        let mut state = self.state();
        let verdict = state.begin(Op::SyncFile);
        let content = &mut state.inode(file)?.content;
        match verdict {
            Verdict::Run => content.sync(),
            Verdict::Fail(error) => {
                content.fail_sync();
                return Err(error);
            }
            Verdict::Stop(_) => return Err(stopped()),
        }
        Ok(())
    }

    /// Drops a handle of the file.
    fn release(&self, file: FileId, access: Access) {
        let mut state = self.state();
        if let Ok(inode) = state.inode(file) {
            inode.handles -= 1;
            inode.followers -= usize::from(is_follower(access));
        }
        state.collect();
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: FileId,
    size: u64,
    access: Access,
}

impl SegmentFile for SimFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.start(Op::Read)?;
        if !fits(self.size, position, into.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let start = position as usize;
        into.copy_from_slice(&state.inode(self.file)?.content.live()[start..start + into.len()]);
        Ok(())
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let full = state.copy_on_write && state.capacity.is_some_and(|c| state.used() >= c);
        let (written, outcome) = state.begin_write(bytes.len(), !full);
        if self.access != Access::Write {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !fits(self.size, position, bytes.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        state.write(self.file, position as usize, &bytes[..written])?;
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_file(self.file)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.release(self.file, self.access);
    }
}

#[derive(Debug)]
struct GrowingSimFile {
    disk: SimDisk,
    file: FileId,
}

impl GrowingFile for GrowingSimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let used = state.used();
        let room = state.capacity.is_none_or(|all| fits_in(all, used, bytes.len() as u64));
        let (written, outcome) = state.begin_write(bytes.len(), room);
        let content = &mut state.inode(self.file)?.content;
        let end = content.live().len();
        content.grow(written);
        state.write(self.file, end, &bytes[..written])?;
        outcome
    }

    fn replace_head(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let (written, outcome) = state.begin_write(bytes.len(), true);
        if !fits(state.inode(self.file)?.content.live().len() as u64, 0, bytes.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        state.write(self.file, 0, &bytes[..written])?;
        outcome
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync_file(self.file)
    }
}

impl Drop for GrowingSimFile {
    fn drop(&mut self) {
        self.disk.release(self.file, Access::Write);
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
}

impl DirLock for SimLock {
    fn store_id(&self) -> Option<u128> {
        parse_store_line(&self.disk.contents(LOCK_NAME)?)
    }

    fn record_store(&self, id: u128) -> io::Result<()> {
        let mut state = self.disk.state();
        state.start(Op::RecordStore)?;
        let file = state.names.get(LOCK_NAME)?;
        state.inode(file)?.content = Content::durable(store_line(Some(id)));
        // A real directory has only one sync for all names. Nobody should count on that here.
        state.names.sync_one(LOCK_NAME);
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locked = false;
    }
}

/// Whether `more` bytes fit where `used` of `capacity` are taken.
fn fits_in(capacity: u64, used: u64, more: u64) -> bool {
    used.checked_add(more).is_some_and(|total| total <= capacity)
}
