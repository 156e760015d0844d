//! Verify: every byte of a store is what it should be, or it is said which is not.
//!
//! Whether something is lost is decided by the code that opens a store, over a [`View`] of the
//! directory, so the two cannot disagree. What opening does not look at is looked at here: the first
//! pages, what stands behind a seal, the lock file, files that do not count. Only where something is
//! lost are all files gone through one by one, since opening stops at the first.

use std::path::PathBuf;

use crate::care::{Finding, FindingKind, Severity, VerifyReport};
use crate::error::{Error, ErrorKind, Result};
use crate::format::RECORDS_START;
use crate::format::header::{FileHeader, FileKind, HEADER_LEN};
use crate::format::mark::{MARK_LEN, MARK_POSITIONS, Mark, MarkState, read_marks};
use crate::format::names::{self, FileName};
use crate::format::record::Start;
use crate::format::scan::{Body, Ending, end_of_data};
use crate::io::lock::{LOCK_NAME, LockContent};
use crate::io::{Access, Dir, SegmentFile};
use crate::key::Seq;
use crate::options::{Environment, SystemEnvironment};
use crate::report::RecoveryReport;
use crate::segment::{Way, read_records};

use super::open::{Reading, Whole};
use super::view::{Held, Tell, View};

/// Verifies the store in a directory.
pub(crate) fn verify(dir: &dyn Dir, tell: Tell) -> Result<VerifyReport> {
    let lock = read_lock(dir)?;
    let listed = dir.list().map_err(|error| Error::io("list the directory", dir.path(), error))?;
    let view = View::take(dir, tell)?;
    let mut verifier = Verifier { view: &view, report: VerifyReport::default() };
    verifier.lock(lock.as_ref());
    for name in listed.iter().filter(|name| *name != LOCK_NAME && names::parse(name).is_none()) {
        let message = "the file is not one of Pagemark's, and is left alone";
        verifier.note(Severity::Note, FindingKind::Foreign, name, None, message);
    }
    for name in &view.files.temporaries {
        let message = "the file was never published: an open store uses it, and the next open \
                       removes it";
        verifier.note(Severity::Note, FindingKind::Temporary, name, None, message);
    }
    let store_id = lock.as_ref().and_then(|lock| lock.store_id);
    if view.files.segments.is_empty() && view.files.snapshots.is_empty() {
        verifier.nothing(lock.is_some(), store_id)?;
    } else {
        verifier.files(store_id)?;
    }
    let mut report = verifier.report;
    report.findings.sort_by(|a, b| {
        let place = |finding: &Finding| (finding.path.clone(), finding.position);
        b.severity.cmp(&a.severity).then_with(|| place(a).cmp(&place(b)))
    });
    Ok(report)
}

/// What the lock file says, if there is one.
pub(super) fn read_lock(dir: &dyn Dir) -> Result<Option<LockContent>> {
    let failed = |error| Error::io("read the lock file", &dir.path().join(LOCK_NAME), error);
    let file = match dir.open(LOCK_NAME, Access::Follow) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut content = vec![0; LockContent::MOST.min(file.size() as usize)];
    file.read_at(0, &mut content).map_err(failed)?;
    Ok(Some(LockContent::parse(&content)))
}

struct Verifier<'a> {
    view: &'a View,
    report: VerifyReport,
}

impl Verifier<'_> {
    fn note(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        name: &str,
        position: Option<u64>,
        message: impl Into<String>,
    ) {
        let path = self.path(name);
        self.add(Finding { severity, kind, path, position, message: message.into() });
    }

    fn add(&mut self, finding: Finding) {
        self.report.findings.push(finding);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.view.path().join(name)
    }

    fn lock(&mut self, lock: Option<&LockContent>) {
        let (severity, message) = match lock {
            None => (Severity::Repairable, "there is no lock file; the next open creates it"),
            Some(lock) if lock.store_id.is_none() => {
                (Severity::Repairable, "the lock file names no store; the next open writes it")
            }
            Some(lock) if !lock.is_regular => {
                (Severity::Note, "the lock file has other bytes than were written to it")
            }
            Some(_) => return,
        };
        self.note(severity, FindingKind::Lock, LOCK_NAME, None, message);
    }

    /// Judges a directory without segments and snapshots.
    fn nothing(&mut self, has_lock: bool, store_id: Option<u128>) -> Result<()> {
        self.report.store_id = store_id;
        let (severity, kind, message) = match store_id {
            Some(id) => (
                Severity::Damage,
                FindingKind::Lost,
                format!("the lock file names store {id:032x}, and none of its segments is here"),
            ),
            None if has_lock || !self.view.files.temporaries.is_empty() => (
                Severity::Repairable,
                FindingKind::Unborn,
                "the creation of a store was interrupted; the next open creates it".to_owned(),
            ),
            None => {
                let message = "there is no store in the directory";
                return Err(Error::not_a_store(message).with_path(self.view.path()));
            }
        };
        let path = self.view.path().to_owned();
        self.add(Finding { severity, kind, path, position: None, message });
        Ok(())
    }

    fn files(&mut self, store_id: Option<u128>) -> Result<()> {
        let view = self.view;
        let covered = view.files.snapshots.last().map_or(0, |covers| covers.saturating_add(1));
        for (name, held) in view.held() {
            let counts = match names::parse(name) {
                Some(FileName::Segment(first_seq)) => first_seq >= covered,
                Some(FileName::Snapshot(covers)) => covers.saturating_add(1) == covered,
                Some(FileName::Temporary) | None => false,
            };
            if counts {
                self.report.files += 1;
                self.report.bytes += held.size();
                self.first_page(name, held);
            } else {
                view.adjust(0, held.size());
                let message = "a newer snapshot stands for the file; the next open removes it";
                self.note(Severity::Repairable, FindingKind::Leftover, name, None, message);
            }
        }
        // Only this process sees the table, and names that were chosen to collide can do no more than
        // slow it down.
        let mut read = RecoveryReport::default();
        let reading = Reading { dir: view, store_id, seed: SystemEnvironment.random() };
        let whole = reading.read(&view.files, &mut read);
        self.report.records = read.records;
        match whole {
            Ok(whole) => {
                self.report.keys = whole.index.keys();
                self.report.states = whole.index.states().totals().count;
                self.whole(&whole, &read);
            }
            Err(error) => {
                self.damage(error)?;
                self.report.store_id = store_id.or_else(|| self.any_store_id());
                self.survey(covered);
            }
        }
        Ok(())
    }

    fn any_store_id(&self) -> Option<u128> {
        self.view.held().find_map(|(_, held)| held.header()).map(|header| header.store_id)
    }

    /// The header page: everything in it that is neither header nor mark is zero.
    fn first_page(&mut self, name: &str, held: &Held) {
        // What cannot be read or is no header is damage, which opening finds.
        let (Some(page), Some(header)) = (held.front(), held.header()) else { return };
        let is_used = |at: usize| {
            let of_mark = |place: &u32| (*place as usize..*place as usize + MARK_LEN).contains(&at);
            at < HEADER_LEN || MARK_POSITIONS.iter().any(of_mark)
        };
        let stray = |(at, byte): (usize, &u8)| (*byte != 0 && !is_used(at)).then_some(at as u64);
        if let Some(position) = page.iter().enumerate().find_map(stray) {
            let message = "bytes stand where none were written; nothing is lost by these, but \
                           something other than Pagemark changed the file";
            let kind = FindingKind::StrayBytes;
            self.note(Severity::Damage, kind, name, Some(position), message);
        }
        let is_torn = |place: &&u32| {
            let at = **place as usize;
            page.get(at..at + MARK_LEN).and_then(|bytes| bytes.first_chunk()).is_some_and(|bytes| {
                *bytes != [0; MARK_LEN] && Mark::decode(bytes, header.salt, **place).is_none()
            })
        };
        let torn: Vec<u64> = MARK_POSITIONS.iter().filter(is_torn).map(|p| u64::from(*p)).collect();
        let (severity, message) = match torn.len() {
            0 => return,
            1 => (Severity::Note, "a mark is torn or damaged, as a crash may leave it"),
            _ => (Severity::Damage, "both marks are damaged: no crash tears more than one"),
        };
        self.note(severity, FindingKind::Mark, name, torn.first().copied(), message);
    }

    /// Opening would refuse the store.
    fn damage(&mut self, error: Error) -> Result<()> {
        let kind = match error.kind() {
            ErrorKind::Corrupt => FindingKind::Lost,
            ErrorKind::Io => FindingKind::Unreadable,
            _ => return Err(error),
        };
        let path = error.path().unwrap_or(self.view.path()).to_owned();
        let (severity, position, message) = (Severity::Damage, error.position(), error.message());
        self.add(Finding { severity, kind, path, position, message });
        Ok(())
    }

    /// Opening would show the store.
    fn whole(&mut self, whole: &Whole, read: &RecoveryReport) {
        let found = &whole.found;
        self.report.store_id = Some(found.store_id);
        self.report.closed = found.clean;
        self.report.last_seq = Seq(found.tail.end.last_seq);
        if let Some(cut) = &read.cut {
            let message = format!(
                "{} bytes behind the last record that counts: what a crash left, or a record that \
                 is being written; {} whole records among them and {} later segments; nothing of \
                 it was promised, and the next open cuts it",
                cut.bytes,
                cut.records,
                cut.removed.len()
            );
            self.add(Finding {
                severity: Severity::Repairable,
                kind: FindingKind::Tail,
                path: cut.path.clone(),
                position: Some(cut.position),
                message,
            });
        }
        for segment in &found.past.segments {
            self.behind_seal(segment.first_seq);
        }
        if found.tail.ending == Ending::Sealed {
            self.behind_seal(found.current.first_seq);
        }
    }

    /// Bytes behind a seal do not count. A write that failed for want of room may have left some.
    fn behind_seal(&mut self, first_seq: u64) {
        let view = self.view;
        let name = names::segment(first_seq);
        let Some((held, header)) = view.file(&name).and_then(|held| Some((held, held.header()?)))
        else {
            return;
        };
        let page = held.front().unwrap_or_default();
        let marks = read_marks(page, header.salt);
        let sealed = marks.iter().find(|mark| mark.state == MarkState::Sealed);
        let end = match sealed {
            Some(mark) => u64::from(mark.position),
            None => {
                view.adjust(held.size(), 0);
                scan(held, &header).map_or(held.size(), |scanned| scanned.end)
            }
        };
        let mut position = end;
        /// How much is looked at at once.
        const PIECE: usize = 256 << 10;
        let mut piece = vec![0; PIECE];
        while position < held.size() {
            let len = (held.size() - position).min(PIECE as u64) as usize;
            if let Err(error) = held.read_at(position, &mut piece[..len]) {
                let (kind, message) = (FindingKind::Unreadable, error.to_string());
                self.note(Severity::Damage, kind, &name, Some(position), message);
                return;
            }
            if end_of_data(&piece[..len]) > 0 {
                let message = "bytes follow the seal; they do not count";
                self.note(Severity::Note, FindingKind::BehindSeal, &name, Some(end), message);
                return;
            }
            position += len as u64;
        }
    }

    /// Goes through all files that count, each on its own, when something is lost.
    fn survey(&mut self, covered: u64) {
        let view = self.view;
        let (_, log) = view.files.log_behind(covered);
        let mut before: Option<Scanned> = None;
        for first_seq in log {
            let name = names::segment(*first_seq);
            let Some(held) = view.file(&name) else { continue };
            view.adjust(held.size(), 0);
            let header = held
                .header()
                .filter(|header| header.kind == FileKind::Segment && header.size == held.size());
            let scanned = header.map(|header| scan(held, &header));
            let (position, message) = match &scanned {
                None => (0, "the header is damaged, or the file was cut or extended".to_owned()),
                Some(Err(error)) => (0, format!("the file cannot be read: {error}")),
                Some(Ok(scanned)) => {
                    self.connection(&name, before.as_ref(), scanned);
                    let is_last = log.last() == Some(first_seq);
                    let unsealed = scanned.ending != Ending::Sealed && !is_last;
                    let broken = scanned.ending == Ending::Broken;
                    let message = match broken || unsealed {
                        true => "the records break off here, and the log goes on in other segments",
                        false => "",
                    };
                    (scanned.end, message.to_owned())
                }
            };
            if !message.is_empty() {
                self.lost(&name, position, message);
            }
            before = scanned.and_then(|scanned| scanned.ok());
        }
    }

    /// Whether a segment goes on where the one before ends.
    fn connection(&mut self, name: &str, before: Option<&Scanned>, scanned: &Scanned) {
        let Some(start) = scanned.start else { return };
        let Some(before) = before.filter(|before| before.ending == Ending::Sealed) else { return };
        if (start.previous_salt, start.previous_chain) != (before.salt, before.chain) {
            let message = "the segment does not go on where the one in front of it ends: one \
                           between them is missing, or one is another's";
            self.lost(name, u64::from(RECORDS_START), message);
        }
    }

    /// Adds what opening did not come to.
    fn lost(&mut self, name: &str, position: u64, message: impl Into<String>) {
        let path = self.path(name);
        let is_known = |finding: &Finding| {
            finding.kind == FindingKind::Lost
                && finding.path == path
                && finding.position == Some(position)
        };
        if !self.report.findings.iter().any(is_known) {
            self.note(Severity::Damage, FindingKind::Lost, name, Some(position), message);
        }
    }
}

/// What a segment holds, looked at alone.
struct Scanned {
    salt: u64,
    start: Option<Start>,
    ending: Ending,
    /// Where the records end.
    end: u64,
    chain: u64,
}

/// Reads the records of a segment up to where they end.
fn scan(held: &Held, header: &FileHeader) -> std::io::Result<Scanned> {
    read_records(held, header, Way::of(held), |reader| {
        let mut start = None;
        while reader.fill()? {
            for record in reader.records() {
                if let Body::Start(first) = record.body {
                    start = Some(first);
                }
            }
        }
        let ending = reader.ending()?;
        let scanner = reader.scanner();
        let (end, chain) = (scanner.position(), scanner.chain());
        Ok(Scanned { salt: header.salt, start, ending, end, chain })
    })
}
