//! A directory that calls a function before each operation: to look at what others see meanwhile, to
//! hold a thread up, to change what is written.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use pagemark::Result;
use pagemark::testkit::{Access, Dir, DirLock, GrowingFile, SegmentFile};

/// What is about to be done.
#[derive(Debug)]
pub enum Call<'a> {
    /// These bytes of a file are read, of the name that it was created or opened by, and the read
    /// comes to this.
    Read(&'a str, Range<u64>, &'a mut io::Result<()>),
    /// A file is written, of the name that it was created or opened by.
    Write(&'a str, &'a mut Vec<u8>),
    /// It is asked how long a file is, which is then said to be so long.
    Size(&'a str, &'a mut u64),
    /// The lock on the directory is given up.
    Unlock,
    /// Anything else.
    Other,
}

/// What is called.
pub type Hook = Arc<dyn Fn(Call<'_>) + Send + Sync>;

/// The directory.
pub struct Hooked {
    dir: Arc<dyn Dir>,
    hook: Hook,
}

impl Hooked {
    pub fn new(dir: Arc<dyn Dir>, hook: impl Fn(Call<'_>) + Send + Sync + 'static) -> Arc<Hooked> {
        Arc::new(Hooked { dir, hook: Arc::new(hook) })
    }

    /// The directory, when it was told that something else is about to be done.
    fn other(&self) -> &dyn Dir {
        (self.hook)(Call::Other);
        &*self.dir
    }

    fn file<F>(&self, name: &str, file: F) -> File<F> {
        File { name: name.to_owned(), file, hook: Arc::clone(&self.hook) }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dir.fmt(f)
    }
}

impl Dir for Hooked {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        Ok(Box::new(Lock { lock: self.other().lock()?, hook: Arc::clone(&self.hook) }))
    }

    fn exclude_writers(&self) -> Result<Option<Box<dyn fmt::Debug>>> {
        self.other().exclude_writers()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.other().list()
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(self.file(name, self.other().create(name, size)?)))
    }

    fn create_growing(&self, name: &str) -> io::Result<Box<dyn GrowingFile>> {
        Ok(Box::new(self.file(name, self.other().create_growing(name)?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(self.file(name, self.other().open(name, access)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.other().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.other().remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.other().sync()
    }
}

struct File<F> {
    name: String,
    file: F,
    hook: Hook,
}

impl<F> File<F> {
    /// The file, when it was told that something else is about to be done.
    fn other(&self) -> &F {
        (self.hook)(Call::Other);
        &self.file
    }

    /// What is to be written.
    fn changed(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        (self.hook)(Call::Write(&self.name, &mut bytes));
        bytes
    }
}

impl<F: fmt::Debug> fmt::Debug for File<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl SegmentFile for File<Arc<dyn SegmentFile>> {
    fn size(&self) -> u64 {
        let mut size = self.file.size();
        (self.hook)(Call::Size(&self.name, &mut size));
        size
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let mut read = self.file.read_at(position, into);
        let bytes = position..position + into.len() as u64;
        (self.hook)(Call::Read(&self.name, bytes, &mut read));
        read
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let bytes = self.changed(bytes);
        self.file.write_at(position, &bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.other().sync()
    }
}

impl GrowingFile for File<Box<dyn GrowingFile>> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = self.changed(bytes);
        self.file.append(&bytes)
    }

    fn replace_head(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = self.changed(bytes);
        self.file.replace_head(&bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.hook)(Call::Other);
        self.file.sync()
    }
}

struct Lock {
    lock: Box<dyn DirLock>,
    hook: Hook,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock.fmt(f)
    }
}

impl DirLock for Lock {
    fn store_id(&self) -> Option<u128> {
        self.lock.store_id()
    }

    fn record_store(&self, id: u128) -> io::Result<()> {
        (self.hook)(Call::Other);
        self.lock.record_store(id)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        (self.hook)(Call::Unlock);
    }
}
