//! Choices and steps of a history, drawn from bytes.

use arbitrary::Unstructured;

use pagemark::StateOwner;
use pagemark::testkit::{Change, Edit, StateStep, Step};

const GROUPS: [&str; 3] = ["a", "billing", "größe"];
const TOPICS: [&str; 3] = ["t", "orders", "audit-log-of-everything"];
const PARTITIONS: [i32; 5] = [0, 1, 2, 70, i32::MAX];
/// Long ones fill a segment of 16 KiB within a few commits.
const METADATA_LENGTHS: [usize; 6] = [0, 1, 30, 300, 1_000, 1_600];

/// Bytes that choices are made with. When they are used up, every choice is the first one.
pub(crate) struct Input<'a> {
    bytes: Unstructured<'a>,
    offset: i64,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes: Unstructured::new(bytes), offset: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A number below `n`, which is not zero.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.bytes.int_in_range(0..=n - 1).unwrap_or(0)
    }

    /// A seed for something that draws lots.
    pub(crate) fn seed(&mut self) -> u64 {
        self.bytes.arbitrary::<u8>().unwrap_or(0).into()
    }

    fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[self.below(N)]
    }

    /// A step that changes something. Every commit has an offset of its own.
    pub(crate) fn change(&mut self) -> Step {
        let group = self.pick(GROUPS).to_owned();
        match self.below(16) {
            0 => Step::DeleteGroup(group),
            1 => Step::DeleteTopic(group, self.pick(TOPICS).to_owned()),
            kind => {
                let count = 1 + kind % 5;
                let changes = (0..count).map(|_| self.key_change()).collect();
                let states = (0..self.below(3)).map(|_| self.state_change()).collect();
                Step::Batch { group, changes, states }
            }
        }
    }

    fn key_change(&mut self) -> Change {
        self.offset += 1;
        let (topic, partition) = (self.pick(TOPICS).to_owned(), self.pick(PARTITIONS));
        let delete = self.below(6) == 5;
        let letter = char::from(b'a' + (self.offset % 26) as u8);
        let metadata = letter.to_string().repeat(self.pick(METADATA_LENGTHS));
        (topic, partition, (!delete).then_some((self.offset, metadata)))
    }

    fn state_change(&mut self) -> StateStep {
        self.offset += 1;
        let (owner, name) = (self.pick(StateOwner::ALL), self.pick(TOPICS).to_owned());
        let bytes = vec![self.offset as u8; self.pick(METADATA_LENGTHS)];
        let edit = match self.below(4) {
            0 | 1 => Edit::Append(bytes),
            2 => Edit::Put(bytes),
            _ => Edit::Delete,
        };
        (owner, name, self.pick(PARTITIONS), edit)
    }

    /// A step of any kind.
    pub(crate) fn step(&mut self) -> Step {
        match self.below(11) {
            0 => Step::Sync,
            1 => Step::Reopen,
            2 => Step::Compact,
            _ => self.change(),
        }
    }
}
