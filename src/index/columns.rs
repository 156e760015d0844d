//! Rows of numbers, packed: a block of rows keeps what the numbers of a column share once.
//!
//! Values that lie together are much alike: partitions count up, timestamps are of the same days,
//! epochs are all the same. Of a block of [`BLOCK`] rows, each column has the high bytes that all its
//! numbers share, and for each row the bytes in which they differ: none, one, or up to eight. Any row is
//! found without looking at another.

/// The numbers of a row.
pub(super) const COLUMNS: usize = 6;
/// The rows of a block, of which the last one may have fewer.
pub(super) const BLOCK: usize = 128;

/// A row.
pub(super) type Row = [u64; COLUMNS];

/// Packed rows. Nothing of it ever changes.
pub(super) struct Columns {
    len: usize,
    blocks: Box<[Block]>,
    /// What is not shared, column by column in each block. Some bytes follow, so that a number can be
    /// loaded as eight of them, whatever its width.
    bytes: Box<[u8]>,
}

/// A block: where its bytes begin, and what each column needs to be read.
struct Block {
    start: usize,
    /// How many bytes of a column are not shared.
    widths: [u8; COLUMNS],
    /// The rest of its numbers.
    shared: Row,
}

impl Columns {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A row.
    pub(super) fn row(&self, at: usize) -> Row {
        let block = &self.blocks[at / BLOCK];
        let mut start = block.start;
        std::array::from_fn(|column| self.take(block, &mut start, column, at))
    }

    /// The number in the first column of a row.
    pub(super) fn first(&self, at: usize) -> u64 {
        let block = &self.blocks[at / BLOCK];
        self.take(block, &mut { block.start }, 0, at)
    }

    /// About how many bytes of memory it takes, itself not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.blocks) + self.bytes.len()
    }

    /// Reads a number of the column that begins at `start`, and goes on to the next column.
    #[inline]
    fn take(&self, block: &Block, start: &mut usize, column: usize, row: usize) -> u64 {
        let (width, shared) = (usize::from(block.widths[column]), block.shared[column]);
        if width == 0 {
            return shared;
        }
        let at = *start + row % BLOCK * width;
        let rows = BLOCK.min(self.len - row / BLOCK * BLOCK);
        *start += rows * width;
        let bytes = self.bytes[at..].first_chunk().copied().unwrap_or_default();
        shared | u64::from_le_bytes(bytes) & low(width)
    }
}

/// The lowest bytes of a number, as a mask. There is one at least.
fn low(width: usize) -> u64 {
    u64::MAX >> (64 - 8 * width)
}

/// Gathers rows.
pub(super) struct ColumnsWriter {
    /// The rows of the block that is not full, by columns.
    open: Box<[[u64; BLOCK]; COLUMNS]>,
    rows: usize,
    blocks: Vec<Block>,
    bytes: Vec<u8>,
}

impl Default for ColumnsWriter {
    fn default() -> Self {
        let open = Box::new([[0; BLOCK]; COLUMNS]);
        ColumnsWriter { open, rows: 0, blocks: Vec::new(), bytes: Vec::new() }
    }
}

impl ColumnsWriter {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.rows
    }

    /// Adds a row.
    #[inline(always)]
    pub(super) fn push(&mut self, row: Row) {
        let at = self.rows % BLOCK;
        for (column, number) in self.open.iter_mut().zip(row) {
            column[at] = number;
        }
        self.rows = at + 1;
        if self.rows == BLOCK {
            self.end_block();
        }
    }

    /// What was gathered. Goes on with nothing.
    pub(super) fn finish(&mut self) -> Columns {
        let len = self.len();
        if self.rows > 0 {
            self.end_block();
        }
        self.bytes.extend_from_slice(&[0; size_of::<u64>()]);
        let blocks = self.blocks.drain(..).collect();
        let bytes = self.bytes.as_slice().into();
        self.bytes.clear();
        Columns { len, blocks, bytes }
    }

    #[inline(never)]
    fn end_block(&mut self) {
        let mut block =
            Block { start: self.bytes.len(), widths: [0; COLUMNS], shared: [0; COLUMNS] };
        for (column, numbers) in self.open.iter().enumerate() {
            let numbers = &numbers[..self.rows];
            let differing = numbers.iter().fold(0, |bits, number| bits | (number ^ numbers[0]));
            let width = (u64::BITS - differing.leading_zeros()).div_ceil(8) as usize;
            let own = if width == 0 { 0 } else { low(width) };
            (block.widths[column], block.shared[column]) = (width as u8, numbers[0] & !own);
            put(&mut self.bytes, numbers, width);
        }
        self.blocks.push(block);
        self.rows = 0;
    }
}

/// Appends the lowest bytes of numbers.
fn put(bytes: &mut Vec<u8>, numbers: &[u64], width: usize) {
    match width {
        0 => {}
        1 => put_low::<1>(bytes, numbers),
        2 => put_low::<2>(bytes, numbers),
        3 => put_low::<3>(bytes, numbers),
        4 => put_low::<4>(bytes, numbers),
        5 => put_low::<5>(bytes, numbers),
        6 => put_low::<6>(bytes, numbers),
        7 => put_low::<7>(bytes, numbers),
        _ => put_low::<8>(bytes, numbers),
    }
}

/// With a width that the compiler knows, copies of it are no calls.
fn put_low<const WIDTH: usize>(bytes: &mut Vec<u8>, numbers: &[u64]) {
    let start = bytes.len();
    bytes.resize(start + WIDTH * numbers.len(), 0);
    let (places, _) = bytes[start..].as_chunks_mut::<WIDTH>();
    for (place, number) in places.iter_mut().zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes()[..WIDTH]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_all_rows_share_takes_no_bytes_and_what_differs_as_few_as_possible() {
        let mut writer = ColumnsWriter::default();
        for row in 0..BLOCK as u64 {
            writer.push([row, 7, u64::MAX, 1 << 40 | row << 9, row << 56, 0]);
        }
        let columns = writer.finish();
        assert_eq!(columns.blocks.len(), 1);
        assert_eq!(columns.blocks[0].widths, [1, 0, 0, 2, 8, 0]);
        assert_eq!(columns.bytes.len(), (1 + 2 + 8) * BLOCK + 8);
        assert_eq!(columns.row(5), [5, 7, u64::MAX, 1 << 40 | 5 << 9, 5 << 56, 0]);
    }

    proptest! {
        #[test]
        fn any_rows_come_back(
            rows in prop::collection::vec((any::<Row>(), 0..8u32), 0..3 * BLOCK),
            shifts in any::<[u8; COLUMNS]>(),
        ) {
            let narrow = |(row, more): &(Row, u32)| -> Row {
                std::array::from_fn(|at| row[at] >> (u32::from(shifts[at]) % 57 + more))
            };
            let rows: Vec<Row> = rows.iter().map(narrow).collect();
            let mut writer = ColumnsWriter::default();
            // Whatever was gathered before is gone.
            for len in [rows.len() / 2, rows.len()] {
                for (at, row) in rows[..len].iter().enumerate() {
                    prop_assert_eq!(writer.len(), at);
                    writer.push(*row);
                }
                let columns = writer.finish();
                prop_assert_eq!(columns.len(), len);
                for (at, row) in rows[..len].iter().enumerate() {
                    prop_assert_eq!(&columns.row(at), row);
                    prop_assert_eq!(columns.first(at), row[0]);
                }
            }
        }
    }
}
