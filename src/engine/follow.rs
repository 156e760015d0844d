//! Follow: a view of a store that somebody else writes, in this process or another one.
//!
//! Nothing is locked and nothing is written. Where the log cannot be followed any further, a new
//! index is filled from the newest snapshot and the log behind it, and takes the place of the old one
//! as a whole, so a fetch finds the old state or the new one and never an empty store.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::error::{Error, ErrorKind, Result};
use crate::index::Index;
use crate::io::lock::store_in;
use crate::io::{Access, Dir};
use crate::key::{CommittedOffset, Key};
use crate::report::{RecoveryReport, Refreshed};
use crate::state::StateOwner;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::live::{LiveLog, Seen, Visit, open_segment};
use super::load::Snapshots;
use super::open::{Files, no_store};
use super::read_log::{check_first, check_ground};
use super::states::{read_state, visit_states};

/// How often the directory is looked at before an error is believed although its files go on
/// changing. A writer would have to finish that many compactions while one snapshot is read each
/// time.
const ATTEMPTS: usize = 100;

/// The view.
pub(crate) struct Follower {
    dir: Arc<dyn Dir>,
    /// What names are hashed with.
    seed: u64,
    /// What fetches read.
    shown: ArcSwap<Index>,
    durable: AtomicU64,
    last_seq: AtomicU64,
    /// Held by the one who refreshes.
    following: Mutex<Following>,
}

/// How far the log was followed.
#[derive(Debug, Default)]
struct Following {
    /// None after a failure: what was read then may not be in the index.
    log: Option<LiveLog>,
    /// The last record whose changes were seen.
    seen: u64,
}

impl Follower {
    /// Begins to follow the store in a directory. Names are hashed with `seed`.
    pub(crate) fn open(dir: Arc<dyn Dir>, seed: u64) -> Result<Follower> {
        let (nothing, _) = Index::new(seed);
        let follower = Follower {
            dir,
            seed,
            shown: ArcSwap::from_pointee(nothing),
            durable: AtomicU64::new(0),
            last_seq: AtomicU64::new(0),
            following: Mutex::default(),
        };
        follower.refresh(None)?;
        Ok(follower)
    }

    /// Reads on to the end of the log, or starts over. `visit` gets each change of the log that no
    /// earlier refresh has read.
    pub(crate) fn refresh(&self, visit: Option<Visit<'_>>) -> Result<Refreshed> {
        let mut following = self.following();
        let mut seen = Seen { seq: following.seen, changes: 0, visit };
        let followed = self.follow(following.log.take(), &mut seen);
        following.seen = seen.seq;
        let (log, restarted) = followed?;
        if restarted {
            self.shown.store(Arc::clone(&log.index));
            // Of a store that has lost its end, seqs may come that are lower than what was seen.
            following.seen = log.last_seq();
        }
        self.durable.store(log.durable(), Ordering::Release);
        self.last_seq.store(log.last_seq(), Ordering::Release);
        following.log = Some(log);
        Ok(Refreshed { changes: seen.changes, restarted })
    }

    /// The log up to its end, and whether it was read from the start.
    fn follow(&self, log: Option<LiveLog>, seen: &mut Seen<'_>) -> Result<(LiveLog, bool)> {
        if let Some(mut log) = log {
            match log.advance(&*self.dir, seen) {
                Ok(()) => return Ok((log, false)),
                Err(error) if !may_be_outdated(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let mut before = None;
        for _ in 1..ATTEMPTS {
            match self.start_over(before.as_ref(), seen) {
                Ok(log) => return Ok((log, true)),
                Err((error, None)) => return Err(error),
                Err((_, files)) => before = files,
            }
        }
        self.start_over(None, seen).map(|log| (log, true)).map_err(|(error, _)| error)
    }

    /// Reads the store as it is now. What is missing or does not fit may only have been changed while
    /// it was read, so an error counts if the files are those that were there `before`; otherwise
    /// they are returned with it.
    fn start_over(
        &self,
        before: Option<&Files>,
        seen: &mut Seen<'_>,
    ) -> std::result::Result<LiveLog, (Error, Option<Files>)> {
        let dir = &*self.dir;
        // The lock file first: it names the store only once there is a segment.
        let store_id = store_in(dir)
            .map_err(|error| (Error::io("read the lock file", dir.path(), error), None))?;
        let files = Files::list(dir).map_err(|error| (error, None))?;
        self.load(store_id, &files, seen).map_err(|error| {
            let is_known = before == Some(&files) || !may_be_outdated(&error);
            (error, (!is_known).then_some(files))
        })
    }

    fn load(&self, store_id: Option<u128>, files: &Files, seen: &mut Seen<'_>) -> Result<LiveLog> {
        let dir = &*self.dir;
        let snapshots = Snapshots { dir, store_id, access: Access::Follow, seed: self.seed };
        let (index, writer, snapshot) =
            snapshots.load_newest(files, &mut RecoveryReport::default())?;
        let ground = snapshot.as_ref().map(|snapshot| snapshot.ground);
        let covered = ground.map_or(0, |ground| ground.end.next_seq);
        let first = files.segments.iter().find(|first_seq| **first_seq >= covered);
        let Some(first) = first else { return Err(no_store(store_id).with_path(dir.path())) };
        let store_id = store_id.or(snapshot.as_ref().map(|snapshot| snapshot.store_id));
        let segment = open_segment(dir, *first, store_id)?;
        match &ground {
            Some(ground) => check_ground(ground, &segment)?,
            None => check_first(&segment)?,
        }
        let (last_seq, durable) =
            ground.map_or((0, 0), |ground| (ground.end.last_seq, ground.durable));
        let mut log = LiveLog::new((index, writer), segment, last_seq, durable);
        log.advance(dir, seen)?;
        log.check_rest(dir, seen)?;
        Ok(log)
    }

    /// The newest value of a key.
    pub(crate) fn fetch(&self, key: Key<'_>) -> Option<CommittedOffset> {
        let mut found = self.shown.load().read(key)?;
        found.durable = found.seq.0 <= self.durable();
        Some(found)
    }

    /// Visits the newest values of a group.
    pub(crate) fn visit_group(
        &self,
        group: &str,
        mut visit: impl FnMut(&str, i32, &CommittedOffset),
    ) {
        let durable = self.durable();
        self.shown.load_full().visit_group(group, |topic, partition, found| {
            found.durable = found.seq.0 <= durable;
            visit(topic, partition, found);
        });
    }

    /// The groups that have a value.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.shown.load().groups()
    }

    /// The bytes of a state.
    pub(crate) fn state(
        &self,
        group: &str,
        owner: StateOwner,
        name: &str,
        part: i32,
    ) -> Option<Vec<u8>> {
        read_state(&self.shown.load(), group, owner, name, part)
    }

    /// Visits the states of a group that an owner has.
    pub(crate) fn visit_states(
        &self,
        group: &str,
        owner: StateOwner,
        visit: impl FnMut(&str, i32, &[u8]),
    ) {
        visit_states(&self.shown.load_full(), group, owner, visit);
    }

    /// The groups that have a state of an owner.
    pub(crate) fn groups_with_state(&self, owner: StateOwner) -> Vec<String> {
        self.shown.load().states().groups_of(owner.number())
    }

    /// The last data record that was read.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }

    /// What the log states to be durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// A panic while it was held leaves no log behind, and the next refresh starts over.
    fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error may come from files that the writer has removed or replaced meanwhile.
fn may_be_outdated(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotAStore) || error.is_not_found()
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("dir", &self.dir)
            .field("shown", &self.shown)
            .field("last_seq", &self.last_seq)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}
