//! The blocks of a file: its own, and written before they are needed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{allocate, unshare};
use crate::io::mapped::MappedFile;

/// Gives a new, empty file its blocks and its size, both durable, and maps it if that is wanted.
pub(super) fn fill(file: &File, size: u64, wants_map: bool) -> io::Result<Option<MappedFile>> {
    let wants_map = wants_map && size > 0;
    // First, since it fails at once on a full disk, and since it asks for all blocks in one piece.
    // Where it is not supported, the zeros below allocate.
    let is_reserved = size > 0 && allocate(file, size)?;
    let mut map = if wants_map && is_reserved { map_reserved(file, size)? } else { None };
    if map.is_none() {
        write_zeros(file, size)?;
    }
    file.sync_all()?;
    if file.metadata()?.len() != size {
        return Err(io::Error::other("the new file does not have the size that was written"));
    }
    if wants_map && map.is_none() {
        map = Some(MappedFile::map(file, size)?);
    }
    Ok(map)
}

/// Maps a new file whose blocks are reserved, and of which the first are about to be written. `None` if the
/// others cannot be written ahead of the log.
fn map_reserved(file: &File, size: u64) -> io::Result<Option<MappedFile>> {
    let map = MappedFile::map(file, size)?;
    let can_zero = map.zero_ahead(0);
    if can_zero {
        map.populate();
    }
    Ok(can_zero.then_some(map))
}

/// Fills a file with zeros.
///
/// Real zeros, since a block that is only reserved costs a change of metadata at its first write,
/// which commits would pay for again and again. And in small pieces: the page cache keeps a file in
/// units as large as the writes that filled it, and the flush of a single dirty byte in a mapped file
/// writes the whole unit.
fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    const PIECE: u64 = 4096;
    let zeros = [0; PIECE as usize];
    let mut position = 0;
    while position < size {
        let len = PIECE.min(size - position);
        file.write_all_at(&zeros[..len as usize], position)?;
        position += len;
    }
    Ok(())
}

/// Makes the whole file consist of blocks that are its own. False if the file system does not let us
/// and some are missing: then a mapped write could meet a full disk, and the file is not mapped.
pub(super) fn own(file: &File, size: u64) -> io::Result<bool> {
    let allocated = match allocate(file, size) {
        // The file has this size, so it is the request as such that the file system does not know.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => false,
        other => other?,
    };
    if !allocated {
        // Block counts are in units of 512 bytes whatever the block size is.
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata()?);
        return Ok(blocks.saturating_mul(512) >= size);
    }
    unshare(file, size)?;
    Ok(true)
}
