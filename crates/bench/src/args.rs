//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::engines::{ALL, Kind};

/// What the program says about itself.
pub const USAGE: &str = "\
Pagemark and its peers, side by side on one workload.

usage: pagemark-bench COMMAND [--rounds N] [--seconds S] [--only A,B] [--threads N,M]
                              [--patience S] [--dir DIR] [--csv FILE]

  all        every measurement below, one after the other
  buffered   commits that need not survive power loss: 1, 2, 4 threads
  batches    the same by batches of the 100 keys of a group
  durable    commits that are synced before they return: 1, 4, 16, 64, 256 threads
  fetch      fetch by names, fetch beside a writer, scan of a group
  replay     opening after a kill and after a close: 10 million commits, 100 k and 1 M keys
  memory     bytes per key in memory
  scale      10 million keys, and 100 million commits: built, compacted, killed, reopened
  stall      how long single commits take with and without compactions
  list       the engines and how each is set up

  --rounds N       rounds over all engines (5)
  --seconds S      measured time of one engine in one round (1)
  --only A,B       only these engines
  --threads N,M    other numbers of threads for `buffered` and `durable`
  --patience S     how long to wait before each measurement for other programs to rest (10)
  --dir DIR        where data goes, on the file system to measure (the system's temporary one)
  --csv FILE       also append every single measurement to FILE
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
    /// Where single measurements go.
    pub csv: Option<PathBuf>,
    threads: Vec<usize>,
    only: Vec<String>,
}

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args {
            command: words.next().unwrap_or_default(),
            rest: Vec::new(),
            rounds: 5,
            time: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            dir: std::env::temp_dir(),
            csv: None,
            threads: Vec::new(),
            only: Vec::new(),
        };
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                args.rest.push(word);
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let list = || value.split(',').map(str::to_owned);
            match word.as_str() {
                "--rounds" => args.rounds = number::<usize>(&word, &value)?.max(1),
                "--seconds" => args.time = seconds(&word, &value)?,
                "--patience" => args.patience = seconds(&word, &value)?,
                "--dir" => args.dir = PathBuf::from(value),
                "--csv" => args.csv = Some(PathBuf::from(value)),
                "--only" => args.only = list().collect(),
                "--threads" => {
                    args.threads =
                        list().map(|one| number(&word, &one)).collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("{word} is no option")),
            }
        }
        match args.only.iter().find(|name| !ALL.iter().any(|kind| kind.name == **name)) {
            Some(name) => Err(format!("{name} is no engine; see `list`")),
            None => Ok(args),
        }
    }

    /// The engines that were asked for.
    pub fn engines(&self, fits: impl Fn(&Kind) -> bool) -> Vec<Kind> {
        let wanted = |kind: &&Kind| {
            fits(kind) && (self.only.is_empty() || self.only.iter().any(|name| name == kind.name))
        };
        ALL.iter().filter(wanted).copied().collect()
    }

    /// The numbers of threads that were asked for.
    pub fn threads(&self, default: &[usize]) -> Vec<usize> {
        if self.threads.is_empty() { default.to_vec() } else { self.threads.clone() }
    }
}

fn seconds(option: &str, value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(option, value)?).map_err(|error| error.to_string())
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} {value} is no number"))
}
