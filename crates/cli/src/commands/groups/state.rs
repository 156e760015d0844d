//! `pagemark groups describe --state`: what groups are doing.

use pagemark::group::claims::CommitMode;
use pagemark::group::coordinator::GroupDescription;
use pagemark::group::coordinator::stored::StoredGroup;

use crate::table::{Cell, Column, Table};

const COLUMNS: &[Column] = &[
    ("GROUP", "group"),
    ("COORDINATOR (ID)", "coordinator"),
    ("ASSIGNMENT-STRATEGY", "assignment_strategy"),
    ("STATE", "state"),
    ("GROUP-EPOCH", "group_epoch"),
    ("TARGET-ASSIGNMENT-EPOCH", "target_assignment_epoch"),
    ("#MEMBERS", "members"),
    ("GENERATION", "generation"),
    ("COMMIT-MODE", "commit_mode"),
];

/// The columns that are shown without being asked for more: those of Kafka's tool.
const PLAIN: &[&str] = &["group", "coordinator", "assignment_strategy", "state", "members"];

/// A row for each group.
pub(super) fn table(groups: &[(String, StoredGroup)], verbose: bool) -> Table {
    let is_shown = |(_, name): &Column| verbose || PLAIN.contains(name);
    let columns: Vec<Column> = COLUMNS.iter().copied().filter(is_shown).collect();
    let mut table = Table::new(&columns);
    for (name, group) in groups {
        let cells = COLUMNS.iter().zip(row(name, group));
        table.push(cells.filter(|(column, _)| is_shown(column)).map(|(_, cell)| cell).collect());
    }
    table
}

fn row(name: &str, group: &StoredGroup) -> [Cell; 9] {
    let (strategy, epochs, members, generation) = match &group.description {
        GroupDescription::Classic(group) => {
            let strategy = group.protocol.as_deref().unwrap_or_default();
            (strategy, None, group.members.len(), Some(group.generation))
        }
        GroupDescription::Consumer(group) => {
            let epochs = (group.group_epoch, group.assignment_epoch);
            (group.assignor.name(), Some(epochs), group.members.len(), None)
        }
    };
    [
        name.into(),
        // A store does not know which broker it serves.
        Cell::Missing,
        if strategy.is_empty() { Cell::Missing } else { strategy.into() },
        group.description.state().into(),
        Cell::optional(epochs.map(|(group, _)| group)),
        Cell::optional(epochs.map(|(_, target)| target)),
        Cell::count(members),
        Cell::optional(generation),
        mode_name(group.commit_mode).into(),
    ]
}

fn mode_name(mode: CommitMode) -> &'static str {
    match mode {
        CommitMode::Free => "free",
        CommitMode::Monotonic => "monotonic",
        CommitMode::CompareAndSet => "compare-and-set",
    }
}
