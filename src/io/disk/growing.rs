//! A file that is written once, from its start to its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::fits;
use crate::io::GrowingFile;

/// A file that grows by what is appended.
#[derive(Debug)]
pub(super) struct GrowingDiskFile {
    file: File,
    size: u64,
}

impl GrowingDiskFile {
    /// An empty file that was just created.
    pub(super) fn new(file: File) -> GrowingDiskFile {
        GrowingDiskFile { file, size: 0 }
    }
}

impl GrowingFile for GrowingDiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn replace_head(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !fits(self.size, 0, bytes.len()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_all_at(bytes, 0)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}
