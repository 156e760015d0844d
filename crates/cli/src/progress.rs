//! How far a long command has come, for people who wait for it.

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

use pagemark::Progress;

/// What is over by then needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody reads faster.
const PAUSE: Duration = Duration::from_millis(100);
const CELLS: u64 = 30;

/// A bar on standard error, if that is a terminal and it takes long enough. It goes when it is
/// dropped.
pub(crate) struct Bar {
    /// None if nobody would see it.
    line: Option<Line<Stderr>>,
    started: Instant,
}

impl Bar {
    /// A bar for something that begins now, such as `verifying`.
    pub(crate) fn new(doing: &'static str) -> Bar {
        let stderr = io::stderr();
        let line = stderr.is_terminal().then(|| Line::new(doing, stderr));
        Bar { line, started: Instant::now() }
    }

    /// Shows how far it has come.
    pub(crate) fn show(&mut self, progress: Progress) {
        if let Some(line) = &mut self.line {
            let of = format!("of {} MiB", progress.total.max(1).div_ceil(1 << 20));
            line.show(self.started.elapsed(), progress.done, progress.total, &of);
        }
    }

    /// Shows which of several parts has come, and what it is called.
    pub(crate) fn show_part(&mut self, part: u64, parts: u64, name: &str) {
        if let Some(line) = &mut self.line {
            line.show(self.started.elapsed(), part, parts, name);
        }
    }
}

/// The line that the bar stands on. A terminal that takes nothing any more is no reason to stop.
struct Line<W: Write> {
    doing: &'static str,
    out: W,
    /// When it was drawn.
    drawn: Option<Duration>,
}

impl<W: Write> Line<W> {
    fn new(doing: &'static str, out: W) -> Line<W> {
        Line { doing, out, drawn: None }
    }

    fn show(&mut self, elapsed: Duration, done: u64, total: u64, what: &str) {
        let due = self.drawn.map_or(PATIENCE, |drawn| drawn + PAUSE);
        if elapsed < due {
            return;
        }
        self.drawn = Some(elapsed);
        let (done, total) = (done.min(total), total.max(1));
        let share = |of: u64| (u128::from(of) * u128::from(done) / u128::from(total)) as usize;
        let bar = "#".repeat(share(CELLS));
        // What stood there may have been longer.
        let _ = write!(
            self.out,
            "\r{} [{bar:-<width$}] {:3} % {what}\x1b[K",
            self.doing,
            share(100),
            width = CELLS as usize,
        );
        let _ = self.out.flush();
    }
}

impl<W: Write> Drop for Line<W> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            // Back to the start, and clear up to the end of the line.
            let _ = write!(self.out, "\r\x1b[K");
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_comes_after_a_second_and_goes_at_the_end() {
        let mut out = Vec::new();
        let mut line = Line::new("verifying", &mut out);
        for (ms, done) in [(0, 0), (999, 50), (1000, 1 << 20), (1099, 1 << 20), (1100, 3 << 20)] {
            line.show(Duration::from_millis(ms), done, 2 << 20, "of 2 MiB");
        }
        drop(line);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "\rverifying [###############---------------]  50 % of 2 MiB\u{1b}[K\
             \rverifying [##############################] 100 % of 2 MiB\u{1b}[K\r\u{1b}[K"
        );
    }

    #[test]
    fn what_is_quick_shows_nothing_and_nothing_to_do_is_no_failure() {
        let mut out = Vec::new();
        Line::new("verifying", &mut out).show(Duration::from_millis(999), 1, 2, "");
        assert!(out.is_empty());
        Line::new("verifying", &mut out).show(Duration::from_secs(2), 0, 0, "a part");
        assert!(String::from_utf8_lossy(&out).contains("]   0 % a part"));
    }
}
