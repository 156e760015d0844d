//! Groups by member epochs: the rules one by one, their stored form, and made-up histories of many
//! members against what must hold in all of them.

mod support;

#[path = "modern/client.rs"]
mod client;
#[path = "modern/records.rs"]
mod records;
#[path = "modern/rules.rs"]
mod rules;
#[path = "modern/simulation.rs"]
mod simulation;
#[path = "modern/world.rs"]
mod world;

use std::collections::BTreeMap;

use pagemark::group::GroupError;
use pagemark::group::modern::{
    ConsumerGroup, ConsumerGroupConfig, HeartbeatRequest, HeartbeatResponse, JOIN_EPOCH,
    LEAVE_EPOCH, Partitions, Record, STATIC_LEAVE_EPOCH, Step,
};

/// The numbers of partitions by topic.
type Topics = BTreeMap<String, i32>;

fn topics(sizes: &[(&str, i32)]) -> Topics {
    sizes.iter().map(|&(topic, size)| (topic.to_owned(), size)).collect()
}

/// `"t:0,1 u:3"` as a set.
fn partitions(text: &str) -> Partitions {
    let mut set = Partitions::new();
    for topic in text.split_whitespace() {
        let (topic, numbers) = topic.split_once(':').unwrap();
        for number in numbers.split(',') {
            assert!(set.insert(topic, number.parse().unwrap()), "{text}");
        }
    }
    set
}

fn join(id: &str, topics: &[&str]) -> HeartbeatRequest {
    HeartbeatRequest::new(id, JOIN_EPOCH)
        .topics(topics.iter().copied())
        .rebalance_timeout_ms(60_000)
        .owned(Partitions::new())
}

/// What a store keeps of a group: the newest value of each name, in bytes.
#[derive(Clone, Debug, Default)]
struct Stored(BTreeMap<String, Vec<u8>>);

impl Stored {
    fn take(&mut self, records: &[Record]) {
        for record in records {
            match record.value() {
                Some(value) => self.0.insert(record.name(), value),
                None => self.0.remove(&record.name()),
            };
        }
    }

    fn open(&self, config: &ConsumerGroupConfig, now_ms: i64) -> ConsumerGroup {
        let records = self.0.iter().map(|(name, value)| Record::decode(name, value).unwrap());
        ConsumerGroup::open(config.clone(), records, now_ms).unwrap()
    }
}
