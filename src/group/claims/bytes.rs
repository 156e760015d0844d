//! The byte form of claims and modes.
//!
//! ```text
//! claim         u8       1, the version
//!               u64      epoch, little-endian
//!               the rest is the name of the owner in UTF-8; nothing if there is none
//! mode          u8       1, the version
//!               u8       0 free, 1 monotonic, 2 compare-and-set
//! ```

use std::sync::Arc;

use super::table::Claim;
use super::{ClaimEpoch, CommitMode};
use crate::error::{Error, Result};
use crate::key::MAX_NAME_BYTES;

const VERSION: u8 = 1;

pub(crate) fn encode_claim(epoch: ClaimEpoch, owner: Option<&str>) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(epoch.0.to_le_bytes());
    out.extend(owner.unwrap_or_default().as_bytes());
    out
}

pub(crate) fn decode_claim(bytes: &[u8]) -> Result<Claim> {
    let rest = body(bytes)?;
    let (epoch, owner) =
        rest.split_first_chunk().ok_or_else(|| Error::corrupt("a claim that ends"))?;
    let owner = std::str::from_utf8(owner);
    let owner = owner.map_err(|_| Error::corrupt("an owner that is not UTF-8"))?;
    if owner.len() > MAX_NAME_BYTES {
        return Err(Error::corrupt("an owner whose name is too long"));
    }
    let owner: Option<Arc<str>> = (!owner.is_empty()).then(|| owner.into());
    Ok(Claim { epoch: ClaimEpoch(u64::from_le_bytes(*epoch)), owner })
}

pub(crate) fn encode_mode(mode: CommitMode) -> Vec<u8> {
    let code = match mode {
        CommitMode::Free => 0,
        CommitMode::Monotonic => 1,
        CommitMode::CompareAndSet => 2,
    };
    vec![VERSION, code]
}

pub(crate) fn decode_mode(bytes: &[u8]) -> Result<CommitMode> {
    match body(bytes)? {
        [0] => Ok(CommitMode::Free),
        [1] => Ok(CommitMode::Monotonic),
        [2] => Ok(CommitMode::CompareAndSet),
        _ => Err(Error::corrupt("a mode of commits that there is not")),
    }
}

fn body(bytes: &[u8]) -> Result<&[u8]> {
    match bytes {
        [VERSION, rest @ ..] => Ok(rest),
        [] => Err(Error::corrupt("a claim without bytes")),
        [version, ..] => Err(Error::unsupported(format!(
            "a claim in version {version}, this one reads version {VERSION}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_encoded_is_read_back_and_nothing_else_is() {
        for owner in [None, Some("alice")] {
            let bytes = encode_claim(ClaimEpoch(7), owner);
            let claim = decode_claim(&bytes).unwrap();
            assert_eq!((claim.epoch, claim.owner.as_deref()), (ClaimEpoch(7), owner));
            assert_eq!(decode_claim(&bytes[..8]).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        for mode in [CommitMode::Free, CommitMode::Monotonic, CommitMode::CompareAndSet] {
            assert_eq!(decode_mode(&encode_mode(mode)).unwrap(), mode);
        }
        for bytes in [&[1, 3][..], &[1], &[1, 0, 0], &[]] {
            assert_eq!(decode_mode(bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let not_utf8 = [&encode_claim(ClaimEpoch(1), None)[..], &[0xff]].concat();
        assert_eq!(decode_claim(&not_utf8).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(decode_mode(&[2, 0]).unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    }
}
