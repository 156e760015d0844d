//! Processes of this program, for what has to be killed and for memory that is to be counted alone.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Runs this program, returns the first line that it prints, and kills it.
pub fn run_and_kill(args: &[&str]) -> String {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    let mut child = command.args(args).stdout(Stdio::piped()).spawn().expect("start a child");
    let stdout = child.stdout.take().expect("it was asked for");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("read what the child tells");
    child.kill().expect("kill the child");
    child.wait().expect("wait for the child");
    assert!(!line.is_empty(), "the child {args:?} failed");
    line.trim_end().to_owned()
}

/// Prints a line and waits to be killed, so that nothing is closed or dropped.
pub fn tell(line: &str) -> ! {
    println!("{line}");
    std::io::stdout().flush().expect("the parent reads");
    loop {
        std::thread::park();
    }
}
