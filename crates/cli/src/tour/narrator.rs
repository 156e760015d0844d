//! The voice of the tour.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Tells what happens, line by line as it happens.
///
/// A listener who goes away does not end the story: its outcome still counts.
pub(super) struct Narrator<'a> {
    out: &'a mut dyn Write,
    begin: Instant,
    /// After each event, so that one can follow.
    pause: Duration,
    /// Whether titles stand out: on a terminal, unless the user wants plain text.
    is_bold: bool,
}

impl<'a> Narrator<'a> {
    /// Tells to `out`, which is `at`.
    pub(super) fn new(
        out: &'a mut dyn Write,
        at: &impl IsTerminal,
        pause: Duration,
    ) -> Narrator<'a> {
        let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_bold = at.is_terminal() && !is_plain;
        Narrator { out, begin: Instant::now(), pause, is_bold }
    }

    /// What there is to know before the story begins.
    pub(super) fn opening(&mut self, text: &str) {
        self.print(&format!("{text}\n"));
        thread::sleep(4 * self.pause);
    }

    /// A new act.
    pub(super) fn act(&mut self, title: &str) {
        let (bold, plain) = if self.is_bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.print(&format!("\n{bold}{title}{plain}\n"));
        thread::sleep(self.pause);
    }

    /// Something that happens now.
    pub(super) fn event(&mut self, text: &str) {
        self.event_at(Instant::now(), text);
    }

    /// Something that has happened, in one line or more.
    pub(super) fn event_at(&mut self, at: Instant, text: &str) {
        let seconds = at.saturating_duration_since(self.begin).as_secs_f64();
        let text = text.replace('\n', "\n           ");
        self.print(&format!("{seconds:7.3} s  {text}\n"));
        thread::sleep(self.pause);
    }

    /// What is to be known of the last event.
    pub(super) fn detail(&mut self, text: &str) {
        self.print(&format!("               {text}\n"));
        thread::sleep(self.pause / 2);
    }

    fn print(&mut self, text: &str) {
        let print = |out: &mut dyn Write| -> io::Result<()> {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        let _ = print(self.out);
    }
}
