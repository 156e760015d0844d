//! A coordinator for one process: the system's clock, threads that wait for their answers, and a
//! thread that watches the deadlines if one is asked for.
//!
//! ```
//! use pagemark::group::Coordinator;
//! use pagemark::group::classic::{ClassicConfig, CommitRequest, JoinRequest, MemberIdentity,
//!                                Protocol, RequestId, SyncRequest};
//! use pagemark::group::coordinator::{CoordinatorConfig, PartitionCommit};
//! use pagemark::group::host::Host;
//! use pagemark::{NextOffset, OffsetStore};
//!
//! # let dir = tempfile::tempdir()?;
//! let classic = ClassicConfig::new().initial_rebalance_delay_ms(10);
//! let host = Host::open(OffsetStore::open(dir.path())?, CoordinatorConfig::new().classic(classic))?;
//! host.start_timer()?;
//!
//! // Blocks until the generation begins.
//! let joined = host.join("billing", JoinRequest {
//!     request: RequestId(0), // the host gives it a number
//!     member_id: String::new(),
//!     group_instance_id: Some("reader-1".into()),
//!     client_id: "billing".into(),
//!     client_host: "localhost".into(),
//!     session_timeout_ms: 45_000,
//!     rebalance_timeout_ms: 60_000,
//!     protocol_type: "consumer".into(),
//!     protocols: vec![Protocol { name: "range".into(), metadata: (*b"orders").into() }],
//!     requires_member_id: true,
//!     can_skip_assignment: true,
//! }).map_err(|refusal| refusal.error)?;
//! let member = MemberIdentity::fixed(&joined.member_id, "reader-1");
//! let synced = host.sync("billing", SyncRequest {
//!     request: RequestId(0),
//!     member: member.clone(),
//!     generation: joined.generation,
//!     protocol_type: None,
//!     protocol: None,
//!     assignments: vec![(joined.member_id.clone(), (*b"orders: 0").into())],
//! })?;
//! assert_eq!(*synced.assignment, *b"orders: 0");
//!
//! let by = CommitRequest { member, generation: joined.generation, is_transactional: false };
//! let offset = [PartitionCommit::new("orders", 0, NextOffset(42))];
//! assert!(host.coordinator().commit(host.now_ms(), "billing", &by, &offset)?[0].is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::group::GroupError;
use crate::group::classic::{
    Effect, JoinRefusal, JoinRequest, Joined, LeaveRequest, Left, MemberIdentity, Reply, RequestId,
    SyncRequest, Synced,
};
use crate::group::coordinator::{Answers, Coordinator, CoordinatorConfig, Failure};
use crate::options::Environment;
use crate::store::OffsetStore;
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A coordinator whose calls wait for their answers, by the clock of the store's options.
///
/// Whoever waits does what is due meanwhile. Nobody does while nobody waits, unless
/// [`start_timer`](Host::start_timer) was called: members are then removed late.
///
/// Dropping it [stops](Host::stop) it.
#[derive(Debug)]
pub struct Host {
    shared: Arc<Shared>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    coordinator: Coordinator,
    environment: Arc<dyn Environment>,
    room: Arc<Room>,
}

/// Where threads wait.
#[derive(Debug, Default)]
struct Room {
    waiting: Mutex<Waiting>,
    /// An answer has come, or something is due earlier than before.
    news: Condvar,
}

impl Room {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code of a caller runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Room {
    /// Lets everybody look at the deadlines anew.
    fn wake(self: Arc<Self>) {
        // Under the lock, so that whoever has looked before waits by now.
        let _waiting = self.waiting();
        self.news.notify_all();
    }
}

#[derive(Debug, Default)]
struct Waiting {
    newest: u64,
    /// The requests that wait, and the answers that have not been fetched.
    replies: BTreeMap<RequestId, Option<Reply>>,
    /// The newest failure of the store.
    failure: Option<Failure>,
    is_stopped: bool,
}

impl Host {
    /// Takes over the groups of a store.
    ///
    /// # Errors
    ///
    /// Those of [`Coordinator::open`].
    pub fn open(store: OffsetStore, config: CoordinatorConfig) -> Result<Host> {
        let environment = Arc::clone(&store.options().environment);
        let coordinator = Coordinator::open(store, config, environment.now_ms())?;
        let room = Arc::new(Room::default());
        coordinator.wake_when_earlier(Arc::clone(&room).into());
        let shared = Arc::new(Shared { coordinator, environment, room });
        Ok(Host { shared, timer: Mutex::default() })
    }

    /// The coordinator, for everything that nobody waits for.
    pub fn coordinator(&self) -> &Coordinator {
        &self.shared.coordinator
    }

    /// The time, as the coordinator is to be given it.
    pub fn now_ms(&self) -> i64 {
        self.shared.now_ms()
    }

    /// The newest failure of the store that an answer of
    /// [`CoordinatorNotAvailable`](GroupError::CoordinatorNotAvailable) had as its cause.
    pub fn last_failure(&self) -> Option<Failure> {
        self.shared.waiting().failure.clone()
    }

    /// Starts a thread that does what is due when it is due. Once is enough.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) if there can be no further thread.
    pub fn start_timer(&self) -> Result<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if timer.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = Builder::new().name("pagemark-groups".into());
            let thread = builder.spawn(move || shared.watch()).map_err(|error| {
                Error::io("start the thread of groups", std::path::Path::new("."), error)
            })?;
            *timer = Some(thread);
        }
        Ok(())
    }

    /// [`Coordinator::stop`]: those who wait are told that the coordinator is not available.
    pub fn stop(&self) {
        let effects = self.shared.coordinator.stop();
        self.shared.let_out(effects);
        self.shared.waiting().is_stopped = true;
        Arc::clone(&self.shared.room).wake();
    }

    /// [`Coordinator::join`], with a number and a member id from the host, until it is answered.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn join(
        &self,
        group: &str,
        mut join: JoinRequest,
    ) -> std::result::Result<Joined, JoinRefusal> {
        let random = || u128::from(self.shared.environment.random());
        let random = random() << 64 | random();
        join.request = self.shared.begin();
        let request = join.request;
        let answers = self.coordinator().join(self.now_ms(), group, join, random);
        match self.shared.answer(request, answers) {
            Reply::Join(joined) => joined,
            other => Err(JoinRefusal { error: refusal(&other), member_id: String::new() }),
        }
    }

    /// [`Coordinator::sync`], with a number from the host, until it is answered.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn sync(
        &self,
        group: &str,
        mut sync: SyncRequest,
    ) -> std::result::Result<Synced, GroupError> {
        sync.request = self.shared.begin();
        let request = sync.request;
        let answers = self.coordinator().sync(self.now_ms(), group, sync);
        match self.shared.answer(request, answers) {
            Reply::Sync(synced) => synced,
            other => Err(refusal(&other)),
        }
    }

    /// [`Coordinator::leave`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn leave(
        &self,
        group: &str,
        members: Vec<MemberIdentity>,
    ) -> std::result::Result<Vec<Left>, GroupError> {
        let request = self.shared.begin();
        let leave = LeaveRequest { request, members };
        let answers = self.coordinator().leave(self.now_ms(), group, leave);
        match self.shared.answer(request, answers) {
            Reply::Leave(left) => left,
            other => Err(refusal(&other)),
        }
    }
}

/// A request has an answer of its own kind, so there is no other that could come.
fn refusal(_: &Reply) -> GroupError {
    GroupError::CoordinatorNotAvailable
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(timer) = timer {
            // A panic in there was reported by the panic hook.
            let _ = timer.join();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.room.waiting()
    }

    fn begin(&self) -> RequestId {
        let mut waiting = self.waiting();
        waiting.newest += 1;
        let request = RequestId(waiting.newest);
        waiting.replies.insert(request, None);
        request
    }

    fn take(&self, mut answers: Answers) {
        if let Some(failure) = answers.failures.pop() {
            self.waiting().failure = Some(failure);
        }
        self.let_out(answers.effects);
    }

    /// Hands answers to those who wait.
    fn let_out(&self, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        for Effect { request, reply } in effects {
            if let Some(slot) = waiting.replies.get_mut(&request) {
                *slot = Some(reply);
            }
        }
        self.room.news.notify_all();
    }

    /// Lets out what one request brought, and waits for the answer to it.
    fn answer(&self, request: RequestId, answers: Answers) -> Reply {
        self.take(answers);
        loop {
            let now_ms = self.do_what_is_due();
            let mut waiting = self.waiting();
            if let Some(Some(reply)) = waiting.replies.get_mut(&request).map(Option::take) {
                waiting.replies.remove(&request);
                return reply;
            }
            self.wait(waiting, now_ms);
        }
    }

    fn watch(&self) {
        loop {
            let now_ms = self.do_what_is_due();
            let waiting = self.waiting();
            if waiting.is_stopped {
                return;
            }
            self.wait(waiting, now_ms);
        }
    }

    fn do_what_is_due(&self) -> i64 {
        let now_ms = self.now_ms();
        self.take(self.coordinator.tick(now_ms));
        now_ms
    }

    /// Waits until something is due or until there is news. The coordinator was given the time, as
    /// deadlines that were told by a clock that was set back since seem far away.
    fn wait(&self, waiting: MutexGuard<'_, Waiting>, now_ms: i64) {
        let news = &self.room.news;
        // Under the lock, so that a deadline that is earlier is heard of from here on.
        match self.coordinator.next_deadline() {
            None => drop(news.wait(waiting)),
            Some(deadline) => {
                let left_ms = u64::try_from(deadline.saturating_sub(now_ms)).unwrap_or(0);
                drop(news.wait_timeout(waiting, Duration::from_millis(left_ms)));
            }
        }
    }

    fn now_ms(&self) -> i64 {
        self.environment.now_ms()
    }
}
