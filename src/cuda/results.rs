//! The results of a pass for one representation: their layout, and how they are made and handed over.

use super::batch::Batch;
use super::error::{CudaError, While};
use super::kernels::{ModelKernels, grid, launch};
use super::lane::Lane;
use super::lm_head::GpuHead;
use super::pass::{Failure, HostRows, ResidueRows};
use cudarc::driver::result;
use half::f16;
use std::sync::Arc;

/// Tokens of the sequences that memory is provided for before they occur. A protein has about 300.
const SHORT: usize = 32;

/// Where the parts of a result are, in floats: a mark for each sequence that is not finite; means,
/// largest values and first rows of all sequences; residue rows; logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    sequences: usize,
    dim: usize,
    /// Residue rows, of all sequences.
    residues: usize,
    rows: ResidueRows,
    /// Tokens that have logits, all or none, and their columns.
    logits: usize,
    columns: usize,
}

impl Layout {
    pub(super) fn new(
        batch: &Batch,
        dim: usize,
        rows: ResidueRows,
        logits: Option<usize>,
    ) -> Layout {
        Layout {
            sequences: batch.sequences,
            dim,
            residues: batch.residues(),
            rows,
            logits: logits.map_or(0, |_| batch.tokens),
            columns: logits.unwrap_or(0),
        }
    }

    /// Start of a pooled part: means (0), largest values (1), first rows (2); 3 is what follows.
    fn pooled(&self, part: usize) -> usize {
        self.sequences.next_multiple_of(4) + part * self.sequences * self.dim
    }

    /// Floats that fill as much memory as `rows` residue rows; widths are even.
    fn floats_of(&self, rows: usize) -> usize {
        rows * self.rows.row_bytes(self.dim) / 4
    }

    /// Floats to reserve if the memory is too small for these results, where full batches have `full`
    /// tokens. A batch of more than half of that is one of many, so memory for the largest of them is
    /// reserved at once: pinning takes time, and the GPU waits while old memory is freed. Batches of
    /// very short sequences may still need more.
    pub(super) fn reserved(&self, full: usize) -> usize {
        let tokens = self.residues + 2 * self.sequences;
        if tokens > full || 2 * tokens <= full {
            return self.floats();
        }
        let largest = Layout {
            sequences: full.div_ceil(SHORT),
            residues: full,
            logits: if self.logits > 0 { full } else { 0 },
            ..*self
        };
        largest.floats().max(self.floats())
    }

    /// Start of the logits.
    fn logits(&self) -> usize {
        (self.pooled(3) + self.floats_of(self.residues)).next_multiple_of(4)
    }

    pub(super) fn floats(&self) -> usize {
        match self.logits {
            0 => self.pooled(3) + self.floats_of(self.residues),
            tokens => self.logits() + tokens * self.columns,
        }
    }
}

/// The results of a pass, layer by layer.
pub(super) struct Results<'a> {
    pub(super) kernels: &'a ModelKernels,
    pub(super) batch: &'a Batch,
    /// Address of the batch's arrays.
    pub(super) at: u64,
    pub(super) layout: Layout,
    /// Address of the results.
    pub(super) address: u64,
}

impl Results<'_> {
    /// Pools x and hands its rows over sequence by sequence: None for a sequence with a number that is
    /// not finite.
    pub(super) fn hand_over(
        &self,
        lane: &mut Lane,
        mut each: impl FnMut(usize, Option<HostRows<'_>>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.pool(lane)?;
        let layout = self.layout;
        let all = lane.fetch(layout.floats())?;
        let part = |start: usize, count: usize| all.get(start..start + count).unwrap_or_default();
        let (mut residue, mut token) = (0, 0);
        for (sequence, length) in lengths(self.batch).enumerate() {
            let pooled = |i| part(layout.pooled(i) + sequence * layout.dim, layout.dim);
            let start = layout.pooled(3) + layout.floats_of(residue);
            let rows = part(start, layout.floats_of(length));
            residue += length;
            let logits = match layout.logits {
                0 => &[][..],
                _ => {
                    let start = layout.logits() + token * layout.columns;
                    part(start, (length + 2) * layout.columns)
                }
            };
            token += length + 2;
            let (residues, halves) = match layout.rows {
                ResidueRows::F16 => (&[][..], halves(rows)),
                ResidueRows::F32 | ResidueRows::None => (rows, &[][..]),
            };
            let is_finite = all.get(sequence).is_some_and(|mark| mark.to_bits() == 0);
            let rows = is_finite.then_some(HostRows {
                mean: pooled(0),
                max: pooled(1),
                bos: pooled(2),
                residues,
                halves,
                logits,
            });
            each(sequence, rows)?;
        }
        Ok(())
    }

    /// Computes the logits of every token with x, the last representation.
    pub(super) fn make_logits(&self, lane: &Lane, head: &GpuHead) -> Result<(), CudaError> {
        let tokens = self.layout.logits;
        let logits = self.address + 4 * self.layout.logits() as u64;
        let rows = lane.rows()?;
        let stream = &lane.stream;
        // SAFETY: x and the wide rows, of at least 6 bytes for each column, have a row for each token,
        // and the results have a part for the logits.
        unsafe {
            result::memset_d8_async(
                logits,
                0,
                4 * self.layout.columns * tokens,
                stream.cu_stream(),
            )
            .while_("clearing logits")?;
            head.run(stream, [rows.x.at(0), rows.wide.at(0), logits], tokens)
        }
    }

    /// Writes the parts of the result to their places in `layout`.
    fn pool(&self, lane: &mut Lane) -> Result<(), CudaError> {
        let (batch, layout, kernels) = (self.batch, self.layout, self.kernels);
        let dim = layout.dim;
        let stream = Arc::clone(&lane.stream);
        let x = lane.rows()?.x.at(0);
        let part = |i: usize| self.address + 4 * layout.pooled(i) as u64;
        let take_rows = match layout.rows {
            ResidueRows::None => None,
            ResidueRows::F32 => Some(&kernels.take_rows_f32),
            ResidueRows::F16 => Some(&kernels.take_rows_f16),
        };
        // SAFETY: arguments as the kernels declare them, and addresses of parts of the results as
        // `layout` has them; `places` are rows of the residues, each once.
        unsafe {
            let bytes = 4 * layout.sequences;
            result::memset_d8_async(self.address, 0, bytes, stream.cu_stream())
                .while_("clearing marks")?;
            launch!(
                stream,
                kernels.pool,
                grid(layout.sequences, dim.div_ceil(128), 0),
                part(0),
                part(1),
                part(2),
                self.address,
                x,
                self.at + batch.starts_at as u64,
                dim as i32,
            )
            .while_("starting a kernel")?;
            if let Some(take_rows) = take_rows {
                launch!(
                    stream,
                    take_rows,
                    grid(batch.tokens, 1, 0),
                    part(3),
                    x,
                    self.at + batch.places_at as u64,
                    dim as i32,
                )
                .while_("starting a kernel")?;
            }
        }
        Ok(())
    }
}

/// Floats as the pairs of f16 that a kernel wrote into their memory.
fn halves(floats: &[f32]) -> &[f16] {
    // SAFETY: the memory is that of the floats, whose alignment is larger, and any two bytes are an
    // f16.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), 2 * floats.len()) }
}

/// Residues of each sequence of a batch.
fn lengths(batch: &Batch) -> impl Iterator<Item = usize> + '_ {
    let end = batch.starts_at + 4 * (batch.sequences + 1);
    let starts = batch.bytes.get(batch.starts_at..end).unwrap_or_default();
    let starts = starts.as_chunks::<4>().0;
    starts.windows(2).map(|pair| match pair {
        [a, b] => (i32::from_ne_bytes(*b) - i32::from_ne_bytes(*a) - 2).max(0) as usize,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Packed;

    #[test]
    fn parts_of_a_result_do_not_overlap() {
        let packed = Packed::new([[0, 4, 5, 2].as_slice(), &[0, 4, 2]]);
        let batch = Batch::new(&packed, 33, Some(32)).unwrap();
        let layout = |rows| Layout::new(&batch, 8, rows, None);
        let whole = layout(ResidueRows::F32);
        assert_eq!([0, 1, 2, 3].map(|i| whole.pooled(i)), [4, 20, 36, 52]);
        assert_eq!(whole.floats(), 52 + 3 * 8);
        // f16 is half as much, and without residues there are only pooled rows.
        assert_eq!(layout(ResidueRows::F16).floats(), 52 + 3 * 4);
        assert_eq!(layout(ResidueRows::None).floats(), 52);
        // Logits of all seven tokens follow the residue rows.
        let logits = Layout::new(&batch, 8, ResidueRows::F16, Some(40));
        assert_eq!((logits.logits(), logits.floats()), (64, 64 + 7 * 40));
        assert_eq!(lengths(&batch).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_large_batch_provides_for_a_full_one() {
        let tokens = [vec![0], vec![4; 598], vec![2]].concat();
        let batch = Batch::new(&Packed::new([tokens.as_slice()]), 33, Some(32)).unwrap();
        let layout = Layout::new(&batch, 8, ResidueRows::F32, None);
        let own = 4 + 3 * 8 + 598 * 8;
        assert_eq!(layout.floats(), own);
        // 1,000 tokens have 32 sequences of 32 tokens.
        assert_eq!(layout.reserved(1000), 32 + 32 * 3 * 8 + 1000 * 8);
        assert_eq!(layout.reserved(1200), own);
        assert_eq!(layout.reserved(599), own);
        assert_eq!(layout.reserved(600), 20 + 19 * 3 * 8 + 600 * 8);
    }

    #[test]
    fn two_halves_take_the_place_of_a_float() {
        let bits = u32::from_ne_bytes([0x00, 0x3c, 0x00, 0xc1]);
        assert_eq!(
            halves(&[f32::from_bits(bits)]),
            [f16::from_f32(1.0), f16::from_f32(-2.5)]
        );
        assert!(halves(&[]).is_empty());
    }
}
