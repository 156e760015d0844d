//! The page cache: what is dropped from it, what is kept out of it, what is read only if it is there, and
//! what is read past it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::io::DIRECT_ALIGN;

#[cfg(target_os = "linux")]
pub(super) use linux::{drop_cached, keep_small, read_cached};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{drop_cached, keep_small, read_cached};

/// Reads past the page cache, by way of other memory if need be.
pub(super) fn read_direct(direct: &File, mut position: u64, mut into: &mut [u8]) -> io::Result<()> {
    const MOST: usize = 256 << 10;
    if is_aligned(position, into) {
        return direct.read_exact_at(into, position);
    }
    let most = MOST.min((into.len() + DIRECT_ALIGN).next_multiple_of(DIRECT_ALIGN));
    let mut room = vec![0; most + DIRECT_ALIGN];
    let start = room.as_ptr().addr().wrapping_neg() % DIRECT_ALIGN;
    let room = &mut room[start..start + most];
    while !into.is_empty() {
        let before = position as usize % DIRECT_ALIGN;
        let wanted = into.len().min(most - before);
        let aligned = (before + wanted).next_multiple_of(DIRECT_ALIGN);
        let read = match direct.read_at(&mut room[..aligned], position - before as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        // A read may be cut short anywhere. One that brings nothing is behind the end of the file.
        let Some(found @ [_, ..]) = room[..read].get(before..) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let len = wanted.min(found.len());
        into[..len].copy_from_slice(&found[..len]);
        into = &mut into[len..];
        position += len as u64;
    }
    Ok(())
}

/// Whether a read can go past the page cache as it is.
pub(super) fn is_aligned(position: u64, into: &[u8]) -> bool {
    let all = position as usize | into.len() | into.as_ptr().addr();
    all.is_multiple_of(DIRECT_ALIGN)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::IoSliceMut;

    use rustix::fs::Advice;
    use rustix::io::{ReadWriteFlags, preadv2, retry_on_intr};

    /// Drops the pages of a file, but for those that are to be written. The page cache may ignore it.
    pub(in super::super) fn drop_cached(file: &File) {
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    }

    /// Keeps read-ahead off a file: it brings large folios into the page cache, and then the flush of one
    /// small record writes all of such a folio. The page cache may ignore it.
    pub(in super::super) fn keep_small(file: &File) {
        let _ = rustix::fs::fadvise(file, 0, None, Advice::Random);
    }

    /// Fills `into` if all of it is cached. Otherwise `into` holds anything.
    pub(in super::super) fn read_cached(
        file: &File,
        mut position: u64,
        mut into: &mut [u8],
    ) -> bool {
        while !into.is_empty() {
            let read = retry_on_intr(|| {
                preadv2(file, &mut [IoSliceMut::new(into)], position, ReadWriteFlags::NOWAIT)
            });
            // What is not there in time, and what the kernel or the file system does not know.
            let Ok(len @ 1..) = read else { return false };
            into = &mut into[len..];
            position += len as u64;
        }
        true
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::fs::File;

    pub(in super::super) fn drop_cached(_: &File) {}

    pub(in super::super) fn keep_small(_: &File) {}

    pub(in super::super) fn read_cached(_: &File, _: u64, _: &mut [u8]) -> bool {
        false
    }
}
