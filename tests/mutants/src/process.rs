//! Processes that are stopped when they take too long.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a process may use next to no processor time. On the busiest machine one that has
/// something to do gets some; a test that waits for ever gets none. What counts is how long this program
/// slept: a time in which it was stopped, and the process with it, says nothing.
const IDLE: Duration = Duration::from_secs(6);

/// What became of a process.
pub struct Ended {
    /// Whether it ended well, or nothing if it was stopped.
    pub success: Option<bool>,
    pub said: String,
    /// The processor time that it used.
    pub seconds: f64,
}

/// Runs a process until it ends, does nothing any more, or has used so many seconds of processor time.
pub fn finish(command: &mut Command, limit: f64) -> Result<Ended, String> {
    let mut child = command.process_group(0).spawn().map_err(|error| error.to_string())?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut out) = out {
            let _ = out.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let (ended, seconds) = watch(&child, limit)?;
    if !ended {
        let group = Pid::from_child(&child);
        kill_process_group(group, Signal::KILL).map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let said = reader.join().map_err(|_| "what a test said was not read")?;
    Ok(Ended { success: ended.then(|| status.success()), said, seconds })
}

/// Whether the process ends by itself, and the processor time that it used.
fn watch(child: &Child, limit: f64) -> Result<(bool, f64), String> {
    let mut pause = Duration::from_micros(500);
    let mut busy = (Duration::ZERO, 0.0);
    loop {
        let (state, seconds) = state(child)?;
        if state == State::Over {
            return Ok((true, seconds));
        }
        if seconds > busy.1 + 0.01 || state == State::Stopped {
            busy = (Duration::ZERO, seconds);
        }
        if seconds > limit || busy.0 > IDLE {
            return Ok((false, seconds));
        }
        std::thread::sleep(pause);
        busy.0 += pause;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// What a process does.
#[derive(PartialEq, Eq)]
enum State {
    Alive,
    /// Somebody has stopped it, and may let it go on.
    Stopped,
    /// It is only waited for.
    Over,
}

/// What the process does, and the processor time that it used: the numbers of `proc_pid_stat(5)`, from
/// the state on.
fn state(child: &Child) -> Result<(State, f64), String> {
    let path = format!("/proc/{}/stat", child.id());
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name in front of them may hold anything, but no bracket follows it.
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = match fields.next() {
        Some("Z") => State::Over,
        Some("T") => State::Stopped,
        _ => State::Alive,
    };
    let ticks: u64 = fields.skip(10).take(2).filter_map(|number| number.parse::<u64>().ok()).sum();
    Ok((state, ticks as f64 / clock_ticks_per_second() as f64))
}
