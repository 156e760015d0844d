//! File names: the seq in the name says where a file stands in the history.

/// What a name in a store directory stands for. Names that are none of these are not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    /// A segment, by the seq of its first data record.
    Segment(u64),
    /// A snapshot, by the seq up to which it covers the history.
    Snapshot(u64),
    /// Something that was never published; removed at open.
    Temporary,
}

/// The prepared segment that has no place in the history yet.
pub(crate) const SPARE: &str = "spare.tmp";

/// The name of the segment whose first data record has `first_seq`.
pub(crate) fn segment(first_seq: u64) -> String {
    format!("{first_seq:020}.log")
}

/// The name of the snapshot that covers the history up to `seq`.
pub(crate) fn snapshot(seq: u64) -> String {
    format!("{seq:020}.snapshot")
}

/// The name of that snapshot while it is written.
pub(crate) fn unfinished_snapshot(seq: u64) -> String {
    format!("{seq:020}.snapshot.tmp")
}

/// The name of a segment or a snapshot while it is copied.
pub(crate) fn unfinished(name: &str) -> String {
    format!("{name}.tmp")
}

/// Recognises a name of ours.
pub(crate) fn parse(name: &str) -> Option<FileName> {
    if name == SPARE {
        return Some(FileName::Temporary);
    }
    if let Some(digits) = name.strip_suffix(".log") {
        return seq(digits).map(FileName::Segment);
    }
    if let Some(digits) = name.strip_suffix(".snapshot") {
        return seq(digits).map(FileName::Snapshot);
    }
    let digits = name.strip_suffix(".snapshot.tmp").or_else(|| name.strip_suffix(".log.tmp"))?;
    seq(digits).map(|_| FileName::Temporary)
}

/// Exactly the 20 digits that the writer produces, so that no two names mean the same file.
fn seq(digits: &str) -> Option<u64> {
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_writer_produces_are_ours() {
        assert_eq!(parse(&segment(0)), Some(FileName::Segment(0)));
        assert_eq!(parse(&segment(u64::MAX)), Some(FileName::Segment(u64::MAX)));
        assert_eq!(parse(&snapshot(7)), Some(FileName::Snapshot(7)));
        assert_eq!(parse(&unfinished_snapshot(7)), Some(FileName::Temporary));
        assert_eq!(parse(&unfinished(&segment(7))), Some(FileName::Temporary));
        assert_eq!(unfinished(&snapshot(7)), unfinished_snapshot(7));
        assert_eq!(parse("spare.tmp"), Some(FileName::Temporary));
        for foreign in ["1.log", "+0000000000000000001.log", "99999999999999999999.log", "LOCK"] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
