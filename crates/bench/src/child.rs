//! Processes of this program, for what has to be killed and for memory that is to be counted alone.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How a process leaves a store behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// By SIGKILL.
    Kill,
    /// Closed in order.
    Close,
}

impl Stop {
    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Stop::Kill => "killed",
            Stop::Close => "closed",
        }
    }
}

/// Runs a command of this program with a plan, returns what it tells, and kills it.
pub fn run_and_kill<T: DeserializeOwned>(command: &str, plan: &impl Serialize) -> T {
    let program = std::env::current_exe().expect("the path of this program");
    let plan = serde_json::to_string(plan).expect("plain data");
    let args = [command, &plan];
    let mut child =
        Command::new(program).args(args).stdout(Stdio::piped()).spawn().expect("start a child");
    let stdout = child.stdout.take().expect("it was asked for");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("read what the child tells");
    child.kill().expect("kill the child");
    child.wait().expect("wait for the child");
    assert!(!line.is_empty(), "the child {args:?} failed");
    serde_json::from_str(&line).expect("the child tells what it was asked for")
}

/// Prints an answer and waits to be killed, so that nothing is closed or dropped.
pub fn tell(answer: &impl Serialize) -> ! {
    println!("{}", serde_json::to_string(answer).expect("plain data"));
    std::io::stdout().flush().expect("the parent reads");
    loop {
        std::thread::park();
    }
}

/// The plan that this process was started with.
pub fn plan<T: DeserializeOwned>(args: &[String]) -> T {
    serde_json::from_str(&args[0]).expect("the parent gives a plan")
}
