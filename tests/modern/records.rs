//! The stored form of a group: there and back, cut short, and with flipped bits.

use super::*;
use pagemark::ErrorKind;
use pagemark::group::modern::{MAX_ID_BYTES, ServerAssignor};

/// A group with every kind of record, and every state of a member in it.
fn records() -> Vec<Record> {
    let topics = topics(&[("orders", 4), ("größe", 2)]);
    let mut group = ConsumerGroup::open(ConsumerGroupConfig::new(), [], 0).unwrap();
    let mut all = Vec::new();
    let mut send = |group: &mut ConsumerGroup, request: HeartbeatRequest| {
        let step = group.heartbeat(0, &request, &topics).unwrap();
        all.extend(step.records);
        step.response
    };
    let alice = join("alice", &["orders", "größe"]).client("a", "10.0.0.1");
    send(&mut group, alice.assignor(ServerAssignor::Range));
    send(
        &mut group,
        join("bob", &["orders"]).group_instance_id("b").assignor(ServerAssignor::Uniform),
    );
    send(&mut group, HeartbeatRequest::new("alice", 1));
    send(&mut group, HeartbeatRequest::new("bob", 2).group_instance_id("b"));
    send(&mut group, HeartbeatRequest::new("bob", STATIC_LEAVE_EPOCH).group_instance_id("b"));
    send(&mut group, join("carol", &["größe"]));
    send(&mut group, HeartbeatRequest::new("carol", LEAVE_EPOCH));
    all
}

#[test]
fn a_record_comes_back_as_it_was() {
    let mut kinds = Vec::new();
    for record in records() {
        let name = record.name();
        kinds.push((name.split('/').next().unwrap().to_owned(), record.value().is_some()));
        let Some(value) = record.value() else { continue };
        assert_eq!(Record::decode(&name, &value).unwrap(), record);
    }
    for kind in
        ["consumer", "consumer-topics", "consumer-member", "consumer-target", "consumer-current"]
    {
        assert!(kinds.contains(&(kind.into(), true)), "{kind}");
    }
    let removals = kinds.iter().filter(|(_, is_there)| !is_there).count();
    assert_eq!(removals, 3, "all that was known of Carol");
}

/// The bytes that are on disks, so that no change of the code changes them unnoticed.
#[test]
fn the_bytes_are_these() {
    let topics = topics(&[("t", 3)]);
    let mut group = ConsumerGroup::open(ConsumerGroupConfig::new(), [], 0).unwrap();
    let request = join("m", &["t"]).client("c", "h").group_instance_id("i");
    let step = group.heartbeat(0, &request.assignor(ServerAssignor::Range), &topics).unwrap();
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes: Vec<_> =
        step.records.iter().map(|record| (record.name(), hex(record.value().unwrap()))).collect();
    let set = "01000000 0100 74 03000000 00000000 01000000 02000000".replace(' ', "");
    let expected = [
        ("consumer", "01 01 01000000 01000000".into()),
        ("consumer-current/m", format!("01 05 00 01000000 00000000 {set} 00000000")),
        ("consumer-member/m", "01 03 010069 010063 010068 60ea0000 02 01000000 010074".into()),
        ("consumer-target/m", format!("01 04 {set}")),
        ("consumer-topics", "01 02 01000000 010074 03000000".into()),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(name, hex): (&str, String)| (name.to_owned(), hex.replace(' ', "")))
        .collect();
    assert_eq!(bytes, expected);
}

#[test]
fn what_is_cut_short_or_goes_on_is_refused() {
    for record in records() {
        let Some(value) = record.value() else { continue };
        for end in 0..value.len() {
            let error = Record::decode(&record.name(), &value[..end]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{record:?} up to {end}");
        }
        let longer = [&value[..], &[0]].concat();
        assert!(Record::decode(&record.name(), &longer).unwrap_err().is_corruption());
    }
}

/// Whatever is read is written as it was read: there is one form, so that nothing is read that was not
/// written.
#[test]
fn what_is_flipped_is_refused_or_is_the_form_of_something_else() {
    let (mut refused, mut others) = (0, 0);
    for record in records() {
        let Some(value) = record.value() else { continue };
        for bit in 0..value.len() * 8 {
            let mut bytes = value.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Record::decode(&record.name(), &bytes) {
                Ok(other) => {
                    others += 1;
                    assert_ne!(other, record);
                    assert_eq!(other.value(), Some(bytes));
                }
                Err(error) => {
                    refused += 1;
                    let is_version = bit < 8;
                    assert_eq!(
                        error.kind() == ErrorKind::UnsupportedVersion,
                        is_version,
                        "{error}"
                    );
                }
            }
        }
    }
    assert!(refused > 1_000 && others > 1_000, "{refused}, {others}");
}

#[test]
fn lengths_beyond_the_bytes_are_refused_before_anything_is_made_of_them() {
    let huge = [0xff; 4];
    let bodies = [("consumer-topics", 2), ("consumer-target/m", 4)];
    for (name, kind) in bodies {
        let bytes = [&[1, kind][..], &huge, &[1, 0, b't']].concat();
        assert!(Record::decode(name, &bytes).unwrap_err().is_corruption(), "{name}");
    }
    // A topic with more partitions than there are bytes.
    let bytes = [&[1, 4, 1, 0, 0, 0, 1, 0, b't'][..], &huge, &[0; 8]].concat();
    assert!(Record::decode("consumer-target/m", &bytes).unwrap_err().is_corruption());
}

#[test]
fn names_are_those_of_states() {
    let value = [1, 4, 0, 0, 0, 0];
    assert!(Record::decode("consumer-target/m", &value).is_ok());
    let long = format!("consumer-target/{}", "m".repeat(MAX_ID_BYTES + 1));
    for name in ["consumer-target/", "consumer-target", "target/m", "", "consumer-current/m", &long]
    {
        assert!(Record::decode(name, &value).unwrap_err().is_corruption(), "{name}");
    }
}

/// A group that lost one of its states is not opened as if it were whole.
#[test]
fn a_missing_state_of_a_member_is_noticed() {
    let mut stored = Stored::default();
    stored.take(&records());
    let open = |stored: &Stored| {
        let records = stored.0.iter().map(|(name, value)| Record::decode(name, value).unwrap());
        ConsumerGroup::open(ConsumerGroupConfig::new(), records.collect::<Vec<_>>(), 0)
    };
    assert!(open(&stored).is_ok());
    for name in stored.0.keys().filter(|name| *name != "consumer-topics") {
        let mut less = stored.clone();
        less.0.remove(name);
        assert!(open(&less).unwrap_err().is_corruption(), "{name}");
    }
    // What one member has is stored for another one, too: its partitions, or its group instance id.
    let nothing = [&[1, 5, 0][..], &[0; 8 + 4 + 4]].concat();
    for (member, current) in
        [("alice", stored.0["consumer-current/alice"].clone()), ("bob", nothing)]
    {
        let mut more = stored.clone();
        for state in ["member", "target"] {
            let value = stored.0[&format!("consumer-{state}/{member}")].clone();
            more.0.insert(format!("consumer-{state}/dave"), value);
        }
        more.0.insert("consumer-current/dave".into(), current);
        assert!(open(&more).unwrap_err().is_corruption(), "{member}");
    }
}
