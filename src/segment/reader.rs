//! Reading the records of a file from its start to its end, a piece at a time.

use std::io;

use super::pieces::{Piece, Pieces};
use crate::format::header::FileHeader;
use crate::format::scan::{Ending, Record, Remains, Scanner, Step, Stop, end_of_data, search};
use crate::io::SegmentFile;

/// Reads the records of one file.
///
/// Call [`fill`](RecordReader::fill) until it says that there are no more, take the
/// [`records`](RecordReader::records) after each call, then ask for the
/// [`ending`](RecordReader::ending). No more of the file is in memory than a few pieces, or one record
/// that is longer than a piece.
#[derive(Debug)]
pub(crate) struct RecordReader<'a> {
    file: &'a dyn SegmentFile,
    scanner: Scanner,
    pieces: Pieces<'a>,
    /// Bytes that belong to no record yet, from the scanner's position on.
    window: Piece,
}

impl<'a> RecordReader<'a> {
    /// Reads the records of `file`, which begins with `header`.
    pub(super) fn new(
        file: &'a dyn SegmentFile,
        header: &FileHeader,
        pieces: Pieces<'a>,
    ) -> RecordReader<'a> {
        let scanner = Scanner::new(file.size(), header.salt, header.epoch);
        RecordReader { file, scanner, pieces, window: Piece::default() }
    }

    /// Loads the next piece. Returns false at the end of the records; before that, there may be
    /// calls after which there is no whole record.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if self.scanner.stopped().is_some() {
            return Ok(false);
        }
        // The scanner does not ask for more than the file has, nor for more than a record can be
        // long, so this comes to an end and does not take more memory than that.
        let Some(next) = self.pieces.next()? else { return Ok(false) };
        let spent = self.window.go_on(next);
        self.pieces.recycle(spent);
        Ok(true)
    }

    /// The records that are in memory as a whole.
    pub(crate) fn records(&mut self) -> Records<'_> {
        let (bytes, start) = self.window.parts();
        Records { scanner: &mut self.scanner, bytes, start }
    }

    /// The state of the reading.
    pub(crate) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Whether there is no further record, and only zeros follow the last one as far as they are loaded.
    pub(crate) fn is_blank_so_far(&self) -> bool {
        let is_at_end = matches!(self.scanner.stopped(), Some(Stop::NoRecord) | None);
        is_at_end && end_of_data(self.window.bytes()) == 0
    }

    /// How the records end. Reads what follows them if that matters.
    pub(crate) fn ending(&mut self) -> io::Result<Ending> {
        match self.scanner.stopped() {
            Some(Stop::Sealed) => Ok(Ending::Sealed),
            Some(Stop::Malformed) => Ok(Ending::Broken),
            Some(Stop::NoRecord) | None => match self.only_zeros_follow()? {
                true => Ok(Ending::Blank),
                false => Ok(Ending::Broken),
            },
        }
    }

    fn only_zeros_follow(&mut self) -> io::Result<bool> {
        let mut rest = std::mem::take(&mut self.window);
        loop {
            if end_of_data(rest.bytes()) != 0 {
                return Ok(false);
            }
            self.pieces.recycle(rest);
            match self.pieces.next()? {
                Some(piece) => rest = piece,
                None => return Ok(true),
            }
        }
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
            Step::Short(_) | Step::End => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Way, read_records};
    use super::*;
    use crate::format::RECORDS_START;
    use crate::format::header::FileKind;
    use crate::format::record::{RecordBuffer, Seed, Start, kind};
    use crate::io::sim::{Op, SimDisk};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    const SIZE: u64 = 1 << 20;
    const SMALL: Way = Way { piece: 4096, ahead: false };

    fn header() -> FileHeader {
        FileHeader { kind: FileKind::Segment, epoch: 1, store_id: 1, salt: 7, size: SIZE }
    }

    /// A file with a start record and batches of these lengths, and where the last one ends.
    fn file(lengths: &[usize]) -> (Arc<dyn SegmentFile>, u64) {
        let file = SimDisk::new().dir().create("f", SIZE).unwrap();
        let (mut at, mut buffer) = (u64::from(RECORDS_START), RecordBuffer::default());
        let start = Start { first_seq: 1, previous_salt: 0, previous_chain: 0, base_ms: 0 };
        start.encode(buffer.start());
        let (bytes, _) = buffer.finish(kind::START, &Seed::new(7, 1), at as u32, 1, 0);
        file.write_at(at, bytes).unwrap();
        at += bytes.len() as u64;
        for (seq, len) in (1..).zip(lengths) {
            buffer.start().resize(18 + len, 1);
            let (bytes, _) = buffer.finish(kind::BATCH, &Seed::new(7, 1), at as u32, seq, 0);
            file.write_at(at, bytes).unwrap();
            at += bytes.len() as u64;
        }
        (file, at)
    }

    /// A file that is read from a device once so many reads came from the page cache.
    #[derive(Debug)]
    struct Waiting(Arc<dyn SegmentFile>, AtomicUsize);

    impl Waiting {
        fn after(reads: usize, file: &Arc<dyn SegmentFile>) -> Waiting {
            Waiting(Arc::clone(file), AtomicUsize::new(reads))
        }
    }

    impl SegmentFile for Waiting {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn has_waited(&self) -> bool {
            self.1.load(Relaxed) == 0
        }

        fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
            let _ = self.1.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            self.0.read_at(position, into)
        }

        fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_at(position, bytes)
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
    }

    /// How many records there are, how they end, and how long the window was at most.
    fn read(file: &dyn SegmentFile, way: Way) -> (usize, Ending, usize) {
        read_records(file, &header(), way, |reader| {
            let (mut records, mut most) = (0, 0);
            while reader.fill().unwrap() {
                most = most.max(reader.window.bytes().len());
                records += reader.records().count();
            }
            (records, reader.ending().unwrap(), most)
        })
    }

    #[test]
    fn pieces_of_any_size_give_the_same_records() {
        let lengths: Vec<usize> = (0..300).map(|i| i * 7 % 512).collect();
        let (file, end) = file(&lengths);
        for piece in [1 << 10, 4095, 1 << 16, SIZE as usize] {
            for (ahead, cached) in [(false, 0), (true, 0), (true, 1), (true, 7), (true, usize::MAX)]
            {
                let waiting = Waiting::after(cached, &file);
                let (records, ending, _) = read(&waiting, Way { piece, ahead });
                let told = format!("pieces of {piece}, {ahead}, {cached} cached");
                assert_eq!((records, ending), (301, Ending::Blank), "{told}");
            }
        }
        // A single byte, far behind the records and at the very end.
        for at in [end + 12, SIZE - 1] {
            file.write_at(at, &[1]).unwrap();
            assert_eq!(read(&*file, SMALL).1, Ending::Broken);
            file.write_at(at, &[0]).unwrap();
        }
        assert_eq!(read(&*file, SMALL).1, Ending::Blank);
    }

    #[test]
    fn memory_is_a_piece_or_the_longest_record() {
        let (file, end) = file(&[10, 100_000, 10, 10, 50_000]);
        let (records, _, memory) = read(&*file, SMALL);
        assert_eq!(records, 6);
        assert!((100_000..110_000).contains(&memory), "{memory}");
        // A length that the file has room for is believed until the checksum is known.
        let words = ((SIZE - end) / 4) as u32;
        for (words, most) in [(words, SIZE), (words + 1, 110_000), ((1 << 24) - 1, 110_000)] {
            let claim = (words << 8 | u32::from(kind::BATCH)).to_le_bytes();
            file.write_at(end + 4, &claim).unwrap();
            let (records, ending, memory) = read(&*file, SMALL);
            assert_eq!((records, ending), (6, Ending::Broken));
            assert!(memory as u64 <= most, "{words} words: {memory} bytes");
        }
    }

    #[test]
    fn a_failed_read_is_an_error_wherever_it_happens() {
        for (ahead, cached) in [(false, 0), (true, 0), (true, 2)] {
            for nth in 0..=4 {
                let disk = SimDisk::new();
                let file = disk.dir().create("f", SIZE).unwrap();
                disk.fail_nth(Op::Read, nth, io::ErrorKind::Other);
                let way = Way { piece: 256 << 10, ahead };
                let waiting = Waiting::after(cached, &file);
                let read = read_records(&waiting, &header(), way, |reader| {
                    while reader.fill()? {
                        assert_eq!(reader.records().count(), 0);
                    }
                    reader.ending()
                });
                // Four pieces, and nothing else is read of a file without records.
                let told = format!("read {nth}, {ahead}, {cached} cached: {read:?}");
                assert_eq!(read.is_err(), nth < 4, "{told}");
            }
        }
    }
}
