//! What a crash leaves behind, for tests: of the engine, and of programs that embed it.
//!
//! - [`SimDisk`] is a disk in memory that the whole engine runs on, and that can lose power, fail and
//!   fill up at any operation.
//! - [`Step`], [`history`] and [`Oracle`] are the reference model: what is done to a store, and which
//!   states it may show after a crash.
//! - [`Driver`] plays histories of a [`Subject`] and crashes it everywhere. The store is one subject,
//!   [`StoreSubject`]; a program's own wrapper around the store can be another one.
//! - [`GroupSim`] is a coordinator of groups in a process that dies, behind a network that loses things, by
//!   a clock that is set.
//!
//! Behind the feature `testkit`; its names may change in any version.
//!
//! ```
//! use std::sync::Arc;
//!
//! use pagemark::testkit::{Dir, Driver, Failed, FixedEnvironment, State, Step, Subject};
//! use pagemark::testkit::{apply_to_store, history, observe};
//! use pagemark::{Durability, OffsetStore, Options};
//!
//! /// A wrapper that flushes after every call.
//! struct Careful;
//!
//! impl Subject for Careful {
//!     type Open = OffsetStore;
//!
//!     fn open(&self, dir: Arc<dyn Dir>, seed: u64) -> Result<OffsetStore, Failed> {
//!         let options = Options::new().background(false).segment_size(16 << 10);
//!         Ok(options.environment(FixedEnvironment::new(seed)).open_in(dir)?)
//!     }
//!
//!     fn apply(&self, store: &mut OffsetStore, step: &Step) -> Result<Durability, Failed> {
//!         apply_to_store(store, step)?;
//!         store.sync()?;
//!         Ok(Durability::Synced)
//!     }
//!
//!     fn observe(&self, store: &OffsetStore) -> State {
//!         observe(store)
//!     }
//!
//!     fn close(&self, store: OffsetStore) -> Result<(), Failed> {
//!         Ok(store.close()?)
//!     }
//! }
//!
//! let seen = Driver::new().run(&Careful, 0..4, |seed| history(seed, 6))?;
//! assert!(seen.images() > 100);
//! # Ok::<(), pagemark::testkit::Failure>(())
//! ```

mod driver;
mod environment;
mod fuzz_groups;
mod fuzz_record;
mod fuzz_scan;
mod fuzz_states;
mod group_sim;
mod history;
mod oracle;
mod step;
mod subject;

pub use driver::{Driver, Failure, Tally};
pub use environment::FixedEnvironment;
pub use fuzz_record::fuzz_record;
pub use fuzz_scan::fuzz_scan;
pub use fuzz_states::fuzz_states;
pub use group_sim::{GroupSim, Network};
pub use history::{history, numbered_history, rough_history};
pub use oracle::{Crash, Oracle};
pub use step::{Change, Edit, State, StateStep, Step, commit_of, states};
pub use subject::{Failed, StoreSubject, Subject, apply_to_store, batch_of, check_files, observe};

pub use crate::io::sim::{Lots, Moment, Op, SimDisk, mix};
pub use crate::io::{Access, Dir, DirLock, GrowingFile, SegmentFile};

/// [`verify`](crate::verify) of a directory of another kind.
///
/// # Errors
///
/// As there.
pub fn verify_in(dir: &dyn Dir) -> crate::Result<crate::VerifyReport> {
    crate::engine::verify(dir, Box::new(|_| {}))
}

/// [`salvage`](crate::salvage) between directories of another kind.
///
/// # Errors
///
/// As there.
pub fn salvage_in(
    from: &dyn Dir,
    to: std::sync::Arc<dyn Dir>,
) -> crate::Result<crate::SalvageReport> {
    crate::engine::salvage(from, to, &crate::Options::for_salvage(), &mut |_| {})
}
