//! Bytes only: what stands in a file, and how to tell that it is what was written.
//!
//! Input is `&[u8]`, output are values, and nothing here opens a file, so that the same functions
//! serve recovery, dumping and fuzzing. `docs/format.md` is the specification; the constants below
//! are its only other copy, and `tests/format.rs` holds the two together.

pub(crate) mod bytes;
pub(crate) mod entry;
#[cfg(test)]
mod file_tests;
pub(crate) mod header;
pub(crate) mod mark;
pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod rescue;
pub(crate) mod scan;
pub(crate) mod snapshot;

/// Where the records of a file begin: behind one page for the header and the marks, so that a flush
/// of the tail does not write them again.
pub(crate) const RECORDS_START: u32 = 4096;
