//! States: bytes that are kept for a group beside its offsets.
//!
//! An offset has a slot of its own, so that a fetch costs no lock. Everything else that belongs to a
//! group is kept here: few, and changed rarely or a little at a time.

use crate::error::{Error, Result};
use crate::key::check_name;

/// The longest state, in bytes.
pub const MAX_STATE_BYTES: usize = (1 << 24) - 1;

/// Whom a state belongs to. Each owner has names of its own.
///
/// A program keeps its own states as [`Application`](StateOwner::Application). What the other owners
/// keep is theirs: its bytes may change with any version.
///
/// A number that is none of these is an owner that a later version knows. Its states are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum StateOwner {
    /// The members of groups, and their generations.
    Membership = 1,
    /// Who may commit for a partition.
    Claims = 2,
    /// Records that were acknowledged out of order.
    Acks = 3,
    /// The program that embeds the store.
    Application = 128,
}

impl StateOwner {
    /// All owners, by number.
    pub const ALL: [StateOwner; 4] =
        [StateOwner::Membership, StateOwner::Claims, StateOwner::Acks, StateOwner::Application];

    /// The number that the owner has on disk.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// What happens to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange<'a> {
    /// It gets these bytes in place of those that it has.
    Put(&'a [u8]),
    /// It gets these bytes behind those that it has.
    Append(&'a [u8]),
    /// It goes.
    Delete,
}

impl<'a> StateChange<'a> {
    /// The bytes that come in.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match *self {
            StateChange::Put(bytes) | StateChange::Append(bytes) => bytes,
            StateChange::Delete => &[],
        }
    }
}

/// Checks the limits that the name of every state keeps.
pub(crate) fn check_state(name: &str, part: i32) -> Result<()> {
    check_name("state", name)?;
    if part < 0 {
        return Err(Error::invalid(format!("part {part} of state {name:?} is negative")));
    }
    Ok(())
}
