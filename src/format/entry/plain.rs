//! The entries of a snapshot that most are like, read by their length.

use super::{Entries, SET_LEN, shape};
use crate::format::bytes::{u32_at, u64_at};
use crate::key::Content;

/// The length of a seq and an entry that sets a key and has nothing that it need not have.
pub(in super::super) const BARE: usize = size_of::<u64>() + SET_LEN;
/// The same with a leader epoch.
pub(in super::super) const WITH_EPOCH: usize = BARE + size_of::<i32>();

impl<'a> Entries<'a> {
    /// Whether the entry that comes next in a snapshot has the shape of one that is read by its length.
    #[inline(always)]
    pub(in super::super) fn is_plain(&self) -> bool {
        let shape = self.rest.get(size_of::<u64>()..).and_then(|entry| entry.first_chunk::<4>());
        shape.is_some_and(|shape| {
            [shape::SET, shape::EPOCH].map(u32::from).contains(&u32_at(shape, 0))
        })
    }

    /// Takes the seq, the partition and the content that come next in a snapshot if they have `LEN` bytes
    /// and the entry has nothing but what that tells: it sets a key without or with a leader epoch. Most
    /// do, and neighbours are alike, so that [`next`](Iterator::next) is not asked what each of them has.
    /// What makes no sense is left to it, too.
    #[inline(always)]
    pub(in super::super) fn plain<const LEN: usize>(&mut self) -> Option<(u64, i32, Content<'a>)> {
        const { assert!(LEN == BARE || LEN == WITH_EPOCH) };
        let (bytes, rest) = self.rest.split_first_chunk::<LEN>()?;
        let shape = if LEN == BARE { shape::SET } else { shape::EPOCH };
        if u32_at(bytes, 8) != u32::from(shape) {
            return None;
        }
        let (partition, offset) = (u32_at(bytes, 12) as i32, u64_at(bytes, 16) as i64);
        let timestamp_ms = self.base_ms.checked_add(i64::from(u32_at(bytes, 24) as i32))?;
        let epoch = if LEN == BARE { 0 } else { u32_at(bytes, BARE) as i32 };
        if partition < 0 || offset < 0 || epoch < 0 {
            return None;
        }
        self.rest = rest;
        let content = Content {
            offset,
            leader_epoch: (LEN > BARE).then_some(epoch),
            timestamp_ms,
            expire_at_ms: None,
            metadata: "",
        };
        Some((u64_at(bytes, 0), partition, content))
    }
}
