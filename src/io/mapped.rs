//! A shared writable mapping of a file: the only unsafe code of the crate's files.

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

use crate::sync::atomic::{AtomicUsize, Ordering};

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
    /// The end of the write that went furthest. A hint: nothing but speed depends on it.
    written: AtomicUsize,
    /// Up to where pages were unmapped behind the writes.
    released: AtomicUsize,
    /// Up to where blocks were written ahead of the log, or will be by the next flush.
    zeroed: AtomicUsize,
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
        let [written, released, zeroed] = [const { AtomicUsize::new(0) }; 3];
        Ok(MappedFile { map, written, released, zeroed })
    }

    /// Copies `bytes` into the file at `position`, or writes nothing if they do not fit.
    pub(super) fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(position).ok();
        let end = start.and_then(|start| start.checked_add(bytes.len()));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= self.map.len())) else {
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
        self.prefetch(end + AHEAD);
        // As a rule there is one writer. If there are two, the smaller number may win, and a few
        // pages are unmapped later.
        if end > self.written.load(Ordering::Relaxed) {
            self.written.store(end, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Unmaps, before a flush, the pages that will not be written again as a rule.
    ///
    /// A flush takes the right to write from each dirty page that is mapped, one by one, and
    /// interrupts the other processors for each. A page that is not mapped spares it that, and all
    /// of them are unmapped with one interrupt. Whoever writes to such a page all the same pays a
    /// page fault.
    pub(super) fn release(&self) {
        let start = self.released.load(Ordering::Relaxed);
        let end = self.written.load(Ordering::Relaxed) / UNMAPPED * UNMAPPED;
        if end <= start {
            return;
        }
        self.released.store(end, Ordering::Relaxed);
        self.unmap(start, end);
    }

    /// Makes the next flush write the zeros behind `end` to blocks that are only reserved so far, unless
    /// enough of them are written. False if that is not possible here.
    ///
    /// The first write to a reserved block changes metadata, and the flush that follows waits for that too.
    /// In this way one flush in many does, and not each that comes to a new page; and unlike zeros that
    /// are written when the file is made, these cost the device next to nothing if the log grows by more
    /// between two flushes. No byte is changed, so others may write to the same pages meanwhile.
    pub(super) fn zero_ahead(&self, end: u64) -> bool {
        let up_to = |ahead| (end.saturating_add(ahead)).min(self.map.len() as u64) as usize;
        let zeroed = self.zeroed.load(Ordering::Relaxed);
        if zeroed >= up_to(ZEROED_AHEAD / 2) {
            return true;
        }
        let (start, end) = (zeroed.max(up_to(0)) / UNMAPPED * UNMAPPED, up_to(ZEROED_AHEAD));
        let is_done = self.make_dirty(start, end);
        if is_done {
            self.zeroed.store(end, Ordering::Relaxed);
            // As in `release`: the flush should not come across pages that are mapped.
            self.unmap(start, end);
        }
        is_done
    }

    /// Has the page cache note that pages are to be written, as a store to each of them would.
    fn make_dirty(&self, start: usize, end: usize) -> bool {
        #[cfg(target_os = "linux")]
        return self.map.advise_range(memmap2::Advice::PopulateWrite, start, end - start).is_ok();
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (start, end);
            false
        }
    }

    /// Brings all of the file into memory, so that no write has to wait for that. Only about speed.
    pub(super) fn populate(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise(memmap2::Advice::PopulateRead);
    }

    /// Takes pages out of the page table.
    fn unmap(&self, start: usize, end: usize) {
        #[cfg(target_os = "linux")]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the advice is unsafe because it discards private pages. These belong to a
            // shared mapping of a file, which this module alone creates: the kernel takes them out
            // of the page table, notes in the page cache that they are dirty, and keeps their
            // content there. The range lies in the mapping, and begins at a multiple of every page
            // size. A thread that stores into it meanwhile does so before its page is unmapped, or
            // gets the same page of the cache back by a fault. No reference to mapped memory exists.
            //
            // Only speed depends on it, so a failure means nothing.
            let _ = unsafe { self.map.unchecked_advise_range(DontNeed, start, end - start) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, end);
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

/// Pages are unmapped in pieces of this size, a multiple of every page size. Less is not worth a
/// call.
const UNMAPPED: usize = 64 << 10;

/// How much is written behind the end of the log at once: the place for some ten thousand commits.
const ZEROED_AHEAD: u64 = 1 << 20;

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
    fn what_was_released_is_in_the_file_and_can_be_written_again() {
        const SIZE: usize = 3 * UNMAPPED;
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE as u64).unwrap();
        let map = MappedFile::map(&file, SIZE as u64).unwrap();
        let mut expected = vec![0; SIZE];
        for round in 1..=3u8 {
            let end = UNMAPPED * usize::from(round) - 100;
            for position in (0..end).step_by(1000) {
                map.write_at(position as u64, &[round; 500]).unwrap();
                expected[position..position + 500].fill(round);
            }
            map.release();
            assert_eq!(map.released.load(Ordering::Relaxed), UNMAPPED * usize::from(round - 1));
            file.sync_data().unwrap();
            let mut all = vec![0; SIZE];
            file.read_exact_at(&mut all, 0).unwrap();
            assert!(all == expected, "round {round}");
        }
    }

    #[test]
    fn zeros_are_written_ahead_of_the_end_and_change_no_byte() {
        const SIZE: u64 = 4 * ZEROED_AHEAD + 100;
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        let map = MappedFile::map(&file, SIZE).unwrap();
        let mut expected = vec![0; SIZE as usize];
        let ahead = ZEROED_AHEAD as usize;
        let ends = [
            (0, ahead),
            (ahead / 2, ahead),
            (ahead / 2 + 1, ahead / 2 + 1 + ahead),
            // A log that grew by more than that.
            (3 * ahead - 7, 4 * ahead - 7),
            (4 * ahead, SIZE as usize),
            (SIZE as usize, SIZE as usize),
            (usize::MAX, SIZE as usize),
        ];
        for (end, zeroed) in ends {
            let position = end.min(SIZE as usize) - end.min(5);
            map.write_at(position as u64, &[7; 5][..end.min(5)]).unwrap();
            expected[position..][..end.min(5)].fill(7);
            assert!(map.zero_ahead(end as u64));
            assert_eq!(map.zeroed.load(Ordering::Relaxed), zeroed, "{end}");
            file.sync_data().unwrap();
            let mut all = vec![1; SIZE as usize];
            file.read_exact_at(&mut all, 0).unwrap();
            assert!(all == expected, "{end}");
        }
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
