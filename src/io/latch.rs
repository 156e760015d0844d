//! Remembers the first failure.

use crate::error::{Error, ErrorKind, Result};
use crate::observe;
use crate::sync::OnceLock;

/// Closes on the first failed write or flush and stays closed.
///
/// After a failed flush the kernel may report success for the next one although the bytes are gone,
/// so nothing may be acknowledged on top of it. One latch for the whole store means that no caller
/// has to remember this.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    first: OnceLock<Error>,
}

impl Latch {
    /// Fails with `Poisoned`, naming the first failure, if there was one.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        match self.first.get() {
            None => Ok(()),
            Some(first) => Err(Error::poisoned(first)),
        }
    }

    /// Remembers `error` if it is the first, and hands it back for the caller to return.
    pub(crate) fn trip(&self, error: Error) -> Error {
        if self.first.set(error.clone()).is_ok() {
            observe::poisoned(&error);
        }
        error
    }

    /// Remembers a failed write, but not that of a full disk: that one had no effect, and the next
    /// may find room.
    pub(crate) fn failed_write(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Full => error,
            _ => self.trip(error),
        }
    }

    /// The first failure.
    pub(crate) fn first(&self) -> Option<&Error> {
        self.first.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_one_that_is_named() {
        let latch = Latch::default();
        assert!(latch.check().is_ok());
        latch.trip(Error::corrupt("first"));
        latch.trip(Error::corrupt("second"));
        let error = latch.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        assert!(error.to_string().contains("first"), "{error}");
    }
}
