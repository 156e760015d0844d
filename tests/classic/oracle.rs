//! What must be true of a group, judged by what its members were told and not by how it works.

use std::collections::{BTreeMap, BTreeSet};

use pagemark::TopicPartition;
use pagemark::group::classic::{ClassicDescription, Joined, MemberIdentity};

#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    /// The newest generation that anyone was told of.
    newest: i32,
    /// Who leads each generation, and with which assignor.
    leaders: BTreeMap<i32, (String, Option<String>)>,
    /// Who owns what in each generation.
    owners: BTreeMap<(i32, TopicPartition), String>,
    /// Who was a member when it was last looked.
    members: BTreeSet<String>,
    /// Who was a member and is none any more.
    gone: BTreeSet<String>,
}

/// What stays the same when a static member starts anew: its group instance id.
fn who(member_id: &str) -> String {
    let is_static = member_id.starts_with('s');
    let instance_id = member_id.split('-').next().filter(|_| is_static);
    instance_id.unwrap_or(member_id).into()
}

impl Oracle {
    /// A generation has one leader and one assignor, and its number is given once.
    pub(crate) fn saw_joined(&mut self, joined: &Joined) {
        let told = (who(&joined.leader), joined.protocol.clone());
        let first = self.leaders.entry(joined.generation).or_insert_with(|| told.clone());
        assert_eq!(*first, told, "two generations have the number {}", joined.generation);
        self.newest = self.newest.max(joined.generation);
    }

    /// A partition has one owner in a generation.
    pub(crate) fn saw_share(&mut self, generation: i32, member_id: &str, share: &[TopicPartition]) {
        for partition in share {
            let key = (generation, partition.clone());
            let owner = self.owners.entry(key).or_insert_with(|| who(member_id));
            assert_eq!(*owner, who(member_id), "{partition:?} in generation {generation}");
        }
    }

    /// Generations go forward only, and nobody comes back under an id that was given up.
    pub(crate) fn saw_group(&mut self, group: &ClassicDescription) {
        assert!(group.generation >= self.newest, "{} is behind {}", group.generation, self.newest);
        self.newest = group.generation;
        let now = group.members.iter().map(|member| member.member.member_id.clone()).collect();
        self.gone.extend(self.members.difference(&now).cloned());
        let back: Vec<_> = self.gone.intersection(&now).collect();
        assert!(back.is_empty(), "{back:?} came back");
        self.members = now;
    }

    /// Whoever commits is a member, and nobody was given its partitions since.
    pub(crate) fn saw_commit(&self, by: &MemberIdentity, generation: i32) {
        assert!(self.members.contains(&by.member_id), "{by:?} is no member and has committed");
        assert_eq!(generation, self.newest, "{by:?} has committed");
        let later = self.owners.keys().any(|(given, _)| *given > generation);
        assert!(!later, "{by:?} has committed what may be somebody else's");
    }
}
