//! The one thing that a group reads of what members tell their leader: the topics of a consumer.

/// Whether a subscription of Kafka's consumer protocol has the topic, or `None` if it is none.
///
/// Every version of it begins with a version in two bytes, the number of topics in four, and each
/// topic behind its length in two; big-endian, as all of Kafka's protocol.
pub(super) fn subscribes(metadata: &[u8], topic: &str) -> Option<bool> {
    let (version, rest) = metadata.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let count = u32::try_from(i32::from_be_bytes(*count)).ok()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let mut is_found = false;
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        is_found |= behind.get(..length)? == topic.as_bytes();
        rest = &behind[length..];
    }
    Some(is_found)
}
