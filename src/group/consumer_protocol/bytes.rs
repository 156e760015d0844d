//! The byte form of subscriptions and assignments: Kafka's, big-endian.
//!
//! ```text
//! subscription  i16      version
//!               [string] topics
//!               bytes    user data
//!               [owned]  partitions by topic, from version 1 on
//!               i32      generation, from version 2 on
//!               string   rack, or null; from version 3 on
//! assignment    i16      version
//!               [owned]  partitions by topic
//!               bytes    user data
//! owned         string   topic
//!               [i32]    partitions
//! string        i16      length, or -1 for null, then so many bytes of UTF-8
//! bytes         i32      length, or -1 for null, then so many bytes
//! [x]           i32      count, then so many
//! ```
//!
//! As in Kafka, what a newer version adds stands behind what there was. So one is read as the newest that
//! is known here, and what follows is left alone. Nothing is allocated for a count before what it counts
//! was read: what is in memory is never more than a few times what came in.

use std::collections::BTreeMap;

use super::{ConsumerAssignment, ConsumerSubscription};
use crate::error::{Error, Result};
use crate::key::TopicPartition;

/// The newest version, which Kafka's consumers write, too.
const VERSION: i16 = 3;

impl ConsumerSubscription {
    /// Reads a subscription of any version.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is none, or if its partitions, each with
    /// the name of its topic, have more than 64 MiB of names.
    pub fn decode(bytes: &[u8]) -> Result<ConsumerSubscription> {
        let mut reader = Reader { rest: bytes };
        let version = reader.version()?;
        let topics = reader.many(Reader::name)?;
        let user_data = reader.bytes()?;
        let owned = if version >= 1 { reader.partitions()? } else { Vec::new() };
        let generation = if version >= 2 { reader.i32()? } else { -1 };
        let rack = if version >= 3 { reader.string()? } else { None };
        Ok(ConsumerSubscription { topics, user_data, owned, generation, rack })
    }

    /// The bytes of the subscription, in version 3.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_be_bytes().to_vec();
        put_count(&mut out, self.topics.len());
        self.topics.iter().for_each(|topic| put_string(&mut out, Some(topic)));
        put_bytes(&mut out, self.user_data.as_deref());
        put_partitions(&mut out, &self.owned);
        out.extend(self.generation.to_be_bytes());
        put_string(&mut out, self.rack.as_deref());
        out
    }
}

impl ConsumerAssignment {
    /// Reads an assignment of any version. No bytes at all are that of a member that its leader has left
    /// out: nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is none, or if its partitions, each with
    /// the name of its topic, have more than 64 MiB of names.
    pub fn decode(bytes: &[u8]) -> Result<ConsumerAssignment> {
        if bytes.is_empty() {
            return Ok(ConsumerAssignment::default());
        }
        let mut reader = Reader { rest: bytes };
        reader.version()?;
        Ok(ConsumerAssignment { partitions: reader.partitions()?, user_data: reader.bytes()? })
    }

    /// The bytes of the assignment, in version 3. Each topic is named once, and partitions are sorted.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_be_bytes().to_vec();
        put_partitions(&mut out, &self.partitions);
        put_bytes(&mut out, self.user_data.as_deref());
        out
    }
}

/// What the topics of all partitions that are read may have in bytes, each counted with its topic: a quarter
/// of a million partitions with the longest names that Kafka's topics have.
const MAX_NAME_BYTES: usize = 64 << 20;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn version(&mut self) -> Result<i16> {
        let version = self.i16()?;
        if version < 0 { Err(Error::invalid("a version below 0")) } else { Ok(version) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(ends)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(ends)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn many<T>(&mut self, one: impl Fn(&mut Reader<'a>) -> Result<T>) -> Result<Vec<T>> {
        let count = u32::try_from(self.i32()?).map_err(|_| Error::invalid("a count below 0"))?;
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn string(&mut self) -> Result<Option<String>> {
        let length = self.i16()?;
        let Some(bytes) = self.nullable(length.into())? else { return Ok(None) };
        let text =
            std::str::from_utf8(bytes).map_err(|_| Error::invalid("text that is no UTF-8"))?;
        Ok(Some(text.to_owned()))
    }

    fn name(&mut self) -> Result<String> {
        self.string()?.ok_or_else(|| Error::invalid("a topic without a name"))
    }

    fn bytes(&mut self) -> Result<Option<Vec<u8>>> {
        let length = self.i32()?;
        Ok(self.nullable(length)?.map(<[u8]>::to_vec))
    }

    fn nullable(&mut self, length: i32) -> Result<Option<&'a [u8]>> {
        match usize::try_from(length) {
            Ok(length) => self.take(length).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(Error::invalid("a length below -1")),
        }
    }

    fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        let of_topic = |reader: &mut Reader<'a>| Ok((reader.name()?, reader.many(Reader::i32)?));
        let by_topic = self.many(of_topic)?;
        // Each partition gets the name of its topic, which stands there once: a long name in front of many
        // numbers must not take thousands of times the bytes.
        let names = by_topic.iter().map(|(topic, of)| topic.len().saturating_mul(of.len()));
        if names.fold(0, usize::saturating_add) > MAX_NAME_BYTES {
            return Err(Error::invalid("too many partitions of topics with long names"));
        }
        let mut all = Vec::new();
        for (topic, partitions) in by_topic {
            all.extend(
                partitions.into_iter().map(|number| TopicPartition::new(&topic[..], number)),
            );
        }
        Ok(all)
    }
}

fn ends() -> Error {
    Error::invalid("it ends too early")
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend((count as i32).to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: Option<&str>) {
    out.extend(text.map_or(-1, |text| text.len() as i16).to_be_bytes());
    out.extend(text.unwrap_or_default().as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.extend(bytes.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
    out.extend(bytes.unwrap_or_default());
}

fn put_partitions(out: &mut Vec<u8>, partitions: &[TopicPartition]) {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for of in partitions {
        by_topic.entry(of.topic()).or_default().push(of.partition());
    }
    put_count(out, by_topic.len());
    for (topic, mut partitions) in by_topic {
        partitions.sort_unstable();
        put_string(out, Some(topic));
        put_count(out, partitions.len());
        partitions.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    fn subscription() -> ConsumerSubscription {
        ConsumerSubscription {
            topics: vec!["orders".into(), "größe".into()],
            user_data: Some(vec![1, 2]),
            owned: vec![of("größe", 0), of("orders", 1), of("orders", 7)],
            generation: 5,
            rack: Some("r".into()),
        }
    }

    #[test]
    fn a_long_name_before_many_partitions_does_not_take_memory_for_each() {
        let name = "t".repeat(1 << 14);
        let encoded = |count| {
            let partitions: Vec<_> = (0..count).map(|number| of(&name, number)).collect();
            ConsumerAssignment::new(&partitions).encode()
        };
        let mut bytes = encoded(2);
        assert!(ConsumerAssignment::decode(&bytes).is_ok());
        // The number of partitions, and as many of them.
        let at = 2 + 4 + 2 + name.len();
        bytes.truncate(at);
        let most = (MAX_NAME_BYTES >> 14) as i32;
        for (count, is_read) in [(most, true), (most + 1, false), (1 << 18, false)] {
            let mut bytes = bytes.clone();
            bytes.extend(count.to_be_bytes());
            bytes.extend((0..count).flat_map(i32::to_be_bytes));
            bytes.extend((-1_i32).to_be_bytes());
            assert_eq!(ConsumerAssignment::decode(&bytes).is_ok(), is_read, "{count} partitions");
        }
    }

    /// Each field by hand, as the schema has it.
    #[test]
    fn the_bytes_are_those_of_kafka() {
        let mut subscription = ConsumerSubscription::new(["ab"]);
        let text = b"\0\x03 \0\0\0\x01\0\x02ab \xff\xff\xff\xff \0\0\0\0 \xff\xff\xff\xff \xff\xff";
        let bytes: Vec<u8> = text.iter().copied().filter(|byte| *byte != b' ').collect();
        assert_eq!(subscription.encode(), bytes);
        subscription.owned.push(of("ab", 3));
        subscription.generation = 9;
        let one = b"\0\x02\0\0\0\x01\0\x02ab\xff\xff\xff\xff\0\0\0\x01\0\x02ab\0\0\0\x01\0\0\0\x03\0\0\0\x09";
        assert_eq!(ConsumerSubscription::decode(one).unwrap(), subscription);
        let partitions = [of("ab", 2), of("ab", 1)];
        let bytes = ConsumerAssignment::new(&partitions).encode();
        let expected = b"\0\x03\0\0\0\x01\0\x02ab\0\0\0\x02\0\0\0\x01\0\0\0\x02\xff\xff\xff\xff";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_encoded_is_read_back_and_what_is_cut_short_is_refused() {
        let subscription = subscription();
        let bytes = subscription.encode();
        assert_eq!(ConsumerSubscription::decode(&bytes).unwrap(), subscription);
        for end in 0..bytes.len() {
            assert!(ConsumerSubscription::decode(&bytes[..end]).is_err(), "up to {end}");
        }
        let user_data = Some(vec![9]);
        let assignment = ConsumerAssignment { partitions: subscription.owned, user_data };
        let bytes = assignment.encode();
        assert_eq!(ConsumerAssignment::decode(&bytes).unwrap(), assignment);
        for end in 1..bytes.len() {
            assert!(ConsumerAssignment::decode(&bytes[..end]).is_err(), "up to {end}");
        }
        assert_eq!(ConsumerAssignment::decode(&[]).unwrap(), ConsumerAssignment::default());
    }

    #[test]
    fn each_version_has_what_its_predecessors_have() {
        let all = subscription();
        let bytes = all.encode();
        let of_version = |version: u8| {
            let mut bytes = bytes.clone();
            bytes[1] = version;
            ConsumerSubscription::decode(&bytes).unwrap()
        };
        let v2 = ConsumerSubscription { rack: None, ..all.clone() };
        let v1 = ConsumerSubscription { generation: -1, ..v2.clone() };
        let v0 = ConsumerSubscription { owned: Vec::new(), ..v1.clone() };
        assert_eq!([0, 1, 2, 3, 9].map(of_version), [v0, v1, v2, all.clone(), all]);
    }

    #[test]
    fn what_kafka_never_writes_is_refused() {
        for bytes in [
            &b"\xff\xff\0\0\0\0\xff\xff\xff\xff"[..],
            b"\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\0\x01\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\0\xff\xff\xff\xfe",
            // Four thousand million topics.
            b"\0\0\x7f\xff\xff\xff\0\0",
        ] {
            let error = ConsumerSubscription::decode(bytes).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{bytes:?}");
        }
    }
}
