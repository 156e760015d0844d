//! The byte form of records: whole, cut short, and changed.

use std::sync::Arc;

use pagemark::ErrorKind;
use pagemark::group::classic::{Group, Member, Protocol, Record, StoredState};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), ".{1,12}", "[a-z]{300}"]
}

fn opaque() -> impl Strategy<Value = Arc<[u8]>> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Into::into)
}

fn group() -> impl Strategy<Value = Record> {
    let states = [StoredState::Empty, StoredState::Rebalancing, StoredState::Stable];
    let texts = prop::array::uniform3(prop::option::of(text()));
    (prop::sample::select(states.to_vec()), 0..=i32::MAX, any::<i64>(), texts).prop_map(
        |(state, generation, state_since_ms, [protocol_type, protocol, leader])| {
            Record::Group(Group {
                state,
                generation,
                state_since_ms,
                protocol_type,
                protocol,
                leader,
            })
        },
    )
}

fn member() -> impl Strategy<Value = Record> {
    let protocol = (text(), opaque()).prop_map(|(name, metadata)| Protocol { name, metadata });
    let protocols = prop::collection::vec(protocol, 0..4);
    let texts = (prop::option::of(text()), text(), text(), ".{1,9}");
    (texts, 1..=i32::MAX, 0..=i32::MAX, protocols, opaque()).prop_map(
        |(texts, session_timeout_ms, rebalance_timeout_ms, protocols, assignment)| {
            let (group_instance_id, client_id, client_host, member_id) = texts;
            let member = Member {
                group_instance_id,
                client_id,
                client_host,
                session_timeout_ms,
                rebalance_timeout_ms,
                protocols,
                assignment,
            };
            Record::Member { member_id, member }
        },
    )
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was(record in prop_oneof![group(), member()]) {
        let bytes = record.value().unwrap();
        prop_assert_eq!(Record::decode(&record.name(), &bytes).unwrap(), record);
    }

    #[test]
    fn a_record_that_is_cut_short_or_longer_is_refused(record in prop_oneof![group(), member()]) {
        let bytes = record.value().unwrap();
        for length in 0..bytes.len() {
            let error = Record::decode(&record.name(), &bytes[..length]).unwrap_err();
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(Record::decode(&record.name(), &longer).is_err());
    }

    /// There is one byte form for each record, so what a flipped bit turns into is refused or is
    /// another record, and never the same one.
    #[test]
    fn a_flipped_bit_is_refused_or_is_another_record(record in prop_oneof![group(), member()]) {
        let bytes = record.value().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Record::decode(&record.name(), &flipped) {
                prop_assert_eq!(other.value().unwrap(), flipped);
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["classic", "classic/a"] {
            let versioned = [&[1], &bytes[..]].concat();
            for bytes in [&bytes, &versioned] {
                if let Ok(record) = Record::decode(name, bytes) {
                    prop_assert_eq!(&record.value().unwrap(), bytes);
                }
            }
        }
    }
}

#[test]
fn the_bytes_are_those_that_the_documents_say() {
    let group = Record::Group(Group {
        state: StoredState::Stable,
        generation: 7,
        state_since_ms: -2,
        protocol_type: Some("consumer".into()),
        protocol: None,
        leader: Some("ä".into()),
    });
    let bytes =
        b"\x01\x02\x07\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x08\0consumer\xff\xff\x02\0\xc3\xa4";
    assert_eq!(group.value().unwrap(), bytes);
    let member = Record::Member {
        member_id: "c-1".into(),
        member: Member {
            group_instance_id: None,
            client_id: "c".into(),
            client_host: "h".into(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            protocols: vec![Protocol { name: "range".into(), metadata: [9].into() }],
            assignment: [8, 8].into(),
        },
    };
    let bytes = b"\x01\xff\xff\x01\0c\x01\0h\xc8\xaf\0\0\xe0\x93\x04\0\x01\0\x05\0range\x01\0\0\0\x09\x02\0\0\0\x08\x08";
    assert_eq!(member.value().unwrap(), bytes);
    assert_eq!((group.name(), member.name()), ("classic".into(), "classic/c-1".into()));
    let removed = Record::MemberRemoved { member_id: "c-1".into() };
    assert_eq!((removed.name(), removed.value()), (member.name(), None));
    assert_eq!((Record::GroupRemoved.name(), Record::GroupRemoved.value()), (group.name(), None));
}

#[test]
fn what_is_not_of_this_version_or_this_protocol_is_refused() {
    let kind = |name: &str, bytes: &[u8]| Record::decode(name, bytes).unwrap_err().kind();
    for name in ["classic", "classic/a"] {
        assert_eq!(kind(name, &[2]), ErrorKind::UnsupportedVersion);
        assert_eq!(kind(name, &[0, 1, 2]), ErrorKind::UnsupportedVersion);
        assert_eq!(kind(name, &[]), ErrorKind::Corrupt);
    }
    for name in ["", "classic/", "classical", "other"] {
        assert_eq!(kind(name, &[1]), ErrorKind::Corrupt);
    }
    // A length that says more than there is costs nothing.
    assert_eq!(
        kind("classic/a", b"\x01\xff\xff\0\0\0\0\x01\0\0\0\0\0\0\0\xff\xff"),
        ErrorKind::Corrupt
    );
    // A negative generation, a state that is none, and timeouts that are none.
    assert_eq!(
        kind("classic", b"\x01\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff"),
        ErrorKind::Corrupt
    );
    assert_eq!(
        kind("classic", b"\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff"),
        ErrorKind::Corrupt
    );
    assert_eq!(
        kind("classic/a", b"\x01\xff\xff\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0"),
        ErrorKind::Corrupt
    );
}
