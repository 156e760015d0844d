//! The groups of a store as they are stored, for those who only read it.
//!
//! A coordinator knows more than it stores: who waits to join, and who was silent for how long. So a
//! group is shown as a coordinator that takes it over at this moment would find it, and members stay
//! until some coordinator has removed them.
//!
//! ```
//! use pagemark::group::Coordinator;
//! use pagemark::group::coordinator::{CoordinatorConfig, stored};
//! use pagemark::{OffsetReader, OffsetStore, TopicPartition};
//!
//! # let dir = tempfile::tempdir()?;
//! let store = OffsetStore::open(dir.path())?;
//! let coordinator = Coordinator::open(store, CoordinatorConfig::new(), 0)?;
//! coordinator.claim(0, "workers", "worker-1", &[TopicPartition::new("orders", 0)])?;
//!
//! let reader = OffsetReader::open(dir.path())?; // here, or in another process
//! assert_eq!(stored::groups(&reader), ["workers"]);
//! let group = stored::describe(&reader, "workers")?.unwrap();
//! assert_eq!(group.description.state(), "Empty");
//! assert_eq!(group.claims[0].owner, "worker-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;

use super::cell::{Membership, load_claims};
use super::{CoordinatorConfig, GroupDescription};
use crate::error::Result;
use crate::group::claims::{ClaimEpoch, Claims, CommitMode};
use crate::key::TopicPartition;
use crate::reader::OffsetReader;
use crate::state::StateOwner;
use crate::store::OffsetStore;

/// A group and what fences its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredGroup {
    /// The group and its members. What is not stored is as [`CoordinatorConfig::new`] has it: the
    /// assignor of a group whose members ask for none. The state of a group that nobody has ever been
    /// a member of has begun at 0.
    pub description: GroupDescription,
    /// Which commits it takes.
    pub commit_mode: CommitMode,
    /// The partitions that somebody has claimed, by topic and partition.
    pub claims: Vec<StoredClaim>,
}

/// A partition that somebody has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredClaim {
    /// The partition.
    pub partition: TopicPartition,
    /// Who has it.
    pub owner: String,
    /// The number of the claim.
    pub epoch: ClaimEpoch,
}

/// The names that offsets, members or claims are stored for, sorted. [`describe`] finds a group under
/// each, but for one that nothing is left of than that its commits are [free](CommitMode::Free).
pub fn groups(reader: &OffsetReader) -> Vec<String> {
    let with_states = [StateOwner::Membership, StateOwner::Claims]
        .into_iter()
        .flat_map(|owner| reader.groups_with_state(owner));
    let names: BTreeSet<String> = reader.groups().into_iter().chain(with_states).collect();
    names.into_iter().collect()
}

/// A group as it is in the view of a reader, or `None` if there is none.
///
/// What is read is of one moment if nobody refreshes the reader meanwhile.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) if what is stored of the group is not what a group stores,
/// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) if a newer version has stored it.
pub fn describe(reader: &OffsetReader, group: &str) -> Result<Option<StoredGroup>> {
    let claims = load_claims(reader, group)?;
    let config = CoordinatorConfig::new();
    let description = match Membership::load(reader, group, &config, 0)?.describe() {
        Some(description) => description,
        None if claims.is_plain() && !has_offsets(reader, group) => return Ok(None),
        None => GroupDescription::of_nobody(config.classic, 0)?,
    };
    let commit_mode = claims.mode;
    Ok(Some(StoredGroup { description, commit_mode, claims: owned(&claims) }))
}

fn has_offsets(reader: &OffsetReader, group: &str) -> bool {
    let mut has_any = false;
    reader.visit_group(group, |_, _, _| has_any = true);
    has_any
}

fn owned(claims: &Claims) -> Vec<StoredClaim> {
    let owned = claims.iter().filter_map(|(topic, partition, claim)| {
        let owner = claim.owner.as_deref()?.to_owned();
        let partition = TopicPartition::new(topic, partition);
        Some(StoredClaim { partition, owner, epoch: claim.epoch })
    });
    owned.collect()
}

/// What the states of groups are read from.
pub(super) trait States {
    fn state(&self, group: &str, owner: StateOwner, name: &str, part: i32) -> Option<Vec<u8>>;

    fn visit_states(&self, group: &str, owner: StateOwner, visit: impl FnMut(&str, i32, &[u8]));
}

impl States for OffsetStore {
    fn state(&self, group: &str, owner: StateOwner, name: &str, part: i32) -> Option<Vec<u8>> {
        OffsetStore::state(self, group, owner, name, part)
    }

    fn visit_states(&self, group: &str, owner: StateOwner, visit: impl FnMut(&str, i32, &[u8])) {
        OffsetStore::visit_states(self, group, owner, visit);
    }
}

impl States for OffsetReader {
    fn state(&self, group: &str, owner: StateOwner, name: &str, part: i32) -> Option<Vec<u8>> {
        OffsetReader::state(self, group, owner, name, part)
    }

    fn visit_states(&self, group: &str, owner: StateOwner, visit: impl FnMut(&str, i32, &[u8])) {
        OffsetReader::visit_states(self, group, owner, visit);
    }
}
