//! Reading segments back: what they hold goes into the index, what they state is remembered.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::entry::{Entries, Entry, EntryError};
use crate::format::header::{FileHeader, FileKind, HEADER_LEN, HeaderError};
use crate::format::mark::{Mark, MarkState, read_marks};
use crate::format::names;
use crate::format::record::{Start, kind};
use crate::format::scan::{Body, Ending, Record, Remains, Scanner, Step, search};
use crate::index::{Index, Topic, Value, Writer};
use crate::io::{Access, Dir, SegmentFile};
use crate::options::MAX_SEGMENT_SIZE;
use crate::report::RecoveryReport;
use crate::segment::{End, MIN_FILE_SIZE};

use super::latest::{Latest, Place};
use super::log::Behind;

/// A segment that was read into memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) first_seq: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) header: FileHeader,
    /// The newest first.
    pub(super) marks: Vec<Mark>,
    bytes: Vec<u8>,
}

impl Loaded {
    /// Reads the segment with this name, into `buffer` to save the allocation.
    ///
    /// Its header was durable before it got its name, so a header that is not right is damage
    /// whatever else is known.
    pub(super) fn read(dir: &dyn Dir, first_seq: u64, buffer: Vec<u8>) -> Result<Loaded> {
        Loaded::read_named(dir, &names::segment(first_seq), first_seq, buffer)
    }

    /// [`Loaded::read`] for a file that may have been renamed.
    pub(super) fn read_named(
        dir: &dyn Dir,
        name: &str,
        first_seq: u64,
        buffer: Vec<u8>,
    ) -> Result<Loaded> {
        let path = dir.path().join(name);
        let failed = |error| Error::io("read a segment", &path, error);
        let file = dir.open(name, Access::Read).map_err(failed)?;
        let size = file.size();
        if size < HEADER_LEN as u64 {
            return Err(header_error(HeaderError::Foreign).with_path(&path).at(0));
        }
        let mut page = [0; HEADER_LEN];
        file.read_at(0, &mut page).map_err(failed)?;
        let header = FileHeader::decode(&page)
            .map_err(|error| header_error(error).with_path(&path).at(0))?;
        let is_sane = (MIN_FILE_SIZE..=MAX_SEGMENT_SIZE).contains(&size);
        if header.kind != FileKind::Segment || header.size != size || !is_sane {
            let message = format!(
                "the header tells of a segment of {} bytes and the file has {size}: it was cut, \
                 extended, or is another file",
                header.size
            );
            return Err(Error::corrupt(message).with_path(&path).at(0));
        }
        // What stands in the buffer is overwritten: it needs the right length, and no zeros.
        let mut bytes = buffer;
        bytes.resize(size as usize, 0);
        file.read_at(0, &mut bytes).map_err(failed)?;
        let marks = read_marks(&bytes, header.salt);
        Ok(Loaded { first_seq, path, file, header, marks, bytes })
    }

    /// Reads the records from the start.
    pub(super) fn scanner(&self) -> Scanner<'_> {
        Scanner::new(&self.bytes, self.header.salt, self.header.epoch)
    }

    /// The entry that begins at `position`, and what follows it.
    fn entries_at(&self, position: u32, base_ms: i64) -> Entries<'_> {
        Entries::new(self.bytes.get(position as usize..).unwrap_or_default(), base_ms)
    }

    /// The first record, if it is readable.
    pub(super) fn start(&self) -> Option<Start> {
        match self.scanner().step() {
            Step::Record(Record { body: Body::Start(start), .. }) => Some(start),
            Step::Record(_) | Step::End(_) => None,
        }
    }

    /// The highest seq that anything in the segment states to have been durable, wherever it stands.
    pub(super) fn stated_durable(&self) -> Stated {
        let mut stated = Stated::default();
        let mut scanner = self.scanner();
        loop {
            match scanner.step() {
                Step::Record(record) => stated.add(record.durable.unwrap_or(0)),
                Step::End(Ending::Broken) => {
                    stated.add_remains(&self.search(&scanner));
                    break;
                }
                Step::End(Ending::Sealed | Ending::Blank) => break,
            }
        }
        stated.add_marks(&self.marks);
        stated
    }

    /// Looks behind the point where the scanner ended.
    fn search(&self, scanner: &Scanner<'_>) -> Remains {
        let next_seq = scanner.next_seq().max(self.first_seq);
        search(&self.bytes, scanner.position(), scanner.seed(), next_seq)
    }

    /// The segment as a part of the log that was read.
    pub(super) fn behind(&self) -> Behind {
        Behind { first_seq: self.first_seq, size: self.header.size }
    }

    /// Gives the buffer back.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether a mark states that the seal and the successor were durable.
    pub(super) fn is_confirmed(&self) -> bool {
        self.marks.iter().any(|mark| mark.state == MarkState::Sealed)
    }

    /// The counter of the newest mark.
    pub(super) fn newest_mark(&self) -> u64 {
        self.marks.first().map_or(0, |mark| mark.counter)
    }
}

pub(super) fn header_error(error: HeaderError) -> Error {
    match error {
        HeaderError::Foreign => {
            Error::not_a_store("the file has a name of Pagemark's and is none of its files")
        }
        HeaderError::Damaged => Error::corrupt("the header of the file is damaged"),
        HeaderError::Version(version) => Error::unsupported(format!(
            "the file has format version {version}, this program reads version {}; \
             open it with a newer version of Pagemark",
            crate::format::header::FORMAT_VERSION
        )),
        HeaderError::Kind(kind) => Error::unsupported(format!(
            "the file is of kind {kind}, which this version of Pagemark does not know"
        )),
    }
}

/// What records and marks state about durability.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stated {
    /// The highest seq that was stated to be durable.
    pub(super) seq: u64,
    /// Whether the search was given up, so that nothing can be excluded.
    pub(super) unknown: bool,
}

impl Stated {
    fn add(&mut self, durable: u64) {
        self.seq = self.seq.max(durable);
    }

    fn add_marks(&mut self, marks: &[Mark]) {
        marks.iter().for_each(|mark| self.add(mark.durable));
    }

    fn add_remains(&mut self, remains: &Remains) {
        self.add(remains.durable);
        self.unknown |= remains.gave_up;
    }

    /// Both together.
    pub(super) fn merge(&mut self, other: Stated) {
        self.add(other.seq);
        self.unknown |= other.unknown;
    }
}

/// How a replayed segment ended.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) ending: Ending,
    pub(super) end: End,
    pub(super) base_ms: i64,
    /// The topics by the ids that they have in this segment.
    pub(super) names: Vec<Arc<Topic>>,
    pub(super) remains: Remains,
}

/// Replays segments, in their order, into the index.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    pub(super) index: &'a Index,
    pub(super) writer: &'a mut Writer,
    pub(super) report: &'a mut RecoveryReport,
    pub(super) last_seq: u64,
    pub(super) stated: Stated,
}

impl Replay<'_> {
    /// Replays one segment up to its end.
    pub(super) fn segment(&mut self, loaded: &Loaded) -> Result<Tail> {
        let mut names = Vec::new();
        let mut latest = Latest::default();
        let mut scanner = loaded.scanner();
        let ending = loop {
            // By reference: moving a record costs as much as checking it.
            match &scanner.step() {
                Step::Record(record) => {
                    self.stated.add(record.durable.unwrap_or(0));
                    self.report.records += 1;
                    let position = u64::from(record.position);
                    self.record(record, loaded, &mut names, &mut latest)
                        .map_err(|error| error.with_path(&loaded.path).at(position))?;
                }
                Step::End(ending) => break *ending,
            }
        };
        self.apply(&mut latest, 0, loaded, scanner.base_ms(), &mut names);
        let remains = match ending {
            Ending::Broken => loaded.search(&scanner),
            Ending::Sealed | Ending::Blank => Remains::default(),
        };
        self.stated.add_remains(&remains);
        self.stated.add_marks(&loaded.marks);
        self.report.segments += 1;
        self.report.bytes += u64::from(scanner.position() - RECORDS_START);
        let end = End {
            epoch: scanner.epoch(),
            position: scanner.position(),
            last_seq: self.last_seq,
            next_seq: scanner.next_seq(),
            chain: scanner.chain(),
        };
        Ok(Tail { ending, end, base_ms: scanner.base_ms(), names, remains })
    }

    fn record(
        &mut self,
        record: &Record<'_>,
        loaded: &Loaded,
        names: &mut Vec<Arc<Topic>>,
        latest: &mut Latest,
    ) -> Result<()> {
        match &record.body {
            Body::Start(Start { base_ms, .. }) => {
                self.apply(latest, record.seq, loaded, *base_ms, names);
            }
            Body::Open(_) => {
                // The seqs of a new session may be far from those before.
                let base_ms = loaded.start().map_or(0, |start| start.base_ms);
                self.apply(latest, record.seq, loaded, base_ms, names);
            }
            Body::Seal(_) => {}
            Body::Name(name) => {
                if name.id as usize != names.len() {
                    return Err(malformed());
                }
                names.push(self.index.resolve(name.group, name.topic));
            }
            Body::Batch(entries) => {
                let end = record.position + record.len;
                self.batch(entries.clone(), end, record.seq, names, latest)?;
            }
            Body::Unknown if record.kind & kind::OPTIONAL != 0 => self.report.skipped += 1,
            Body::Unknown => {
                return Err(Error::unsupported(format!(
                    "the log has a record of kind {:#04x}, which this version of Pagemark does \
                     not know and must not skip",
                    record.kind
                )));
            }
            Body::Base(_) | Body::Values(_) | Body::Malformed => return Err(malformed()),
        }
        if record.kind & kind::CONTROL == 0 {
            self.last_seq = record.seq;
        }
        Ok(())
    }

    /// Notes what a batch sets, and deletes what it deletes. `end` is where it ends in the file.
    fn batch(
        &mut self,
        mut entries: Entries<'_>,
        end: u32,
        seq: u64,
        names: &mut [Arc<Topic>],
        latest: &mut Latest,
    ) -> Result<()> {
        loop {
            let position = end - entries.rest_len();
            let Some(entry) = entries.next() else { return Ok(()) };
            let entry = entry.map_err(entry_error)?;
            self.report.changes += 1;
            let (Entry::Set { name, .. }
            | Entry::Delete { name, .. }
            | Entry::DeleteTopic { name }) = entry;
            let topic = names.get_mut(name as usize).ok_or_else(malformed)?;
            match entry {
                Entry::Set { name, partition, .. } => {
                    if !latest.note(name, partition, Place { position, seq }) {
                        self.set(topic, entry, seq);
                    }
                }
                Entry::Delete { name, partition } => {
                    latest.forget(name, partition);
                    self.index.delete(self.writer, topic, partition, seq);
                }
                Entry::DeleteTopic { name } => {
                    latest.forget_topic(name);
                    self.index.delete_topic(self.writer, topic, seq);
                }
            }
        }
    }

    /// Applies the last commit of each key so far. Which seq is the newer decides, so it does no harm
    /// that this is not the order of the log.
    fn apply(
        &mut self,
        latest: &mut Latest,
        base_seq: u64,
        loaded: &Loaded,
        base_ms: i64,
        names: &mut [Arc<Topic>],
    ) {
        // The entries and the slots are far apart in memory. Loads that do not depend on each other
        // overlap, so those of some tens are begun before the first is needed.
        const AHEAD: usize = 64;
        let mut places = latest.drain(base_seq);
        let mut chunk = Vec::with_capacity(AHEAD);
        loop {
            chunk.clear();
            chunk.extend(places.by_ref().take(AHEAD));
            if chunk.is_empty() {
                return;
            }
            for (name, partition, place) in &chunk {
                std::hint::black_box(loaded.bytes.get(place.position as usize).copied());
                names.get(*name as usize).inspect(|topic| topic.prefetch(*partition));
            }
            for (name, _, Place { position, seq }) in &chunk {
                // Both were read before, where the place was noted.
                let Some(topic) = names.get_mut(*name as usize) else { continue };
                let Some(Ok(entry)) = loaded.entries_at(*position, base_ms).next() else {
                    continue;
                };
                self.set(topic, entry, *seq);
            }
        }
    }

    fn set(&mut self, topic: &mut Arc<Topic>, entry: Entry<'_>, seq: u64) {
        let Entry::Set { partition, offset, leader_epoch, timestamp_ms, metadata, .. } = entry
        else {
            return;
        };
        let value = Value { offset, leader_epoch, timestamp_ms, metadata, seq };
        while !self.index.set(self.writer, topic, partition, value) {
            // A delete has emptied the topic since its name was read.
            *topic = self.index.resolve(topic.group(), topic.name());
        }
    }
}

pub(super) fn entry_error(error: EntryError) -> Error {
    match error {
        EntryError::UnknownShape(shape) => Error::unsupported(format!(
            "the log has an entry of shape {shape:#04x}, which this version of Pagemark does not know"
        )),
        EntryError::Malformed => malformed(),
    }
}

pub(super) fn malformed() -> Error {
    Error::corrupt("a record has the right checksum and makes no sense")
}
