//! A disk for readers.
#![allow(unreachable_pub, reason = "a test program is no library")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pagemark::Result;
use pagemark::testkit::{Access, Dir, DirLock, GrowingFile, SegmentFile, SimDisk};

/// A disk as readers may use it, which another one can take the place of: that after a crash.
#[derive(Debug)]
pub struct Mount(Mutex<SimDisk>);

impl Mount {
    pub fn new(disk: &SimDisk) -> Arc<Mount> {
        Arc::new(Mount(Mutex::new(disk.clone())))
    }

    pub fn replace(&self, disk: &SimDisk) {
        *self.0.lock().unwrap() = disk.clone();
    }

    fn disk(&self) -> Arc<dyn Dir> {
        self.0.lock().unwrap().dir()
    }
}

impl Dir for Mount {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        panic!("a reader takes the lock")
    }

    fn exclude_writers(&self) -> Result<Option<Box<dyn std::fmt::Debug>>> {
        panic!("a reader keeps writers out")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk().list()
    }

    fn create(&self, name: &str, _: u64) -> io::Result<Arc<dyn SegmentFile>> {
        panic!("a reader creates {name}")
    }

    fn create_growing(&self, name: &str) -> io::Result<Box<dyn GrowingFile>> {
        panic!("a reader creates {name}")
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>> {
        assert_eq!(access, Access::Follow, "{name}");
        self.disk().open(name, access)
    }

    fn rename(&self, from: &str, _: &str) -> io::Result<()> {
        panic!("a reader renames {from}")
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        panic!("a reader removes {name}")
    }

    fn sync(&self) -> io::Result<()> {
        panic!("a reader syncs the directory")
    }
}
