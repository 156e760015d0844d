//! How failures are told and which exit code they get.

use std::fmt;

use pagemark::ErrorKind;

/// Something went wrong that is not an error of the library.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments make no sense together or are outside of their limits.
    Usage(String),
    /// What was asked for is not there.
    NotFound(String),
    /// Damage was seen in a file that could otherwise be read.
    Damage(String),
    /// The tour saw a promise of the store broken.
    BrokenPromise(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message)
            | Failure::NotFound(message)
            | Failure::Damage(message)
            | Failure::BrokenPromise(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

/// The exit code of an error: 1 failure, 2 wrong usage, 3 damage found.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match (failure(error), library_error(error)) {
        (Some(Failure::Usage(_)), _) => 2,
        (Some(Failure::Damage(_)), _) => 3,
        (_, Some(error)) if error.is_corruption() => 3,
        (_, Some(error)) => match error.kind() {
            ErrorKind::InvalidArgument
            | ErrorKind::KeyTooLong
            | ErrorKind::MetadataTooLarge
            | ErrorKind::StateTooLarge => 2,
            _ => 1,
        },
        _ => 1,
    }
}

/// Whether an error is the answer that was asked for, which counts also when nobody reads on.
pub(crate) fn is_verdict(error: &anyhow::Error) -> bool {
    failure(error).is_some() || library_error(error).is_some()
}

/// Prints an error as one sentence on standard error, and below it what to do, if there is
/// something to do and `hints` are wanted.
pub(crate) fn report(error: &anyhow::Error, hints: bool) {
    eprintln!("pagemark: {}", sentence(error));
    if hints && let Some(hint) = library_error(error).and_then(|error| hint(error.kind())) {
        eprintln!("hint: {hint}");
    }
}

/// All causes in one line. An error of the library names its own cause, so it is the last.
fn sentence(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        if cause.is::<pagemark::Error>() {
            break;
        }
    }
    parts.join(": ")
}

fn hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Locked => Some(
            "wait until that process has closed the store, or end it; fetch, groups, export, tail, \
             stats and verify work meanwhile",
        ),
        ErrorKind::NotAStore => Some(
            "check --dir or PAGEMARK_DIR; `pagemark commit` and `pagemark import` create a store",
        ),
        ErrorKind::Corrupt => Some(
            "copy the directory before anything else; `pagemark verify` says what is damaged, and \
             `pagemark salvage` makes a new store from what can be read",
        ),
        ErrorKind::WrongStore => Some("name a new directory, or the one of this store's backups"),
        ErrorKind::UnsupportedVersion => {
            Some("use the version that wrote the store, or a newer one")
        }
        ErrorKind::Full => Some("make room on the device and run the command again"),
        _ => None,
    }
}

fn failure(error: &anyhow::Error) -> Option<&Failure> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn library_error(error: &anyhow::Error) -> Option<&pagemark::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}
