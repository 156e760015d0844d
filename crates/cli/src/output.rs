//! Standard output, with a memory for a reader that went away.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

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
