//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::engines::{ALL, Kind, PAGEMARK, Role};

/// What the program says about itself.
pub const USAGE: &str = "\
Pagemark and its peers, side by side on one workload.

usage: pagemark-bench COMMAND [OPTIONS]

  report     what the plots and the bars need, in about 12 minutes
  all        every measurement below, one after the other: some hours

  buffered   commits that need not survive power loss, by threads
  batches    batches of 10, 100 and 1,000 keys, buffered and synced
  durable    commits that are synced before they return, by threads
  pipelined  durable commits of one thread that waits once for many
  fetch      fetch by names and by slot, by group, with 2 threads and beside a writer
  keys       memory, disk and opening of 10 thousand to 10 million keys
  history    bytes to the device, disk and opening after 1 to 100 million commits
  replay     opening a log of 10 million commits that was never compacted
  latency    percentiles of single buffered commits, with and without compactions
  steady     a steady state, and its drift
  scale      stores and patterns of Pagemark alone: built, compacted, backed up, reopened

  list             the engines and how each is set up
  bars FILE        how the results in FILE stand to the aims
  plot FILE DIR    draws the results in FILE into DIR as SVG

  --json FILE      adds the tables to FILE, each instead of the one of its name
  --rounds N       rounds over all engines (5; 3 for `report`)
  --seconds S      measured time of one engine in one round (1; 0.25 for `report`)
  --only A,B       only these engines
  --threads N,M    numbers of threads for `buffered` and `durable` (1,2,4,16,64,256)
  --keys N,M       numbers of keys for `keys` (10000,100000,1000000,10000000)
  --commits N,M    numbers of commits for `history` (1000000,10000000,100000000)
  --patience S     how long to wait before each measurement for other programs to rest (10; 2 for
                   `report`)
  --dir DIR        where data goes, on the file system to measure (the system's temporary one)
";

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Args {
    /// The first argument.
    pub command: String,
    /// Arguments that are no options, for the program's own children.
    pub rest: Vec<String>,
    /// Rounds over all engines.
    pub rounds: usize,
    /// Measured time of one engine in one round.
    pub time: Duration,
    /// How long to wait for quiet before each measurement.
    pub patience: Duration,
    /// Where data goes.
    pub dir: PathBuf,
    /// Where tables go.
    pub json: Option<PathBuf>,
    threads: Vec<usize>,
    keys: Vec<usize>,
    commits: Vec<usize>,
    only: Option<Vec<String>>,
}

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
        let command = words.next().unwrap_or_default();
        let is_short = command == "report";
        let (rounds, milliseconds, patience) = if is_short { (3, 250, 2) } else { (5, 1000, 10) };
        let mut args = Args {
            command,
            rest: Vec::new(),
            rounds,
            time: Duration::from_millis(milliseconds),
            patience: Duration::from_secs(patience),
            dir: std::env::temp_dir(),
            json: None,
            threads: Vec::new(),
            keys: Vec::new(),
            commits: Vec::new(),
            only: None,
        };
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                args.rest.push(word);
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--rounds" => args.rounds = number::<usize>(&word, &value)?.max(1),
                "--seconds" => args.time = seconds(&word, &value)?,
                "--patience" => args.patience = seconds(&word, &value)?,
                "--dir" => args.dir = PathBuf::from(value),
                "--json" => args.json = Some(PathBuf::from(value)),
                "--only" => args.only = Some(value.split(',').map(str::to_owned).collect()),
                "--threads" => args.threads = numbers(&word, &value)?,
                "--keys" => args.keys = numbers(&word, &value)?,
                "--commits" => args.commits = numbers(&word, &value)?,
                _ => return Err(format!("{word} is no option")),
            }
        }
        let mut asked = args.only.iter().flatten();
        match asked.find(|name| !ALL.iter().any(|kind| kind.name == **name)) {
            Some(name) => Err(format!("{name} is no engine; see `list`")),
            None => Ok(args),
        }
    }

    fn is_asked(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|one| one == name))
    }

    /// The engines that were asked for.
    pub fn engines(&self, fits: impl Fn(&Kind) -> bool) -> Vec<Kind> {
        let wanted = |kind: &&Kind| fits(kind) && self.is_asked(kind.name);
        ALL.iter().filter(wanted).copied().collect()
    }

    /// The engines that were asked for which leave a store behind, each in one way to use it.
    pub fn stores(&self) -> Vec<Kind> {
        self.engines(|kind| match kind.role {
            Role::Pagemark => kind.name == PAGEMARK,
            Role::Peer => kind.buffered,
            Role::Raw => false,
        })
    }

    /// The numbers of threads that were asked for.
    pub fn threads(&self, default: &[usize]) -> Vec<usize> {
        or_default(&self.threads, default)
    }

    /// The numbers of keys that were asked for.
    pub fn keys(&self, default: &[usize]) -> Vec<usize> {
        or_default(&self.keys, default)
    }

    /// The numbers of commits that were asked for.
    pub fn commits(&self, default: &[usize]) -> Vec<usize> {
        or_default(&self.commits, default)
    }

    /// The same for some engines alone, as far as they were asked for.
    pub fn only(&self, names: &[&str]) -> Args {
        let names = names.iter().filter(|name| self.is_asked(name));
        let only = Some(names.map(|name| (*name).to_owned()).collect());
        Args { only, ..self.clone() }
    }
}

fn or_default(asked: &[usize], default: &[usize]) -> Vec<usize> {
    if asked.is_empty() { default.to_vec() } else { asked.to_vec() }
}

fn numbers(option: &str, value: &str) -> Result<Vec<usize>, String> {
    value.split(',').map(|one| number(option, one)).collect()
}

fn seconds(option: &str, value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(option, value)?).map_err(|error| error.to_string())
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} {value} is no number"))
}
