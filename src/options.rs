//! How a store is opened.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::key::Durability;
use crate::store::OffsetStore;

/// The smallest [`Options::segment_size`].
pub const MIN_SEGMENT_SIZE: u64 = 16 << 10;
/// The largest [`Options::segment_size`].
pub const MAX_SEGMENT_SIZE: u64 = 1 << 30;
/// The largest [`Options::max_metadata_bytes`]: what a record of the format can carry.
pub const MAX_METADATA_BYTES: usize = 65_535;

/// How the log is written. Both ways write the same bytes and give the same promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WritePath {
    /// Chosen by the file system: mapped where blocks that were allocated stay writable (ext4, xfs,
    /// tmpfs), `pwrite` where they are copied on write or a mapping is not to be trusted (btrfs,
    /// ZFS, overlay, FUSE, network).
    #[default]
    Auto,
    /// Through a shared mapping: no system call per commit.
    Mapped,
    /// By `pwrite`: one system call per commit, and a full disk is always an error, never a signal.
    Pwrite,
}

/// Where the engine gets the time and its random numbers from. It has no other source of either.
pub trait Environment: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch: the timestamp of commits that bring none.
    fn now_ms(&self) -> i64;

    /// Nanoseconds since any fixed moment, never going back: for how long something took, and for
    /// nothing that is stored. Unless it is given, [`now_ms`](Environment::now_ms) has to do.
    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.now_ms()).unwrap_or(0).saturating_mul(1_000_000)
    }

    /// A random number, for store ids, salts and hash seeds.
    fn random(&self) -> u64;
}

/// The system's clock and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now_ms(&self) -> i64 {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 or after the year 292 million is not worth an error path.
        elapsed.map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ns(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        // Enough for 584 years of uptime.
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        crate::io::disk::random_u64()
    }
}

/// Options for opening a store; [`OffsetStore::open`] uses the defaults.
///
/// ```
/// use pagemark::{Durability, Options};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir()?;
/// let store = Options::new()
///     .durability(Durability::Buffered)
///     .flush_interval(Duration::from_millis(200))
///     .open(dir.path().join("offsets"))?;
/// store.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) segment_size: u64,
    pub(crate) flush_interval: Duration,
    pub(crate) create_if_missing: bool,
    pub(crate) max_metadata_bytes: usize,
    pub(crate) max_groups: u64,
    pub(crate) max_keys_per_group: u64,
    pub(crate) write_path: WritePath,
    pub(crate) background: bool,
    pub(crate) auto_compact: bool,
    pub(crate) environment: Arc<dyn Environment>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Synced,
            segment_size: 64 << 20,
            flush_interval: Duration::from_secs(1),
            create_if_missing: true,
            max_metadata_bytes: 4096,
            max_groups: u64::MAX,
            max_keys_per_group: u64::MAX,
            write_path: WritePath::Auto,
            background: true,
            auto_compact: true,
            environment: Arc::new(SystemEnvironment),
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Options {
        Options::default()
    }

    /// What commits and deletes promise unless the call says otherwise. Default:
    /// [`Durability::Synced`].
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// The size in bytes that segments grow to at most, from [`MIN_SEGMENT_SIZE`] to
    /// [`MAX_SEGMENT_SIZE`]. A store starts with a small segment, and the next has twice its size if it
    /// fills within a minute: up to this, or, while [`auto_compact`](Options::auto_compact) is on, up to
    /// two to four times what lives, and 8 MiB at least. One batch must fit into a segment of this size.
    /// Default: 64 MiB.
    pub fn segment_size(mut self, bytes: u64) -> Options {
        self.segment_size = bytes;
        self
    }

    /// How often the background flusher makes buffered commits durable: the most that power loss can
    /// cost. It must not be zero. Default: 1 s.
    pub fn flush_interval(mut self, interval: Duration) -> Options {
        self.flush_interval = interval;
        self
    }

    /// Whether opening a directory without a store creates one (default) or fails with
    /// [`ErrorKind::NotAStore`](crate::ErrorKind::NotAStore). The directory itself is created too,
    /// its parent is not.
    pub fn create_if_missing(mut self, create: bool) -> Options {
        self.create_if_missing = create;
        self
    }

    /// The longest metadata that a commit may carry, in bytes, up to [`MAX_METADATA_BYTES`].
    /// Default: 4,096, as Kafka's `offset.metadata.max.bytes`. (Kafka counts UTF-16 units, this
    /// counts bytes of UTF-8.)
    pub fn max_metadata_bytes(mut self, bytes: usize) -> Options {
        self.max_metadata_bytes = bytes;
        self
    }

    /// The most groups that may have a key. A commit that would give a further group its first key
    /// fails with [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded). Unlimited unless
    /// set.
    ///
    /// Commits to keys that have a value always pass, and deletes make room. A store that has more
    /// already, from a time when the limit was higher, opens, and takes no further ones. Kafka has
    /// no such limit for its coordinator, only one for the members of a group (`group.max.size`);
    /// this one is for stores whose callers choose the names.
    pub fn max_groups(mut self, groups: u64) -> Options {
        self.max_groups = groups;
        self
    }

    /// The most keys, which are partitions of topics, that one group may have. A commit that would
    /// give a group more fails with
    /// [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded); of a batch counts what the
    /// group has behind all of its commits and deletes. Unlimited unless set; otherwise as
    /// [`max_groups`](Options::max_groups).
    pub fn max_keys_per_group(mut self, keys: u64) -> Options {
        self.max_keys_per_group = keys;
        self
    }

    /// How the log is written. Default: [`WritePath::Auto`].
    pub fn write_path(mut self, path: WritePath) -> Options {
        self.write_path = path;
        self
    }

    /// Whether the store runs its background threads (default). Without them nothing is flushed but
    /// by synced commits, [`sync`](OffsetStore::sync) and `close`, a commit that needs a new segment
    /// prepares it itself, and nothing is compacted but by [`compact`](OffsetStore::compact).
    pub fn background(mut self, run: bool) -> Options {
        self.background = run;
        self
    }

    /// Whether the store compacts its log by itself (default). Without that the log grows until
    /// somebody calls [`compact`](OffsetStore::compact), and opening takes longer and longer.
    pub fn auto_compact(mut self, compact: bool) -> Options {
        self.auto_compact = compact;
        self
    }

    /// Replaces the clock and the random numbers, for tests and for replicated state machines.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Options {
        self.environment = environment;
        self
    }

    /// Opens the store in `dir`, creating and recovering it as needed.
    ///
    /// On return everything that `fetch` shows is durable. A torn tail, which a crash may leave
    /// behind the last durable record, is cut and reported in
    /// [`recovery_report`](OffsetStore::recovery_report).
    ///
    /// # Errors
    ///
    /// `Locked` if the directory is open already, `Corrupt` if something that had been durable is
    /// damaged or missing (nothing is changed then), `NotAStore`, `UnsupportedVersion`,
    /// `InvalidArgument` for options outside of their limits, `Full` and `Io`.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<OffsetStore> {
        self.check()?;
        let dir =
            crate::io::disk::DiskDir::open(dir.as_ref(), self.create_if_missing, self.write_path)?;
        OffsetStore::open_in(Arc::new(dir), self)
    }

    /// Opens the store in a directory of another kind, such as a simulated disk.
    ///
    /// # Errors
    ///
    /// As [`open`](Options::open).
    #[cfg(feature = "testkit")]
    pub fn open_in(&self, dir: Arc<dyn crate::testkit::Dir>) -> Result<OffsetStore> {
        self.check()?;
        OffsetStore::open_in(dir, self)
    }

    /// What a store is written with that takes everything that another one had.
    pub(crate) fn for_salvage() -> Options {
        Options::new().background(false).max_metadata_bytes(MAX_METADATA_BYTES)
    }

    fn check(&self) -> Result<()> {
        if !(MIN_SEGMENT_SIZE..=MAX_SEGMENT_SIZE).contains(&self.segment_size) {
            return Err(Error::invalid(format!(
                "segment_size {} is not within {MIN_SEGMENT_SIZE} to {MAX_SEGMENT_SIZE}",
                self.segment_size
            )));
        }
        if self.flush_interval.is_zero() {
            return Err(Error::invalid("flush_interval is zero; commit with Durability::Synced"));
        }
        if self.max_metadata_bytes > MAX_METADATA_BYTES {
            return Err(Error::invalid(format!(
                "max_metadata_bytes {} is more than {MAX_METADATA_BYTES}",
                self.max_metadata_bytes
            )));
        }
        Ok(())
    }
}
