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
    /// The records below this position were verified.
    verified: u32,
}

impl Loaded {
    /// Reads the segment with this name.
    ///
    /// Its header was durable before it got its name, so a header that is not right is damage
    /// whatever else is known.
    pub(super) fn read(dir: &dyn Dir, first_seq: u64) -> Result<Loaded> {
        Loaded::read_named(dir, &names::segment(first_seq), first_seq)
    }

    /// [`Loaded::read`] for a file that may have been renamed.
    pub(super) fn read_named(dir: &dyn Dir, name: &str, first_seq: u64) -> Result<Loaded> {
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
        let mut bytes = vec![0; size as usize];
        file.read_at(0, &mut bytes).map_err(failed)?;
        let marks = read_marks(&bytes, header.salt);
        Ok(Loaded { first_seq, path, file, header, marks, bytes, verified: 0 })
    }

    /// Reads the records from the start.
    pub(super) fn scanner(&self) -> Scanner<'_> {
        Scanner::new(&self.bytes, self.header.salt, self.header.epoch).trusting(self.verified)
    }

    /// Verifies the records ahead of the replay, which then trusts them.
    pub(super) fn verify(&mut self) {
        let mut scanner = self.scanner();
        while let Step::Record(_) = scanner.step() {}
        self.verified = scanner.position();
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

    /// Whether a mark states that the seal and the successor were durable.
    pub(super) fn is_confirmed(&self) -> bool {
        self.marks.iter().any(|mark| mark.state == MarkState::Sealed)
    }

    /// The counter of the newest mark.
    pub(super) fn newest_mark(&self) -> u64 {
        self.marks.first().map_or(0, |mark| mark.counter)
    }
}

fn header_error(error: HeaderError) -> Error {
    match error {
        HeaderError::Foreign => {
            Error::not_a_store("the file has the name of a segment and is none of Pagemark's")
        }
        HeaderError::Damaged => Error::corrupt("the header of the segment is damaged"),
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
        let mut ahead = Ahead::default();
        let mut scanner = loaded.scanner();
        let ending = loop {
            match scanner.step() {
                Step::Record(record) => {
                    self.stated.add(record.durable.unwrap_or(0));
                    self.report.records += 1;
                    let position = record.position;
                    self.record(record, &mut names, &mut ahead)
                        .map_err(|error| error.with_path(&loaded.path).at(u64::from(position)))?;
                }
                Step::End(ending) => break ending,
            }
        };
        self.catch_up(&mut ahead, &mut names);
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

    fn record<'b>(
        &mut self,
        record: Record<'b>,
        names: &mut Vec<Arc<Topic>>,
        ahead: &mut Ahead<'b>,
    ) -> Result<()> {
        match record.body {
            Body::Start(_) | Body::Open(_) | Body::Seal(_) => {}
            Body::Name(name) => {
                if name.id as usize != names.len() {
                    return Err(malformed());
                }
                names.push(self.index.resolve(name.group, name.topic));
            }
            Body::Batch(entries) => self.batch(entries, record.seq, names, ahead)?,
            Body::Unknown if record.kind & kind::OPTIONAL != 0 => self.report.skipped += 1,
            Body::Unknown => {
                return Err(Error::unsupported(format!(
                    "the log has a record of kind {:#04x}, which this version of Pagemark does \
                     not know and must not skip",
                    record.kind
                )));
            }
            Body::Malformed => return Err(malformed()),
        }
        if record.kind & kind::CONTROL == 0 {
            self.last_seq = record.seq;
        }
        Ok(())
    }

    fn batch<'b>(
        &mut self,
        entries: Entries<'b>,
        seq: u64,
        names: &mut [Arc<Topic>],
        ahead: &mut Ahead<'b>,
    ) -> Result<()> {
        for entry in entries {
            let entry = entry.map_err(|error| match error {
                EntryError::UnknownShape(shape) => Error::unsupported(format!(
                    "the log has an entry of shape {shape:#04x}, which this version of Pagemark \
                     does not know"
                )),
                EntryError::Malformed => malformed(),
            })?;
            self.report.changes += 1;
            match entry {
                Entry::Set { name, partition, offset, leader_epoch, timestamp_ms, metadata } => {
                    if name as usize >= names.len() {
                        return Err(malformed());
                    }
                    let value = Value { offset, leader_epoch, timestamp_ms, metadata, seq };
                    ahead.sets.push((name, partition, value));
                    if ahead.sets.len() == Ahead::LEN {
                        self.catch_up(ahead, names);
                    }
                }
                Entry::Delete { name, partition } => {
                    self.catch_up(ahead, names);
                    let topic = names.get(name as usize).ok_or_else(malformed)?;
                    self.index.delete(self.writer, topic, partition, seq);
                }
                Entry::DeleteTopic { name } => {
                    self.catch_up(ahead, names);
                    let topic = names.get(name as usize).ok_or_else(malformed)?;
                    self.index.delete_topic(self.writer, topic, seq);
                }
            }
        }
        Ok(())
    }

    /// Applies what was read ahead.
    fn catch_up(&mut self, ahead: &mut Ahead<'_>, names: &mut [Arc<Topic>]) {
        for (name, partition, _) in &ahead.sets {
            if let Some(topic) = names.get(*name as usize) {
                topic.prefetch(*partition);
            }
        }
        for (name, partition, value) in ahead.sets.drain(..) {
            // The name was checked when the value was read ahead.
            let Some(topic) = names.get_mut(name as usize) else { continue };
            while !self.index.set(self.writer, topic, partition, value) {
                // A delete has emptied the topic since its name was read.
                *topic = self.index.resolve(topic.group(), topic.name());
            }
        }
    }
}

/// Commits that were read and not applied yet.
///
/// A replay touches keys in no order that a cache could know of. Reading ahead lets the loads of
/// some tens of slots overlap instead of waiting for each in turn.
#[derive(Debug, Default)]
struct Ahead<'a> {
    sets: Vec<(u32, i32, Value<'a>)>,
}

impl Ahead<'_> {
    const LEN: usize = 64;
}

fn malformed() -> Error {
    Error::corrupt("a record has the right checksum and makes no sense")
}
