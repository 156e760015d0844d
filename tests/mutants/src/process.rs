//! Processes that are stopped when they take too long.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Whether a process ends well, and what it says, or nothing if it does not end within `limit`.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Option<(bool, String)>, String> {
    let mut child = command.process_group(0).spawn().map_err(|error| error.to_string())?;
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut out) = out {
            let _ = out.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = wait(&mut child, limit)?;
    if status.is_none() {
        let group = Pid::from_child(&child);
        kill_process_group(group, Signal::KILL).map_err(|error| error.to_string())?;
        child.wait().map_err(|error| error.to_string())?;
    }
    let said = reader.join().map_err(|_| "what a test said was not read")?;
    Ok(status.map(|success| (success, said)))
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<bool>, String> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status.success()));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(None)
}
