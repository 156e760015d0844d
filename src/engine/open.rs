//! Open: create a store, or read one back, decide where its log ends, and go on from there.
//!
//! Nothing on disk is changed before everything was read and found to be whole.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::header::FileHeader;
use crate::format::mark::MarkState;
use crate::format::names::{self, FileName};
use crate::format::record::{Open, Start};
use crate::format::scan::Ending;
use crate::histogram::LiveHistogram;
use crate::index::{Index, Target, Writer};
use crate::io::latch::Latch;
use crate::io::{Access, Dir, DirLock};
use crate::observe::{self, Meter};
use crate::options::Options;
use crate::report::RecoveryReport;
use crate::segment::{Appender, Segment};
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;

use super::Engine;
use super::compact::Compaction;
use super::load::{LoadedSnapshot, Snapshots};
use super::log::{FIRST_SEGMENT_SIZE, Log, Past, Surroundings};
use super::quota::Quotas;
use super::read_log::{Found, LogReader, Unconfirmed};
use super::snapshot::Written;
use super::spare::Spare;
use super::sync::Flushing;

/// How far the seq skips ahead after an unclean stop. Records may have been handed out and lost, and
/// a seq must not be handed out twice; nobody loses this many.
const SKIP_AFTER_UNCLEAN_STOP: u64 = 1 << 32;

/// Opens the store in a directory.
pub(crate) fn open(dir: Arc<dyn Dir>, options: &Options) -> Result<Engine> {
    let started_ms = options.environment.now_ms();
    let started_ns = options.environment.monotonic_ns();
    let lock = dir.lock()?;
    let files = Files::list(&*dir)?;
    let seed = options.environment.random();
    let opening = Opening { dir: &dir, options, lock: &*lock };
    let opened = match files.segments.is_empty() && files.snapshots.is_empty() {
        true => opening.create(seed)?,
        false => opening.recover(&files, seed)?,
    };
    let Opened { appender, past, index, writer, spare, compaction, mut report } = opened;
    let elapsed_ms = options.environment.now_ms().saturating_sub(started_ms);
    report.elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(0);
    let last_seq = appender.end().last_seq;
    let latch = Arc::new(Latch::default());
    let compaction = Arc::new(compaction);
    let surroundings = Surroundings {
        dir: Arc::clone(&dir),
        spare: Arc::clone(&spare),
        latch: Arc::clone(&latch),
        compaction: Arc::clone(&compaction),
        segment_size: options.segment_size,
        auto_compact: options.auto_compact,
        quotas: Quotas::new(options),
    };
    let engine = Engine {
        options: options.clone(),
        dir,
        index,
        log: Mutex::new(Log::new(appender, past, writer, surroundings)),
        flushing: Flushing::default(),
        flush_latency: LiveHistogram::default(),
        meter: Meter::default(),
        durable: AtomicU64::new(last_seq),
        latch,
        spare,
        compaction,
        report,
        lock: Mutex::new(Some(lock)),
        process: std::process::id(),
    };
    engine.set_marked(last_seq);
    engine.log()?.consider_compaction(&engine.index);
    let elapsed_ns = engine.now_ns().saturating_sub(started_ns);
    observe::opened(engine.dir.path(), &engine.report, elapsed_ns);
    engine.meter.describe();
    engine.hand_on_numbers();
    Ok(engine)
}

/// The files of ours in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// By first seq, in order.
    pub(super) segments: Vec<u64>,
    /// By the seq up to which they cover the history, in order.
    pub(super) snapshots: Vec<u64>,
    pub(super) temporaries: Vec<String>,
}

impl Files {
    /// Looks into a directory.
    pub(super) fn list(dir: &dyn Dir) -> Result<Files> {
        let listed =
            dir.list().map_err(|error| Error::io("list the directory", dir.path(), error))?;
        let mut files = Files::default();
        for name in listed {
            match names::parse(&name) {
                Some(FileName::Segment(first_seq)) => files.segments.push(first_seq),
                Some(FileName::Snapshot(covers)) => files.snapshots.push(covers),
                Some(FileName::Temporary) => files.temporaries.push(name),
                None => {}
            }
        }
        files.segments.sort_unstable();
        files.snapshots.sort_unstable();
        Ok(files)
    }

    /// The segments in front of a seq, which a snapshot stands for, and those behind.
    pub(super) fn log_behind(&self, next_seq: u64) -> (&[u64], &[u64]) {
        self.segments.split_at(self.segments.partition_point(|first_seq| *first_seq < next_seq))
    }
}

/// What a directory without segments and snapshots is, if its lock file names this store or none.
pub(super) fn no_store(store_id: Option<u128>) -> Error {
    match store_id {
        Some(id) => Error::corrupt(format!(
            "the lock file names store {id:032x}, and none of its segments is here; if the \
             store was removed on purpose, remove its LOCK file too"
        )),
        None => Error::not_a_store("there is no store in the directory"),
    }
}

/// Reads a store as it stands, and changes nothing.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) dir: &'a dyn Dir,
    /// The store that the lock file names.
    pub(super) store_id: Option<u128>,
    /// What the names in the index are hashed with.
    pub(super) seed: u64,
}

/// A store that was read, and of which nothing that was promised is lost.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) index: Index,
    pub(super) writer: Writer,
    pub(super) snapshot: Option<LoadedSnapshot>,
    pub(super) found: Found,
}

impl Reading<'_> {
    /// Reads everything that counts into an index, or says what is damaged.
    pub(super) fn read(&self, files: &Files, report: &mut RecoveryReport) -> Result<Whole> {
        let Reading { dir, store_id, seed } = *self;
        let snapshots = Snapshots { dir, store_id, access: Access::Settled, seed };
        let (index, mut writer, snapshot) = snapshots.load_newest(files, report)?;
        let ground = snapshot.as_ref().map(|snapshot| snapshot.ground);
        let (_, segments) = files.log_behind(ground.map_or(0, |ground| ground.end.next_seq));
        let reader = LogReader {
            dir,
            store_id: store_id.or(snapshot.as_ref().map(|snapshot| snapshot.store_id)),
            index: &index,
            ground,
            segments,
        };
        let found = reader.read(&mut writer, report)?;
        Ok(Whole { index, writer, snapshot, found })
    }
}

/// What creation and recovery have in common.
struct Opening<'a> {
    dir: &'a Arc<dyn Dir>,
    options: &'a Options,
    lock: &'a dyn DirLock,
}

/// A store whose log can go on.
struct Opened {
    appender: Appender,
    past: Past,
    index: Index,
    writer: Writer,
    spare: Arc<Spare>,
    compaction: Compaction,
    report: RecoveryReport,
}

impl Opening<'_> {
    fn create(&self, seed: u64) -> Result<Opened> {
        let store_id = self.lock.store_id();
        if store_id.is_some() || !self.options.create_if_missing {
            return Err(no_store(store_id).with_path(self.dir.path()));
        }
        let environment = &self.options.environment;
        let store_id = u128::from(environment.random()) << 64 | u128::from(environment.random());
        let spare = self.spare(store_id, 1);
        let size = FIRST_SEGMENT_SIZE.min(self.options.segment_size);
        let start = Start {
            first_seq: 1,
            previous_salt: 0,
            previous_chain: 0,
            base_ms: environment.now_ms(),
        };
        let appender = self.begin(&spare, size, start, 0)?;
        self.record_store(store_id)?;
        let report = RecoveryReport { created: true, clean: true, ..RecoveryReport::default() };
        let (past, compaction) = (Past::default(), Compaction::new(None, Written::default()));
        let (index, writer) = Index::new(seed);
        Ok(Opened { appender, past, index, writer, spare, compaction, report })
    }

    fn spare(&self, store_id: u128, epoch: u32) -> Arc<Spare> {
        let environment = Arc::clone(&self.options.environment);
        Arc::new(Spare::new(Arc::clone(self.dir), environment, store_id, epoch))
    }

    /// Begins a segment that is durable, name included, before it is returned.
    fn begin(&self, spare: &Spare, size: u64, start: Start, last_seq: u64) -> Result<Appender> {
        let segment = Arc::new(spare.take(size, size)?);
        let appender = Appender::begin(segment, 1, start, last_seq, last_seq)?;
        let segment = appender.segment();
        segment.write_mark(MarkState::Open, &appender.end())?;
        segment.sync()?;
        segment.publish(&**self.dir, start.first_seq)?;
        spare.published();
        self.sync_dir()?;
        Ok(appender)
    }

    fn sync_dir(&self) -> Result<()> {
        self.dir.sync().map_err(|error| Error::flush("flush the directory", self.dir.path(), error))
    }

    /// Leaves the store's id where it outlives the segments, so that a directory that lost all of
    /// them is not taken for a new one.
    fn record_store(&self, store_id: u128) -> Result<()> {
        self.lock
            .record_store(store_id)
            .map_err(|error| Error::io("record the store in the lock file", self.dir.path(), error))
    }

    fn recover(&self, files: &Files, seed: u64) -> Result<Opened> {
        let mut report = RecoveryReport::default();
        let reading = Reading { dir: &**self.dir, store_id: self.lock.store_id(), seed };
        let Whole { index, mut writer, snapshot, mut found } = reading.read(files, &mut report)?;
        // What of it is cached may be more than the device has, if somebody else brought it here.
        found.unflushed.extend(snapshot.as_ref().map(|snapshot| Arc::clone(&snapshot.file)));
        let (leftover, _) =
            files.log_behind(snapshot.as_ref().map_or(0, |snapshot| snapshot.ground.end.next_seq));
        // Everything was read and is whole. From here on the disk is written to.
        self.make_durable(&found)?;
        for name in &files.temporaries {
            self.remove(name)?;
        }
        // What the snapshot stands for is here only because its removal was not finished.
        let older = files.snapshots.split_last().map_or(&[][..], |(_, older)| older);
        let leftover = leftover.iter().map(|first_seq| names::segment(*first_seq));
        for name in leftover.chain(older.iter().map(|covers| names::snapshot(*covers))) {
            self.remove(&name)?;
        }
        // The newest goes first, so that a crash in between leaves a log without a gap.
        for first_seq in found.dropped.iter().rev() {
            self.remove(&names::segment(*first_seq))?;
        }
        if !found.dropped.is_empty() {
            self.sync_dir()?;
        }
        let epoch = found.epoch.max(snapshot.as_ref().map_or(0, |snapshot| snapshot.epoch));
        let next_seq = match found.clean {
            true => Some(found.tail.end.next_seq),
            false => found.tail.end.next_seq.checked_add(SKIP_AFTER_UNCLEAN_STOP),
        };
        let (Some(next_seq), Some(epoch)) = (next_seq, epoch.checked_add(1)) else {
            let message = "the history of the store has no numbers left";
            return Err(Error::corrupt(message).with_path(self.dir.path()));
        };
        let spare = self.spare(found.store_id, epoch);
        let appender = self.go_on(&mut found, &index, &spare, Open { epoch, next_seq })?;
        self.sync_dir()?;
        self.confirm(&found)?;
        if self.lock.store_id().is_none() {
            self.record_store(found.store_id)?;
        }
        for topic in found.names.iter().filter_map(Target::topic) {
            index.discard_if_empty(&mut writer, topic);
        }
        report.clean = found.clean;
        let past = found.past;
        let compaction = match snapshot {
            Some(snapshot) => Compaction::new(Some(snapshot.covers), snapshot.written),
            None => Compaction::new(None, Written::default()),
        };
        Ok(Opened { appender, past, index, writer, spare, compaction, report })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.dir
            .remove(name)
            .map_err(|error| Error::io("remove a file", &self.dir.path().join(name), error))
    }

    /// What the log shows has to be durable before anybody sees it: after a process crash it may
    /// stand in the page cache only, and the power cut that follows must not take it back. That goes
    /// for names, too: nothing may be stated of a segment, and nothing be given up for a snapshot,
    /// while a power cut can take its name.
    fn make_durable(&self, found: &Found) -> Result<()> {
        for file in &found.unflushed {
            file.sync().map_err(|error| Error::flush("flush a segment", self.dir.path(), error))?;
        }
        self.sync_dir()
    }

    /// Marks segments whose session ended before it could. From then on it is damage if their
    /// successor is missing, so this comes after all of it is durable.
    fn confirm(&self, found: &Found) -> Result<()> {
        for unconfirmed in &found.unconfirmed {
            let Unconfirmed { first_seq, header, newest_mark, end } = *unconfirmed;
            let segment = self.segment(first_seq, header, newest_mark)?;
            segment.write_mark(MarkState::Sealed, &end)?;
            segment.sync()?;
        }
        Ok(())
    }

    /// Opens a segment for writing.
    fn segment(&self, first_seq: u64, header: FileHeader, newest_mark: u64) -> Result<Segment> {
        let name = names::segment(first_seq);
        let file = self
            .dir
            .open(&name, Access::Write)
            .map_err(|error| Error::io("open a segment", &self.dir.path().join(&name), error))?;
        Ok(Segment::new(file, &**self.dir, first_seq, header, newest_mark))
    }

    /// Erases the torn tail and begins a session behind the last record.
    fn go_on(
        &self,
        found: &mut Found,
        index: &Index,
        spare: &Spare,
        open: Open,
    ) -> Result<Appender> {
        let (current, end) = (&found.current, found.tail.end);
        let segment = self.segment(current.first_seq, current.header, current.newest_mark())?;
        segment.erase(u64::from(end.position), found.tail.remains.end)?;
        let segment = Arc::new(segment);
        let names = u32::try_from(found.names.len()).unwrap_or(u32::MAX);
        let mut appender =
            Appender::resume(Arc::clone(&segment), 1, end, found.tail.base_ms, names);
        let sealed = found.tail.ending == Ending::Sealed;
        if !sealed && appender.has_room(Open::RECORD_LEN) {
            for (id, target) in (0..).zip(&found.names) {
                index.set_tag(target, appender.tag(id).0);
            }
            appender.append_open(open, end.last_seq)?;
            // A mark may reach the disk as soon as it is written, so what it states comes first.
            segment.sync()?;
            segment.write_mark(MarkState::Open, &appender.end())?;
            segment.sync()?;
            return Ok(appender);
        }
        if !sealed {
            appender.append_seal(end.last_seq)?;
            segment.sync()?;
        }
        let start = Start {
            first_seq: open.next_seq.max(appender.end().next_seq),
            previous_salt: current.header.salt,
            previous_chain: end.chain,
            base_ms: self.options.environment.now_ms(),
        };
        let size = current.header.size.min(self.options.segment_size);
        let next = self.begin(spare, size, start, end.last_seq)?;
        segment.write_mark(MarkState::Sealed, &appender.end())?;
        segment.sync()?;
        found.past.segments.push(current.behind());
        found.past.end = Some((appender.end(), current.header.salt));
        Ok(next)
    }
}
