//! The one thing that a group reads of what members tell their leader: the topics of a consumer.

use std::collections::BTreeSet;

/// The topics of a subscription of Kafka's consumer protocol, or `None` if it is none.
///
/// Every version of it begins with a version in two bytes, the number of topics in four, and each
/// topic behind its length in two; big-endian, as all of Kafka's protocol.
pub(super) fn topics(metadata: &[u8]) -> Option<BTreeSet<&[u8]>> {
    let (version, rest) = metadata.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let mut topics = BTreeSet::new();
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (length, behind) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, behind) = behind.split_at_checked(length)?;
        topics.insert(topic);
        rest = behind;
    }
    Some(topics)
}
