//! What the leader of a classic group assigned to a member, in the bytes of Kafka's consumers.

use pagemark::group::modern::Partitions;

/// The partitions of an assignment, none if there is no assignment, or `None` if the bytes are not
/// those of a consumer.
///
/// Every version begins with a version in two bytes, the number of topics in four, and each topic
/// behind its length in two, with the number of its partitions and each of them in four; big-endian.
/// What follows is for the assignor.
pub(super) fn partitions(assignment: &[u8]) -> Option<Partitions> {
    let mut partitions = Partitions::new();
    if assignment.is_empty() {
        return Some(partitions);
    }
    let mut rest = assignment;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if version < 0 {
        return None;
    }
    for _ in 0..count(&mut rest)? {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (topic, behind) = rest.split_at_checked(length)?;
        let topic = str::from_utf8(topic).ok()?;
        rest = behind;
        for _ in 0..count(&mut rest)? {
            let partition = i32::from_be_bytes(take(&mut rest)?);
            u32::try_from(partition).ok()?;
            partitions.insert(topic, partition);
        }
    }
    Some(partitions)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

fn count(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(i32::from_be_bytes(take(rest)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topics `t` with partitions 2 and 0, and `u` with none, and three bytes for the assignor.
    const BYTES: &[u8] =
        b"\0\x01\0\0\0\x02\0\x01t\0\0\0\x02\0\0\0\x02\0\0\0\0\0\x01u\0\0\0\0\0\0\0\x03abc";

    #[test]
    fn an_assignment_is_read_up_to_what_is_for_the_assignor() {
        let read = partitions(BYTES).expect("an assignment");
        assert_eq!(read.iter().collect::<Vec<_>>(), [("t", 0), ("t", 2)]);
        assert!(partitions(b"").expect("no assignment").is_empty());
    }

    #[test]
    fn whatever_else_it_is_it_is_none() {
        let whole = BYTES.len() - 7;
        assert!(partitions(&BYTES[..whole]).is_some());
        for end in 1..whole {
            assert_eq!(partitions(&BYTES[..end]), None, "{end} bytes");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = BYTES.to_vec();
            bytes[at] = byte;
            partitions(&bytes)
        };
        assert_eq!(with(0, 0x80), None, "a negative version");
        assert_eq!(with(2, 0x80), None, "a negative number of topics");
        assert_eq!(with(2, 0x7f), None, "more topics than there are bytes");
        assert_eq!(with(8, 0xff), None, "a topic that is not UTF-8");
        assert_eq!(with(13, 0x80), None, "a negative partition");
        assert_eq!(partitions(b"orders: 0"), None);
    }
}
