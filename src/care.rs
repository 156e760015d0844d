//! What looking after a store comes to: verifying, saving and copying it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine;
use crate::error::{Error, Result};
use crate::io::Dir;
use crate::io::disk::{self, DiskDir};
use crate::key::Seq;
use crate::options::{Options, WritePath};

/// How far a long call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The bytes that were dealt with.
    pub done: u64,
    /// The bytes that there are to deal with, as far as is known: it may rise.
    pub total: u64,
}

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing. Nothing is to be done.
    Note,
    /// What crashes leave behind, and what the next open mends without loss of anything promised.
    Repairable,
    /// Bytes that had been durable are gone or have changed, or bytes stand where none were written.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Repairable => "repairable",
            Severity::Damage => "damage",
        })
    }
}

/// What a [`Finding`] is about. `docs/operations.md` says what to do about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// Something that had been durable is damaged or missing: opening the store is refused.
    Lost,
    /// The device did not return the bytes.
    Unreadable,
    /// Bytes that are not zero stand in the first page of a file where nothing is ever written.
    StrayBytes,
    /// A mark is torn or damaged. There is another one, or there was none before.
    Mark,
    /// Bytes that are no record follow the last record: a torn tail, which the next open cuts, or, in
    /// a store that is open, a record that is being written.
    Tail,
    /// Bytes that do not count follow the seal of a segment.
    BehindSeal,
    /// A file that a newer snapshot stands for; removed by the next open.
    Leftover,
    /// A file that was never published; removed by the next open, or in use by an open store.
    Temporary,
    /// The lock file does not say what it should.
    Lock,
    /// A file that is not one of Pagemark's.
    Foreign,
    /// The directory holds traces of a store whose creation was interrupted.
    Unborn,
}

/// One thing that [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// The file or directory.
    pub path: PathBuf,
    /// The position in the file in bytes, where there is one.
    pub position: Option<u64>,
    /// What is known, as a sentence for people.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.path.display())?;
        if let Some(position) = self.position {
            write!(f, " at byte {position}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What [`verify`] came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The store, if any of its files says which one it is.
    pub store_id: Option<u128>,
    /// Whether the store was closed in order. An open one is not, nor is one that crashed.
    pub closed: bool,
    /// Keys that have a value. Zero if the store is damaged.
    pub keys: u64,
    /// States that are kept for groups. Zero if the store is damaged.
    pub states: u64,
    /// The last record of the log. Zero if the store is damaged.
    pub last_seq: Seq,
    /// Files of the store that were read.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Records of the log that were read and are right.
    pub records: u64,
    /// Everything that was found, what matters most first.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether nothing is damaged: the store can be opened and shows all that it ever promised.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Damage)
    }
}

/// Checks every byte of a store, closed or open in any process, without changing anything.
///
/// It decides by the same rules as [`OffsetStore::open`](crate::OffsetStore::open), so a report that
/// [is clean](VerifyReport::is_clean) says that the store can be opened and shows all that it ever
/// promised. It takes no lock and never writes, so it may run beside a store that is open; it then
/// judges the store as it was when the call began. It needs about as much memory as opening the store
/// does, and the size of the newest segment.
///
/// ```
/// use pagemark::{Key, NextOffset, OffsetStore};
///
/// # let dir = tempfile::tempdir()?;
/// let store = OffsetStore::open(dir.path())?;
/// store.commit(Key::new("billing", "orders", 0), NextOffset(42))?;
/// let report = pagemark::verify(dir.path())?;
/// assert!(report.is_clean(), "{:#?}", report.findings);
/// assert_eq!((report.keys, report.closed), (1, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Damage is not an error, it is in the report. `NotAStore` if there is nothing of a store in the
/// directory, `UnsupportedVersion` if a newer version wrote it, `Io`.
pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport> {
    verify_with(dir, |_| {})
}

/// [`verify`] that tells how far it has come.
///
/// # Errors
///
/// As there.
pub fn verify_with(
    dir: impl AsRef<Path>,
    progress: impl FnMut(Progress) + Send + 'static,
) -> Result<VerifyReport> {
    let dir = DiskDir::open(dir.as_ref(), false, WritePath::Pwrite)?;
    engine::verify(&dir, Box::new(progress))
}

/// How far a value that was saved can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the newest value: nothing that cannot be read can have held a newer one, or a delete.
    Exact,
    /// It was committed once, and records that cannot be read may have held a newer value or a delete.
    PossiblyOld,
    /// The key is named, and no value of it is left. Records that cannot be read may have held one.
    Lost,
}

/// A key that is not certain to have its newest value in the new store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedKey {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition; none if only the topic is known.
    pub partition: Option<i32>,
    /// [`Verdict::PossiblyOld`] or [`Verdict::Lost`].
    pub verdict: Verdict,
    /// Up to this seq it is known what happened to the key.
    pub seq: Seq,
}

/// A state that is not certain to have its newest bytes in the new store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedState {
    /// The group.
    pub group: String,
    /// The [number](crate::StateOwner::number) of its owner.
    pub owner: u8,
    /// Its name.
    pub name: String,
    /// Its part.
    pub part: i32,
    /// [`Verdict::PossiblyOld`] or [`Verdict::Lost`].
    pub verdict: Verdict,
    /// Up to this seq it is known what happened to the state.
    pub seq: Seq,
}

/// Seqs of records that cannot be read, or may have been there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The file in which, or in front of which, or behind which they stood.
    pub path: PathBuf,
    /// The first.
    pub from: Seq,
    /// The last; `u64::MAX` if nobody knows how many there were.
    pub to: Seq,
}

/// What [`salvage`] came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The damaged store. The new one has an id of its own.
    pub store_id: Option<u128>,
    /// Keys whose newest value was saved.
    pub exact: u64,
    /// Keys of which a value was saved that may not be the newest.
    pub possibly_old: u64,
    /// Keys that are named and have no value any more, and names of which no key is known: topics, or
    /// names that only states had.
    pub lost: u64,
    /// The keys that are not exact, by group, topic and partition.
    pub uncertain: Vec<SalvagedKey>,
    /// States whose newest bytes were saved.
    pub states_exact: u64,
    /// The other states that are named, in order. Those that are not [lost](Verdict::Lost) have the
    /// bytes that they had after some change: what was appended behind a gap is left out.
    pub uncertain_states: Vec<SalvagedState>,
    /// What could not be read, as ranges of the history.
    pub gaps: Vec<Gap>,
    /// Changes whose record is right, and the name of whose topic is not there any more.
    pub changes_lost: u64,
    /// Values whose commit timestamp could not be told. They have the time of the salvage instead.
    pub timestamps_lost: u64,
    /// Records that were read.
    pub records: u64,
    /// Bytes that are no record although they should be, and those of files that were given up.
    pub bytes_skipped: u64,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// Files of which nothing could be read: their header is damaged, or they are of another store.
    pub unreadable: Vec<PathBuf>,
}

impl SalvageReport {
    /// The keys that have a value in the new store.
    pub fn kept(&self) -> u64 {
        self.exact + self.possibly_old
    }

    pub(crate) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Exact => self.exact += 1,
            Verdict::PossiblyOld => self.possibly_old += 1,
            Verdict::Lost => self.lost += 1,
        }
    }
}

/// Makes a new store in `to` from all that can be read of the damaged one in `from`.
///
/// The source is only read; while that goes on, no process can open it for writing. Every record whose
/// checksum is right is used, also behind others that are damaged, and of the values of a key the
/// newest counts. Each key gets a [`Verdict`]. Verdicts are careful: a gap in the history that reaches
/// behind what is known of a key makes it [`Verdict::PossiblyOld`], whatever the gap held, and bytes
/// that are no record at the end of the log count as a gap, although they may be a torn tail that was
/// never promised.
///
/// Offsets, leader epochs, metadata and commit timestamps are kept. Seqs are not: the new store has a
/// history and an id of its own. `to` must be empty or missing. Until the call has returned, what
/// stands there is not complete.
///
/// ```
/// use pagemark::{Key, NextOffset, OffsetStore, salvage};
///
/// # let dir = tempfile::tempdir()?;
/// # let (from, to) = (dir.path().join("from"), dir.path().join("to"));
/// let store = OffsetStore::open(&from)?;
/// store.commit(Key::new("billing", "orders", 0), NextOffset(42))?;
/// store.close()?;
/// let report = salvage(&from, &to)?;
/// assert_eq!((report.exact, report.possibly_old, report.lost), (1, 0, 0));
/// let saved = OffsetStore::open(&to)?;
/// assert_eq!(saved.fetch(Key::new("billing", "orders", 0)).unwrap().offset(), NextOffset(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `Locked` if the source is open for writing, `InvalidArgument` if `to` is not empty, `NotAStore` if
/// no file of the source can be read, `UnsupportedVersion` if a newer version wrote it, `Full` and
/// `Io`.
pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<SalvageReport> {
    salvage_with(from, to, |_| {})
}

/// [`salvage`] that tells how far it has come with reading.
///
/// # Errors
///
/// As there.
pub fn salvage_with(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    mut progress: impl FnMut(Progress),
) -> Result<SalvageReport> {
    let from = DiskDir::open(from.as_ref(), false, WritePath::Pwrite)?;
    // Before it is made, since the source is never written to.
    let within = disk::is_within(to.as_ref(), from.path())
        .map_err(|error| Error::io("find the directory", to.as_ref(), error))?;
    if within {
        let message = "what is saved cannot stand in the directory of the damaged store";
        return Err(Error::invalid(message).with_path(to.as_ref()));
    }
    let to = DiskDir::open(to.as_ref(), true, WritePath::Auto)?;
    engine::salvage(&from, Arc::new(to), &Options::for_salvage(), &mut progress)
}

/// What [`OffsetStore::backup`](crate::OffsetStore::backup) came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The backup shows the store as it was after this record.
    pub seq: Seq,
    /// Files that were copied.
    pub files_copied: u64,
    /// Their size in bytes.
    pub bytes_copied: u64,
    /// Files that an earlier backup had copied.
    pub files_kept: u64,
    /// Their size in bytes.
    pub bytes_kept: u64,
    /// Files of an earlier backup that are not needed any more and were removed.
    pub files_removed: u64,
    /// Milliseconds that it took, by the clock of the options.
    pub elapsed_ms: u64,
}
