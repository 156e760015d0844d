//! A second directory on a simulated disk, so that one crash ends both.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pagemark::Result;
use pagemark::testkit::{Access, Dir, DirLock, GrowingFile, SegmentFile};

/// What the names of its files begin with on the disk. A store passes over such names.
pub(crate) const PREFIX: &str = "beside-";

/// The files of a directory whose names begin with [`PREFIX`], as a directory of their own. The two
/// share their syncs: a sync of one makes the names of both durable.
#[derive(Debug)]
pub(crate) struct Beside(pub(crate) Arc<dyn Dir>);

fn beside(name: &str) -> String {
    format!("{PREFIX}{name}")
}

impl Dir for Beside {
    fn path(&self) -> &Path {
        Path::new("beside")
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        // There is one process, which backs up one thing after the other.
        Ok(Box::new(Lock(Arc::clone(&self.0))))
    }

    fn exclude_writers(&self) -> Result<Option<Box<dyn std::fmt::Debug>>> {
        Ok(None)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.0.list()?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned)).collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.0.create(&beside(name), size)
    }

    fn create_growing(&self, name: &str) -> io::Result<Box<dyn GrowingFile>> {
        self.0.create_growing(&beside(name))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>> {
        self.0.open(&beside(name), access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(&beside(from), &beside(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(&beside(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// The name of the file that says which store lives here.
const LOCK: &str = "beside-LOCK";
const UNFINISHED_LOCK: &str = "beside-LOCK-unfinished";

#[derive(Debug)]
struct Lock(Arc<dyn Dir>);

impl DirLock for Lock {
    fn store_id(&self) -> Option<u128> {
        let mut id = [0; 16];
        self.0.open(LOCK, Access::Follow).ok()?.read_at(0, &mut id).ok()?;
        Some(u128::from_le_bytes(id))
    }

    fn record_store(&self, id: u128) -> io::Result<()> {
        // Under another name first: an id has to be there as a whole or not at all.
        let file = self.0.create(UNFINISHED_LOCK, 16)?;
        file.write_at(0, &id.to_le_bytes())?;
        file.sync()?;
        self.0.rename(UNFINISHED_LOCK, LOCK)?;
        self.0.sync()
    }
}
