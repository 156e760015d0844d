//! The claims of a group, as they are stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ClaimEpoch, CommitMode, Fenced, Replaces};
use crate::key::NextOffset;

/// The newest claim of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) epoch: ClaimEpoch,
    pub(crate) owner: Option<Arc<str>>,
}

/// The claims of a group, and its mode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    pub(crate) mode: CommitMode,
    by_topic: BTreeMap<String, BTreeMap<i32, Claim>>,
}

impl Claims {
    /// Whether commits are neither fenced by a claim nor bound by the mode.
    pub(crate) fn is_plain(&self) -> bool {
        self.mode == CommitMode::Free && self.by_topic.is_empty()
    }

    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Claim> {
        self.by_topic.get(topic)?.get(&partition)
    }

    pub(crate) fn put(&mut self, topic: &str, partition: i32, claim: Claim) {
        match self.by_topic.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, claim),
            None => self.by_topic.entry(topic.to_owned()).or_default().insert(partition, claim),
        };
    }

    /// All of them, by topic and partition.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i32, &Claim)> {
        self.by_topic.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, claim)| (&topic[..], *partition, claim))
        })
    }

    /// Whether a commit with this epoch, or without one, comes from who has the partition. Without a
    /// claim everybody has a partition that nobody claims.
    pub(crate) fn is_owned_by(
        &self,
        topic: &str,
        partition: i32,
        epoch: Option<ClaimEpoch>,
    ) -> bool {
        let claim = self.get(topic, partition).filter(|claim| claim.owner.is_some());
        claim.map(|claim| claim.epoch) == epoch
    }

    /// What somebody is told who has not the partition.
    pub(crate) fn fenced(
        &self,
        topic: &str,
        partition: i32,
        committed: Option<NextOffset>,
    ) -> Fenced {
        let claim = self.get(topic, partition);
        Fenced {
            owner: claim.and_then(|claim| claim.owner.as_deref().map(str::to_owned)),
            epoch: claim.map(|claim| claim.epoch),
            committed,
        }
    }
}

impl CommitMode {
    /// Whether it matters what is committed.
    pub(crate) fn looks_at_committed(self, replaces: Replaces) -> bool {
        self != CommitMode::Free || replaces != Replaces::Anything
    }

    /// Whether `offset` may take the place of what is committed.
    pub(crate) fn admits(
        self,
        offset: NextOffset,
        replaces: Replaces,
        committed: Option<NextOffset>,
    ) -> bool {
        let is_expected = match replaces {
            Replaces::Anything => self != CommitMode::CompareAndSet,
            Replaces::Nothing => committed.is_none(),
            Replaces::Offset(expected) => committed == Some(expected),
        };
        let goes_back = committed.is_some_and(|committed| offset < committed);
        is_expected && !(self == CommitMode::Monotonic && goes_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_admit_what_they_say() {
        use CommitMode::{CompareAndSet, Free, Monotonic};
        use Replaces::{Anything, Nothing, Offset};
        let at = |offset| Some(NextOffset(offset));
        for (mode, offset, replaces, committed, admitted) in [
            (Free, 1, Anything, at(5), true),
            (Free, 1, Offset(NextOffset(4)), at(5), false),
            (Monotonic, 4, Anything, at(5), false),
            (Monotonic, 5, Anything, at(5), true),
            (Monotonic, 0, Anything, None, true),
            (Monotonic, 4, Offset(NextOffset(5)), at(5), false),
            (CompareAndSet, 9, Anything, at(5), false),
            (CompareAndSet, 9, Anything, None, false),
            (CompareAndSet, 9, Nothing, at(5), false),
            (CompareAndSet, 9, Nothing, None, true),
            (CompareAndSet, 1, Offset(NextOffset(5)), at(5), true),
            (CompareAndSet, 9, Offset(NextOffset(5)), None, false),
        ] {
            let context = (mode, offset, replaces, committed);
            assert_eq!(
                mode.admits(NextOffset(offset), replaces, committed),
                admitted,
                "{context:?}"
            );
        }
    }

    #[test]
    fn a_partition_has_one_epoch_that_may_commit() {
        let mut claims = Claims::default();
        let epoch = |number| Some(ClaimEpoch(number));
        assert!(claims.is_plain() && claims.is_owned_by("t", 0, None));
        assert!(!claims.is_owned_by("t", 0, epoch(1)), "nobody has claimed it");
        let owned = Claim { epoch: ClaimEpoch(7), owner: Some("alice".into()) };
        claims.put("t", 0, owned);
        assert!(!claims.is_plain() && claims.is_owned_by("t", 0, epoch(7)));
        assert!([epoch(6), epoch(8), None].iter().all(|e| !claims.is_owned_by("t", 0, *e)));
        let told = claims.fenced("t", 0, Some(NextOffset(3))).to_string();
        assert_eq!(told, "\"alice\" owns the partition in epoch 7, and offset 3 is committed");
        claims.put("t", 0, Claim { epoch: ClaimEpoch(8), owner: None });
        assert!(claims.is_owned_by("t", 0, None), "it was released");
        assert!([epoch(7), epoch(8)].iter().all(|e| !claims.is_owned_by("t", 0, *e)));
    }
}
