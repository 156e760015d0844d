//! `pagemark groups describe --members`, and what the other views need to know of members.

use pagemark::group::consumer_protocol::ConsumerAssignment;
use pagemark::group::coordinator::GroupDescription;
use pagemark::group::coordinator::stored::StoredGroup;
use pagemark::group::modern::Partitions;

use crate::table::{Cell, Column, Table};

const COLUMNS: &[Column] = &[
    ("GROUP", "group"),
    ("CONSUMER-ID", "consumer_id"),
    ("GROUP-INSTANCE-ID", "group_instance_id"),
    ("HOST", "host"),
    ("CLIENT-ID", "client_id"),
    ("#PARTITIONS", "partitions"),
];

const VERBOSE: &[Column] = &[
    ("CURRENT-EPOCH", "current_epoch"),
    ("CURRENT-ASSIGNMENT", "current_assignment"),
    ("TARGET-EPOCH", "target_epoch"),
    ("TARGET-ASSIGNMENT", "target_assignment"),
];

/// A member of a group of either protocol.
pub(super) struct Member<'a> {
    pub(super) id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) client_id: &'a str,
    /// What it may read, or `None` if only its assignor could tell.
    pub(super) assigned: Option<Partitions>,
    /// Of the newer protocol: its epoch, that of the target assignment, and its part of that.
    epochs: Option<(i32, i32)>,
    target: Option<&'a Partitions>,
}

/// The members of a group, sorted by their ids.
pub(super) fn of(group: &StoredGroup) -> Vec<Member<'_>> {
    match &group.description {
        GroupDescription::Classic(group) => {
            let is_for_consumers = group.protocol_type.as_deref() == Some("consumer");
            let members = group.members.iter().map(|member| Member {
                id: &member.member.member_id,
                instance_id: member.member.group_instance_id.as_deref(),
                host: &member.client_host,
                client_id: &member.client_id,
                assigned: is_for_consumers.then(|| partitions(&member.assignment)).flatten(),
                epochs: None,
                target: None,
            });
            members.collect()
        }
        GroupDescription::Consumer(group) => {
            let members = group.members.iter().map(|member| Member {
                id: &member.member_id,
                instance_id: member.group_instance_id.as_deref(),
                host: &member.client_host,
                client_id: &member.client_id,
                assigned: Some(member.assigned.clone()),
                epochs: Some((member.member_epoch, group.assignment_epoch)),
                target: Some(&member.target),
            });
            members.collect()
        }
    }
}

/// What the leader of a classic group assigned to a consumer, or `None` if it is in other bytes than
/// those of Kafka's consumers.
fn partitions(assignment: &[u8]) -> Option<Partitions> {
    let assignment = ConsumerAssignment::decode(assignment).ok()?;
    let mut partitions = Partitions::new();
    for of in &assignment.partitions {
        partitions.insert(of.topic(), of.partition());
    }
    Some(partitions)
}

/// A row for each member.
pub(super) fn table(groups: &[(String, StoredGroup)], verbose: bool) -> Table {
    let columns = if verbose { [COLUMNS, VERBOSE].concat() } else { COLUMNS.to_vec() };
    let mut table = Table::new(&columns).optional(&["group_instance_id"]);
    for (name, group) in groups {
        for member in of(group) {
            let mut row = vec![
                name.as_str().into(),
                member.id.into(),
                member.instance_id.map_or(Cell::Missing, Cell::from),
                member.host.into(),
                member.client_id.into(),
                member.assigned.as_ref().map_or(Cell::Missing, |all| Cell::count(all.len())),
            ];
            if verbose {
                row.extend([
                    Cell::optional(member.epochs.map(|(current, _)| current)),
                    written(member.assigned.as_ref()),
                    Cell::optional(member.epochs.map(|(_, target)| target)),
                    written(member.target),
                ]);
            }
            table.push(row);
        }
    }
    table
}

/// Partitions as Kafka's tool writes them: `orders:0,1;refunds:2`.
fn written(partitions: Option<&Partitions>) -> Cell {
    let Some(partitions) = partitions else { return Cell::Missing };
    let topics = partitions.topics().map(|(topic, partitions)| {
        let numbers: Vec<String> = partitions.iter().map(i32::to_string).collect();
        format!("{topic}:{}", numbers.join(","))
    });
    Cell::Text(topics.collect::<Vec<_>>().join(";"))
}
