//! Open: create a store, or read one back, decide where its log ends, and go on from there.
//!
//! Nothing on disk is changed before everything was read and found to be whole.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::format::RECORDS_START;
use crate::format::mark::{Mark, MarkState};
use crate::format::names::{self, FileName};
use crate::format::record::{Open, Start};
use crate::format::scan::Ending;
use crate::index::{Index, Writer};
use crate::io::latch::Latch;
use crate::io::{Access, Dir, DirLock, SegmentFile};
use crate::options::Options;
use crate::report::{Cut, RecoveryReport};
use crate::segment::{Appender, Segment};

use super::Engine;
use super::decide::{Damage, Decision, Next, Promise, Seal, decide};
use super::log::{Log, Surroundings};
use super::recover::{Loaded, Replay, Stated, Tail};
use super::spare::Spare;
use super::sync::Flushing;

/// The size of a new store's first segment, unless the limit is lower.
const FIRST_SEGMENT_SIZE: u64 = 64 << 10;

/// How far the seq skips ahead after an unclean stop. Records may have been handed out and lost, and
/// a seq must not be handed out twice; nobody loses this many.
const SKIP_AFTER_UNCLEAN_STOP: u64 = 1 << 32;

/// Opens the store in a directory.
pub(crate) fn open(dir: Arc<dyn Dir>, options: &Options) -> Result<Engine> {
    let started_ms = options.environment.now_ms();
    let lock = dir.lock()?;
    let files = Files::list(&*dir)?;
    let (index, writer) = Index::new(options.environment.random());
    let opening = Opening { dir: &dir, options, lock: &*lock, index: &index };
    let opened = match files.segments.is_empty() {
        true => opening.create(writer)?,
        false => opening.recover(&files, writer)?,
    };
    let Opened { appender, writer, spare, mut report } = opened;
    let elapsed_ms = options.environment.now_ms().saturating_sub(started_ms);
    report.elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(0);
    let last_seq = appender.end().last_seq;
    let latch = Arc::new(Latch::default());
    let surroundings = Surroundings {
        dir: Arc::clone(&dir),
        spare: Arc::clone(&spare),
        latch: Arc::clone(&latch),
        segment_size: options.segment_size,
    };
    let engine = Engine {
        options: options.clone(),
        dir,
        index,
        log: Mutex::new(Log::new(appender, writer, surroundings)),
        flushing: Flushing::default(),
        durable: AtomicU64::new(last_seq),
        latch,
        spare,
        report,
        lock: Mutex::new(Some(lock)),
    };
    engine.set_marked(last_seq);
    Ok(engine)
}

/// The files of ours in the directory.
#[derive(Debug, Default)]
struct Files {
    /// By first seq, in order.
    segments: Vec<u64>,
    temporaries: Vec<String>,
}

impl Files {
    fn list(dir: &dyn Dir) -> Result<Files> {
        let listed =
            dir.list().map_err(|error| Error::io("list the directory", dir.path(), error))?;
        let mut files = Files::default();
        for name in listed {
            match names::parse(&name) {
                Some(FileName::Segment(first_seq)) => files.segments.push(first_seq),
                Some(FileName::Snapshot(_)) => {
                    let message = "the store has a snapshot, which this version of Pagemark does \
                                   not read; open it with a newer version";
                    return Err(Error::unsupported(message).with_path(dir.path().join(name)));
                }
                Some(FileName::Temporary) => files.temporaries.push(name),
                None => {}
            }
        }
        files.segments.sort_unstable();
        Ok(files)
    }
}

/// What creation and recovery have in common.
struct Opening<'a> {
    dir: &'a Arc<dyn Dir>,
    options: &'a Options,
    lock: &'a dyn DirLock,
    index: &'a Index,
}

/// A store whose log can go on.
struct Opened {
    appender: Appender,
    writer: Writer,
    spare: Arc<Spare>,
    report: RecoveryReport,
}

impl Opening<'_> {
    fn create(&self, writer: Writer) -> Result<Opened> {
        if let Some(id) = self.lock.store_id() {
            let message = format!(
                "the lock file names store {id:032x}, and none of its segments is here; if the \
                 store was removed on purpose, remove its LOCK file too"
            );
            return Err(Error::corrupt(message).with_path(self.dir.path()));
        }
        if !self.options.create_if_missing {
            return Err(
                Error::not_a_store("there is no store in the directory").with_path(self.dir.path())
            );
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
        Ok(Opened { appender, writer, spare, report })
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
        self.sync_dir()?;
        Ok(appender)
    }

    fn sync_dir(&self) -> Result<()> {
        self.dir.sync().map_err(|error| Error::io("flush the directory", self.dir.path(), error))
    }

    /// Leaves the store's id where it outlives the segments, so that a directory that lost all of
    /// them is not taken for a new one.
    fn record_store(&self, store_id: u128) -> Result<()> {
        self.lock
            .record_store(store_id)
            .map_err(|error| Error::io("record the store in the lock file", self.dir.path(), error))
    }

    fn recover(&self, files: &Files, mut writer: Writer) -> Result<Opened> {
        let mut report = RecoveryReport::default();
        let found = self.read_log(files, &mut writer, &mut report)?;
        // Everything was read and is whole. From here on the disk is written to.
        self.make_durable(&found)?;
        for name in &files.temporaries {
            self.remove(name)?;
        }
        // The newest goes first, so that a crash in between leaves a log without a gap.
        for first_seq in found.dropped.iter().rev() {
            self.remove(&names::segment(*first_seq))?;
        }
        if !found.dropped.is_empty() {
            self.sync_dir()?;
        }
        let next_seq = match found.clean {
            true => Some(found.tail.end.next_seq),
            false => found.tail.end.next_seq.checked_add(SKIP_AFTER_UNCLEAN_STOP),
        };
        let (Some(next_seq), Some(epoch)) = (next_seq, found.epoch.checked_add(1)) else {
            let message = "the history of the store has no numbers left";
            return Err(Error::corrupt(message).with_path(self.dir.path()));
        };
        let spare = self.spare(found.store_id, epoch);
        let appender = self.go_on(&found, &spare, Open { epoch, next_seq })?;
        self.sync_dir()?;
        if self.lock.store_id().is_none() {
            self.record_store(found.store_id)?;
        }
        for topic in &found.tail.names {
            self.index.discard_if_empty(&mut writer, topic);
        }
        report.clean = found.clean;
        Ok(Opened { appender, writer, spare, report })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.dir
            .remove(name)
            .map_err(|error| Error::io("remove a file", &self.dir.path().join(name), error))
    }

    /// What the log shows has to be durable before anybody sees it: after a process crash it may
    /// stand in the page cache only, and the power cut that follows must not take it back.
    fn make_durable(&self, found: &Found) -> Result<()> {
        for file in &found.unflushed {
            file.sync().map_err(|error| Error::io("flush a segment", self.dir.path(), error))?;
        }
        Ok(())
    }

    fn load(&self, first_seq: u64, buffer: Vec<u8>) -> Result<Loaded> {
        let loaded = Loaded::read(&**self.dir, first_seq, buffer);
        match loaded {
            // In a directory that is known to hold a store, a segment was there.
            Err(error)
                if error.kind() == ErrorKind::NotAStore && self.lock.store_id().is_some() =>
            {
                let path = self.dir.path().join(names::segment(first_seq));
                let message = "the header of the segment is gone, or another file took its place";
                Err(Error::corrupt(message).with_path(path).at(0))
            }
            loaded => loaded,
        }
    }

    /// Reads segments until the log ends.
    fn read_log(
        &self,
        files: &Files,
        writer: &mut Writer,
        report: &mut RecoveryReport,
    ) -> Result<Found> {
        let mut replay =
            Replay { index: self.index, writer, report, last_seq: 0, stated: Stated::default() };
        let mut unflushed: Vec<(u64, Arc<dyn SegmentFile>)> = Vec::new();
        let mut spent = Vec::new();
        let mut current = self.load(files.segments[0], Vec::new())?;
        let store_id = self.lock.store_id().unwrap_or(current.header.store_id);
        check_first(&current)?;
        let mut epoch = 0;
        let mut i = 0;
        loop {
            if current.header.store_id != store_id {
                return Err(foreign(&current, store_id));
            }
            let tail = replay.segment(&current)?;
            epoch = epoch.max(current.header.epoch).max(tail.end.epoch);
            let next = match files.segments.get(i + 1) {
                Some(first_seq) => Some(self.load(*first_seq, std::mem::take(&mut spent))?),
                None => None,
            };
            unflushed.push((tail.end.last_seq, Arc::clone(&current.file)));
            let connection = connection(&current, &tail, next.as_ref())?;
            if let (Ending::Sealed, Next::Connected, Some(next)) = (tail.ending, connection, next) {
                unflushed.retain(|(last_seq, _)| *last_seq > replay.stated.seq);
                for topic in &tail.names {
                    replay.index.discard_if_empty(replay.writer, topic);
                }
                spent = std::mem::replace(&mut current, next).into_bytes();
                i += 1;
                continue;
            }
            let dropped = files.segments[i + 1..].to_vec();
            for first_seq in &dropped {
                let later = self.load(*first_seq, Vec::new())?;
                epoch = epoch.max(later.header.epoch);
                replay.stated.merge(later.stated_durable());
            }
            let stated = replay.stated;
            self.judge(&current, &tail, connection, stated)?;
            replay.report.cut = self.cut(&current, &tail, &dropped);
            unflushed.retain(|(last_seq, _)| *last_seq > stated.seq);
            let unflushed = unflushed.into_iter().map(|(_, file)| file).collect();
            let clean = dropped.is_empty() && is_closed(&tail, current.marks.first());
            return Ok(Found { store_id, epoch, current, tail, dropped, unflushed, clean });
        }
    }

    /// Refuses the log if the decision says so.
    fn judge(&self, current: &Loaded, tail: &Tail, next: Next, stated: Stated) -> Result<()> {
        let position = tail.end.position;
        let beyond = current.marks.iter().any(|mark| mark.position > position);
        let lost = stated.unknown || stated.seq >= tail.end.next_seq || beyond;
        let promise = if lost { Promise::Broken } else { Promise::Kept };
        let confirmed = current.marks.iter().any(|mark| mark.state == MarkState::Sealed);
        let seal = if confirmed { Seal::Confirmed } else { Seal::Claimed };
        let damage = match decide(tail.ending, next, promise, seal) {
            Decision::GoOn | Decision::Begin | Decision::Cut => return Ok(()),
            Decision::Damage(damage) => damage,
        };
        let what = match damage {
            Damage::Record => "a record is damaged or missing",
            Damage::MissingSuccessor => "the segment that follows this one is missing",
            Damage::WrongSuccessor => "the segment that follows this one does not continue it",
        };
        let message = format!(
            "{what}, although it had been durable: the log is whole up to seq {}, and was durable \
             up to seq {} at least; {} whole records follow; nothing was changed",
            tail.end.last_seq, stated.seq, tail.remains.records
        );
        Err(Error::corrupt(message).with_path(&current.path).at(u64::from(position)))
    }

    fn cut(&self, current: &Loaded, tail: &Tail, dropped: &[u64]) -> Option<Cut> {
        if tail.ending != Ending::Broken && dropped.is_empty() {
            return None;
        }
        let path_of = |first_seq: &u64| self.dir.path().join(names::segment(*first_seq));
        Some(Cut {
            path: current.path.clone(),
            position: u64::from(tail.end.position),
            bytes: u64::from(tail.remains.end.saturating_sub(tail.end.position)),
            records: tail.remains.records,
            removed: dropped.iter().map(path_of).collect(),
        })
    }

    /// Erases the torn tail and begins a session behind the last record.
    fn go_on(&self, found: &Found, spare: &Spare, open: Open) -> Result<Appender> {
        let (current, end) = (&found.current, found.tail.end);
        let name = names::segment(current.first_seq);
        let file = self
            .dir
            .open(&name, Access::Write)
            .map_err(|error| Error::io("open a segment", &current.path, error))?;
        let newest = current.marks.first().map_or(0, |mark| mark.counter);
        let segment = Segment::new(file, &**self.dir, current.first_seq, current.header, newest);
        segment.erase(end.position, found.tail.remains.end)?;
        let segment = Arc::new(segment);
        let names = u32::try_from(found.tail.names.len()).unwrap_or(u32::MAX);
        let mut appender =
            Appender::resume(Arc::clone(&segment), 1, end, found.tail.base_ms, names);
        let sealed = found.tail.ending == Ending::Sealed;
        if !sealed && appender.has_room(Open::RECORD_LEN) {
            for (id, topic) in (0..).zip(&found.tail.names) {
                topic.set_tag(appender.tag(id).0);
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
        Ok(next)
    }
}

/// Where the log ends, and what has to be done about it.
#[derive(Debug)]
struct Found {
    store_id: u128,
    /// The highest epoch seen.
    epoch: u32,
    /// The segment in which the log ends.
    current: Loaded,
    tail: Tail,
    /// Segments behind the end.
    dropped: Vec<u64>,
    /// Segments that hold something that nothing states to be durable.
    unflushed: Vec<Arc<dyn SegmentFile>>,
    clean: bool,
}

/// The oldest segment must be the first of the history.
fn check_first(first: &Loaded) -> Result<()> {
    let whole = first.start().is_some_and(|start| {
        start.first_seq == 1 && start.previous_salt == 0 && start.previous_chain == 0
    });
    if whole && first.first_seq == 1 {
        return Ok(());
    }
    let message = match first.first_seq {
        1 => "the first record of the oldest segment is damaged",
        _ => "the segments before this one are missing",
    };
    Err(Error::corrupt(message).with_path(&first.path).at(u64::from(RECORDS_START)))
}

fn foreign(segment: &Loaded, store_id: u128) -> Error {
    let message = format!(
        "the segment belongs to store {:032x}, this is store {store_id:032x}",
        segment.header.store_id
    );
    Error::corrupt(message).with_path(&segment.path)
}

/// Whether the next segment goes on where this one ends.
fn connection(current: &Loaded, tail: &Tail, next: Option<&Loaded>) -> Result<Next> {
    let Some(next) = next else { return Ok(Next::Nothing) };
    let Some(start) = next.start() else { return Ok(Next::Disconnected) };
    if start.first_seq != next.first_seq {
        let message = format!(
            "the segment was written under another name: its first seq is {}",
            start.first_seq
        );
        return Err(Error::corrupt(message).with_path(&next.path));
    }
    // A session that began with this segment may have skipped ahead.
    let follows = match next.header.epoch > tail.end.epoch {
        true => start.first_seq >= tail.end.next_seq,
        false => start.first_seq == tail.end.next_seq,
    };
    let connected = follows
        && start.previous_salt == current.header.salt
        && start.previous_chain == tail.end.chain;
    Ok(if connected { Next::Connected } else { Next::Disconnected })
}

/// Whether the newest mark says that the store was closed right here.
fn is_closed(tail: &Tail, newest: Option<&Mark>) -> bool {
    tail.ending == Ending::Blank
        && newest.is_some_and(|mark| {
            mark.state == MarkState::Closed
                && mark.epoch == tail.end.epoch
                && mark.position == tail.end.position
                && mark.next_seq == tail.end.next_seq
                && mark.chain == tail.end.chain
        })
}
