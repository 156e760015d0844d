//! The voice of the tour.

use std::io::{self, Write};
use std::time::Instant;

/// Tells what happens, line by line as it happens.
///
/// A listener who goes away does not end the story: its outcome still counts.
pub(super) struct Narrator<'a> {
    out: &'a mut dyn Write,
    begin: Instant,
}

impl<'a> Narrator<'a> {
    /// Tells to `out`.
    pub(super) fn new(out: &'a mut dyn Write) -> Narrator<'a> {
        Narrator { out, begin: Instant::now() }
    }

    /// A line of its own.
    pub(super) fn line(&mut self, text: &str) {
        let _ = self.print(format!("{text}\n"));
    }

    /// A new part, from which the time counts.
    pub(super) fn part(&mut self, title: &str) {
        self.begin = Instant::now();
        let _ = self.print(format!("\n{title}\n"));
    }

    /// Something that happens now.
    pub(super) fn event(&mut self, text: &str) {
        let seconds = self.begin.elapsed().as_secs_f64();
        let _ = self.print(format!("{seconds:8.3} s  {text}\n"));
    }

    fn print(&mut self, text: String) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}
