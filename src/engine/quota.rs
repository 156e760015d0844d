//! Quotas: how many groups and keys a store takes.

use crate::error::{Error, Result};
use crate::index::Index;
use crate::options::Options;

use super::changes::Change;

/// The limits of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quotas {
    groups: u64,
    keys_per_group: u64,
}

impl Quotas {
    /// The limits that the options set.
    pub(super) fn new(options: &Options) -> Quotas {
        Quotas { groups: options.max_groups, keys_per_group: options.max_keys_per_group }
    }

    /// Refuses changes, all of one group, that would add more than the limits allow. Under the log's
    /// lock, so that nobody adds keys between the question and the answer.
    #[inline]
    pub(super) fn check(&self, index: &Index, changes: &[Change<'_>]) -> Result<()> {
        // A store without limits does not even count.
        let limited = self.groups < u64::MAX || self.keys_per_group < u64::MAX;
        if limited { self.count(index, changes) } else { Ok(()) }
    }

    fn count(&self, index: &Index, changes: &[Change<'_>]) -> Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        let (group, before) = (first.topic().group(), first.topic().group_live());
        let (mut added, mut removed) = (0, 0);
        for change in changes {
            match *change {
                Change::Set { topic, spot, .. } => {
                    added += u64::from(topic.offset(spot.partition()).is_none());
                }
                Change::Delete { topic, partition } => {
                    removed += u64::from(topic.offset(partition).is_some());
                }
                Change::DeleteTopic { topic } => removed += u64::from(topic.live()),
            }
        }
        // What adds nothing passes, also where there is too much already.
        if added <= removed {
            return Ok(());
        }
        if before == 0 && index.group_count() >= self.groups {
            return Err(Error::too_many_groups(group, self.groups));
        }
        let keys = before + added - removed;
        if keys > self.keys_per_group {
            return Err(Error::too_many_keys(group, keys, self.keys_per_group));
        }
        Ok(())
    }
}
