//! The measurement itself: all rows, round after round.

use std::path::Path;

use anyhow::Result;

use super::ground::Interrupt;
use super::rows::{Plan, Series};
use super::subject::Subject;
use crate::progress::Bar;

/// Measures by the plan. Returns what each row came to, or `None` if the process is to end.
pub(super) fn run(
    plan: &Plan,
    ground: &Path,
    interrupt: &Interrupt,
) -> Result<Option<Vec<Series>>> {
    let mut bar = Bar::new("measuring");
    let mut subject = Subject::create(ground)?;
    let mut series: Vec<Series> = plan.rows.iter().copied().map(Series::new).collect();
    let total = (plan.rounds * series.len()) as u64;
    let mut done = 0;
    for _ in 0..plan.rounds {
        for series in &mut series {
            if interrupt.arrived() {
                return Ok(None);
            }
            bar.show_part(done, total, series.row.verb.name());
            series.push(&subject.run(series.row, plan.slice)?);
            done += 1;
        }
    }
    Ok(Some(series))
}
