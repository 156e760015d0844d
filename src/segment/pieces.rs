//! The bytes of a file behind its header, one piece after the other.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Builder};

use super::RecordReader;
use crate::format::RECORDS_START;
use crate::format::header::FileHeader;
use crate::io::{DIRECT_ALIGN, SegmentFile};

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// How much at once.
    pub(crate) piece: usize,
    /// Whether a second thread reads the next pieces meanwhile, if the device is waited for or the file
    /// is long.
    pub(crate) ahead: bool,
}

impl Way {
    /// The right one for a file.
    ///
    /// A copy from the page cache should still be in the processor's cache when its records are read,
    /// and a second thread for it would use up most of what it saves, since the bytes change caches. A
    /// device is waited for: then pieces are large enough for its full speed, and read ahead; there
    /// are some of them, so that reading and what is done with the records overlap. Which of the two
    /// it is shows when the file is read.
    pub(crate) fn of(file: &dyn SegmentFile) -> Way {
        const LEAST: usize = 256 << 10;
        const MOST: usize = 1 << 20;
        if !file.is_direct() {
            return Way { piece: LEAST, ahead: false };
        }
        let pieces = |size: usize| size.div_ceil(16).next_power_of_two().clamp(LEAST, MOST);
        let piece = usize::try_from(file.size()).map_or(MOST, pieces);
        Way { piece, ahead: file.size() > 4 * piece as u64 }
    }
}

/// Calls `then` with a reader of the records of `file`, which begins with `header`.
pub(crate) fn read_records<R>(
    file: &dyn SegmentFile,
    header: &FileHeader,
    way: Way,
    then: impl FnOnce(&mut RecordReader<'_>) -> R,
) -> R {
    thread::scope(|scope| {
        let begin = |next| {
            let source = Source { file, next, piece: way.piece };
            let (full_sender, full) = sync_channel(AHEAD);
            let (empty, empty_receiver) = channel();
            let read = move || source.read_ahead(&full_sender, &empty_receiver);
            // Without a second thread it takes longer, and that is all.
            let begun = Builder::new().name("pagemark-read".into()).spawn_scoped(scope, read);
            begun.ok().map(|_| Ahead { full, empty })
        };
        let begin: Option<&Begin<'_>> = if way.ahead { Some(&begin) } else { None };
        let source = Source { file, next: u64::from(RECORDS_START), piece: way.piece };
        let pieces = Pieces { source, begin, ahead: None, spare: None };
        // The reader is dropped before the scope ends, and that ends the thread.
        then(&mut RecordReader::new(file, header, pieces))
    })
}

/// Begins to read ahead from a position on.
type Begin<'a> = dyn Fn(u64) -> Option<Ahead> + 'a;

/// From here on the copies of a file that is in the page cache are worth a thread.
const LONG: u64 = 16 << 20;

/// How many pieces are read ahead of the one that is in use.
const AHEAD: usize = 2;

/// Bytes of a file, with room for others in front of them.
#[derive(Debug, Default)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Piece {
    /// The room in front of what is read. Records are rarely longer.
    const ROOM: usize = 64 << 10;

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// A prefix of all memory up to the end of the bytes, and where they start in it.
    pub(super) fn parts(&mut self) -> (&[u8], &mut usize) {
        (&self.bytes[..self.end], &mut self.start)
    }

    /// Reads `len` bytes at `position`, to a place to which they can be read directly.
    fn load(&mut self, file: &dyn SegmentFile, position: u64, len: usize) -> io::Result<()> {
        // Nothing is left of a piece in front of the first one.
        let room = if position == u64::from(RECORDS_START) { 0 } else { Piece::ROOM };
        let most = room + DIRECT_ALIGN + len;
        if self.bytes.len() < most {
            // New memory, and none that grows: it is blank as it is and need not be touched.
            self.bytes = vec![0; most];
        }
        let unaligned = self.bytes[room..].as_ptr().addr();
        self.start = room + unaligned.wrapping_neg() % DIRECT_ALIGN;
        self.end = self.start + len;
        file.read_at(position, &mut self.bytes[self.start..self.end])
    }

    /// Adds the bytes that follow, and returns memory that is not needed any more.
    pub(super) fn go_on(&mut self, mut next: Piece) -> Piece {
        let held = self.end - self.start;
        if held <= next.start {
            // The rule: what is left of this piece is the beginning of one record.
            next.bytes[next.start - held..next.start].copy_from_slice(self.bytes());
            next.start -= held;
            return std::mem::replace(self, next);
        }
        self.bytes.truncate(self.end);
        self.bytes.drain(..self.start);
        self.bytes.extend_from_slice(next.bytes());
        (self.start, self.end) = (0, self.bytes.len());
        next
    }
}

/// Reads pieces of a file.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    file: &'a dyn SegmentFile,
    /// Where the next piece begins.
    next: u64,
    piece: usize,
}

impl Source<'_> {
    /// How long the next piece is.
    fn len(&self) -> usize {
        let left = self.file.size().saturating_sub(self.next);
        usize::try_from(left).map_or(self.piece, |left| left.min(self.piece))
    }

    fn read(&mut self, mut into: Piece) -> io::Result<Piece> {
        let len = self.len();
        into.load(self.file, self.next, len)?;
        self.next += len as u64;
        Ok(into)
    }

    /// Reads all pieces, as fast as they are taken, until nobody wants them any more.
    fn read_ahead(mut self, full: &SyncSender<io::Result<Piece>>, empty: &Receiver<Piece>) {
        while self.len() > 0 {
            let piece = self.read(empty.try_recv().unwrap_or_default());
            if full.send(piece).is_err() {
                return;
            }
        }
    }
}

/// The pieces of a file, in order.
pub(super) struct Pieces<'a> {
    source: Source<'a>,
    /// To be called when the device had to be waited for, or there is much to copy.
    begin: Option<&'a Begin<'a>>,
    ahead: Option<Ahead>,
    /// Memory for the next piece.
    spare: Option<Piece>,
}

/// The thread that reads ahead: what it has read, and memory for it to read to.
#[derive(Debug)]
struct Ahead {
    full: Receiver<io::Result<Piece>>,
    empty: Sender<Piece>,
}

impl Pieces<'_> {
    /// The next piece, or none at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        let len = self.source.len();
        if len == 0 {
            return Ok(None);
        }
        let is_slow = self.source.file.has_waited() || self.source.next >= LONG;
        if is_slow && let Some(begin) = self.begin.take() {
            self.ahead = begin(self.source.next);
        }
        let Some(ahead) = &self.ahead else {
            let spare = self.spare.take().unwrap_or_default();
            return self.source.read(spare).map(Some);
        };
        // It sends all pieces or an error. If it did neither, it panicked.
        let piece = ahead.full.recv().map_err(io::Error::other)??;
        self.source.next += len as u64;
        Ok(Some(piece))
    }

    /// Takes back memory.
    pub(super) fn recycle(&mut self, piece: Piece) {
        match &self.ahead {
            // If the thread has ended, it has no use for it.
            Some(ahead) => drop(ahead.empty.send(piece)),
            None => self.spare = Some(piece),
        }
    }
}

impl fmt::Debug for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::SimDisk;

    #[test]
    fn a_piece_takes_the_memory_of_what_is_read_and_of_what_may_be_in_front() {
        const SIZE: usize = 256 << 10;
        let file = SimDisk::new().dir().create("f", 2 * SIZE as u64).unwrap();
        let mut piece = Piece::default();
        for (position, len) in [(u64::from(RECORDS_START), SIZE), (SIZE as u64, SIZE), (8192, 10)] {
            piece.load(&*file, position, len).unwrap();
            assert_eq!(piece.bytes().len(), len);
            let most = Piece::ROOM + DIRECT_ALIGN + SIZE;
            assert!((len..=most).contains(&piece.bytes.len()), "{}", piece.bytes.len());
        }
    }
}
