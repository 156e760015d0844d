//! What is seen of groups by those who only read the store.

use pagemark::group::claims::CommitMode;
use pagemark::group::coordinator::PartitionCommit;
use pagemark::group::coordinator::stored::{self, StoredGroup};
use pagemark::{CommitBatch, ErrorKind, NextOffset, OffsetReader, StateOwner, TopicPartition};

use super::claims::outside;
use super::host::Host;

fn reader(host: &Host) -> OffsetReader {
    OffsetReader::open_in(host.disk().dir()).unwrap()
}

fn claims(group: &StoredGroup) -> Vec<(String, &str, u64)> {
    group.claims.iter().map(|of| (of.partition.to_string(), &of.owner[..], of.epoch.0)).collect()
}

#[test]
fn claims_are_seen_as_they_are_made_and_given_up() {
    let host = Host::new(1, 0);
    let reader = reader(&host);
    assert!(stored::groups(&reader).is_empty());
    let of = [TopicPartition::new("orders", 1), TopicPartition::new("audit", 0)];
    let alices = host.coordinator().claim(host.now_ms(), "g", "alice", &of).unwrap();
    let bobs = host.coordinator().claim(host.now_ms(), "g", "bob", &of[..1]).unwrap();
    assert!(stored::describe(&reader, "g").unwrap().is_none(), "a view stands still");
    reader.refresh().unwrap();
    let group = stored::describe(&reader, "g").unwrap().unwrap();
    let (audit, orders) = (alices[1].epoch.0, bobs[0].epoch.0);
    let expected = [("audit-0".to_owned(), "alice", audit), ("orders-1".to_owned(), "bob", orders)];
    assert_eq!(claims(&group), expected);
    assert_eq!((group.description.state(), group.commit_mode), ("Empty", CommitMode::Free));

    let released = [(of[0].clone(), bobs[0].epoch)];
    host.coordinator().release(host.now_ms(), "g", &released).unwrap()[0].clone().unwrap();
    host.coordinator().set_commit_mode(host.now_ms(), "g", CommitMode::Monotonic).unwrap();
    reader.refresh().unwrap();
    let group = stored::describe(&reader, "g").unwrap().unwrap();
    assert_eq!(claims(&group), expected[..1]);
    assert_eq!(group.commit_mode, CommitMode::Monotonic);
}

#[test]
fn a_mode_that_says_nothing_makes_no_group_and_an_offset_does() {
    let host = Host::new(1, 0);
    host.coordinator().set_commit_mode(host.now_ms(), "g", CommitMode::Free).unwrap();
    let reader = reader(&host);
    assert_eq!(stored::groups(&reader), ["g"]);
    assert!(stored::describe(&reader, "g").unwrap().is_none());
    assert!(stored::describe(&reader, "h").unwrap().is_none());
    let offset = [PartitionCommit::new("orders", 0, NextOffset(1))];
    host.coordinator().commit(host.now_ms(), "g", &outside(), &offset).unwrap();
    reader.refresh().unwrap();
    assert!(stored::describe(&reader, "g").unwrap().is_some());
}

#[test]
fn a_damaged_claim_hides_its_own_group_only() {
    let host = Host::new(1, 0);
    for (group, bytes) in [("a", &[1, 0][..]), ("b", &[1; 9])] {
        let mut batch = CommitBatch::new(group);
        batch.put_state(StateOwner::Claims, "orders", 0, bytes);
        host.store().commit_batch(&batch).unwrap();
    }
    let reader = reader(&host);
    assert_eq!(stored::groups(&reader), ["a", "b"]);
    assert_eq!(stored::describe(&reader, "a").unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(stored::describe(&reader, "b").unwrap().unwrap().claims.is_empty());
}
