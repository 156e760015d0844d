//! A file that was written before it is used, in pieces of 4 KiB: larger ones bring large folios
//! into the page cache, and then every flush writes all of one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};

const PIECE: usize = 4096;

/// Creates the file, full of zeros and durable.
pub(super) fn create(dir: &Path, len: usize) -> File {
    let path = dir.join("log");
    let options = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let mut file = options.expect("create the log");
    for _ in 0..len / PIECE {
        file.write_all(&[0; PIECE]).expect("write the log");
    }
    file.sync_all().expect("flush the log");
    file
}

/// The file mapped, with every page present.
#[derive(Debug)]
pub(super) struct Mapped {
    map: MmapRaw,
}

impl Mapped {
    /// Maps the whole file.
    pub(super) fn new(file: &File) -> Mapped {
        let map = MmapOptions::new().map_raw(file).expect("map the log");
        map.advise(memmap2::Advice::Random).expect("advise");
        map.advise(memmap2::Advice::PopulateWrite).expect("populate");
        Mapped { map }
    }

    /// Copies bytes into the file. The caller is the only one who writes there.
    pub(super) fn write(&self, position: usize, bytes: &[u8]) {
        assert!(position <= self.map.len() && bytes.len() <= self.map.len() - position);
        // SAFETY: the range was just checked to lie in the mapping, which lives as long as `self`.
        // `bytes` is other memory, since nothing hands out references to the mapping. Every caller
        // writes under the lock that its position is under.
        unsafe {
            let to = self.map.as_mut_ptr().add(position);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }
}
