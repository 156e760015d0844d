//! The files of a directory as they stood at one moment, for reading only.
//!
//! A store may be open, and commit and compact, while it is looked at. The files that counted at one
//! moment are opened together, so that none of them vanishes; what is sealed never changes; and of the
//! newest segment, which does, a copy is kept. The engine reads such a view as it reads any directory
//! and cannot write to it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::care::Progress;
use crate::error::{Error, Result};
use crate::format::header::{FileHeader, HEADER_LEN};
use crate::format::scan::Ending;
use crate::format::{RECORDS_START, names};
use crate::io::{Access, Dir, DirLock, GrowingFile, SegmentFile};
use crate::options::MAX_SEGMENT_SIZE;
use crate::segment::{Way, read_records};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::open::Files;

/// Who is told how far a call has come.
pub(super) type Tell = Box<dyn FnMut(Progress) + Send>;

/// Each attempt takes well below a millisecond, and fails only if a file gets its name or loses it
/// meanwhile.
const ATTEMPTS: u32 = 1000;

/// A directory that does not change.
#[derive(Debug)]
pub(super) struct View {
    path: PathBuf,
    held: BTreeMap<String, Arc<Held>>,
    pub(super) files: Files,
    meter: Arc<Meter>,
}

impl View {
    /// Holds what counts in `dir` now.
    pub(super) fn take(dir: &dyn Dir, tell: Tell) -> Result<View> {
        let mut files = Files::list(dir)?;
        for _ in 0..ATTEMPTS {
            let held = hold(dir, &files)?;
            // Names come and go while they are listed. Two lists that agree, with all files opened in
            // between, are what stood there at one moment.
            let again = Files::list(dir)?;
            let same = again.segments == files.segments && again.snapshots == files.snapshots;
            files = again;
            let Some(held) = held.filter(|_| same) else { continue };
            let total = held.values().map(|held| held.size()).sum();
            let meter = Arc::new(Meter::new(tell, total));
            let newest = files.segments.last().map(|seq| names::segment(*seq));
            let mut view =
                View { path: dir.path().to_owned(), held: BTreeMap::new(), files, meter };
            for (name, mut held) in held {
                if newest.as_ref() == Some(&name) {
                    held.keep_a_copy();
                }
                held.meter = Some(Arc::clone(&view.meter));
                view.held.insert(name, Arc::new(held));
            }
            return Ok(view);
        }
        let error = io::Error::other("files came and went all the while");
        Err(Error::io("list the directory", dir.path(), error))
    }

    /// A file that is held.
    pub(super) fn file(&self, name: &str) -> Option<&Arc<Held>> {
        self.held.get(name)
    }

    /// All files that are held, by name.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, &Arc<Held>)> {
        self.held.iter().map(|(name, held)| (name.as_str(), held))
    }

    /// Notes that so many bytes more are to be read, or fewer.
    pub(super) fn adjust(&self, more: u64, fewer: u64) {
        self.meter.adjust(more, fewer);
    }
}

/// Opens the files, or nothing if one of them is not there any more.
fn hold(dir: &dyn Dir, files: &Files) -> Result<Option<BTreeMap<String, Held>>> {
    let segments = files.segments.iter().map(|seq| (names::segment(*seq), Access::Follow));
    // Nobody writes to a snapshot, and what an open reads of it may come from the page cache: what the
    // device has is seen here.
    let snapshots = files.snapshots.iter().map(|seq| (names::snapshot(*seq), Access::Read));
    let mut held = BTreeMap::new();
    for (name, access) in segments.chain(snapshots) {
        let file = match dir.open(&name, access) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open a file", &dir.path().join(name), error)),
        };
        // The marks are read before the list is compared: what they say of a successor was so then.
        let len = file.size().min(u64::from(RECORDS_START));
        let mut front = vec![0; len as usize];
        let front = file.read_at(0, &mut front).is_ok().then_some(front);
        held.insert(name, Held { file, front, copy: None, meter: None });
    }
    Ok(Some(held))
}

/// A file of a view.
#[derive(Debug)]
pub(super) struct Held {
    file: Arc<dyn SegmentFile>,
    /// The first page, if it could be read.
    front: Option<Vec<u8>>,
    /// All of it, of a file that others may write to.
    copy: Option<Vec<u8>>,
    meter: Option<Arc<Meter>>,
}

impl Held {
    /// The header, if there is one.
    pub(super) fn header(&self) -> Option<FileHeader> {
        FileHeader::decode(self.front()?.first_chunk::<HEADER_LEN>()?).ok()
    }

    /// The first page, if it could be read; of a short file, all of it.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.front.as_deref()
    }

    /// Copies a file that may be written to meanwhile, in a way that shows what stood in it at one
    /// moment. One that cannot be read or is no segment is left to whoever reads it.
    fn keep_a_copy(&mut self) {
        let header = self.header().filter(|header| header.size == self.file.size());
        let Some(header) = header.filter(|header| header.size <= MAX_SEGMENT_SIZE) else { return };
        let mut broken = None;
        loop {
            let Some(mut copy) = self.read_all() else { return };
            if let Some(front) = &self.front {
                copy[..front.len()].copy_from_slice(front);
            }
            let bytes = Bytes(copy);
            let ending = read_records(&bytes, &header, Way::of(&bytes), |reader| {
                while matches!(reader.fill(), Ok(true)) {
                    reader.records().for_each(drop);
                }
                reader.ending()
            });
            // A record that was copied while it was written is broken, and one behind it, written
            // a moment later, may be whole and vouch for it. If the next copy has the same bytes,
            // none of them was being written: whoever wrote the second had written the first.
            let Bytes(copy) = bytes;
            if !matches!(ending, Ok(Ending::Broken)) || broken.as_ref() == Some(&copy) {
                self.copy = Some(copy);
                return;
            }
            broken = Some(copy);
        }
    }

    fn read_all(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.file.size()).ok()?];
        self.file.read_at(0, &mut bytes).ok()?;
        Some(bytes)
    }
}

impl SegmentFile for Held {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        match (&self.copy, &self.front) {
            (Some(copy), _) => read_from(copy, position, into)?,
            (None, front) => {
                self.file.read_at(position, into)?;
                // What was read first stays so.
                let front = front.as_deref().unwrap_or_default();
                if let Some(front) = front.get(position as usize..) {
                    let len = front.len().min(into.len());
                    into[..len].copy_from_slice(&front[..len]);
                }
            }
        }
        if let Some(meter) = &self.meter {
            meter.read(into.len() as u64);
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refuse()
    }

    fn sync(&self) -> io::Result<()> {
        refuse()
    }
}

/// Bytes in memory that are read as a file.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl SegmentFile for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        read_from(&self.0, position, into)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refuse()
    }

    fn sync(&self) -> io::Result<()> {
        refuse()
    }
}

fn read_from(bytes: &[u8], position: u64, into: &mut [u8]) -> io::Result<()> {
    let start = usize::try_from(position).ok();
    let found = start.and_then(|start| bytes.get(start..)?.get(..into.len()));
    into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

/// A view is for reading.
fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::PermissionDenied.into())
}

impl Dir for View {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        Err(Error::io("lock a view", &self.path, io::ErrorKind::PermissionDenied.into()))
    }

    fn exclude_writers(&self) -> Result<Option<Box<dyn fmt::Debug>>> {
        Err(Error::io("lock a view", &self.path, io::ErrorKind::PermissionDenied.into()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.held.keys().cloned().collect())
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn SegmentFile>> {
        refuse()
    }

    fn create_growing(&self, _: &str) -> io::Result<Box<dyn GrowingFile>> {
        refuse()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SegmentFile>> {
        match (access, self.held.get(name)) {
            (Access::Write, _) => refuse(),
            (_, Some(held)) => Ok(Arc::clone(held) as Arc<dyn SegmentFile>),
            (_, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refuse()
    }

    fn sync(&self) -> io::Result<()> {
        refuse()
    }
}

/// Counts what is read, and tells.
struct Meter {
    state: Mutex<(Tell, Progress)>,
}

impl Meter {
    fn new(tell: Tell, total: u64) -> Meter {
        Meter { state: Mutex::new((tell, Progress { done: 0, total })) }
    }

    fn read(&self, bytes: u64) {
        let mut state = self.state();
        let (tell, progress) = &mut *state;
        // First pages are read more than once.
        progress.done = (progress.done + bytes).min(progress.total);
        tell(*progress);
    }

    fn adjust(&self, more: u64, fewer: u64) {
        let (_, progress) = &mut *self.state();
        progress.total = (progress.total + more).saturating_sub(fewer).max(progress.done);
    }

    fn state(&self) -> MutexGuard<'_, (Tell, Progress)> {
        // A panic of the one who is told is theirs.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Op, SimDisk};
    use crate::key::{Durability, Key, NextOffset};
    use crate::options::Options;
    use crate::store::OffsetStore;

    fn store(disk: &SimDisk) -> OffsetStore {
        let options = Options::new().segment_size(16 << 10).background(false);
        let store = options.durability(Durability::Buffered).open_in(disk.dir()).unwrap();
        commit(&store, 1000);
        store.compact().unwrap();
        commit(&store, 1000);
        store
    }

    fn commit(store: &OffsetStore, times: i64) {
        for offset in 0..times {
            store.commit(Key::new("g", "t", 0), NextOffset(offset)).unwrap();
        }
    }

    fn take(disk: &SimDisk) -> View {
        View::take(&*disk.dir(), Box::new(|_| {})).unwrap()
    }

    fn content(file: &dyn SegmentFile) -> Vec<u8> {
        let mut bytes = vec![0; file.size() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn nothing_in_a_view_can_be_changed() {
        let disk = SimDisk::new();
        let _store = store(&disk);
        let view = take(&disk);
        let mut names = disk.dir().list().unwrap();
        names.retain(|name| name.ends_with(".log") || name.ends_with(".snapshot"));
        names.sort();
        assert!(names.len() > 2 && view.list().unwrap() == names, "{names:?}");
        let name = &names[0];
        let refused = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        };
        refused(view.create("new", 10).map(drop));
        refused(view.create_growing("new").map(drop));
        refused(view.open(name, Access::Write).map(drop));
        refused(view.rename(name, "new"));
        refused(view.remove(name));
        refused(view.sync());
        assert!(view.lock().is_err() && view.exclude_writers().is_err());
        let missing = view.open("new", Access::Read).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let bytes = Bytes(vec![1, 2, 3]);
        for file in [&*view.open(name, Access::Read).unwrap(), &bytes as &dyn SegmentFile] {
            refused(file.write_at(0, &[0]));
            refused(file.sync());
            assert!(file.read_at(file.size(), &mut [0]).is_err());
        }
        assert_eq!(content(&bytes), [1, 2, 3]);
    }

    #[test]
    fn a_view_shows_what_stood_there_when_it_was_taken() {
        let disk = SimDisk::new();
        let store = store(&disk);
        let read = |name: &String| content(&*disk.dir().open(name, Access::Follow).unwrap());
        let names = disk.dir().list().unwrap();
        let then: BTreeMap<String, Vec<u8>> =
            names.into_iter().map(|name| (name.clone(), read(&name))).collect();
        let view = take(&disk);
        // A mark in the newest segment, records behind it, new segments, and files that go.
        store.sync().unwrap();
        commit(&store, 3000);
        store.compact().unwrap();
        for (name, held) in view.held() {
            assert!(content(&**held) == then[name], "{name}");
            assert_eq!(held.front().unwrap(), &then[name][..RECORDS_START as usize]);
            assert_eq!(held.header().unwrap().size, then[name].len() as u64);
        }
        assert_eq!(view.held().count(), view.list().unwrap().len());
    }

    #[test]
    fn a_file_that_is_gone_is_looked_for_again_and_one_that_fails_is_an_error() {
        let disk = SimDisk::new();
        let _store = store(&disk);
        let mut files = Files::list(&*disk.dir()).unwrap();
        assert!(hold(&*disk.dir(), &files).unwrap().is_some());
        files.segments.push(u64::MAX);
        assert!(hold(&*disk.dir(), &files).unwrap().is_none());
        disk.fail_nth(Op::Open, 0, io::ErrorKind::Other);
        assert!(hold(&*disk.dir(), &files).is_err());
    }

    #[test]
    fn what_is_read_is_told_and_never_more_than_there_is() {
        let (sender, told) = std::sync::mpsc::channel();
        let meter = Meter::new(Box::new(move |progress| sender.send(progress).unwrap()), 100);
        let told = || told.try_iter().map(|p| (p.done, p.total)).collect::<Vec<_>>();
        meter.read(30);
        meter.read(30);
        assert_eq!(told(), [(30, 100), (60, 100)]);
        meter.adjust(50, 20);
        assert_eq!(told(), [], "only what is read is told");
        meter.read(60);
        meter.read(60);
        assert_eq!(told(), [(120, 130), (130, 130)]);
        meter.adjust(0, 100);
        meter.read(1);
        assert_eq!(told(), [(130, 130)]);
    }
}
