//! A look at a group.

use std::sync::Arc;

use super::ClassicGroup;
use super::reply::{ClassicDescription, DescribedMember};
use super::state::ClassicState;

impl ClassicGroup {
    /// The group as it is now.
    pub fn describe(&self) -> ClassicDescription {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let is_stable = self.state == ClassicState::Stable;
        let describe = |(member_id, member): (&String, &super::Member)| DescribedMember {
            member: member.identity(member_id),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable { member.metadata(protocol) } else { None },
            assignment: Arc::clone(&member.assignment),
        };
        ClassicDescription {
            state: self.state,
            state_since_ms: self.state_since_ms,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(describe).collect(),
        }
    }

    /// The state of the group.
    pub fn state(&self) -> ClassicState {
        self.state
    }

    /// The newest generation: 0 before the first one.
    pub fn generation(&self) -> i32 {
        self.generation
    }
}
