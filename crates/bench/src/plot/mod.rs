//! Results as pictures: which charts there are, and what each shows.

mod chart;

use std::fs;
use std::path::Path;

use plotters::style::RGBColor;

use self::chart::{Axis, Chart, Line, Scale};
use crate::engines::Role;
use crate::latency::PARTS;
use crate::results::Results;
use crate::table::{Table, count, short};

/// Threads at which synced commits are told by their percentiles.
const BUSY: &str = "64";

/// Draws every chart that there are results for.
///
/// # Errors
///
/// What went wrong, in words.
pub fn plot(results: &Results, dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for (name, chart) in charts(results) {
        let path = dir.join(name).with_extension("svg");
        fs::write(&path, chart.svg()).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// What is needed to draw a table whose columns are numbers.
struct Figure {
    file: &'static str,
    title: &'static str,
    table: &'static str,
    x: (&'static str, Scale),
    y: (&'static str, Scale),
    /// Another table of the same columns, of which Pagemark's row is drawn too, under this name.
    also: Option<(&'static str, &'static str)>,
}

const FIGURES: [Figure; 8] = [
    Figure {
        file: "buffered",
        title: "Buffered commits by threads",
        table: "buffered",
        x: ("threads", Scale::Log),
        y: ("commits per second", Scale::Log),
        also: None,
    },
    Figure {
        file: "durable",
        title: "Synced commits by threads",
        table: "durable",
        x: ("threads", Scale::Log),
        y: ("commits per second", Scale::Log),
        also: None,
    },
    Figure {
        file: "batches",
        title: "Buffered batches of one thread",
        table: "batches",
        x: ("keys in each batch", Scale::Log),
        y: ("keys per second", Scale::Log),
        also: None,
    },
    Figure {
        file: "pipelined",
        title: "Durable commits of one thread that waits for many at once",
        table: "pipelined",
        x: ("commits in flight", Scale::Log),
        y: ("commits per second", Scale::Log),
        also: None,
    },
    Figure {
        file: "open-keys",
        title: "Opening a closed store, by the keys in it",
        table: "keys-open-closed",
        x: ("keys", Scale::Log),
        y: ("milliseconds", Scale::Log),
        also: Some(("keys-open-killed", "pagemark, killed")),
    },
    Figure {
        file: "open-history",
        title: "Opening a closed store of 100,000 keys, by its history",
        table: "history-open-closed",
        x: ("commits", Scale::Log),
        y: ("milliseconds", Scale::Log),
        also: Some(("history-open-killed", "pagemark, killed")),
    },
    Figure {
        file: "device",
        title: "Bytes to the device for each buffered commit",
        table: "history-device",
        x: ("commits", Scale::Log),
        y: ("bytes", Scale::Log),
        also: None,
    },
    Figure {
        file: "steady",
        title: "A steady state: a commit and a fetch in turn",
        table: "steady-rate",
        x: ("looks", Scale::Linear),
        y: ("turns per second", Scale::Linear),
        also: None,
    },
];

fn charts(results: &Results) -> Vec<(&'static str, Chart)> {
    let mut charts = Vec::new();
    for figure in &FIGURES {
        if let Some(table) = results.table(figure.table) {
            charts.push((figure.file, figure.chart(results, table)));
        }
    }
    charts.extend(buffered_percentiles(results).map(|chart| ("latency", chart)));
    charts.extend(synced_percentiles(results).map(|chart| ("durable-latency", chart)));
    charts
}

impl Figure {
    fn chart(&self, results: &Results, table: &Table) -> Chart {
        let points = |table: &Table, row: &str| {
            let columns = table.columns().iter();
            columns.filter_map(|c| Some((c.at, table.median(row, &c.name)?))).collect()
        };
        // Another way to write, as fast as the usual one, would only hide it.
        let rows = table.rows().iter().filter(|row| row.name != "pagemark-pwrite");
        let mut lines: Vec<Line> =
            rows.map(|row| line(&row.name, row.role, points(table, &row.name))).collect();
        if let Some((also, name)) = self.also
            && let Some(also) = results.table(also)
        {
            lines.push(line(name, Role::Pagemark, points(also, "pagemark")));
        }
        let (x, y) = (self.x, self.y);
        let at: Vec<f64> = table.columns().iter().map(|column| column.at).collect();
        let ticks = match x.1 {
            Scale::Log => at.iter().map(|at| (*at, count(*at as usize))).collect(),
            Scale::Linear => linear_ticks(at.iter().copied().fold(0.0, f64::max)),
        };
        let x = Axis { name: x.0.to_owned(), scale: x.1, ticks };
        chart(self.title, x, y, lines)
    }
}

/// Percentiles of buffered commits from the table that has them as columns.
fn buffered_percentiles(results: &Results) -> Option<Chart> {
    let table = results.table("latency")?;
    let names = PARTS.map(|(name, _)| name);
    // Groups that come and go are no workload of the others.
    let rows = table.rows().iter().filter(|row| !row.name.starts_with("new groups"));
    let lines = rows.map(|row| {
        let at = |(i, name): (usize, &&str)| Some((i as f64, table.median(&row.name, name)? / 1e3));
        line(&row.name, row.role, names.iter().enumerate().filter_map(at).collect())
    });
    let title = "Single buffered commits to a million keys, one thread";
    Some(chart(title, names_axis(&names), ("microseconds", Scale::Log), lines.collect()))
}

/// Percentiles of synced commits from the tables that are one for each.
fn synced_percentiles(results: &Results) -> Option<Chart> {
    let names = ["p50", "p99", "p99.9"];
    let tables: Option<Vec<&Table>> =
        names.iter().map(|name| results.table(&format!("durable-{name}"))).collect();
    let tables = tables?;
    let lines = tables[0].rows().iter().map(|row| {
        let at = |(i, table): (usize, &&Table)| Some((i as f64, table.median(&row.name, BUSY)?));
        line(&row.name, row.role, tables.iter().enumerate().filter_map(at).collect())
    });
    let title = "Synced commits of 64 threads";
    Some(chart(title, names_axis(&names), ("microseconds", Scale::Log), lines.collect()))
}

fn names_axis(names: &[&str]) -> Axis {
    let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, (*name).to_owned()));
    Axis { name: "percentile".to_owned(), scale: Scale::Linear, ticks: ticks.collect() }
}

fn chart(title: &str, x: Axis, y: (&str, Scale), mut lines: Vec<Line>) -> Chart {
    // Nothing can be shown of a line without points, and zero has no logarithm.
    lines.iter_mut().for_each(|line| line.points.retain(|(_, y)| *y > 0.0));
    lines.retain(|line| !line.points.is_empty());
    lines.sort_by_key(|line| line.is_strong);
    let numbers = || lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y));
    let (low, high) = (numbers().fold(f64::MAX, f64::min), numbers().fold(0.0, f64::max));
    let ticks = match y.1 {
        Scale::Log => log_ticks(low, high),
        Scale::Linear => linear_ticks(high),
    };
    let y = Axis { name: y.0.to_owned(), scale: y.1, ticks };
    Chart { title: title.to_owned(), x, y, lines }
}

/// Powers of ten around some numbers.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last).map(|power| 10_f64.powi(power)).map(|at| (at, tick(at))).collect()
}

/// About five round numbers from zero on.
fn linear_ticks(high: f64) -> Vec<(f64, String)> {
    let power = 10_f64.powf((high / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| step * 5.0 >= high).unwrap_or(power);
    let last = (high / step).ceil() as u32;
    (0..=last).map(|i| f64::from(i) * step).map(|at| (at, tick(at))).collect()
}

fn tick(at: f64) -> String {
    match at {
        0.0 => "0".to_owned(),
        at if at < 1.0 => short(at),
        at if at < 1e6 => count(at.round() as usize),
        at => format!("{} M", at / 1e6),
    }
}

fn line(name: &str, role: Role, points: Vec<(f64, f64)>) -> Line {
    let is_strong = name == "pagemark";
    let is_dashed = role == Role::Raw || (role == Role::Pagemark && name.contains(','));
    Line { name: name.to_owned(), colour: colour(name, role), is_strong, is_dashed, points }
}

/// Each engine has the same colour in all charts; engines behind a queue have that of the engine.
fn colour(name: &str, role: Role) -> RGBColor {
    let of_peers = [
        ("rocksdb", RGBColor(0xE0, 0x7B, 0x00)),
        ("lmdb-writemap", RGBColor(0x1A, 0x9E, 0x8F)),
        ("lmdb", RGBColor(0x3F, 0xA3, 0x4D)),
        ("fjall", RGBColor(0xA4, 0x5E, 0xE5)),
        ("redb", RGBColor(0xE5, 0x48, 0x4D)),
        ("sled", RGBColor(0xB0, 0x7D, 0x4B)),
        ("sqlite", RGBColor(0xD6, 0x40, 0x9F)),
    ];
    match role {
        Role::Pagemark if name == "pagemark" => RGBColor(0x2F, 0x81, 0xF7),
        Role::Pagemark => RGBColor(0x54, 0xA0, 0xE8),
        Role::Raw => RGBColor(0x8B, 0x94, 0x9E),
        Role::Peer => {
            let known = of_peers.iter().find(|(peer, _)| name.starts_with(peer));
            known.map_or(RGBColor(0x8B, 0x94, 0x9E), |(_, colour)| *colour)
        }
    }
}
