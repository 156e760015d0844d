//! What to do where a segment ends: the decision of recovery, as a table.
//!
//! ```text
//! ending   next segment   promise   seal       decision
//! sealed   connected      any       any        go on in it
//! sealed   none           kept      claimed    the log ends: begin a segment
//! sealed   none           kept      confirmed  damage: the successor is missing
//! sealed   none           broken    any        damage: the successor is missing
//! sealed   disconnected   kept      claimed    the log ends: begin a segment, drop the rest
//! sealed   disconnected   kept      confirmed  damage: the successor is not the right one
//! sealed   disconnected   broken    any        damage: the successor is not the right one
//! torn     none           kept      claimed    the log ends: cut the tail
//! torn     otherwise      kept      claimed    the log ends: cut the tail, drop the rest
//! torn     any            kept      confirmed  damage: the record
//! torn     any            broken    any        damage: the record
//! ```

use crate::format::scan::Ending;

/// What follows the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// No segment.
    Nothing,
    /// One whose first record continues this segment.
    Connected,
    /// One whose first record is unreadable or continues something else.
    Disconnected,
}

/// Whether everything that was stated to be durable is in front of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// It is, as far as any record or mark tells.
    Kept,
    /// A record or a mark states that something behind the end was durable.
    Broken,
}

/// What is known of the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// At most the seal itself: the successor may never have reached the disk.
    Claimed,
    /// A mark states that the seal, the successor's name and its first record were durable.
    Confirmed,
}

/// What recovery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Read the next segment.
    GoOn,
    /// The log ends with this segment, which takes no more records. Later segments are dropped.
    Begin,
    /// The log ends in this segment. What is behind is cut, later segments are dropped.
    Cut,
    /// Something durable is lost: refuse to open.
    Damage(Damage),
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The record at the end of the readable part.
    Record,
    /// The segment that should follow is not there.
    MissingSuccessor,
    /// The segment that follows is not the one that was there.
    WrongSuccessor,
}

/// The table above.
pub(super) fn decide(ending: Ending, next: Next, promise: Promise, seal: Seal) -> Decision {
    use Ending::{Blank, Broken as Garbage, Sealed};
    use Next::{Connected, Disconnected, Nothing};
    use Promise::{Broken, Kept};
    use Seal::{Claimed, Confirmed};
    match (ending, next, promise, seal) {
        (Sealed, Connected, Kept | Broken, Claimed | Confirmed) => Decision::GoOn,
        (Sealed, Nothing, Kept, Claimed) => Decision::Begin,
        (Sealed, Nothing, Kept, Confirmed) | (Sealed, Nothing, Broken, Claimed | Confirmed) => {
            Decision::Damage(Damage::MissingSuccessor)
        }
        (Sealed, Disconnected, Kept, Claimed) => Decision::Begin,
        (Sealed, Disconnected, Kept, Confirmed)
        | (Sealed, Disconnected, Broken, Claimed | Confirmed) => {
            Decision::Damage(Damage::WrongSuccessor)
        }
        (Blank | Garbage, Nothing | Connected | Disconnected, Kept, Claimed) => Decision::Cut,
        (Blank | Garbage, Nothing | Connected | Disconnected, Kept, Confirmed)
        | (Blank | Garbage, Nothing | Connected | Disconnected, Broken, Claimed | Confirmed) => {
            Decision::Damage(Damage::Record)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_promised_is_ever_cut() {
        let mut cases = 0;
        for ending in [Ending::Sealed, Ending::Blank, Ending::Broken] {
            for next in [Next::Nothing, Next::Connected, Next::Disconnected] {
                for promise in [Promise::Kept, Promise::Broken] {
                    for seal in [Seal::Claimed, Seal::Confirmed] {
                        cases += 1;
                        let decision = decide(ending, next, promise, seal);
                        let goes_on = ending == Ending::Sealed && next == Next::Connected;
                        let promised = promise == Promise::Broken || seal == Seal::Confirmed;
                        assert_eq!(decision == Decision::GoOn, goes_on);
                        assert_eq!(
                            matches!(decision, Decision::Damage(_)),
                            promised && !goes_on,
                            "{ending:?} {next:?} {promise:?} {seal:?}: {decision:?}"
                        );
                        if decision == Decision::Begin {
                            assert_eq!(ending, Ending::Sealed, "the segment takes records");
                        }
                    }
                }
            }
        }
        assert_eq!(cases, 36);
    }
}
