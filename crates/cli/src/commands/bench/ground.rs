//! The place of the measurement: made for it, and gone after it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use tempfile::TempDir;

use crate::failure::Failure;

/// A directory with nothing in it but what the measurement writes. It goes when it is dropped.
pub(super) struct Ground {
    files: TempDir,
    /// Dropped behind the files that are in it.
    _made: Option<Made>,
}

/// A directory that was not there before.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        // If something is in it that others have put there, it stays.
        let _ = fs::remove_dir(&self.0);
    }
}

impl Ground {
    /// Takes `dir`, which is empty or not there yet, or a new directory below the current one: the
    /// one for temporary files may lie in memory.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if there is something in it, such as a store.
    pub(super) fn prepare(dir: Option<&Path>) -> Result<Ground> {
        let made = dir.map(make).transpose()?.flatten();
        let parent = dir.unwrap_or(Path::new("."));
        let files = tempfile::Builder::new().prefix("pagemark-bench-").tempdir_in(parent);
        let files = files.with_context(|| format!("{} cannot be used", parent.display()))?;
        Ok(Ground { files, _made: made })
    }

    /// Where the measurement writes.
    pub(super) fn path(&self) -> &Path {
        self.files.path()
    }

    /// Removes all of it.
    pub(super) fn remove(self) -> io::Result<()> {
        self.files.close()
    }
}

fn make(dir: &Path) -> Result<Option<Made>> {
    let context = || format!("{} cannot be used", dir.display());
    match fs::create_dir(dir) {
        Ok(()) => return Ok(Some(Made(dir.to_owned()))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(context),
    }
    if fs::read_dir(dir).with_context(context)?.next().is_none() {
        return Ok(None);
    }
    let dir = dir.display();
    let message = format!("{dir} is not empty; name a new directory, such as {dir}/bench");
    Err(Failure::Usage(message).into())
}

/// Whether the process was asked to end. Asked a second time, it ends at once.
pub(super) struct Interrupt {
    /// The number of the signal, or zero.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Keeps signals from ending the process before the files are removed.
    pub(super) fn watch() -> io::Result<Interrupt> {
        let (again, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // They run in this order: only the second signal finds what the first one has set.
            flag::register_conditional_default(number, Arc::clone(&again))?;
            flag::register(number, Arc::clone(&again))?;
            // The numbers of signals are small.
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        Ok(Interrupt { signal })
    }

    /// Whether it was.
    pub(super) fn arrived(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// Ends the process as the signal would have, so that whoever waits for it sees why.
    pub(super) fn end_process(self) -> io::Result<()> {
        low_level::emulate_default_handler(self.signal.load(Ordering::Relaxed) as i32)
    }
}
