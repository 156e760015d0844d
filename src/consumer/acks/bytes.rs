//! The byte form of a state and of a delta. Bytes only: what they do to a tracker is said elsewhere.
//!
//! ```text
//! version  u8       1
//! form     u8       0 a state, 1 a delta
//! epoch    varint   how often completions were forgotten
//! mark     varint   the watermark
//! runs              each: gap varint, 1 or more; length less one varint
//! end      u8       0, where another gap would stand
//! ```
//!
//! A gap counts from the watermark, or from the end of the run before. Varints are LEB128 of at most
//! ten bytes, without bytes that say nothing: each set of runs has one encoding.

use std::ops::Range;

use crate::error::{Error, Result};

const VERSION: u8 = 1;
/// One more than the highest offset that a record may have.
const MAX_END: u64 = i64::MAX as u64;
/// More than there will be, and so much less than a `u64` holds that counting on is safe.
const MAX_EPOCH: u64 = i64::MAX as u64;

/// What an encoding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    State,
    Delta,
}

/// What stands before the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) epoch: u64,
    pub(super) watermark: u64,
}

/// Appends an encoding to `out`. The runs lie above the watermark and do not touch it or each other.
pub(super) fn encode(
    out: &mut Vec<u8>,
    form: Form,
    head: Head,
    runs: impl Iterator<Item = Range<u64>>,
) {
    out.extend([VERSION, form as u8]);
    put_varint(out, head.epoch);
    put_varint(out, head.watermark);
    let mut at = head.watermark;
    for run in runs {
        put_varint(out, run.start - at);
        put_varint(out, run.end - run.start - 1);
        at = run.end;
    }
    out.push(0);
}

/// Reads what stands before the runs; the rest is read run by run, and ends the iterator with its
/// first error.
pub(super) fn decode(bytes: &[u8], form: Form) -> Result<(Head, Runs<'_>)> {
    let mut reader = Reader { bytes, at: 0 };
    reader.version()?;
    if reader.byte()? != form as u8 {
        return Err(Error::corrupt(format!("acks that are not a {form:?}")).at(1));
    }
    let head = Head { epoch: reader.varint()?, watermark: reader.varint()? };
    if head.watermark > MAX_END || head.epoch > MAX_EPOCH {
        return Err(reader.corrupt("a watermark or an epoch that no acks have"));
    }
    Ok((head, Runs { reader, at: head.watermark, is_over: false }))
}

/// Takes the first encoding off the front of several, which tell their own ends.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let mut reader = Reader { bytes, at: 0 };
    reader.version()?;
    let _form = reader.byte()?;
    let (_epoch, _watermark) = (reader.varint()?, reader.varint()?);
    while reader.varint()? > 0 {
        let _length = reader.varint()?;
    }
    Ok(bytes.split_at(reader.at))
}

/// The runs of an encoding.
#[derive(Clone)]
pub(super) struct Runs<'a> {
    reader: Reader<'a>,
    at: u64,
    is_over: bool,
}

impl Runs<'_> {
    fn read(&mut self) -> Result<Option<Range<u64>>> {
        let gap = self.reader.varint()?;
        if gap == 0 {
            return if self.reader.at == self.reader.bytes.len() {
                Ok(None)
            } else {
                Err(self.reader.corrupt("bytes behind the end of acks"))
            };
        }
        let length = self.reader.varint()?.checked_add(1);
        let start = self.at.checked_add(gap);
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= MAX_END => {
                self.at = end;
                Ok(Some(start..end))
            }
            _ => Err(self.reader.corrupt("acks above the highest offset")),
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Result<Range<u64>>> {
        if self.is_over {
            return None;
        }
        let run = self.read().transpose();
        self.is_over = !matches!(run, Some(Ok(_)));
        run
    }
}

#[derive(Clone)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn version(&mut self) -> Result<()> {
        let version = self.byte()?;
        if version != VERSION {
            let message = format!("acks of version {version}, this one reads version {VERSION}");
            return Err(Error::unsupported(message));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or_else(|| self.corrupt("acks that end too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || byte == 0 && shift > 0 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.corrupt("a number that is not in its one form"))
    }

    fn corrupt(&self, message: &str) -> Error {
        Error::corrupt(message).at(self.at as u64)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
