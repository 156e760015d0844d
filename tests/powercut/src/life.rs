//! The process that commits on the mount.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pagemark::{
    CommittedOffset, Durability, OffsetReader, OffsetStore, Options, TopicPartition, WritePath,
};

use crate::mount::SAID;
use crate::plan;
use crate::said::Word;

/// The directory of the store in the root of the disk.
pub(crate) const STORE: &str = "store";
/// The directory of its backups there.
pub(crate) const BACKUP: &str = "backup";

/// What a process is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) mount: PathBuf,
    pub(crate) segment_size: u64,
    pub(crate) mapped: bool,
    /// Whether each commit waits until it is durable.
    pub(crate) synced: bool,
    /// Whether the threads compact now and then. Otherwise the segments grow long.
    pub(crate) compact: bool,
    pub(crate) flush_ms: u64,
    pub(crate) threads: u64,
    /// The number of each thread's first step, and of those in this life.
    pub(crate) first: i64,
    pub(crate) steps: i64,
    /// Whether the store is closed in the end. Otherwise the process just ends.
    pub(crate) close: bool,
}

impl Orders {
    pub(crate) fn to_args(&self) -> Vec<String> {
        let Orders { mount, segment_size, mapped, synced, compact, .. } = self;
        let Orders { flush_ms, threads, first, steps, close, .. } = self;
        vec![
            mount.display().to_string(),
            segment_size.to_string(),
            mapped.to_string(),
            synced.to_string(),
            compact.to_string(),
            flush_ms.to_string(),
            threads.to_string(),
            first.to_string(),
            steps.to_string(),
            close.to_string(),
        ]
    }

    pub(crate) fn from_args(args: &[String]) -> Option<Orders> {
        let [mount, segment_size, mapped, synced, compact, rest @ ..] = args else { return None };
        let [flush_ms, threads, first, steps, close] = rest else { return None };
        Some(Orders {
            mount: mount.into(),
            segment_size: segment_size.parse().ok()?,
            mapped: mapped.parse().ok()?,
            synced: synced.parse().ok()?,
            compact: compact.parse().ok()?,
            flush_ms: flush_ms.parse().ok()?,
            threads: threads.parse().ok()?,
            first: first.parse().ok()?,
            steps: steps.parse().ok()?,
            close: close.parse().ok()?,
        })
    }

    /// The options of the store, for both processes.
    pub(crate) fn options(&self) -> Options {
        Options::new()
            .segment_size(self.segment_size)
            .durability(if self.synced { Durability::Synced } else { Durability::Buffered })
            // Chosen here, since the engine never maps what lies on FUSE.
            .write_path(if self.mapped { WritePath::Mapped } else { WritePath::Pwrite })
            .flush_interval(Duration::from_millis(self.flush_ms))
    }
}

/// Opens the store, takes the steps, and ends.
pub(crate) fn live(orders: &Orders) -> Result<(), String> {
    let said = File::options().write(true).open(orders.mount.join(SAID));
    let said = said.map_err(|error| format!("nobody listens: {error}"))?;
    let life = Life { orders, said, highest: AtomicU64::new(0) };
    let lived = life.live();
    if let Err(why) = &lived {
        life.say(&Word::Failed(why.clone()));
    }
    lived
}

struct Life<'a> {
    orders: &'a Orders,
    said: File,
    /// The highest seq that a step returned.
    highest: AtomicU64,
}

impl Life<'_> {
    fn say(&self, word: &Word) {
        // One call for each word, so that none is torn or waits. If nobody listens, nothing that
        // this process does matters.
        let _ = self.said.write_all_at(word.line().as_bytes(), 0);
    }

    fn live(&self) -> Result<(), String> {
        let Orders { mount, threads, close, .. } = self.orders;
        self.say(&Word::Opening);
        let store = self.orders.options().open(mount.join(STORE)).map_err(|e| e.to_string())?;
        let store = std::mem::ManuallyDrop::new(store);
        self.say(&Word::Opened);
        self.check_maps().map_err(|error| format!("the maps of this process: {error}"))?;
        let reader = OffsetReader::open(mount.join(STORE)).map_err(|error| error.to_string())?;
        let disk = File::open(mount).map_err(|error| error.to_string())?;
        let view = View { store: &store, reader: &reader, disk: &disk };
        let work = |thread| self.work(&view, thread).map_err(|error| error.to_string());
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..*threads).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a panic")?)
        })?;
        if !close {
            // What was not flushed is in the page cache, and nobody flushes it.
            return Ok(());
        }
        let highest = self.highest.load(Ordering::Acquire);
        std::mem::ManuallyDrop::into_inner(store).close().map_err(|error| error.to_string())?;
        self.say(&Word::Durable { seq: highest });
        Ok(())
    }

    /// Whether the log is mapped as it should be.
    fn check_maps(&self) -> std::io::Result<()> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let dir = self.orders.mount.join(STORE);
        match maps.contains(&*dir.to_string_lossy()) == self.orders.mapped {
            true => Ok(()),
            false => Err(std::io::Error::other("the log goes the other way")),
        }
    }

    fn work(&self, view: &View<'_>, thread: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Orders { first, steps, synced, compact, .. } = *self.orders;
        let store = view.store;
        for number in first..first + steps {
            let seq = plan::take(store, thread, number)?.get();
            self.highest.fetch_max(seq, Ordering::AcqRel);
            self.say(&Word::Acked { thread, seq, durable: synced });
            let highest = self.highest.load(Ordering::Acquire);
            match (number + 7 * thread as i64) % 24 {
                3 | 13 => {
                    let seq = store.sync()?.get();
                    self.say(&Word::Durable { seq });
                }
                // The kernel writes back what it likes, and syncs nothing.
                6 | 16 | 20 => write_back(view.disk),
                1 | 8 | 18 => {
                    if let Some(seq) = view.read(thread)? {
                        self.say(&Word::Durable { seq });
                    }
                }
                // One at a time: the directory is locked meanwhile.
                10 if thread == 0 => {
                    self.say(&Word::BackingUp);
                    let seq = store.backup(self.orders.mount.join(BACKUP))?.seq.get();
                    self.say(&Word::BackedUp { seq });
                }
                23 if compact => {
                    store.compact()?;
                    self.say(&Word::Durable { seq: highest });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a process sees of the disk.
struct View<'a> {
    store: &'a OffsetStore,
    reader: &'a OffsetReader,
    disk: &'a File,
}

impl View<'_> {
    /// Refreshes the reader. Of a thread's own group, which nobody else commits to, it has to show what
    /// the store does. Returns the newest seq of it that the reader calls durable.
    fn read(&self, thread: u64) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
        type Values = Vec<(TopicPartition, CommittedOffset)>;
        let group = plan::group(thread);
        self.reader.refresh()?;
        let (read, own) = (self.reader.fetch_group(&group), self.store.fetch_group(&group));
        let plain = |values: &Values| -> Vec<_> {
            let values = values.iter();
            values
                .map(|(key, v)| (key.clone(), v.offset(), v.seq(), v.metadata().to_owned()))
                .collect()
        };
        if plain(&read) != plain(&own) {
            return Err(format!("a reader shows {read:?}, and the store {own:?}").into());
        }
        let durable = read.iter().filter(|(_, value)| value.is_durable());
        Ok(durable.map(|(_, value)| value.seq().get()).max())
    }
}

/// Has the kernel write back all dirty pages of a file system. On FUSE that syncs nothing: no such
/// request arrives there.
fn write_back(disk: &File) {
    let _ = rustix::fs::syncfs(disk);
}
