//! Salvage: a new store from all that can be read of a damaged one.
//!
//! The history is walked once, over everything that checks: the newest snapshot that is whole, or the
//! beginning, and then snapshots that are not whole and the log, in order. Where records are missing
//! there is a gap, a range of seqs. What is known of a key is known as of some seq; if a gap reaches
//! beyond it, the gap may have held a newer value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::batch::CommitBatch;
use crate::care::{Gap, Progress, SalvageReport, SalvagedKey, SalvagedState, Verdict};
use crate::error::{Error, Result};
use crate::format::header::{FileHeader, FileKind, HEADER_LEN, HeaderError};
use crate::format::mark::{Mark, MarkState, read_marks};
use crate::format::record::{Start, kind};
use crate::format::rescue::{Found, Rescue};
use crate::format::scan::Body;
use crate::format::snapshot::Base;
use crate::format::{RECORDS_START, names};
use crate::index::StateId;
use crate::io::{Access, Dir, SegmentFile};
use crate::key::{Commit, Durability, NextOffset, Seq};
use crate::options::{MAX_SEGMENT_SIZE, Options};
use crate::state::StateChange;

use super::Engine;
use super::changes::StateEdit;
use super::harvest::{Harvest, Left};
use super::open::{Files, open};
use super::recover::header_error;
use super::verify::read_lock;

/// What a device reads at once at least, so that a bad place costs no more.
const SECTOR: usize = 4096;
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Changes of a batch.
const BATCH: usize = 256;

/// Saves what can be read in `from` into a new store in `to`.
pub(crate) fn salvage(
    from: &dyn Dir,
    to: Arc<dyn Dir>,
    options: &Options,
    tell: &mut dyn FnMut(Progress),
) -> Result<SalvageReport> {
    let _excluded = from.exclude_writers()?;
    let listed = to.list().map_err(|error| Error::io("list the directory", to.path(), error))?;
    if !listed.is_empty() {
        let message = "the directory for what is saved has files in it; name a new one";
        return Err(Error::invalid(message).with_path(to.path()));
    }
    let lock_id = read_lock(from).ok().flatten().and_then(|lock| lock.store_id);
    let files = Files::list(from)?;
    let mut salvage = Salvage::open(from, &files, lock_id, tell)?;
    if salvage.sources.is_empty() {
        let message = "there is no file of a store in the directory";
        return Err(Error::not_a_store(message).with_path(from.path()));
    }
    salvage.walk()?;
    salvage.write(to, options)
}

/// A file of which the header is right.
struct Source {
    path: PathBuf,
    file: Arc<dyn SegmentFile>,
    header: FileHeader,
    /// What its name says: the first seq of a segment, the last of a snapshot.
    named: u64,
}

/// Where the history goes on, as far as it was walked.
struct Expected {
    seq: u64,
    /// Salt, chain and epoch of the seal in front, if it was read.
    seal: Option<(u64, u64, u32)>,
}

/// What a file looked like.
struct Outcome {
    base: Option<Base>,
    start: Option<Start>,
    whole: bool,
}

/// From the first to behind the last byte that the device did not give, if there is one.
type Unread = Option<(u64, u64)>;

struct Salvage<'a> {
    /// Snapshots and segments.
    sources: Vec<Source>,
    /// First seqs of segments that cannot be read at all.
    unreadable: Vec<u64>,
    harvest: Harvest,
    report: SalvageReport,
    /// What anything states to have been durable.
    stated: u64,
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

impl<'a> Salvage<'a> {
    fn open(
        from: &dyn Dir,
        files: &Files,
        lock_id: Option<u128>,
        tell: &'a mut dyn FnMut(Progress),
    ) -> Result<Salvage<'a>> {
        let mut salvage = Salvage {
            sources: Vec::new(),
            unreadable: Vec::new(),
            harvest: Harvest::default(),
            report: SalvageReport::default(),
            stated: 0,
            progress: Progress { done: 0, total: 0 },
            tell,
        };
        let segments = files.segments.iter().map(|seq| (names::segment(*seq), *seq, false));
        let snapshots = files.snapshots.iter().map(|seq| (names::snapshot(*seq), *seq, true));
        for (name, named, is_snapshot) in segments.chain(snapshots) {
            let path = from.path().join(&name);
            let opened = from.open(&name, Access::Read);
            let file = opened.map_err(|error| Error::io("open a file", &path, error))?;
            let mut bytes = [0; HEADER_LEN];
            let decoded = match file.read_at(0, &mut bytes) {
                Ok(()) => FileHeader::decode(&bytes),
                Err(_) => Err(HeaderError::Damaged),
            };
            match decoded {
                Ok(header) => salvage.sources.push(Source { path, file, header, named }),
                Err(error @ (HeaderError::Version(_) | HeaderError::Kind(_))) => {
                    return Err(header_error(error).with_path(path).at(0));
                }
                Err(HeaderError::Foreign | HeaderError::Damaged) => {
                    salvage.give_up(path, file.size(), named, is_snapshot);
                }
            }
        }
        // A file of another store may have come in, and the lock file may be damaged: what most of
        // them say counts.
        let mut votes: BTreeMap<u128, usize> = BTreeMap::new();
        let ids = salvage.sources.iter().map(|source| source.header.store_id);
        ids.chain(lock_id).for_each(|id| *votes.entry(id).or_default() += 1);
        let store_id = votes.iter().max_by_key(|(_, votes)| **votes).map(|(id, _)| *id);
        for source in std::mem::take(&mut salvage.sources) {
            if Some(source.header.store_id) == store_id {
                salvage.progress.total += source.file.size();
                salvage.sources.push(source);
            } else {
                let is_snapshot = source.header.kind == FileKind::Snapshot;
                salvage.give_up(source.path, source.file.size(), source.named, is_snapshot);
            }
        }
        salvage.report.store_id = store_id;
        Ok(salvage)
    }

    /// Goes on without a file.
    fn give_up(&mut self, path: PathBuf, bytes: u64, named: u64, is_snapshot: bool) {
        self.report.bytes_skipped += bytes;
        self.report.unreadable.push(path.clone());
        if is_snapshot {
            // The log in front of it may be gone.
            self.gap(path, 1, named);
        } else {
            self.unreadable.push(named);
        }
    }

    fn gap(&mut self, path: PathBuf, from: u64, to: u64) {
        if from <= to {
            self.report.gaps.push(Gap { path, from: Seq(from), to: Seq(to) });
        }
    }

    /// The bytes of a file, with zeros where the device returns none, and where that was. What stands
    /// behind the end that the header tells of does not count: somebody has extended the file, perhaps
    /// by far.
    fn read(&mut self, source: &Source) -> Result<(Vec<u8>, Unread)> {
        let most = match source.header.kind {
            FileKind::Segment => source.header.size.min(MAX_SEGMENT_SIZE),
            FileKind::Snapshot => source.header.size,
        };
        let size = source.file.size().min(most);
        self.report.bytes_skipped += source.file.size() - size;
        let mut bytes = Vec::new();
        let room = usize::try_from(size).ok().filter(|size| bytes.try_reserve_exact(*size).is_ok());
        let Some(len) = room else {
            let message = "there is not enough memory for the file";
            return Err(Error::invalid(message).with_path(&source.path));
        };
        bytes.resize(len, 0);
        let mut position = 0;
        let mut unread = None;
        for piece in bytes.chunks_mut(PIECE) {
            if source.file.read_at(position, piece).is_err() {
                let mut at = position;
                for sector in piece.chunks_mut(SECTOR) {
                    if source.file.read_at(at, sector).is_err() {
                        sector.fill(0);
                        self.report.bytes_skipped += sector.len() as u64;
                        let first = unread.map_or(at, |(first, _)| first);
                        unread = Some((first, at + sector.len() as u64));
                    }
                    at += sector.len() as u64;
                }
            }
            position += piece.len() as u64;
            self.progress.done += piece.len() as u64;
            (self.tell)(self.progress);
        }
        self.report.files.push(source.path.clone());
        Ok((bytes, unread))
    }

    fn walk(&mut self) -> Result<()> {
        let sources = std::mem::take(&mut self.sources);
        let (mut snapshots, mut segments): (Vec<_>, Vec<_>) =
            sources.into_iter().partition(|source| source.header.kind == FileKind::Snapshot);
        snapshots.sort_by_key(|source| std::cmp::Reverse(source.named));
        segments.sort_by_key(|source| source.named);
        let mut expected = Expected { seq: 1, seal: None };
        // Snapshots that are not whole, oldest last.
        let mut parts: Vec<(u64, PathBuf, Option<Base>)> = Vec::new();
        for source in &snapshots {
            let (bytes, _) = self.read(source)?;
            let outcome = self.snapshot(source, &bytes)?;
            let covers = outcome.base.map_or(source.named, |base| base.covers());
            if let (true, Some(base)) = (outcome.whole, outcome.base) {
                let seal = Some((base.salt, base.chain, base.epoch));
                expected = Expected { seq: base.next_seq, seal };
                break;
            }
            parts.push((covers, source.path.clone(), outcome.base));
        }
        let mut tail_is_lost = true;
        for source in &segments {
            if source.named < expected.seq && expected.seal.is_some() {
                // The snapshot stands for it, or it was read twice.
                continue;
            }
            self.reach(&mut parts, &mut expected, source.named.saturating_sub(1));
            let (bytes, unread) = self.read(source)?;
            tail_is_lost = self.segment(source, &bytes, unread, &mut expected)?;
        }
        let before = expected.seq;
        self.reach(&mut parts, &mut expected, u64::MAX);
        let missing = expected.seq > before || self.unreadable.iter().any(|seq| *seq >= before);
        if tail_is_lost || missing || self.stated >= expected.seq {
            let path = segments.last().or(snapshots.first()).map(|source| source.path.clone());
            self.gap(path.unwrap_or_default(), expected.seq, u64::MAX);
        }
        Ok(())
    }

    /// Goes past the snapshots that are not whole and cover the history up to `seq` at most.
    fn reach(
        &mut self,
        parts: &mut Vec<(u64, PathBuf, Option<Base>)>,
        expected: &mut Expected,
        seq: u64,
    ) {
        while let Some((covers, path, base)) = parts.pop_if(|(covers, ..)| *covers <= seq) {
            if expected.seq <= covers {
                self.gap(path, expected.seq, covers);
                let seal = base.map(|base| (base.salt, base.chain, base.epoch));
                *expected = Expected { seq: covers.saturating_add(1), seal };
            }
        }
    }

    /// Takes what a snapshot has.
    fn snapshot(&mut self, source: &Source, bytes: &[u8]) -> Result<Outcome> {
        let FileHeader { salt, epoch, .. } = source.header;
        let mut rescue = Rescue::new(bytes, salt, epoch, true, source.named.saturating_add(1));
        let mut outcome = Outcome { base: None, start: None, whole: true };
        while let Some(found) = rescue.next() {
            let covers = outcome.base.map_or(source.named, |base| base.covers());
            match found {
                Found::Lost { bytes, .. } => {
                    self.report.bytes_skipped += bytes;
                    outcome.whole = false;
                }
                Found::Record { body: Body::Base(base), .. } => outcome.base = Some(base),
                Found::Record { body: Body::Values(values), .. } => {
                    self.report.records += 1;
                    let knows_time = rescue.knows_time();
                    outcome.whole &= self.harvest.values(values, covers, knows_time)?;
                }
                Found::Record { body: Body::State(state), .. } => {
                    self.report.records += 1;
                    self.harvest.state(&state, covers);
                }
                Found::Record { body: Body::Seal(_), .. } => {}
                Found::Record { body: Body::Unknown, kind, .. } if kind & kind::OPTIONAL != 0 => {}
                Found::Record { body: Body::Unknown, kind, .. } => {
                    return Err(unknown(kind, source));
                }
                Found::Record { .. } => outcome.whole = false,
            }
        }
        self.skip_remains(&rescue, bytes);
        outcome.whole &= rescue.sealed().is_some() && rescue.anchor() == bytes.len() as u64;
        outcome.whole &= source.header.size == bytes.len() as u64;
        self.state(bytes, salt);
        Ok(outcome)
    }

    /// Takes what a segment has. Returns whether more may have followed it than can be read.
    fn segment(
        &mut self,
        source: &Source,
        bytes: &[u8],
        unread: Unread,
        expected: &mut Expected,
    ) -> Result<bool> {
        let FileHeader { salt, epoch, .. } = source.header;
        let path = || source.path.clone();
        let mut rescue = Rescue::new(bytes, salt, epoch, false, source.named);
        let mut names = BTreeMap::new();
        let mut outcome = Outcome { base: None, start: None, whole: true };
        while let Some(found) = rescue.next() {
            match found {
                Found::Lost { bytes, from, to } => {
                    self.report.bytes_skipped += bytes;
                    self.gap(path(), from, to.saturating_sub(1));
                    outcome.whole = false;
                }
                Found::Record { seq, kind, durable, body } => {
                    self.stated = self.stated.max(durable.unwrap_or(0));
                    self.report.records += 1;
                    match body {
                        Body::Start(start) => outcome.start = Some(start),
                        Body::Open(_) | Body::Seal(_) => {}
                        Body::Name(name) => {
                            self.harvest.name(name.group, name.topic);
                            names.insert(name.id, (name.group.to_owned(), name.topic.to_owned()));
                        }
                        Body::Batch(entries) => {
                            let knows_time = rescue.knows_time();
                            let lost = self.harvest.batch(entries, seq, &names, knows_time)?;
                            self.report.changes_lost += lost;
                            if lost > 0 {
                                self.gap(path(), seq, seq);
                            }
                        }
                        Body::Unknown if kind & kind::OPTIONAL != 0 => {}
                        Body::Unknown => return Err(unknown(kind, source)),
                        _ => self.gap(path(), seq, seq),
                    }
                }
            }
        }
        self.skip_remains(&rescue, bytes);
        let first = outcome.start.map_or(source.named, |start| start.first_seq);
        let follows = |(salt, chain, epoch): (u64, u64, u32)| {
            outcome
                .start
                .is_some_and(|start| start.previous_salt == salt && start.previous_chain == chain)
                && (first == expected.seq || source.header.epoch > epoch)
        };
        if !expected.seal.is_some_and(follows) {
            self.gap(path(), expected.seq, first.saturating_sub(1));
        }
        expected.seq = expected.seq.max(rescue.next_seq());
        expected.seal = rescue.sealed().map(|seal| (salt, seal.chain, rescue.epoch()));
        let marks = self.state(bytes, salt);
        let is_closed = marks.first().is_some_and(|mark| {
            mark.state == MarkState::Closed
                && u64::from(mark.position) == rescue.anchor()
                && mark.next_seq == rescue.next_seq()
        });
        let confirmed = marks.iter().any(|mark| mark.state == MarkState::Sealed);
        let beyond = marks.iter().any(|mark| u64::from(mark.position) > rescue.anchor());
        let cut = source.header.size != bytes.len() as u64;
        // Nobody knows what the device would not give: a mark, or records behind the last one.
        let unknown = unread
            .is_some_and(|(first, end)| first < u64::from(RECORDS_START) || end > rescue.anchor());
        Ok(!is_closed && (confirmed || beyond || cut || unknown || rescue.has_remains()))
    }

    /// Counts what stands behind the last record that was read.
    fn skip_remains(&mut self, rescue: &Rescue<'_>, bytes: &[u8]) {
        if rescue.has_remains() {
            self.report.bytes_skipped += bytes.len() as u64 - rescue.anchor();
        }
    }

    /// Notes what marks state.
    fn state(&mut self, bytes: &[u8], salt: u64) -> Vec<Mark> {
        let marks = read_marks(bytes.get(..RECORDS_START as usize).unwrap_or_default(), salt);
        self.stated = marks.iter().map(|mark| mark.durable).max().unwrap_or(0).max(self.stated);
        marks
    }

    /// Judges all keys, and writes those that have a value into a new store.
    fn write(mut self, to: Arc<dyn Dir>, options: &Options) -> Result<SalvageReport> {
        let reach = self.report.gaps.iter().map(|gap| gap.to.get()).max().unwrap_or(0);
        let engine = open(to, options)?;
        let mut batch = CommitBatch::new("");
        for ((group, name), topic) in self.harvest.topics() {
            if batch.group() != group {
                commit(&engine, &mut batch)?;
                batch = CommitBatch::new(group);
            }
            let before = self.report.kept();
            for (partition, key) in topic.keys() {
                let known = topic.known(key);
                let verdict = match (known >= reach, topic.value(key)) {
                    (true, None) => continue,
                    (true, Some(_)) => Verdict::Exact,
                    (false, Some(_)) => Verdict::PossiblyOld,
                    (false, None) => Verdict::Lost,
                };
                if let Some(value) = topic.value(key) {
                    let commit_of = Commit {
                        offset: NextOffset(value.offset),
                        leader_epoch: value.leader_epoch,
                        metadata: &value.metadata,
                        timestamp_ms: value.timestamp_ms,
                        expire_at_ms: value.expire_at_ms,
                    };
                    self.report.timestamps_lost += u64::from(value.timestamp_ms.is_none());
                    batch.commit(name, partition, commit_of);
                    if batch.len() >= BATCH {
                        commit(&engine, &mut batch)?;
                    }
                }
                self.report.count(verdict);
                if verdict != Verdict::Exact {
                    self.report.uncertain.push(SalvagedKey {
                        group: group.to_owned(),
                        topic: name.to_owned(),
                        partition: Some(partition),
                        verdict,
                        seq: Seq(known),
                    });
                }
            }
            let is_bare = self.report.kept() == before && topic.keys().next().is_none();
            if is_bare && topic.deleted() < reach {
                self.report.count(Verdict::Lost);
                self.report.uncertain.push(SalvagedKey {
                    group: group.to_owned(),
                    topic: name.to_owned(),
                    partition: None,
                    verdict: Verdict::Lost,
                    seq: Seq(topic.deleted()),
                });
            }
        }
        commit(&engine, &mut batch)?;
        self.write_states(&engine, reach)?;
        engine.close()?;
        Ok(self.report)
    }

    /// Judges all states, and writes those that are left.
    fn write_states(&mut self, engine: &Engine, reach: u64) -> Result<()> {
        for Left { id, known, bytes } in self.harvest.states().left(&self.report.gaps) {
            if let Some(bytes) = &bytes {
                engine.change_states(&[StateEdit { id, change: StateChange::Put(bytes) }])?;
            }
            let verdict = match (known >= reach, bytes.is_some()) {
                (true, is_left) => {
                    self.report.states_exact += u64::from(is_left);
                    continue;
                }
                (false, true) => Verdict::PossiblyOld,
                (false, false) => Verdict::Lost,
            };
            let StateId { group, owner, name, part } = id;
            let (group, name, seq) = (group.to_owned(), name.to_owned(), Seq(known));
            let uncertain = &mut self.report.uncertain_states;
            uncertain.push(SalvagedState { group, owner, name, part, verdict, seq });
        }
        Ok(())
    }
}

fn commit(engine: &Engine, batch: &mut CommitBatch) -> Result<()> {
    if !batch.is_empty() {
        engine.commit_batch(batch, Durability::Buffered)?;
        batch.clear();
    }
    Ok(())
}

fn unknown(kind: u8, source: &Source) -> Error {
    let message = format!(
        "there is a record of kind {kind:#04x}, which this version of Pagemark does not know; \
         salvage the store with the version that wrote it"
    );
    Error::unsupported(message).with_path(&source.path)
}
