//! Reading segments back: what they hold goes into the index, what they state is remembered.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::entry::{Entries, Entry, EntryError};
use crate::format::header::{FileHeader, FileKind, HEADER_LEN, HeaderError};
use crate::format::mark::{Mark, MarkState, read_marks};
use crate::format::names;
use crate::format::record::{Start, kind};
use crate::format::scan::{Body, Ending, Record, Remains, Scanner, Step};
use crate::index::{Index, Set, StateId, Target, Topic, Value, Writer};
use crate::io::{Access, Dir, SegmentFile};
use crate::options::MAX_SEGMENT_SIZE;
use crate::report::RecoveryReport;
use crate::segment::{End, MIN_FILE_SIZE, RecordReader, Way, read_records};

use super::log::Behind;
use super::topics::{Named, Topics};

/// A segment of which the front was read: all but its records.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) first_seq: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) header: FileHeader,
    /// The newest first.
    pub(super) marks: Vec<Mark>,
    /// The first record, if it is readable.
    pub(super) start: Option<Start>,
}

impl Loaded {
    /// Opens the segment with this name.
    ///
    /// Its header was durable before it got its name, so a header that is not right is damage
    /// whatever else is known.
    pub(super) fn read(dir: &dyn Dir, first_seq: u64) -> Result<Loaded> {
        Loaded::read_named(dir, &names::segment(first_seq), first_seq, Access::Read)
    }

    /// [`Loaded::read`] for a file that may have been renamed, or that is written meanwhile.
    pub(super) fn read_named(
        dir: &dyn Dir,
        name: &str,
        first_seq: u64,
        access: Access,
    ) -> Result<Loaded> {
        let path = dir.path().join(name);
        let failed = |error| Error::io("read a segment", &path, error);
        let file = dir.open(name, access).map_err(failed)?;
        let size = file.size();
        let mut front = [0; MIN_FILE_SIZE as usize];
        let front = &mut front[..size.min(MIN_FILE_SIZE) as usize];
        file.read_at(0, front).map_err(failed)?;
        let header =
            front.first_chunk::<HEADER_LEN>().map_or(Err(HeaderError::Foreign), FileHeader::decode);
        let header = header.map_err(|error| header_error(error).with_path(&path).at(0))?;
        let is_sane = (MIN_FILE_SIZE..=MAX_SEGMENT_SIZE).contains(&size);
        if header.kind != FileKind::Segment || header.size != size || !is_sane {
            let message = format!(
                "the header tells of a segment of {} bytes and the file has {size}: it was cut, \
                 extended, or is another file",
                header.size
            );
            return Err(Error::corrupt(message).with_path(&path).at(0));
        }
        let marks = read_marks(front, header.salt);
        let mut scanner = Scanner::new(size, header.salt, header.epoch);
        let start = match scanner.step(&front[RECORDS_START as usize..]) {
            Step::Record(Record { body: Body::Start(start), .. }) => Some(start),
            Step::Record(_) | Step::Short(_) | Step::End => None,
        };
        Ok(Loaded { first_seq, path, file, header, marks, start })
    }

    /// Calls `then` with a reader of the records.
    pub(super) fn read_records<R>(&self, then: impl FnOnce(&mut RecordReader<'_>) -> R) -> R {
        read_records(&*self.file, &self.header, Way::of(&*self.file), then)
    }

    /// The highest seq that anything in the segment states to have been durable, wherever it stands.
    pub(super) fn stated_durable(&self) -> Result<Stated> {
        self.read_records(|reader| {
            let mut stated = Stated::default();
            while reader.fill().map_err(|error| self.failed(error))? {
                reader.records().for_each(|record| stated.add(record.durable.unwrap_or(0)));
            }
            let (_, remains) = self.ending(reader)?;
            stated.add_remains(&remains);
            stated.add_marks(&self.marks);
            Ok(stated)
        })
    }

    /// How the records end, and what stands behind them.
    fn ending(&self, reader: &mut RecordReader<'_>) -> Result<(Ending, Remains)> {
        let ending = reader.ending().map_err(|error| self.failed(error))?;
        let remains = match ending {
            Ending::Broken => {
                let next_seq = reader.scanner().next_seq().max(self.first_seq);
                reader.remains(next_seq).map_err(|error| self.failed(error))?
            }
            Ending::Sealed | Ending::Blank => Remains::default(),
        };
        Ok((ending, remains))
    }

    /// The segment as a part of the log that was read.
    pub(super) fn behind(&self) -> Behind {
        Behind { first_seq: self.first_seq, size: self.header.size }
    }

    pub(super) fn failed(&self, error: io::Error) -> Error {
        Error::io("read a segment", &self.path, error)
    }

    /// Whether a mark states that the seal and the successor were durable.
    pub(super) fn is_confirmed(&self) -> bool {
        self.marks.iter().any(|mark| mark.state == MarkState::Sealed)
    }

    /// Whether the newest mark says that the store was closed with the end of its log right here.
    pub(super) fn is_closed_at(&self, end: &End) -> bool {
        self.marks.first().is_some_and(|mark| {
            mark.state == MarkState::Closed
                && mark.epoch == end.epoch
                && mark.position == end.position
                && mark.next_seq == end.next_seq
                && mark.chain == end.chain
        })
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

    pub(super) fn add_marks(&mut self, marks: &[Mark]) {
        marks.iter().for_each(|mark| self.add(mark.durable));
    }

    pub(super) fn add_remains(&mut self, remains: &Remains) {
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
    pub(super) remains: Remains,
}

/// The topics that a replay has met, and those that the present segment names.
#[derive(Debug, Default)]
pub(super) struct Names {
    topics: Topics,
    /// The numbers of the topics by the ids that they have in the segment.
    ids: Vec<u32>,
}

impl Names {
    /// The group and the name that have this id.
    pub(super) fn of<'n>(&'n self, index: &'n Index, id: u32) -> Option<(&'n str, &'n str)> {
        let target = self.topics.get(*self.ids.get(id as usize)?)?;
        Some(index.names_of(target))
    }

    /// The topic with this id, which is unpacked or resolved anew if need be.
    fn unpacked(&mut self, index: &Index, id: u32) -> Option<Arc<Topic>> {
        let number = *self.ids.get(id as usize)?;
        self.topics.all().get_mut(number as usize).map(|target| index.unpacked(target))
    }

    /// The topics of the segment, by their ids.
    pub(super) fn all(&self) -> Vec<Target> {
        self.ids.iter().filter_map(|number| self.topics.get(*number).cloned()).collect()
    }

    /// Goes on to another segment. Topics that were named and have no value leave the index.
    pub(super) fn end_segment(&mut self, index: &Index, writer: &mut Writer) {
        for topic in self.topics.end_segment(self.ids.len()) {
            index.discard_if_empty(writer, &topic);
        }
        self.ids.clear();
    }
}

/// What was read and not applied yet.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    /// Names that follow those that are there.
    names: Vec<Named<'a>>,
    /// Commits to names that are there, or ahead too.
    sets: Vec<Set<'a>>,
}

impl Default for Ahead<'_> {
    fn default() -> Self {
        Ahead { names: Vec::with_capacity(Named::MANY), sets: Vec::with_capacity(Set::MANY) }
    }
}

/// Replays segments, in their order, into the index.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    pub(super) index: &'a Index,
    pub(super) writer: &'a mut Writer,
    pub(super) report: &'a mut RecoveryReport,
    pub(super) names: &'a mut Names,
    pub(super) last_seq: u64,
    pub(super) stated: Stated,
}

impl Replay<'_> {
    /// Replays one segment up to its end. Nothing may follow the newest.
    pub(super) fn segment(&mut self, loaded: &Loaded, is_newest: bool) -> Result<Tail> {
        loaded.read_records(|reader| self.records(loaded, is_newest, reader))
    }

    fn records(
        &mut self,
        loaded: &Loaded,
        is_newest: bool,
        reader: &mut RecordReader<'_>,
    ) -> Result<Tail> {
        while reader.fill().map_err(|error| loaded.failed(error))? {
            let mut ahead = Ahead::default();
            for record in reader.records() {
                let position = record.position;
                self.record(record, &mut ahead)
                    .map_err(|error| error.with_path(&loaded.path).at(position))?;
            }
            self.catch_up(&mut ahead);
        }
        let scanner = reader.scanner();
        let (end, base_ms) = (
            End {
                epoch: scanner.epoch(),
                // A segment is far shorter than what this type can count.
                position: scanner.position() as u32,
                last_seq: self.last_seq,
                next_seq: scanner.next_seq(),
                chain: scanner.chain(),
            },
            scanner.base_ms(),
        );
        // A session writes from where its log ends, which was blank from there on, and it was closed
        // right here. What is not loaded yet need not be read to know that it still is.
        let is_closed = is_newest && loaded.is_closed_at(&end) && reader.is_blank_so_far();
        let (ending, remains) = match is_closed {
            true => (Ending::Blank, Remains::default()),
            false => loaded.ending(reader)?,
        };
        self.stated.add_remains(&remains);
        self.stated.add_marks(&loaded.marks);
        self.report.segments += 1;
        self.report.bytes += u64::from(end.position - RECORDS_START);
        Ok(Tail { ending, end, base_ms, remains })
    }

    /// Replays one record. What it names and sets is read ahead.
    pub(super) fn record<'a>(&mut self, record: Record<'a>, ahead: &mut Ahead<'a>) -> Result<()> {
        self.stated.add(record.durable.unwrap_or(0));
        self.report.records += 1;
        match record.body {
            Body::Start(_) | Body::Open(_) | Body::Seal(_) => {}
            Body::Name(name) => {
                if name.id as usize != self.names.ids.len() + ahead.names.len() {
                    return Err(malformed());
                }
                ahead.names.push(Named::new(self.index, name.group, name.topic));
                if ahead.names.len() == Named::MANY {
                    self.catch_up(ahead);
                }
            }
            Body::Batch(entries) => self.batch(entries, record.seq, ahead)?,
            Body::Unknown if record.kind & kind::OPTIONAL != 0 => self.report.skipped += 1,
            Body::Unknown => return Err(unknown(record.kind)),
            Body::Base(_) | Body::Values(_) | Body::State(_) | Body::Malformed => {
                return Err(malformed());
            }
        }
        if record.kind & kind::CONTROL == 0 {
            self.last_seq = record.seq;
        }
        Ok(())
    }

    /// Reads what a batch sets ahead, deletes what it deletes, and changes states.
    fn batch<'a>(&mut self, entries: Entries<'a>, seq: u64, ahead: &mut Ahead<'a>) -> Result<()> {
        for entry in entries {
            let entry = entry.map_err(entry_error)?;
            self.report.changes += 1;
            if entry.name() as usize >= self.names.ids.len() + ahead.names.len() {
                return Err(malformed());
            }
            match entry {
                Entry::Set { name, partition, content } => {
                    let value = Value::new(content, seq);
                    ahead.sets.push(Set { topic: name, partition, value });
                    if ahead.sets.len() == Set::MANY {
                        self.catch_up(ahead);
                    }
                }
                Entry::Delete { name, partition } => {
                    self.catch_up(ahead);
                    let topic = self.names.unpacked(self.index, name).ok_or_else(malformed)?;
                    self.index.delete(self.writer, &topic, partition, seq);
                    self.index.discard_if_empty(self.writer, &topic);
                }
                Entry::DeleteTopic { name } => {
                    self.catch_up(ahead);
                    let topic = self.names.unpacked(self.index, name).ok_or_else(malformed)?;
                    self.index.delete_topic(self.writer, &topic, seq);
                    self.index.discard_if_empty(self.writer, &topic);
                }
                Entry::State { name, part, owner, change } => {
                    // States do not depend on values, but the name may be ahead.
                    if name as usize >= self.names.ids.len() {
                        self.catch_up(ahead);
                    }
                    let (group, name) = self.names.of(self.index, name).ok_or_else(malformed)?;
                    let id = StateId { group, owner, name, part };
                    if !self.index.states().change(id, change, seq) {
                        return Err(malformed());
                    }
                }
            }
        }
        Ok(())
    }

    /// Applies what was read ahead.
    pub(super) fn catch_up(&mut self, ahead: &mut Ahead<'_>) {
        let Names { topics, ids } = &mut *self.names;
        topics.resolve(self.index, &ahead.names, ids);
        ahead.names.clear();
        for set in &mut ahead.sets {
            // The names of all were there or ahead, as was checked when they were read.
            set.topic = ids.get(set.topic as usize).copied().unwrap_or(u32::MAX);
        }
        self.index.set_many(self.writer, topics.all(), &ahead.sets);
        ahead.sets.clear();
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

/// The error for a record of a kind that may not be skipped.
pub(super) fn unknown(kind: u8) -> Error {
    Error::unsupported(format!(
        "there is a record of kind {kind:#04x}, which this version of Pagemark does not know and must \
         not skip"
    ))
}

pub(super) fn malformed() -> Error {
    Error::corrupt("a record has the right checksum and makes no sense")
}
