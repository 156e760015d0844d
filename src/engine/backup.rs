//! Backup: a copy of an open store that opens, is of one moment, and costs what has changed.
//!
//! The log goes on in a new segment, so that everything up to now is sealed: files that never change.
//! They are read, checked and copied; what stands in the destination already is not copied again.
//! No compaction runs meanwhile. A copy has one mark, which states that all of it is durable, and
//! nothing about a successor: each copy is a place where a log may end. So copies that follow each
//! other can get their names one by one, and after each of them the destination is a store. Only
//! a new snapshot takes the place of files that are there: until it has its name, what was copied
//! behind it does not fit, and opening the destination is refused.

use std::path::Path;
use std::sync::Arc;

use crate::care::{BackupReport, Progress};
use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::header::{FileHeader, FileKind, HEADER_LEN};
use crate::format::mark::{Mark, MarkState, read_marks};
use crate::format::names;
use crate::format::record::kind;
use crate::format::scan::{Scanner, Stop};
use crate::io::disk::{self, DiskDir};
use crate::io::{Access, Dir, DirLock, SegmentFile};
use crate::key::Seq;
use crate::options::WritePath;
use crate::segment::{End, Segment, Way, read_records};

use super::Engine;
use super::load::Records;
use super::log::Behind;
use super::open::Files;
use super::read_log::check_store;

/// A sealed segment as it is in the store, and what its copy begins with.
struct Copied {
    first_seq: u64,
    header: FileHeader,
    end: End,
}

/// A backup that runs.
struct Copying<'a> {
    engine: &'a Engine,
    dest: &'a dyn Dir,
    report: BackupReport,
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

impl Engine {
    /// Opens a directory for a backup, unless it is the store's own or lies in it.
    pub(crate) fn destination(&self, dest: &Path) -> Result<DiskDir> {
        let own = self.dir.path();
        let within = disk::is_within(dest, own)
            .map_err(|error| Error::io("find the directory", dest, error))?;
        if within {
            let message = "a backup cannot stand in the directory of its store";
            return Err(Error::invalid(message).with_path(dest));
        }
        DiskDir::open(dest, true, WritePath::Pwrite)
    }

    /// Copies the store, as it is now, into a directory that has an earlier copy of it or nothing.
    pub(crate) fn backup(
        &self,
        dest: &dyn Dir,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport> {
        let started_ms = self.options().environment.now_ms();
        let lock = dest.lock()?;
        let there = Files::list(dest)?;
        check_destination(dest, &*lock, &there, self.store_id())?;
        let mut copying = Copying {
            engine: self,
            dest,
            report: BackupReport::default(),
            progress: Progress { done: 0, total: 0 },
            tell,
        };
        self.without_compaction(|snapshot| {
            let (segments, seq) = self.seal_for_backup()?;
            copying.report.seq = Seq(seq);
            copying.run(&*lock, &there, snapshot, &segments)
        })?;
        let elapsed_ms = self.options().environment.now_ms().saturating_sub(started_ms);
        copying.report.elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(0);
        Ok(copying.report)
    }

    /// Fails once the store is being closed.
    fn check_running(&self) -> Result<()> {
        if self.compaction.is_stopped() { Err(Error::closed()) } else { Ok(()) }
    }

    fn store_id(&self) -> u128 {
        self.spare.store_id()
    }

    /// Makes everything up to now sealed and durable. Returns the sealed segments and the last seq.
    fn seal_for_backup(&self) -> Result<(Vec<Behind>, u64)> {
        let size = {
            let log = self.log()?;
            log.check_open()?;
            log.least_size(&self.index)
        };
        // Not under the log's lock, where it would hold up commits.
        self.spare.make_ready(size)?;
        let sealed = self.log()?.seal_all(&self.index, self.durable())?;
        // States that the seals are durable, too.
        self.write_mark(MarkState::Open)?;
        Ok(sealed)
    }
}

/// How much is copied at once.
const PIECE: usize = 256 << 10;

/// Refuses a directory that holds anything but an earlier backup of this store.
fn check_destination(
    dest: &dyn Dir,
    lock: &dyn DirLock,
    there: &Files,
    store_id: u128,
) -> Result<()> {
    let other = |message: &str| Err(Error::wrong_store(message).with_path(dest.path()));
    if lock.store_id().is_some_and(|id| id != store_id) {
        return other("the directory holds another store, and is left as it is");
    }
    let segments = there.segments.iter().map(|seq| names::segment(*seq));
    for name in segments.chain(there.snapshots.iter().map(|seq| names::snapshot(*seq))) {
        let Some((_, header, _)) = first_page(dest, &name)? else { continue };
        if header.store_id != store_id {
            return other("the directory has a file of another store, and is left as it is");
        }
    }
    // Whoever opens a backup as a store begins a segment that is not sealed.
    let Some(last) = there.segments.last() else { return Ok(()) };
    let Some((file, header, _)) = first_page(dest, &names::segment(*last))? else { return Ok(()) };
    let path = dest.path().join(names::segment(*last));
    let failed = |error| Error::io("read a segment", &path, error);
    let read = read_records(&*file, &header, Way::of(&*file), |reader| {
        let mut records = 0;
        while reader.fill()? {
            records += reader.records().count();
        }
        Ok((records, reader.scanner().stopped()))
    });
    let (records, stopped) = read.map_err(failed)?;
    if records > 0 && stopped != Some(Stop::Sealed) {
        return other(
            "the backup was opened as a store and has a history of its own since; copy it before \
             it is opened, and make the next backup in a new directory",
        );
    }
    Ok(())
}

/// A file with its header and its newest mark. None if it is not there or has no header.
#[expect(clippy::type_complexity, reason = "three things that were read together")]
fn first_page(
    dir: &dyn Dir,
    name: &str,
) -> Result<Option<(Arc<dyn SegmentFile>, FileHeader, Option<Mark>)>> {
    let failed = |error| Error::io("read a file", &dir.path().join(name), error);
    let file = match dir.open(name, Access::Follow) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if file.size() < u64::from(RECORDS_START) {
        return Ok(None);
    }
    let mut page = vec![0; RECORDS_START as usize];
    file.read_at(0, &mut page).map_err(failed)?;
    let header = page.first_chunk::<HEADER_LEN>().and_then(|bytes| FileHeader::decode(bytes).ok());
    Ok(header.filter(|header| header.size == file.size()).map(|header| {
        let mark = read_marks(&page, header.salt).into_iter().next();
        (file, header, mark)
    }))
}

impl Copying<'_> {
    fn run(
        &mut self,
        lock: &dyn DirLock,
        there: &Files,
        snapshot: Option<u64>,
        segments: &[Behind],
    ) -> Result<()> {
        let store_id = self.engine.store_id();
        let recorded =
            |error| Error::io("record the store in the lock file", self.dest.path(), error);
        if lock.store_id().is_none() {
            // From here on, what is not whole is not taken for a new store.
            lock.record_store(store_id).map_err(recorded)?;
        }
        for name in &there.temporaries {
            self.remove(name)?;
        }
        self.progress.total = segments.iter().map(|segment| segment.size).sum();
        let mut new_snapshot = None;
        if let Some(covers) = snapshot {
            new_snapshot = self.snapshot(covers)?;
        }
        let (mut copied, mut new_segments) = (Vec::new(), Vec::new());
        for segment in segments {
            let (segment, is_new) = self.segment(segment.first_seq)?;
            if is_new {
                new_segments.push(names::segment(segment.first_seq));
            }
            copied.push(segment);
        }
        for name in &new_segments {
            self.publish(name)?;
        }
        if let Some(name) = &new_snapshot {
            self.publish(name)?;
        }
        // Now a missing successor is damage.
        for segment in copied.split_last().map_or(&[][..], |(_, others)| others) {
            self.confirm(segment)?;
        }
        let kept = |seq: &u64| segments.iter().any(|segment| segment.first_seq == *seq);
        let old = there.segments.iter().filter(|seq| !kept(seq)).map(|seq| names::segment(*seq));
        let snapshots = there.snapshots.iter().filter(|covers| Some(**covers) != snapshot);
        let old: Vec<_> = old.chain(snapshots.map(|covers| names::snapshot(*covers))).collect();
        for name in &old {
            self.remove(name)?;
        }
        self.report.files_removed = old.len() as u64;
        self.sync_dest()
    }

    /// Gives a copy its name, for good.
    fn publish(&mut self, name: &str) -> Result<()> {
        self.dest
            .rename(&names::unfinished(name), name)
            .map_err(|error| Error::io("name a file", &self.dest.path().join(name), error))?;
        self.sync_dest()
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.dest
            .remove(name)
            .map_err(|error| Error::io("remove a file", &self.dest.path().join(name), error))
    }

    fn sync_dest(&self) -> Result<()> {
        self.dest
            .sync()
            .map_err(|error| Error::flush("flush the directory", self.dest.path(), error))
    }

    fn told(&mut self, bytes: u64) -> Result<()> {
        self.progress.done += bytes;
        (self.tell)(self.progress);
        self.engine.check_running()
    }

    /// Copies the snapshot, unless it is there. Returns its name if it is new.
    fn snapshot(&mut self, covers: u64) -> Result<Option<String>> {
        let name = names::snapshot(covers);
        let source = &*self.engine.dir;
        let path = source.path().join(&name);
        let Some((file, header, mark)) = first_page(source, &name)? else {
            return Err(Error::corrupt("the header of the snapshot is damaged").with_path(path));
        };
        check_store(&path, header.store_id, self.engine.store_id())?;
        let Some(mark) = mark else {
            return Err(Error::corrupt("the mark of the snapshot is damaged").with_path(path));
        };
        self.progress.total += file.size();
        if let Some((_, there, known)) = first_page(self.dest, &name)?
            && there == header
            && known == Some(mark)
        {
            self.keep(file.size())?;
            return Ok(None);
        }
        let failed = |error| Error::io("read a snapshot", &path, error);
        let to = self.dest.path().join(&name);
        let write = |error| Error::io("write a copy", &to, error);
        let mut out = self.dest.create_growing(&names::unfinished(&name)).map_err(write)?;
        let page = mark.first_page(&header);
        out.append(&page).map_err(write)?;
        self.told(u64::from(RECORDS_START))?;
        let mut piece = vec![0; PIECE];
        let mut position = u64::from(RECORDS_START);
        while position < file.size() {
            let len = (file.size() - position).min(PIECE as u64) as usize;
            file.read_at(position, &mut piece[..len]).map_err(failed)?;
            out.append(&piece[..len]).map_err(write)?;
            position += len as u64;
            self.told(len as u64)?;
        }
        out.sync().map_err(|error| Error::flush("flush a copy", &to, error))?;
        drop(out);
        // What was copied is what counts, so it is the copy that is checked.
        let copy = self.reopen(&name, &page)?;
        Records { file: &*copy, path: &to, header: &header }
            .read(|_, _| self.engine.check_running())?;
        self.report.files_copied += 1;
        self.report.bytes_copied += file.size();
        Ok(Some(name))
    }

    /// Opens a copy that was just written, and checks that it begins with this page.
    fn reopen(&self, name: &str, page: &[u8]) -> Result<Arc<dyn SegmentFile>> {
        let path = self.dest.path().join(name);
        let failed = |error| Error::io("read a copy", &path, error);
        let file = self.dest.open(&names::unfinished(name), Access::Follow).map_err(failed)?;
        let mut found = vec![0; page.len()];
        file.read_at(0, &mut found).map_err(failed)?;
        match found == page {
            true => Ok(file),
            false => {
                let message = "the first page of the copy differs from what was written";
                Err(Error::corrupt(message).with_path(path).at(0))
            }
        }
    }

    fn keep(&mut self, bytes: u64) -> Result<()> {
        self.report.files_kept += 1;
        self.report.bytes_kept += bytes;
        self.told(bytes)
    }

    /// Copies a sealed segment, unless it is there. Says whether the copy is new.
    fn segment(&mut self, first_seq: u64) -> Result<(Copied, bool)> {
        let name = names::segment(first_seq);
        let source = &*self.engine.dir;
        let path = source.path().join(&name);
        let Some((file, header, mark)) = first_page(source, &name)? else {
            return Err(Error::corrupt("the header of the segment is damaged").with_path(path));
        };
        check_store(&path, header.store_id, self.engine.store_id())?;
        if header.kind != FileKind::Segment {
            return Err(Error::corrupt("the file is no segment").with_path(path));
        }
        if let Some(mark) = mark.filter(|mark| mark.state == MarkState::Sealed)
            && let Some((_, there, Some(known))) = first_page(self.dest, &name)?
            && there == header
            && end_of(&known) == end_of(&mark)
        {
            self.keep(file.size())?;
            return Ok((Copied { first_seq, header, end: end_of(&mark) }, false));
        }
        let failed = |error| Error::io("read a segment", &path, error);
        let to = self.dest.path().join(&name);
        let write = |error| Error::io("write a copy", &to, error);
        let out = self.dest.create(&names::unfinished(&name), header.size).map_err(write)?;
        let (last_seq, scanner) = read_through(&*file, &header, first_seq).map_err(failed)?;
        let (position, next_seq) = (scanner.position(), scanner.next_seq());
        if scanner.stopped() != Some(Stop::Sealed) {
            let message = "a record of a sealed segment is damaged: nothing was copied over what \
                           the backup had; verify the store";
            return Err(Error::corrupt(message).with_path(path).at(position));
        }
        let (epoch, chain) = (scanner.epoch(), scanner.chain());
        let sealed = mark.filter(|mark| mark.state == MarkState::Sealed);
        let last_seq = sealed.map_or(last_seq, |mark| mark.durable);
        let end = End { epoch, position: position as u32, last_seq, next_seq, chain };
        let page = end.mark(MarkState::Open, 1).first_page(&header);
        out.write_at(0, &page).map_err(write)?;
        let mut piece = vec![0; PIECE];
        let mut at = u64::from(RECORDS_START);
        while at < position {
            let len = (position - at).min(PIECE as u64) as usize;
            file.read_at(at, &mut piece[..len]).map_err(failed)?;
            out.write_at(at, &piece[..len]).map_err(write)?;
            at += len as u64;
            self.told(len as u64)?;
        }
        out.sync().map_err(|error| Error::flush("flush a copy", &to, error))?;
        // The bytes were read twice, and those of the second time are the ones that count.
        let copy = self.reopen(&name, &page)?;
        let (_, copied) = read_through(&*copy, &header, first_seq).map_err(write)?;
        if (copied.stopped(), copied.chain()) != (Some(Stop::Sealed), chain) {
            let message = "the copy of the segment differs from what was read before";
            return Err(Error::corrupt(message).with_path(to).at(copied.position()));
        }
        self.told(header.size.saturating_sub(position - u64::from(RECORDS_START)))?;
        self.report.files_copied += 1;
        self.report.bytes_copied += header.size;
        Ok((Copied { first_seq, header, end }, true))
    }

    /// Marks a copy whose successor is there for good.
    fn confirm(&self, segment: &Copied) -> Result<()> {
        let name = names::segment(segment.first_seq);
        let Some((_, _, Some(mark))) = first_page(self.dest, &name)? else { return Ok(()) };
        if mark.state == MarkState::Sealed {
            return Ok(());
        }
        let file = self
            .dest
            .open(&name, Access::Write)
            .map_err(|error| Error::io("open a copy", &self.dest.path().join(&name), error))?;
        let copy = Segment::new(file, self.dest, segment.first_seq, segment.header, mark.counter);
        copy.write_mark(MarkState::Sealed, &segment.end)?;
        copy.sync()
    }
}

/// Reads all records of a segment. Returns the last data record and how they end.
fn read_through(
    file: &dyn SegmentFile,
    header: &FileHeader,
    first_seq: u64,
) -> std::io::Result<(u64, Scanner)> {
    read_records(file, header, Way::of(file), |reader| {
        let mut last_seq = first_seq.saturating_sub(1);
        while reader.fill()? {
            let data = reader.records().filter(|record| record.kind & kind::CONTROL == 0);
            last_seq = data.last().map_or(last_seq, |record| record.seq);
        }
        Ok((last_seq, reader.scanner().clone()))
    })
}

/// What a mark says of the end of a sealed segment.
fn end_of(mark: &Mark) -> End {
    End {
        epoch: mark.epoch,
        position: mark.position,
        last_seq: mark.durable,
        next_seq: mark.next_seq,
        chain: mark.chain,
    }
}
