//! Tables: padded columns for people, JSON and CSV for programs.

use std::io::{self, Write};
use std::time::Duration;

use clap::ValueEnum;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::codec::csv::write_field;
use crate::time;

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Padded columns for people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// CSV with a header line.
    Csv,
}

/// One value of a table.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// A name or a text.
    Text(String),
    /// A number.
    Number(i64),
    /// How many times one number is another.
    Ratio(f64),
    /// How often something happens in a second.
    PerSecond(f64),
    /// How long something took; nanoseconds for programs.
    Elapsed(Duration),
    /// Yes or no.
    Flag(bool),
    /// A moment, in milliseconds since the Unix epoch.
    Time(i64),
    /// There is no value.
    Missing,
}

impl Cell {
    /// A number that may be missing.
    pub(crate) fn optional(number: Option<impl Into<i64>>) -> Cell {
        number.map_or(Cell::Missing, |number| Cell::Number(number.into()))
    }

    /// A count. None of this program's counts comes near the limit of the type.
    pub(crate) fn count(count: impl TryInto<i64>) -> Cell {
        Cell::Number(count.try_into().unwrap_or(i64::MAX))
    }

    /// The value as people read it, on one line.
    pub(crate) fn for_people(&self) -> String {
        match self {
            Cell::Text(text) if text.is_empty() => "-".into(),
            Cell::Text(text) => visible(text),
            Cell::Number(number) => number.to_string(),
            Cell::Ratio(ratio) => format!("{ratio:.2}"),
            Cell::PerSecond(rate) => rounded(*rate),
            Cell::Elapsed(elapsed) => time::elapsed(*elapsed),
            Cell::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
            Cell::Time(timestamp_ms) => time::utc(*timestamp_ms),
            Cell::Missing => "-".into(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Number(number) | Cell::Time(number) => serializer.serialize_i64(*number),
            Cell::Ratio(number) | Cell::PerSecond(number) => serializer.serialize_f64(*number),
            Cell::Elapsed(elapsed) => serializer.serialize_u128(elapsed.as_nanos()),
            Cell::Flag(flag) => serializer.serialize_bool(*flag),
            Cell::Missing => serializer.serialize_none(),
        }
    }
}

/// A column: its title for people, and its name for programs.
pub(crate) type Column = (&'static str, &'static str);

/// Rows under columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// The names of columns that people see only if something stands in them.
    optional: &'static [&'static str],
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new(), optional: &[] }
    }

    /// Names columns that people see only if something stands in them. Programs find the same columns
    /// every time.
    pub(crate) fn optional(mut self, names: &'static [&'static str]) -> Table {
        self.optional = names;
        self
    }

    /// Adds a row, which has one cell for each column.
    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Prints the table; in JSON it is an array with an object for each row.
    pub(crate) fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Table => self.write_padded(out),
            Format::Csv => self.write_csv(out),
            Format::Json => {
                write!(out, "[")?;
                for (number, row) in self.rows.iter().enumerate() {
                    writeln!(out, "{}", if number == 0 { "" } else { "," })?;
                    write!(out, "  {}", self.json(row)?)?;
                }
                writeln!(out, "{}]", if self.rows.is_empty() { "" } else { "\n" })
            }
        }
    }

    /// Prints a table that has one row by its nature; in JSON it is that row's object.
    pub(crate) fn write_one(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match (format, self.rows.as_slice()) {
            (Format::Json, [row]) => writeln!(out, "{}", self.json(row)?),
            _ => self.write(format, out),
        }
    }

    /// [`write_one`](Table::write_one) for more columns than fit on a line: people get a line for
    /// each.
    pub(crate) fn write_list(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let (Format::Table, [row]) = (format, self.rows.as_slice()) else {
            return self.write_one(format, out);
        };
        let width = self.columns.iter().map(|(title, _)| title.len()).max().unwrap_or(0);
        for ((title, _), cell) in self.columns.iter().zip(row) {
            writeln!(out, "{title:<width$}  {}", cell.for_people())?;
        }
        Ok(())
    }

    /// Prints the object of the one row in JSON, with arrays of the rows of other tables in it.
    pub(crate) fn write_with(
        &self,
        others: &[(&str, &Table)],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut object = serde_json::Map::new();
        for ((_, name), cell) in self.columns.iter().zip(self.rows.iter().flatten()) {
            object.insert((*name).to_owned(), serde_json::to_value(cell)?);
        }
        for (name, table) in others {
            let rows: Vec<_> =
                table.rows.iter().map(|row| JsonRow { columns: &table.columns, row }).collect();
            object.insert((*name).to_owned(), serde_json::to_value(rows)?);
        }
        writeln!(out, "{}", serde_json::Value::Object(object))
    }

    fn json(&self, row: &[Cell]) -> io::Result<String> {
        Ok(serde_json::to_string(&JsonRow { columns: &self.columns, row })?)
    }

    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|(_, name)| *name).collect();
        writeln!(out, "{}", names.join(","))?;
        for row in &self.rows {
            for (number, cell) in row.iter().enumerate() {
                if number > 0 {
                    out.write_all(b",")?;
                }
                match cell {
                    Cell::Text(text) => write_field(text, out)?,
                    Cell::Number(number) | Cell::Time(number) => write!(out, "{number}")?,
                    Cell::Ratio(number) | Cell::PerSecond(number) => write!(out, "{number}")?,
                    Cell::Elapsed(elapsed) => write!(out, "{}", elapsed.as_nanos())?,
                    Cell::Flag(flag) => write!(out, "{flag}")?,
                    Cell::Missing => {}
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_padded(&self, out: &mut dyn Write) -> io::Result<()> {
        let shown = self.shown();
        let titles = shown.iter().map(|column| self.columns[*column].0.to_owned()).collect();
        let mut lines: Vec<Vec<String>> = vec![titles];
        let for_people = |row: &Vec<Cell>| shown.iter().map(|at| row[*at].for_people()).collect();
        lines.extend(self.rows.iter().map(for_people));
        let mut widths = vec![0; shown.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for line in &lines {
            let mut padded = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                padded.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(out, "{}", padded.trim_end())?;
        }
        Ok(())
    }

    /// The columns that people see.
    fn shown(&self) -> Vec<usize> {
        let is_filled = |at: usize| self.rows.iter().any(|row| !matches!(row[at], Cell::Missing));
        let is_shown = |at: &usize| !self.optional.contains(&self.columns[*at].1) || is_filled(*at);
        (0..self.columns.len()).filter(is_shown).collect()
    }
}

/// One row as a JSON object, its members in the order of the columns.
struct JsonRow<'a> {
    columns: &'a [Column],
    row: &'a [Cell],
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for ((_, name), cell) in self.columns.iter().zip(self.row) {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

/// A number of which three digits count, with its thousands apart; a small one has one decimal.
pub(crate) fn rounded(number: f64) -> String {
    if number < 10.0 {
        return format!("{number:.1}");
    }
    let unit = 10_f64.powf(number.log10().floor() - 2.0).max(1.0);
    let digits = format!("{:.0}", (number / unit).round() * unit);
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A text on one line and without the power to move the cursor: names and metadata come from
/// anywhere.
pub(crate) fn visible(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(table: &Table, format: Format) -> String {
        let mut out = Vec::new();
        table.write(format, &mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("tables are text")
    }

    #[test]
    fn three_formats() {
        let mut table = Table::new(&[("GROUP", "group"), ("OFFSET", "offset"), ("AT", "at_ms")]);
        table.push(vec!["a,\n\"b\"".into(), Cell::Number(7), Cell::Time(0)]);
        table.push(vec!["".into(), Cell::Missing, Cell::Missing]);
        assert_eq!(
            printed(&table, Format::Table),
            "GROUP    OFFSET  AT\na,\\n\"b\"  7       1970-01-01T00:00:00.000Z\n-        -       -\n"
        );
        assert_eq!(printed(&table, Format::Csv), "group,offset,at_ms\n\"a,\n\"\"b\"\"\",7,0\n,,\n");
        assert_eq!(
            printed(&table, Format::Json),
            "[\n  {\"group\":\"a,\\n\\\"b\\\"\",\"offset\":7,\"at_ms\":0},\n  \
             {\"group\":\"\",\"offset\":null,\"at_ms\":null}\n]\n"
        );
    }

    #[test]
    fn rates_and_times_are_short_for_people_and_exact_for_programs() {
        let mut table = Table::new(&[("RATE", "rate"), ("TOOK", "took_ns")]);
        table
            .push(vec![Cell::PerSecond(4_056_789.5), Cell::Elapsed(Duration::from_nanos(124_400))]);
        assert_eq!(printed(&table, Format::Table), "RATE       TOOK\n4,060,000  124 µs\n");
        assert_eq!(printed(&table, Format::Csv), "rate,took_ns\n4056789.5,124400\n");
        assert_eq!(
            printed(&table, Format::Json),
            "[\n  {\"rate\":4056789.5,\"took_ns\":124400}\n]\n"
        );
        let numbers = [0.0, 9.94, 10.4, 99.6, 999.4, 999.6, 1234.0, 99_950.0, 1e9];
        let expected =
            ["0.0", "9.9", "10", "100", "999", "1,000", "1,230", "100,000", "1,000,000,000"];
        assert_eq!(numbers.map(rounded), expected);
    }

    #[test]
    fn programs_find_a_column_that_people_do_not_need() {
        let mut table = Table::new(&[("A", "a"), ("B", "b"), ("C", "c")]).optional(&["b"]);
        table.push(vec![Cell::Number(1), Cell::Missing, Cell::Number(3)]);
        assert_eq!(printed(&table, Format::Table), "A  C\n1  3\n");
        assert_eq!(printed(&table, Format::Csv), "a,b,c\n1,,3\n");
        table.push(vec![Cell::Number(4), "b".into(), Cell::Missing]);
        assert_eq!(printed(&table, Format::Table), "A  B  C\n1  -  3\n4  b  -\n");
    }

    #[test]
    fn an_empty_table_is_an_empty_array() {
        assert_eq!(printed(&Table::new(&[("A", "a")]), Format::Json), "[]\n");
    }
}
