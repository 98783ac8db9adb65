//! From rows as files have them to panels of sixteen, in place, and back.

use super::kernels::ROWS;
use crate::gguf::Packing;

/// Where a byte of a block of one row stands in that of its panel.
fn place(packing: Packing, row: usize, at: usize) -> usize {
    // Floats of 16 bits, then codes in groups of four bytes.
    let floats = if packing == Packing::Q4_1 { 4 } else { 2 };
    match at < floats {
        true => at / 2 * 2 * ROWS + 2 * row + at % 2,
        false => {
            let code = at - floats;
            floats * ROWS + code / 4 * 4 * ROWS + 4 * row + code % 4
        }
    }
}

/// Puts each sixteen rows side by side; `bytes` are whole panels.
pub(super) fn interleave(packing: Packing, row_bytes: usize, bytes: &mut [u8]) {
    let size = packing.bytes();
    let mut rows = vec![0; row_bytes * ROWS];
    for panel in bytes.chunks_exact_mut(row_bytes * ROWS) {
        rows.copy_from_slice(panel);
        for (row, bytes) in rows.chunks_exact(row_bytes).enumerate() {
            let blocks = panel.chunks_exact_mut(size * ROWS);
            for (panel, block) in blocks.zip(bytes.chunks_exact(size)) {
                for (at, &byte) in block.iter().enumerate() {
                    panel[place(packing, row, at)] = byte;
                }
            }
        }
    }
}

/// The bytes of a panel's row as a file has them.
pub(super) fn row(packing: Packing, panel: &[u8], row: usize) -> Vec<u8> {
    let size = packing.bytes();
    let blocks = panel.chunks_exact(size * ROWS);
    blocks
        .flat_map(|block| (0..size).map(move |at| block[place(packing, row, at)]))
        .collect()
}
