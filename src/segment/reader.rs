//! Reading the records of a file from its start to its end, a piece at a time.

use std::io;

use crate::format::RECORDS_START;
use crate::format::header::FileHeader;
use crate::format::scan::{Ending, Record, Remains, Scanner, Step, Stop, end_of_data, search};
use crate::io::SegmentFile;

/// How much is read at once, unless a record is longer: little enough that the bytes are still in the
/// processor's cache when their records are read.
pub(crate) const PIECE: usize = 256 << 10;

/// The part of a file that is in memory. Used again for the next file, it saves the allocation.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    /// Where the bytes begin and end that were loaded and belong to no record yet.
    start: usize,
    end: usize,
    piece: usize,
}

impl Window {
    /// A window that loads so many bytes at once.
    pub(crate) fn new(piece: usize) -> Window {
        Window { bytes: Vec::new(), start: 0, end: 0, piece }
    }
}

/// Reads the records of one file.
///
/// Call [`fill`](RecordReader::fill) until it says that there are no more, take the
/// [`records`](RecordReader::records) after each call, then ask for the
/// [`ending`](RecordReader::ending). No more of the file is in memory than a piece and the beginning
/// of a record, or one record that is longer than a piece.
#[derive(Debug)]
pub(crate) struct RecordReader<'a> {
    file: &'a dyn SegmentFile,
    scanner: Scanner,
    window: &'a mut Window,
    /// Where the file goes on behind the window.
    next: u64,
    /// What the next step needs.
    needed: usize,
}

impl<'a> RecordReader<'a> {
    /// Reads the records of `file`, which begins with `header`.
    pub(crate) fn new(
        file: &'a dyn SegmentFile,
        header: &FileHeader,
        window: &'a mut Window,
    ) -> RecordReader<'a> {
        (window.start, window.end) = (0, 0);
        let scanner = Scanner::new(file.size(), header.salt, header.epoch);
        RecordReader { file, scanner, window, next: u64::from(RECORDS_START), needed: 0 }
    }

    /// Loads the next piece. Returns false at the end of the records; before that, there may be
    /// calls after which there is no whole record.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if self.scanner.stopped().is_some() {
            return Ok(false);
        }
        let Window { bytes, start, end, piece } = &mut *self.window;
        bytes.copy_within(*start..*end, 0);
        (*start, *end) = (0, *end - *start);
        let left = self.file.size().saturating_sub(self.next);
        // The scanner needs no more than the file has, and no more than a record can be long.
        let wanted = (*piece).max(self.needed.saturating_sub(*end));
        let len = usize::try_from(left).map_or(wanted, |left| left.min(wanted));
        if bytes.len() < *end + len {
            bytes.resize(*end + len, 0);
        }
        self.file.read_at(self.next, &mut bytes[*end..*end + len])?;
        self.next += len as u64;
        *end += len;
        Ok(true)
    }

    /// The records that are in memory as a whole.
    pub(crate) fn records(&mut self) -> Records<'_> {
        let Window { bytes, start, end, .. } = &mut *self.window;
        Records {
            scanner: &mut self.scanner,
            bytes: &bytes[..*end],
            start,
            needed: &mut self.needed,
        }
    }

    /// The state of the reading.
    pub(crate) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// How the records end. Reads what follows them if that matters.
    pub(crate) fn ending(&mut self) -> io::Result<Ending> {
        match self.scanner.stopped() {
            Some(Stop::Sealed) => Ok(Ending::Sealed),
            Some(Stop::Malformed) => Ok(Ending::Broken),
            Some(Stop::NoRecord) | None => match self.end_of_data()? {
                end if end == self.scanner.position() => Ok(Ending::Blank),
                _ => Ok(Ending::Broken),
            },
        }
    }

    /// Where the zeros at the end of the file begin, but not in front of the end of the records.
    fn end_of_data(&mut self) -> io::Result<u64> {
        let window = &mut *self.window;
        let position = self.scanner.position();
        let mut found = position + end_of_data(&window.bytes[window.start..window.end]) as u64;
        // What is left of the window is not needed any more.
        (window.start, window.end) = (0, 0);
        window.bytes.resize(window.bytes.len().max(window.piece), 0);
        while self.next < self.file.size() {
            let left = self.file.size() - self.next;
            let len = usize::try_from(left).map_or(window.piece, |left| left.min(window.piece));
            let piece = &mut window.bytes[..len];
            self.file.read_at(self.next, piece)?;
            match end_of_data(piece) {
                0 => {}
                end => found = self.next + end as u64,
            }
            self.next += len as u64;
        }
        Ok(found)
    }

    /// Looks for records behind a broken end, with the seq that was expected there. All that follows
    /// the end is loaded for this, which only happens after an unclean stop or damage.
    pub(crate) fn remains(&self, next_seq: u64) -> io::Result<Remains> {
        let (position, size) = (self.scanner.position(), self.file.size());
        let mut rest = vec![0; usize::try_from(size - position).map_err(io::Error::other)?];
        self.file.read_at(position, &mut rest)?;
        Ok(search(&rest, position, size, self.scanner.seed(), next_seq))
    }
}

/// The records of a window, in order.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    scanner: &'a mut Scanner,
    bytes: &'a [u8],
    start: &'a mut usize,
    needed: &'a mut usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        match self.scanner.step(&self.bytes[*self.start..]) {
            Step::Record(record) => {
                *self.start += record.len as usize;
                Some(record)
            }
            Step::Short(needed) => {
                *self.needed = needed;
                None
            }
            Step::End => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::FileKind;
    use crate::format::record::{RecordBuffer, Seed, Start, kind};
    use crate::io::sim::SimDisk;
    use std::sync::Arc;

    const SIZE: u64 = 1 << 20;

    fn header() -> FileHeader {
        FileHeader { kind: FileKind::Segment, epoch: 1, store_id: 1, salt: 7, size: SIZE }
    }

    /// A file with a start record and batches of these lengths, and where the last one ends.
    fn file(lengths: &[usize]) -> (Arc<dyn SegmentFile>, u64) {
        let file = SimDisk::new().dir().create("f", SIZE).unwrap();
        let (mut at, mut buffer) = (u64::from(RECORDS_START), RecordBuffer::default());
        let start = Start { first_seq: 1, previous_salt: 0, previous_chain: 0, base_ms: 0 };
        start.encode(buffer.start());
        let (bytes, _) = buffer.finish(kind::START, Seed::new(7, 1), at as u32, 1, 0);
        file.write_at(at, bytes).unwrap();
        at += bytes.len() as u64;
        for (seq, len) in (1..).zip(lengths) {
            buffer.start().resize(18 + len, 1);
            let (bytes, _) = buffer.finish(kind::BATCH, Seed::new(7, 1), at as u32, seq, 0);
            file.write_at(at, bytes).unwrap();
            at += bytes.len() as u64;
        }
        (file, at)
    }

    /// How many records there are, how they end, and how much memory that took.
    fn read(file: &dyn SegmentFile, piece: usize) -> (usize, Ending, usize) {
        let mut window = Window::new(piece);
        let mut reader = RecordReader::new(file, &header(), &mut window);
        let mut records = 0;
        while reader.fill().unwrap() {
            records += reader.records().count();
        }
        let ending = reader.ending().unwrap();
        (records, ending, window.bytes.len())
    }

    #[test]
    fn pieces_of_any_size_give_the_same_records() {
        let lengths: Vec<usize> = (0..300).map(|i| i * 7 % 512).collect();
        let (file, end) = file(&lengths);
        for piece in [1, 100, 4096, 1 << 16, SIZE as usize] {
            let (records, ending, _) = read(&*file, piece);
            assert_eq!((records, ending), (301, Ending::Blank), "pieces of {piece}");
        }
        // A single byte, far behind the records and at the very end.
        for at in [end + 12, SIZE - 1] {
            file.write_at(at, &[1]).unwrap();
            assert_eq!(read(&*file, 4096).1, Ending::Broken);
            file.write_at(at, &[0]).unwrap();
        }
        assert_eq!(read(&*file, 4096).1, Ending::Blank);
    }

    #[test]
    fn memory_is_a_piece_or_the_longest_record() {
        let (file, end) = file(&[10, 100_000, 10, 10, 50_000]);
        let (records, _, memory) = read(&*file, 4096);
        assert_eq!(records, 6);
        assert!((100_000..110_000).contains(&memory), "{memory}");
        // A length that the file has room for is believed until the checksum is known.
        let words = ((SIZE - end) / 4) as u32;
        for (words, most) in [(words, SIZE), (words + 1, 110_000), ((1 << 24) - 1, 110_000)] {
            let claim = (words << 8 | u32::from(kind::BATCH)).to_le_bytes();
            file.write_at(end + 4, &claim).unwrap();
            let (records, ending, memory) = read(&*file, 4096);
            assert_eq!((records, ending), (6, Ending::Broken));
            assert!(memory as u64 <= most, "{words} words: {memory} bytes");
        }
    }
}
