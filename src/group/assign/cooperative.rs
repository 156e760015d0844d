//! The sticky assignment, handed over in two rounds.

use std::collections::BTreeMap;

use super::roster::{Claim, Roster};
use super::sticky::target;
use super::{Assignor, GroupAssignment, Subscription};
use crate::error::Result;

/// Aims at the same assignment as [`StickyAssignor`](super::StickyAssignor), and lets members go on
/// reading while partitions move (KIP-429).
///
/// In the cooperative protocol members keep what they own during a rebalance. So a partition that is
/// to move while somebody claims it is [withheld](GroupAssignment::withheld): its owner sees that it is
/// not assigned to it any more and gives it up, and the round after that gives it to its new owner. No
/// partition is assigned to a member while another one may still read it. The second round finds
/// nothing else to move, so it is the last one unless the group changes again.
///
/// The one exception is a partition that an owner of a newer generation keeps although a member of an
/// older one claims it, too: the latter has been fenced, and the owner need not stop for it.
///
/// The [module](super) shows the two rounds in an example.
#[derive(Clone, Copy, Debug, Default)]
pub struct CooperativeStickyAssignor;

impl Assignor for CooperativeStickyAssignor {
    fn name(&self) -> &'static str {
        "cooperative-sticky"
    }

    fn assign(
        &self,
        members: &[Subscription],
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<GroupAssignment> {
        let roster = Roster::new(members, partitions_per_topic)?;
        let claims = roster.claims();
        let mut takers = target(&roster, &claims);
        for (taker, claim) in takers.iter_mut().zip(claims) {
            let is_given_up = match claim {
                Claim::Free => true,
                Claim::Owned(owner) => *taker == Some(owner),
                Claim::Contested => false,
            };
            *taker = taker.filter(|_| is_given_up);
        }
        Ok(roster.assignment(&takers))
    }
}
