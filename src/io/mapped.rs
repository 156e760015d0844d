//! A shared writable mapping of a file: the only unsafe code of the crate's files.

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// A mapped file that can be written to, and nothing else.
///
/// Nothing is ever read through the mapping: a device error met by a load is a signal that kills the
/// process, met by `pread` it is an error. No reference to mapped memory exists, so that no Rust
/// code can rely on bytes which another process may change.
///
/// `memmap2` makes the raw mapping `Send` and `Sync`; it is a fixed range of memory that belongs to
/// no thread and stays mapped until the value is dropped.
#[derive(Debug)]
pub(super) struct MappedFile {
    map: MmapRaw,
}

impl MappedFile {
    /// Maps the first `len` bytes of a file that is open for reading and writing.
    ///
    /// A file that is shorter is refused, since a store behind its end is a signal. The caller has
    /// made the blocks of the file real, and nobody shortens a file of the store.
    pub(super) fn map(file: &File, len: u64) -> io::Result<MappedFile> {
        if len == 0 || file.metadata()?.len() < len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "only bytes that a file has can be mapped",
            ));
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let map = MmapOptions::new().len(len).map_raw(file)?;
        // Read-ahead on a page fault would bring large folios into the page cache, and then the
        // flush of one small record writes all of such a folio. The advice is only about speed.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Random);
        Ok(MappedFile { map })
    }

    /// Copies `bytes` into the file at `position`, or writes nothing if they do not fit.
    pub(super) fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(position).ok();
        let end = start.and_then(|start| start.checked_add(bytes.len()));
        let (Some(start), Some(_)) = (start, end.filter(|end| *end <= self.map.len())) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: `start..start + bytes.len()` was just checked to lie in the mapping, which lives
        // as long as `self`. The ranges cannot overlap: this module never makes a reference to
        // mapped memory, so `bytes` is other memory. Two threads that write the same bytes at once
        // would be a data race; `SegmentFile::write_at` forbids that, and the engine keeps it by
        // reserving each byte range for one writer. Other processes only read, through the kernel.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.as_mut_ptr().add(start),
                bytes.len(),
            );
        }
        self.prefetch(start + bytes.len() + AHEAD);
        Ok(())
    }

    /// Asks for the memory at `position`, which is about to be written. It has left the caches since
    /// the file was prepared, and without this the end of every commit would wait for it.
    fn prefetch(&self, position: usize) {
        #[cfg(target_arch = "x86_64")]
        if position < self.map.len() {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: the address lies in the mapping, as was just checked; a prefetch reads and
            // writes nothing and cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(self.map.as_ptr().add(position).cast::<i8>()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = position;
    }
}

/// How far ahead of the writes memory is asked for: some records, within the page as a rule.
const AHEAD: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn writes_go_to_the_file_and_never_past_its_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5000).unwrap();
        let map = MappedFile::map(&file, 5000).unwrap();
        map.write_at(4998, b"ab").unwrap();
        map.write_at(5000, b"").unwrap();
        for (position, bytes) in [(4999, 2), (5000, 1), (u64::MAX, 2), (u64::MAX - 1, 1)] {
            assert!(map.write_at(position, &b"xy"[..bytes]).is_err(), "{position}");
        }
        let mut all = vec![1; 5000];
        file.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(&all[4996..], b"\0\0ab");
        assert_eq!(file.metadata().unwrap().len(), 5000);
    }

    #[test]
    fn only_bytes_that_the_file_has_are_mapped() {
        let file = tempfile::tempfile().unwrap();
        assert!(MappedFile::map(&file, 0).is_err());
        file.set_len(4096).unwrap();
        assert!(MappedFile::map(&file, 4097).is_err());
        assert!(MappedFile::map(&file, 4096).is_ok());
    }
}
