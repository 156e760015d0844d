//! What a trace of system calls says: which of a process's calls are about its files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Per call, which ones of it are about the files, counted for each thread from its beginning, as
/// strace does when it is told to make the n-th fail.
#[derive(Debug, Default)]
pub(crate) struct Calls(BTreeMap<String, BTreeSet<u64>>);

impl Calls {
    pub(crate) fn numbers(&self, call: &str) -> Vec<u64> {
        self.0.get(call).into_iter().flatten().copied().collect()
    }
}

/// Reads a trace that has the paths of descriptors in it. What comes before the process writes `begin`
/// is left out, and so is what has to do with nothing under `dir`.
pub(crate) fn read(text: &str, begin: &str, dir: &str) -> Calls {
    let mut calls = Calls::default();
    let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
    let mut maps = HashSet::new();
    let mut started: Option<HashMap<String, u64>> = None;
    for line in text.lines() {
        let Some((thread, call, rest)) = parts(line) else { continue };
        let count = counts.entry((thread, call)).or_default();
        *count += 1;
        let n = *count;
        if started.is_none() {
            if call == "write" && rest.contains(&format!("\"{begin}")) {
                let of_thread = counts.iter().filter(|((of, _), _)| *of == thread);
                started = Some(of_thread.map(|((_, call), n)| ((*call).to_owned(), *n)).collect());
            }
            continue;
        }
        let address = || rest.split([',', ')']).next().unwrap_or_default().to_owned();
        let concerns = match call {
            "munmap" | "madvise" | "msync" => maps.contains(&address()),
            "clone3" => true,
            _ => rest.contains(dir),
        };
        if call == "mmap" && concerns {
            maps.extend(rest.rsplit_once("= ").map(|(_, address)| address.to_owned()));
        }
        // A call with the number of one that belongs to the start would fail there.
        let is_reached = started.as_ref().and_then(|s| s.get(call)).is_none_or(|first| n > *first);
        if concerns && is_reached {
            calls.0.entry(call.to_owned()).or_default().insert(n);
        }
    }
    calls
}

/// The thread, the name of the call and what follows it. None for what is no beginning of a call.
fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, rest) = rest.trim_start().split_once('(')?;
    let is_name = call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((thread, call, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_files_is_counted_by_thread() {
        let text = "\
10 openat(AT_FDCWD</>, \"/lib/c.so\", O_RDONLY) = 3</lib/c.so>
10 write(1<pipe:[1]>, \"begin\\n\", 6) = 6
10 openat(AT_FDCWD</>, \"/d/store\", O_RDONLY) = 3</d/store>
10 openat(AT_FDCWD</>, \"/proc/x\", O_RDONLY) = 4</proc/x>
10 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</d/store/a>, 0) = 0x7f01
11 openat(3</d/store>, \"a\", O_RDONLY <unfinished ...>
10 munmap(0x7f00, 4096) = 0
10 munmap(0x7f01, 4096) = 0
11 <... openat resumed>) = 5</d/store/a>
11 openat(3</d/store>, \"b\", O_RDONLY) = 6</d/store/b>
10 +++ exited with 0 +++
";
        let calls = read(text, "begin", "/d");
        // The first of the second thread has the number of one that every process makes.
        assert_eq!(calls.numbers("openat"), [2]);
        assert_eq!((calls.numbers("mmap"), calls.numbers("munmap")), (vec![1], vec![2]));
        assert!(calls.numbers("write").is_empty() && calls.numbers("pread64").is_empty());
    }
}
