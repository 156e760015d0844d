//! Standard output, with a memory for a reader that went away.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Buffered standard output that remembers whether its reader has closed the pipe.
///
/// It is not locked, so that helper threads of the hidden commands can print too.
pub(crate) struct Output {
    inner: BufWriter<Stdout>,
    closed: bool,
}

impl Output {
    /// The output of this process.
    pub(crate) fn stdout() -> Output {
        Output { inner: BufWriter::with_capacity(64 << 10, io::stdout()), closed: false }
    }

    /// Whether the reader went away. Errors of sockets and other pipes do not count.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == ErrorKind::BrokenPipe
        {
            self.closed = true;
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.note(result)
    }
}

/// Waits so long, or until the reader of standard output goes away, and returns whether it has: a
/// program that has nothing to write does not find out otherwise.
pub(crate) fn closes_within(time: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
    let stdout = io::stdout();
    // Asked for nothing, the system tells of hang-ups and errors only.
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut ends, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        // A process that was stopped and goes on looks at the store a little earlier.
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
