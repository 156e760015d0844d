//! One segment: a file of fixed size that records are appended to.

mod pieces;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::RECORDS_START;
use crate::format::header::{FileHeader, FileKind};
use crate::format::mark::{Mark, MarkState};
use crate::format::record::{
    MAX_RECORD_LEN, Name, Open, RecordBuffer, Seal, Seed, Start, chain, kind,
};
use crate::format::{entry, names};
use crate::io::{Dir, SegmentFile};
use crate::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::pieces::{Way, read_records};
pub(crate) use self::reader::RecordReader;

/// The smallest file that has room for a header page, a first record and a seal.
pub(crate) const MIN_FILE_SIZE: u64 = RECORDS_START as u64 + 256;

/// A segment file with its header.
#[derive(Debug)]
pub(crate) struct Segment {
    file: Arc<dyn SegmentFile>,
    dir: PathBuf,
    header: FileHeader,
    /// The seq in its name; zero while it is the spare.
    first_seq: AtomicU64,
    /// The counter of the newest mark in the file.
    marks: AtomicU64,
}

impl Segment {
    /// Joins a file that has been read with what its name and its header page say.
    pub(crate) fn new(
        file: Arc<dyn SegmentFile>,
        dir: &dyn Dir,
        first_seq: u64,
        header: FileHeader,
        newest_mark: u64,
    ) -> Segment {
        let (first_seq, marks) = (AtomicU64::new(first_seq), AtomicU64::new(newest_mark));
        Segment { file, dir: dir.path().to_owned(), header, first_seq, marks }
    }

    /// Creates the file of a segment that has no place in the history yet, under the name of the
    /// spare. On return the file with its header is durable, its name is not.
    pub(crate) fn prepare(dir: &dyn Dir, header: FileHeader) -> Result<Segment> {
        debug_assert_eq!(header.kind, FileKind::Segment);
        let path = dir.path().join(names::SPARE);
        let failed = |error| Error::io("prepare a segment", &path, error);
        let file = dir.create(names::SPARE, header.size).map_err(failed)?;
        let written = file.write_at(0, &header.encode()).and_then(|()| file.sync());
        if let Err(error) = written {
            // The file is of no use, and on a full disk its room is.
            let _ = dir.remove(names::SPARE);
            return Err(failed(error));
        }
        Ok(Segment::new(file, dir, 0, header, 0))
    }

    /// Gives the spare its name in the history. Durable with the next sync of the directory.
    pub(crate) fn publish(&self, dir: &dyn Dir, first_seq: u64) -> Result<()> {
        let name = names::segment(first_seq);
        dir.rename(names::SPARE, &name)
            .map_err(|error| Error::io("name a segment", &self.dir.join(name), error))?;
        self.first_seq.store(first_seq, Ordering::Relaxed);
        Ok(())
    }

    /// Where the file is, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        match self.first_seq.load(Ordering::Relaxed) {
            0 => self.dir.join(names::SPARE),
            first_seq => self.dir.join(names::segment(first_seq)),
        }
    }

    /// The seq in its name.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq.load(Ordering::Relaxed)
    }

    /// The header of the file.
    pub(crate) fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Writes bytes that are no record: the zeros that erase a torn tail.
    pub(crate) fn erase(&self, from: u64, to: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut position = from;
        while position < to {
            let len = (to - position).min(ZEROS.len() as u64);
            self.file
                .write_at(position, &ZEROS[..len as usize])
                .map_err(|error| Error::io("erase a torn tail", &self.path(), error))?;
            position += len;
        }
        Ok(())
    }

    /// Whether these bytes stand in the file.
    fn holds(&self, position: u32, bytes: &[u8]) -> bool {
        let mut found = vec![0; bytes.len()];
        self.file.read_at(u64::from(position), &mut found).is_ok() && found == bytes
    }

    /// Writes the next mark. Durable with the next [`Segment::sync`].
    pub(crate) fn write_mark(&self, state: MarkState, end: &End) -> Result<()> {
        let mark = end.mark(state, self.marks.load(Ordering::Relaxed) + 1);
        let bytes = mark.encode(self.header.salt);
        self.file
            .write_at(u64::from(mark.place()), &bytes)
            .map_err(|error| Error::io("write a mark", &self.path(), error))?;
        // After a failure the next mark goes to the same place, which may be torn, and not to the
        // one that is whole.
        self.marks.store(mark.counter, Ordering::Relaxed);
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|error| Error::flush("flush a segment", &self.path(), error))
    }

    /// As [`Segment::sync`], for one that is appended to behind `end`.
    pub(crate) fn sync_tail(&self, end: &End) -> Result<()> {
        let synced = self.file.sync_tail(u64::from(end.position));
        synced.map_err(|error| Error::flush("flush a segment", &self.path(), error))
    }
}

/// Where a segment ended at some moment, as a mark states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) epoch: u32,
    pub(crate) position: u32,
    /// The last data record in the history up to there.
    pub(crate) last_seq: u64,
    pub(crate) next_seq: u64,
    pub(crate) chain: u64,
}

impl End {
    /// The mark that states it, the `counter`th of its file.
    pub(crate) fn mark(&self, state: MarkState, counter: u64) -> Mark {
        let End { epoch, position, last_seq: durable, next_seq, chain } = *self;
        Mark { state, epoch, position, durable, next_seq, chain, counter }
    }
}

/// The id of a name in the active segment, kept with the topic so that a commit needs no look-up.
///
/// Which segment it belongs to stands in the same word: an id of an earlier segment is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameTag(pub(crate) u64);

const NAME_ID_BITS: u32 = entry::MAX_NAME_ID.count_ones();

/// Appends records to the active segment. There is one, and the log's lock owns it.
pub(crate) struct Appender {
    segment: Arc<Segment>,
    /// Counts the active segments of this process from one, so that no tag is zero.
    ordinal: u64,
    seed: Seed,
    base_ms: i64,
    end: End,
    names: u32,
    sealed: bool,
    /// Where control records are built.
    control: RecordBuffer,
}

impl Appender {
    /// Begins a segment with its first record.
    pub(crate) fn begin(
        segment: Arc<Segment>,
        ordinal: u64,
        start: Start,
        last_seq: u64,
        durable: u64,
    ) -> Result<Appender> {
        let end = End {
            epoch: segment.header.epoch,
            position: RECORDS_START,
            last_seq,
            next_seq: start.first_seq,
            chain: 0,
        };
        let mut appender = Appender::resume(segment, ordinal, end, start.base_ms, 0);
        start.encode(appender.control.start());
        appender.finish_control(kind::START, durable)?;
        Ok(appender)
    }

    /// Goes on where a scan of the segment ended.
    pub(crate) fn resume(
        segment: Arc<Segment>,
        ordinal: u64,
        end: End,
        base_ms: i64,
        names: u32,
    ) -> Appender {
        let seed = Seed::new(segment.header.salt, end.epoch);
        let control = RecordBuffer::default();
        Appender { segment, ordinal, seed, base_ms, end, names, sealed: false, control }
    }

    /// The segment that is appended to.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Where the log ends now.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// What short timestamps count from.
    pub(crate) fn base_ms(&self) -> i64 {
        self.base_ms
    }

    /// Counts the active segments of this process.
    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Whether `len` more bytes of records leave room for the seal, and are no more than one record can
    /// have.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        let used = u64::from(self.end.position) + Seal::RECORD_LEN as u64;
        !self.sealed
            && len <= MAX_RECORD_LEN
            && used.saturating_add(len as u64) <= self.segment.header.size
    }

    /// Whether more than half of the segment is used.
    pub(crate) fn is_half_full(&self) -> bool {
        u64::from(self.end.position) > self.segment.header.size / 2
    }

    /// Whether the seal was written: the log can go on in a new segment only.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The id that `tag` stands for, if it is one of this segment.
    pub(crate) fn name_id(&self, tag: NameTag) -> Option<u32> {
        (tag.0 >> NAME_ID_BITS == self.ordinal).then_some(tag.0 as u32 & entry::MAX_NAME_ID)
    }

    /// The tag of an id of this segment.
    pub(crate) fn tag(&self, id: u32) -> NameTag {
        NameTag(self.ordinal << NAME_ID_BITS | u64::from(id))
    }

    /// Whether `count` more names can get an id.
    pub(crate) fn has_ids(&self, count: u32) -> bool {
        self.names.saturating_add(count) <= entry::MAX_NAME_ID
    }

    /// Appends the record that `batch` holds and returns its seq. The caller checked the room.
    pub(crate) fn append_batch(&mut self, batch: &mut RecordBuffer, durable: u64) -> Result<u64> {
        let seq = self.end.next_seq;
        self.finish(kind::BATCH, batch, durable)?;
        self.end.last_seq = seq;
        self.end.next_seq = seq + 1;
        Ok(seq)
    }

    /// Gives names an id. The caller checked the room.
    pub(crate) fn append_name(
        &mut self,
        group: &str,
        topic: &str,
        durable: u64,
    ) -> Result<NameTag> {
        let id = self.names;
        Name { id, group, topic }.encode(self.control.start());
        self.finish_control(kind::NAME, durable)?;
        self.names += 1;
        Ok(self.tag(id))
    }

    /// Begins a later session in the same segment. The caller checked the room.
    pub(crate) fn append_open(&mut self, open: Open, durable: u64) -> Result<()> {
        self.seed = Seed::new(self.segment.header.salt, open.epoch);
        self.end.epoch = open.epoch;
        self.end.next_seq = open.next_seq;
        open.encode(self.control.start());
        self.finish_control(kind::OPEN, durable)
    }

    /// Seals the segment, for which room was always kept.
    pub(crate) fn append_seal(&mut self, durable: u64) -> Result<()> {
        let End { next_seq, chain, .. } = self.end;
        // A segment without data records gives up its seq, which is its name: the next one needs
        // another.
        let is_empty = next_seq == self.segment.first_seq.load(Ordering::Relaxed);
        let next_seq = next_seq + u64::from(is_empty);
        Seal { next_seq, chain }.encode(self.control.start());
        self.finish_control(kind::SEAL, durable)?;
        (self.end.next_seq, self.end.chain) = (next_seq, chain);
        self.sealed = true;
        Ok(())
    }

    fn finish_control(&mut self, kind: u8, durable: u64) -> Result<()> {
        let mut control = std::mem::take(&mut self.control);
        let finished = self.finish(kind, &mut control, durable);
        self.control = control;
        finished
    }

    fn finish(&mut self, kind: u8, record: &mut RecordBuffer, durable: u64) -> Result<()> {
        let End { position, next_seq, .. } = self.end;
        let (bytes, checksum) = record.finish(kind, &self.seed, position, next_seq, durable);
        if let Err(error) = self.segment.file.write_at(u64::from(position), bytes) {
            let error = Error::io("append to a segment", &self.segment.path(), error);
            // A disk may be found full in the middle of a record whose rest stands there already:
            // zeros, or what an earlier attempt left. Then the record is there, and saying that it
            // is not would be wrong after a crash.
            if error.kind() != ErrorKind::Full || !self.segment.holds(position, bytes) {
                return Err(error);
            }
        }
        self.end.position += bytes.len() as u32;
        self.end.chain = chain(self.end.chain, checksum);
        Ok(())
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender")
            .field("segment", &self.segment.path())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
