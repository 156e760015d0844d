//! How the commands find and open their store.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use pagemark::{OffsetReader, OffsetStore, Options};

use crate::failure::Failure;

/// The environment variable that names the store when `--dir` does not.
const DIR_VARIABLE: &str = "PAGEMARK_DIR";

/// Opens a store that must be there already.
pub(crate) fn open_existing(dir: Option<&Path>) -> Result<OffsetStore> {
    open(dir, &options().create_if_missing(false))
}

/// Reads a store without a trace, also while another process has it open.
pub(crate) fn read(dir: Option<&Path>) -> Result<OffsetReader> {
    Ok(OffsetReader::open(find(dir)?)?)
}

/// Opens a store with `options`.
pub(crate) fn open(dir: Option<&Path>, options: &Options) -> Result<OffsetStore> {
    Ok(options.open(find(dir)?)?)
}

/// The options of a command that does one thing and ends: background threads would not have the
/// time to do anything for it.
pub(crate) fn options() -> Options {
    Options::new().background(false)
}

/// The directory that the arguments or the environment name.
pub(crate) fn find(dir: Option<&Path>) -> Result<PathBuf> {
    if let Some(dir) = dir {
        return Ok(dir.to_owned());
    }
    match env::var_os(DIR_VARIABLE) {
        Some(dir) if !dir.is_empty() => Ok(PathBuf::from(dir)),
        _ => {
            let message = format!("no store was named; give --dir DIR or set {DIR_VARIABLE}");
            Err(Failure::Usage(message).into())
        }
    }
}
