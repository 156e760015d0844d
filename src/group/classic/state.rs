//! The states of a group.

use std::fmt;

/// The state of a group, under Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClassicState {
    /// There are no members. Offsets may be stored all the same.
    Empty,
    /// Members are called to join, and those who have joined wait for the others. What they had
    /// before is still theirs, so that they can commit it.
    PreparingRebalance,
    /// A generation has begun, and its members wait for what its leader assigns to them.
    CompletingRebalance,
    /// All members of the generation can have their assignments.
    Stable,
    /// The group was deleted.
    Dead,
}

impl ClassicState {
    /// Every state, in the order in which a group goes through them.
    pub const ALL: [ClassicState; 5] = [
        ClassicState::Empty,
        ClassicState::PreparingRebalance,
        ClassicState::CompletingRebalance,
        ClassicState::Stable,
        ClassicState::Dead,
    ];

    /// Kafka's name of the state, as in `PreparingRebalance`.
    pub fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
            ClassicState::Dead => "Dead",
        }
    }
}

impl fmt::Display for ClassicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
