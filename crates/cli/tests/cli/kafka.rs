//! What `docs/kafka.md` says to type in the place of `kafka-consumer-groups.sh`.

use crate::Place;

const PAGE: &str = include_str!("../../../../docs/kafka.md");

/// The commands in the last column of the table of tools.
fn commands() -> Vec<&'static str> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `--"));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // What else is between backticks there is a name of the library.
    spans.filter(|span| !span.contains("::")).collect()
}

#[test]
fn every_command_of_the_page_works() {
    for command in commands() {
        let place = Place::new();
        let file = place.file("f.csv", "t,0,1\nt,1,2\n");
        place.run(&format!("import --dir s --group g {file}")).ok();
        place.run(&format!("{command} --dir s")).ok();
    }
    assert!(commands().len() > 10, "{:?}", commands());
}
