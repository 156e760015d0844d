//! What the machine does without a store: flushes, and work in memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// What a device and a page cache write as a whole.
const PAGE: usize = 4096;
/// Large enough that a device does not see the same block all the time.
const FILE_LEN: usize = 16 << 20;
/// Larger than the caches of processors, as a log is.
const LOG_LEN: usize = 64 << 20;
/// What a commit takes of the log.
const RECORD_LEN: usize = 32;
/// What a key takes in memory, in words.
const CELL_LEN: usize = 6;

/// A file whose blocks are there, so that a flush has nothing to write but the bytes.
pub(super) struct RawFile(File);

impl RawFile {
    /// Writes the file.
    pub(super) fn create(dir: &Path) -> Result<RawFile> {
        let path = dir.join("raw");
        let create = || {
            let file = File::create_new(&path)?;
            for at in (0..FILE_LEN).step_by(PAGE) {
                file.write_all_at(&[0; PAGE], at as u64)?;
            }
            file.sync_all()?;
            Ok::<_, std::io::Error>(RawFile(file))
        };
        create().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Writes a page and flushes it.
    pub(super) fn flush(&self, number: u64) -> Result<()> {
        let at = number * PAGE as u64 % FILE_LEN as u64;
        self.0.write_all_at(&[number as u8; PAGE], at).context("a raw write failed")?;
        self.0.sync_data().context("a raw flush failed")
    }
}

/// A log and cells for keys, in memory.
pub(super) struct RawMemory {
    log: Vec<u8>,
    end: usize,
    cells: Vec<[u64; CELL_LEN]>,
}

impl RawMemory {
    /// Memory for so many keys, every page of it present.
    pub(super) fn new(keys: usize) -> RawMemory {
        // Zeros would be handed out without memory behind them.
        RawMemory { log: vec![1; LOG_LEN], end: 0, cells: vec![[1; CELL_LEN]; keys] }
    }

    /// What no commit can do without: a record, its checksum, its copy, and a cell that changes.
    pub(super) fn commit(&mut self, key: usize, offset: i64) {
        let mut record = [0; RECORD_LEN];
        record[8..16].copy_from_slice(&(key as u64).to_le_bytes());
        record[16..24].copy_from_slice(&offset.to_le_bytes());
        let checksum = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        self.log[self.end..self.end + RECORD_LEN].copy_from_slice(&record);
        self.end = (self.end + RECORD_LEN) % LOG_LEN;
        self.cells[key] = [offset as u64; CELL_LEN];
    }
}
