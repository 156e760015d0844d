//! The one error type of the crate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::key::{MAX_NAME_BYTES, TopicPartition};
use crate::state::MAX_STATE_BYTES;

/// What the crate's fallible calls return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
///
/// [`kind`](Error::kind) is what programs decide on; the `Display` text is a sentence for people and
/// says what to do where there is something to do.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    position: Option<u64>,
    source: Option<Arc<io::Error>>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a file operation.
    Io,
    /// Bytes that had been durable are gone or changed. Nothing was cut and nothing was guessed.
    Corrupt,
    /// Another handle, in this process or another one, has the directory open.
    Locked,
    /// There is no room on the device. The call had no effect; it may be repeated when there is.
    Full,
    /// An earlier write or flush failed, so the store takes no more commits. Reads go on; reopening
    /// the store starts from what the disk holds.
    Poisoned,
    /// An argument is outside of its limits.
    InvalidArgument,
    /// A group or topic name has more than [`MAX_NAME_BYTES`] bytes.
    KeyTooLong,
    /// The metadata is longer than [`Options::max_metadata_bytes`](crate::Options::max_metadata_bytes).
    MetadataTooLarge,
    /// A state would have more than [`MAX_STATE_BYTES`](crate::MAX_STATE_BYTES) bytes. The call had no
    /// effect.
    StateTooLarge,
    /// The commit would create more than [`Options::max_groups`](crate::Options::max_groups) or
    /// [`Options::max_keys_per_group`](crate::Options::max_keys_per_group) allow. It had no effect.
    QuotaExceeded,
    /// A limit on what is in flight is reached: see [`AckLimits`](crate::consumer::AckLimits). The
    /// call had no effect; it may be repeated when more of what is in flight is complete.
    BackPressure,
    /// Nothing was committed, and [`StartPolicy::None`](crate::consumer::StartPolicy::None) says not
    /// to guess.
    NoOffset,
    /// The offset is not in the log, and [`StartPolicy::None`](crate::consumer::StartPolicy::None)
    /// says not to guess.
    OffsetOutOfRange,
    /// The partition is not assigned to this consumer, or not any more.
    NotAssigned,
    /// A commit of the partition was under way when it was lost, and may still be stored. The call had
    /// no effect; what is committed is to be read again.
    CommitUnderWay,
    /// Records that were not read cannot be done, nor committed.
    AheadOfPosition,
    /// The store was written by a newer version, in a way that this one cannot read.
    UnsupportedVersion,
    /// The directory or file is not a Pagemark store.
    NotAStore,
    /// The directory holds another store, or one that has gone another way.
    WrongStore,
    /// The caller's claim on the key is out of date.
    Fenced,
    /// The store was closed.
    Closed,
    /// The time given to a wait ran out. What was waited for may still happen.
    Timeout,
}

impl Error {
    fn new(kind: ErrorKind, message: String) -> Error {
        Error(Box::new(Inner { kind, message, path: None, position: None, source: None }))
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether something that had been durable is lost or changed.
    ///
    /// True for a flipped bit in a synced commit or a missing segment. False for a torn tail (which
    /// is not an error at all), a full disk, or an error of the operating system.
    pub fn is_corruption(&self) -> bool {
        self.0.kind == ErrorKind::Corrupt
    }

    /// The file or directory that the error is about.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The position in that file, in bytes from its start.
    pub fn position(&self) -> Option<u64> {
        self.0.position
    }

    /// Whether a file was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.0.source.as_ref().is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
    }

    /// The sentence without the place.
    pub(crate) fn message(&self) -> String {
        match &self.0.source {
            Some(source) => format!("{}: {source}", self.0.message),
            None => self.0.message.clone(),
        }
    }

    pub(crate) fn with_path(mut self, path: impl Into<PathBuf>) -> Error {
        self.0.path = Some(path.into());
        self
    }

    pub(crate) fn at(mut self, position: u64) -> Error {
        self.0.position = Some(position);
        self
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message.into())
    }

    pub(crate) fn key_too_long(what: &str, bytes: usize) -> Error {
        let message = format!("the {what} name has {bytes} bytes, the limit is {MAX_NAME_BYTES}");
        Error::new(ErrorKind::KeyTooLong, message)
    }

    pub(crate) fn metadata_too_large(bytes: usize, limit: usize) -> Error {
        let message = format!("the metadata has {bytes} bytes, the limit is {limit}");
        Error::new(ErrorKind::MetadataTooLarge, message)
    }

    pub(crate) fn state_too_large(name: &str, bytes: usize) -> Error {
        let message =
            format!("state {name:?} would have {bytes} bytes, the limit is {MAX_STATE_BYTES}");
        Error::new(ErrorKind::StateTooLarge, message)
    }

    pub(crate) fn too_many_groups(group: &str, limit: u64) -> Error {
        let message = format!(
            "group {group:?} would be one more than max_groups allows, which is {limit}; \
             delete a group or raise the limit"
        );
        Error::new(ErrorKind::QuotaExceeded, message)
    }

    pub(crate) fn too_many_keys(group: &str, keys: u64, limit: u64) -> Error {
        let message = format!(
            "group {group:?} would have {keys} keys, and max_keys_per_group is {limit}; \
             delete keys of it or raise the limit"
        );
        Error::new(ErrorKind::QuotaExceeded, message)
    }

    pub(crate) fn back_pressure(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::BackPressure, message.into())
    }

    pub(crate) fn no_offset(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NoOffset, message.into())
    }

    pub(crate) fn out_of_range(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::OffsetOutOfRange, message.into())
    }

    pub(crate) fn not_assigned(partition: &TopicPartition) -> Error {
        Error::new(ErrorKind::NotAssigned, format!("{partition} is not assigned"))
    }

    pub(crate) fn commit_under_way(partition: &TopicPartition) -> Error {
        let message = format!("an earlier commit of {partition} was still under way");
        Error::new(ErrorKind::CommitUnderWay, message)
    }

    pub(crate) fn ahead_of_position(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::AheadOfPosition, message.into())
    }

    pub(crate) fn fenced(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Fenced, message.into())
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message.into())
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::UnsupportedVersion, message.into())
    }

    pub(crate) fn not_a_store(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotAStore, message.into())
    }

    pub(crate) fn wrong_store(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::WrongStore, message.into())
    }

    /// A bug in this crate, which must not be answered by going on.
    pub(crate) fn internal(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Poisoned, message.into())
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the store was closed".into())
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Timeout, message.into())
    }

    /// The directory is in use; `holder` is the process id that the lock file names.
    pub(crate) fn locked(path: &Path, holder: Option<u32>) -> Error {
        let who = match holder {
            Some(pid) if pid == std::process::id() => format!("this process (pid {pid})"),
            Some(pid) => format!("process {pid}"),
            None => "another process".into(),
        };
        let message = format!("the store is open in {who}; one writer at a time may open it");
        Error::new(ErrorKind::Locked, message).with_path(path)
    }

    /// An error of the operating system. A lack of room becomes [`ErrorKind::Full`].
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Error {
        let kind = if is_full(&source) { ErrorKind::Full } else { ErrorKind::Io };
        Error::system(kind, doing, path, source)
    }

    /// A failed flush. Even for want of room it is one, since what it should have written may be
    /// gone.
    pub(crate) fn flush(doing: &str, path: &Path, source: io::Error) -> Error {
        Error::system(ErrorKind::Io, doing, path, source)
    }

    fn system(kind: ErrorKind, doing: &str, path: &Path, source: io::Error) -> Error {
        let mut error = Error::new(kind, format!("could not {doing}")).with_path(path);
        error.0.source = Some(Arc::new(source));
        error
    }

    /// The error of every commit after `first`, the failure that closed the store to commits.
    pub(crate) fn poisoned(first: &Error) -> Error {
        let message = format!(
            "the store takes no more commits since an earlier failure ({first}); \
             reopen it to go on from what the disk holds"
        );
        let mut error = Error::new(ErrorKind::Poisoned, message);
        error.0.path = first.0.path.clone();
        error.0.source = first.0.source.clone();
        error
    }
}

/// Whether an error says that the device, the quota or the file-size limit is exhausted.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match (&self.0.path, self.0.position) {
            (Some(path), Some(position)) => write!(f, " ({} at byte {position})", path.display())?,
            (Some(path), None) => write!(f, " ({})", path.display())?,
            (None, Some(position)) => write!(f, " (at byte {position})")?,
            (None, None) => {}
        }
        match &self.0.source {
            Some(source) if self.0.kind != ErrorKind::Poisoned => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
