//! The one thing that a group reads of what members tell their leader: the topics of a consumer.

use std::collections::BTreeSet;

use crate::group::consumer_protocol::ConsumerSubscription;

/// The topics of a subscription of Kafka's consumer protocol, or `None` if it is none.
pub(super) fn topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let subscription = ConsumerSubscription::decode(metadata).ok()?;
    Some(subscription.topics.into_iter().collect())
}
