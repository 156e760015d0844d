//! Lines with their numbers: what both formats are made of.

use std::io::BufRead;

use anyhow::{Context, Result};

/// What some editors put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads a file line by line. Blank lines count and are skipped.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`.
    pub(super) fn new(input: R) -> Lines<R> {
        Lines { input, number: 0, bytes: Vec::new() }
    }

    /// Goes to the next line and returns its number, from 1, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<u64>> {
        loop {
            self.bytes.clear();
            if !self.append()? {
                return Ok(None);
            }
            if self.number == 1 && self.bytes.starts_with(BYTE_ORDER_MARK) {
                self.bytes.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.bytes.trim_ascii().is_empty() {
                return Ok(Some(self.number));
            }
        }
    }

    /// Adds the line behind it to the current one; false if there is none.
    pub(super) fn append(&mut self) -> Result<bool> {
        let read = self.input.read_until(b'\n', &mut self.bytes);
        let read = read.context("the file cannot be read")?;
        self.number += u64::from(read > 0);
        Ok(read > 0)
    }

    /// The current line without its end, which may be that of any system.
    pub(super) fn text(&self) -> &[u8] {
        let text = self.bytes.as_slice();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        text.strip_suffix(b"\r").unwrap_or(text)
    }
}
