//! Reading a snapshot back: into the index at open, and beside the index before it is published.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::header::{FileHeader, FileKind, HEADER_LEN};
use crate::format::mark::read_marks;
use crate::format::names;
use crate::format::record::kind;
use crate::format::scan::{Body, Ending};
use crate::format::snapshot::{Base, State, Values};
use crate::index::{Builder, Index, StateId, Topic, Value, Writer};
use crate::io::{Access, Dir, SegmentFile};
use crate::report::RecoveryReport;
use crate::segment::{End, RecordReader, Way, read_records};

use super::compact::state_bytes;
use super::compare::{Comparison, StateComparison};
use super::open::Files;
use super::read_log::{Ground, check_store, foreign_is_damage};
use super::recover::{entry_error, header_error, malformed, unknown};
use super::snapshot::Written;

/// The snapshots of a directory.
#[derive(Debug)]
pub(super) struct Snapshots<'a> {
    pub(super) dir: &'a dyn Dir,
    /// The store that the lock file names.
    pub(super) store_id: Option<u128>,
    /// How their files are opened.
    pub(super) access: Access,
    /// What the names in the index are hashed with.
    pub(super) seed: u64,
}

/// A snapshot that was loaded.
#[derive(Debug)]
pub(super) struct LoadedSnapshot {
    pub(super) covers: u64,
    pub(super) store_id: u128,
    pub(super) epoch: u32,
    pub(super) ground: Ground,
    pub(super) written: Written,
    pub(super) file: Arc<dyn SegmentFile>,
}

impl Snapshots<'_> {
    /// Makes an index of the newest snapshot, or an empty one if there is none. The snapshot had its
    /// name only when all of it was durable, and what it stands for is gone: if it is damaged, there
    /// is nothing to fall back on.
    pub(super) fn load_newest(
        &self,
        files: &Files,
        report: &mut RecoveryReport,
    ) -> Result<(Index, Writer, Option<LoadedSnapshot>)> {
        let Some(covers) = files.snapshots.last().copied() else {
            let (index, writer) = Index::new(self.seed);
            return Ok((index, writer, None));
        };
        let snapshot = Snapshot::open(self.dir, covers, self.access)
            .map_err(|error| foreign_is_damage(error, self.store_id.is_some()))?;
        let FileHeader { store_id, .. } = snapshot.header;
        check_store(&snapshot.path, store_id, self.store_id.unwrap_or(store_id))?;
        let mut builder = Builder::new(self.seed);
        let base = snapshot.load(&mut builder, report)?;
        if base.covers() != covers {
            let message = format!(
                "the snapshot was written under another name: it covers the history up to seq {}",
                base.covers()
            );
            return Err(Error::corrupt(message).with_path(&snapshot.path));
        }
        if files.segments.last().is_none_or(|first_seq| *first_seq < base.next_seq) {
            let message = "the log that goes on behind the snapshot is missing";
            return Err(Error::corrupt(message).with_path(&snapshot.path));
        }
        let end = End {
            epoch: base.epoch,
            position: 0,
            last_seq: base.last_seq,
            next_seq: base.next_seq,
            chain: base.chain,
        };
        let ground = Ground { end, salt: base.salt, durable: snapshot.durable };
        let epoch = snapshot.header.epoch;
        let (index, writer) = builder.finish();
        let written = Written {
            keys: report.snapshot_keys,
            bytes: snapshot.header.size,
            state_bytes: state_bytes(&index),
        };
        let file = snapshot.file;
        Ok((index, writer, Some(LoadedSnapshot { covers, store_id, epoch, ground, written, file })))
    }
}

/// A published snapshot whose first page was read.
#[derive(Debug)]
struct Snapshot {
    path: PathBuf,
    header: FileHeader,
    /// Everything up to this seq was durable in the log when the snapshot was published.
    durable: u64,
    file: Arc<dyn SegmentFile>,
}

impl Snapshot {
    /// Opens the snapshot that covers the history up to `covers`.
    fn open(dir: &dyn Dir, covers: u64, access: Access) -> Result<Snapshot> {
        let name = names::snapshot(covers);
        let path = dir.path().join(&name);
        let failed = |error| Error::io("read a snapshot", &path, error);
        let file = dir.open(&name, access).map_err(failed)?;
        if file.size() < u64::from(RECORDS_START) {
            return Err(Error::corrupt("the snapshot was cut").with_path(&path).at(0));
        }
        let mut page = vec![0; RECORDS_START as usize];
        file.read_at(0, &mut page).map_err(failed)?;
        let header = page.first_chunk::<HEADER_LEN>().map_or_else(
            || Err(Error::corrupt("the snapshot was cut")),
            |bytes| FileHeader::decode(bytes).map_err(header_error),
        );
        let header = header.map_err(|error| error.with_path(&path).at(0))?;
        if header.kind != FileKind::Snapshot || header.size != file.size() {
            let message = format!(
                "the header tells of a snapshot of {} bytes and the file has {}: it was cut, \
                 extended, or is another file",
                header.size,
                file.size()
            );
            return Err(Error::corrupt(message).with_path(&path).at(0));
        }
        // There is one mark, and it is needed: without it nobody knows how far the log has to go.
        let Some(mark) = read_marks(&page, header.salt).into_iter().next() else {
            let message = "the mark of the snapshot is damaged";
            return Err(Error::corrupt(message).with_path(&path).at(0));
        };
        Ok(Snapshot { path, header, durable: mark.durable, file })
    }

    /// Reads all of it and returns the place in the history that it stands for.
    fn load(&self, builder: &mut Builder, report: &mut RecoveryReport) -> Result<Base> {
        let records = Records { file: &*self.file, path: &self.path, header: &self.header };
        // The states are behind all values.
        let mut has_states = false;
        let base = records.read(|_, part| {
            let mut values = match part {
                Part::Values(values) if !has_states => values,
                Part::Values(_) => return Err(malformed()),
                Part::State(state) => {
                    has_states = true;
                    let State { seq, group, owner, name, part, bytes } = state;
                    let id = StateId { group, owner, name, part };
                    let is_right = seq <= self.durable && builder.state(id, bytes, seq);
                    return if is_right { Ok(()) } else { Err(malformed()) };
                }
            };
            if !builder.topic(values.group, values.topic) {
                return Err(malformed());
            }
            let checked = |(seq, partition, content)| match seq <= self.durable {
                true => Ok((partition, Value::new(content, seq))),
                false => Err(malformed()),
            };
            while !values.is_empty() {
                set_all(values.bare().map(checked), builder)?;
                set_all(values.with_epoch().map(checked), builder)?;
                let others = values.others().map(|value| value.map_err(entry_error));
                set_all(others.map(|value| value.and_then(checked)), builder)?;
            }
            Ok(())
        })?;
        report.snapshot_keys = builder.keys();
        report.bytes += self.header.size - u64::from(RECORDS_START);
        Ok(base)
    }
}

/// Sets values of the topic that was begun last.
#[inline(always)]
fn set_all<'v>(
    values: impl Iterator<Item = Result<(i32, Value<'v>)>>,
    builder: &mut Builder,
) -> Result<()> {
    if builder.set_all(values)? { Ok(()) } else { Err(malformed()) }
}

/// What a record of a snapshot holds.
pub(super) enum Part<'a> {
    Values(Values<'a>),
    State(State<'a>),
}

/// The records of a snapshot file, of which everything else is known.
#[derive(Debug)]
pub(super) struct Records<'a> {
    pub(super) file: &'a dyn SegmentFile,
    pub(super) path: &'a Path,
    pub(super) header: &'a FileHeader,
}

impl Records<'_> {
    /// Calls `visit` with the position and the content of each record, up to the seal. All of the file
    /// has to be right.
    pub(super) fn read(&self, mut visit: impl FnMut(u64, Part<'_>) -> Result<()>) -> Result<Base> {
        let way = Way::of(self.file);
        read_records(self.file, self.header, way, |reader| self.visit(reader, &mut visit))
    }

    fn visit(
        &self,
        reader: &mut RecordReader<'_>,
        visit: &mut dyn FnMut(u64, Part<'_>) -> Result<()>,
    ) -> Result<Base> {
        let failed = |error| Error::io("read a snapshot", self.path, error);
        let mut base = None;
        while reader.fill().map_err(failed)? {
            for record in reader.records() {
                let position = record.position;
                let read = match (record.body, base) {
                    (Body::Base(first), None) => {
                        base = Some(first);
                        Ok(())
                    }
                    (Body::Values(values), Some(_)) => visit(position, Part::Values(values)),
                    (Body::State(state), Some(_)) => visit(position, Part::State(state)),
                    (Body::Seal(_), Some(_)) => Ok(()),
                    (Body::Unknown, Some(_)) if record.kind & kind::OPTIONAL != 0 => Ok(()),
                    (Body::Unknown, Some(_)) => Err(unknown(record.kind)),
                    _ => Err(malformed()),
                };
                read.map_err(|error| error.with_path(self.path).at(position))?;
            }
        }
        let (ending, end) = (reader.ending().map_err(failed)?, reader.scanner().position());
        match base {
            Some(base) if ending == Ending::Sealed && end == self.file.size() => Ok(base),
            _ => {
                let message = "a record of the snapshot is damaged";
                Err(Error::corrupt(message).with_path(self.path).at(end))
            }
        }
    }

    /// Checks that the snapshot says what an index says, which may have changed since it was
    /// written: every value of `topics` and every state up to `covered` is there, and none that never
    /// was. `go_on` is asked at each record, with its position.
    pub(super) fn compare(
        &self,
        index: &Index,
        topics: &[Arc<Topic>],
        covered: u64,
        mut go_on: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut comparison = Comparison::new(topics, covered);
        let mut states = StateComparison::new(index.states(), covered);
        self.read(|position, part| {
            go_on(position)?;
            match part {
                Part::Values(values) => comparison.values(values),
                Part::State(state) => states.state(&state),
            }
        })?;
        comparison
            .finish()
            .and_then(|()| states.finish())
            .map_err(|error| error.with_path(self.path))
    }
}
