//! `pagemark groups describe --offsets`: the partitions of groups.

use std::collections::BTreeMap;

use pagemark::group::coordinator::stored::{StoredClaim, StoredGroup};
use pagemark::{CommittedOffset, OffsetReader};

use super::members::{self, Member};
use crate::table::{Cell, Column, Table};

const COLUMNS: &[Column] = &[
    ("GROUP", "group"),
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("LEADER-EPOCH", "leader_epoch"),
    ("CURRENT-OFFSET", "offset"),
    ("LOG-END-OFFSET", "log_end_offset"),
    ("LAG", "lag"),
    ("CONSUMER-ID", "consumer_id"),
    ("HOST", "host"),
    ("CLIENT-ID", "client_id"),
    ("OWNER", "owner"),
    ("OWNER-EPOCH", "owner_epoch"),
];
const LEADER_EPOCH: usize = 3;

/// What there is to say of one partition.
#[derive(Default)]
struct Partition<'a> {
    committed: Option<CommittedOffset>,
    /// Who reads it. A leader may give a partition to two members.
    readers: Vec<&'a Member<'a>>,
    claim: Option<&'a StoredClaim>,
}

/// A row for each partition that is committed, read or claimed, and for each further reader of it.
pub(super) fn table(
    reader: &OffsetReader,
    groups: &[(String, StoredGroup)],
    verbose: bool,
) -> Table {
    let mut columns = COLUMNS.to_vec();
    if !verbose {
        columns.remove(LEADER_EPOCH);
    }
    let mut table = Table::new(&columns).optional(&["owner", "owner_epoch"]);
    for (name, group) in groups {
        let members = members::of(group);
        for ((topic, partition), of) in partitions(reader, name, group, &members) {
            let readers = of.readers.iter().map(|member| Some(*member));
            let nobody = of.readers.is_empty().then_some(None);
            for member in readers.chain(nobody) {
                let mut row = row(name, &topic, partition, &of, member);
                if !verbose {
                    row.remove(LEADER_EPOCH);
                }
                table.push(row);
            }
        }
    }
    table
}

fn partitions<'a>(
    reader: &OffsetReader,
    name: &str,
    group: &'a StoredGroup,
    members: &'a [Member<'a>],
) -> BTreeMap<(String, i32), Partition<'a>> {
    let mut all: BTreeMap<(String, i32), Partition<'a>> = BTreeMap::new();
    reader.visit_group(name, |topic, partition, value| {
        all.entry((topic.to_owned(), partition)).or_default().committed = Some(value.clone());
    });
    for member in members {
        for (topic, partition) in member.assigned.iter().flat_map(|all| all.iter()) {
            all.entry((topic.to_owned(), partition)).or_default().readers.push(member);
        }
    }
    for claim in &group.claims {
        let of = (claim.partition.topic().to_owned(), claim.partition.partition());
        all.entry(of).or_default().claim = Some(claim);
    }
    all
}

fn row(
    group: &str,
    topic: &str,
    partition: i32,
    of: &Partition<'_>,
    member: Option<&Member<'_>>,
) -> Vec<Cell> {
    let committed = of.committed.as_ref();
    let text = |text: Option<&str>| text.map_or(Cell::Missing, Cell::from);
    vec![
        group.into(),
        topic.into(),
        Cell::Number(partition.into()),
        Cell::optional(committed.and_then(CommittedOffset::leader_epoch)),
        Cell::optional(committed.map(|value| value.offset().0)),
        // Only whoever has the log knows where it ends.
        Cell::Missing,
        Cell::Missing,
        text(member.map(|member| member.id)),
        text(member.map(|member| member.host)),
        text(member.map(|member| member.client_id)),
        text(of.claim.map(|claim| &claim.owner[..])),
        of.claim.map_or(Cell::Missing, |claim| Cell::count(claim.epoch.0)),
    ]
}
