//! The weights of a layer, packed for the register tile: panels of one tile's width,
//! `[panel, inputs, width]`.

use super::fixed_point::{self, FixedPanels, RoundPanel};
use super::size::{LinearSize, WeightType};
use crate::ops::buffer::{Buffer, Number};
use crate::ops::prefetch::Prefetch;
use crate::ops::simd::{CpuPath, Kernel, Simd};
use crate::ops::tile;
use half::bf16;
use thiserror::Error;

/// Why a layer could not be packed.
#[derive(Debug, Error)]
pub enum PackError<E> {
    /// The weights could not be read.
    #[error(transparent)]
    Weights(E),
    /// There is not enough memory for the packed weights.
    #[error("out of memory: {bytes} bytes for packed weights: {source}")]
    Memory {
        /// Bytes that were requested.
        bytes: usize,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// The packed weights and the bias of a layer.
pub(super) struct Packed {
    pub(super) size: LinearSize,
    /// Outputs without their padding.
    pub(super) outputs: usize,
    pub(super) panels: Panels,
    /// Padded with zeros to whole panels.
    pub(super) bias: Vec<f32>,
}

pub(super) enum Panels {
    F32(Buffer<f32>),
    Bf16(Buffer<bf16>),
    Fixed(FixedPanels),
}

impl Packed {
    /// Packs the weights: see [`Linear::pack`](super::Linear::pack).
    pub(super) fn new<E>(
        path: CpuPath,
        weight_type: WeightType,
        inputs: usize,
        outputs: usize,
        bias: &[f32],
        mut row: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Packed, PackError<E>> {
        let size = LinearSize::new(path, weight_type, inputs, outputs);
        let (steps, width) = (size.steps, size.width);
        // Features of a row, with their padding.
        let depth = match weight_type {
            WeightType::F16 => steps * fixed_point::PAIR,
            WeightType::F32 | WeightType::Bf16 => steps,
        };
        let count = outputs.div_ceil(width);
        let len = count.saturating_mul(width).saturating_mul(depth);
        let mut panels = match weight_type {
            WeightType::F32 => Panels::F32(zeroed(len)?),
            WeightType::F16 => {
                let bytes = len.saturating_mul(2);
                Panels::Fixed(FixedPanels::zeroed(count, &size).map_err(no_memory(bytes))?)
            }
            WeightType::Bf16 => Panels::Bf16(zeroed(len)?),
        };
        // All rows of a panel are read before they are interleaved: the writes are then
        // sequential.
        let mut rows = vec![0.0f32; width * depth];
        let mut pairs = match weight_type {
            WeightType::F16 => vec![0.0f32; width * steps],
            _ => Vec::new(),
        };
        for panel in 0..count {
            for (j, buffer) in rows.chunks_exact_mut(depth).enumerate() {
                let n = panel * width + j;
                if n < outputs {
                    row(n, &mut buffer[..inputs]).map_err(PackError::Weights)?;
                } else {
                    buffer.fill(0.0);
                }
            }
            let block = panel * width * steps..(panel + 1) * width * steps;
            match &mut panels {
                Panels::F32(p) => path.dispatch(Interleave {
                    rows: &rows,
                    depth,
                    panel: p.fresh(block),
                }),
                Panels::Bf16(p) => {
                    let panel = p.fresh(block);
                    interleave(&rows, depth, width, panel, bf16::from_f32);
                }
                Panels::Fixed(p) => {
                    let scales = size.blocks() * width;
                    path.dispatch(RoundPanel {
                        size: &size,
                        rows: &rows,
                        pairs: &mut pairs,
                        scales: &mut p.scales[panel * scales..][..scales],
                    });
                    path.dispatch(Interleave {
                        rows: &pairs,
                        depth: steps,
                        panel: p.steps.fresh(block),
                    });
                }
            }
        }
        let mut all = vec![0.0; size.outputs];
        for (to, from) in all.iter_mut().zip(bias) {
            *to = *from;
        }
        Ok(Packed {
            size,
            outputs,
            panels,
            bias: all,
        })
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(p) => p.len() * 4,
            Panels::Bf16(p) => p.len() * 2,
            Panels::Fixed(p) => p.bytes(),
        }
    }

    /// The weights of a panel's block from step k on; none beyond the last step.
    pub(super) fn prefetch(&self, panel: usize, k: usize) -> Prefetch {
        fn of<T: Number>(panels: &Buffer<T>, at: usize, width: usize, steps: usize) -> Prefetch {
            let from = panels.as_slice().as_ptr().wrapping_add(at);
            Prefetch::new(from, width, width / tile::VECTORS, steps)
        }
        let LinearSize {
            steps,
            depth,
            width,
            ..
        } = self.size;
        let at = (panel * steps + k) * width;
        let block = steps.saturating_sub(k).min(depth);
        match &self.panels {
            Panels::F32(p) => of(p, at, width, block),
            Panels::Bf16(p) => of(p, at, width, block),
            Panels::Fixed(p) => of(&p.steps, at, width, block),
        }
    }

    /// A block of a panel as the tile reads it; bfloat16 is widened into the buffer.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    ///
    /// # Panics
    /// `at + len` is past the end, or `len` is not a multiple of the lanes or past the end of a
    /// buffer that is used.
    #[inline(always)]
    pub(super) unsafe fn block<S: Simd>(
        &self,
        at: usize,
        len: usize,
        buffer: &mut [f32],
    ) -> *const f32 {
        match &self.panels {
            Panels::F32(p) => p.as_slice()[at..at + len].as_ptr(),
            Panels::Bf16(p) => {
                let from = p.as_slice()[at..at + len].as_ptr();
                let to = buffer[..len].as_mut_ptr();
                for i in (0..len).step_by(S::LANES) {
                    // SAFETY: i + LANES ≤ len, which is a multiple of the lanes.
                    unsafe { S::store(to.add(i), S::load_bf16(from.add(i))) }
                }
                to
            }
            Panels::Fixed(p) => p.steps.as_slice()[at..at + len].as_ptr(),
        }
    }
}

fn zeroed<T: Number, E>(len: usize) -> Result<Buffer<T>, PackError<E>> {
    Buffer::zeroed(len).map_err(no_memory(len.saturating_mul(size_of::<T>())))
}

fn no_memory<E>(bytes: usize) -> impl Fn(std::io::Error) -> PackError<E> {
    move |source| PackError::Memory { bytes, source }
}

fn interleave<T>(
    rows: &[f32],
    depth: usize,
    width: usize,
    panel: &mut [T],
    convert: impl Fn(f32) -> T,
) {
    for (k, step) in panel.chunks_exact_mut(width).enumerate() {
        for (j, to) in step.iter_mut().enumerate() {
            *to = convert(rows[j * depth + k]);
        }
    }
}

/// Rows `[width, depth]` → panel `[depth, width]`.
struct Interleave<'a> {
    rows: &'a [f32],
    depth: usize,
    panel: &'a mut [f32],
}

impl Kernel for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = tile::width::<S>();
        assert!(self.rows.len() == width * self.depth && self.panel.len() == self.rows.len());
        assert!(self.depth.is_multiple_of(S::LANES));
        for k in (0..self.depth).step_by(S::LANES) {
            for j in (0..width).step_by(S::LANES) {
                // SAFETY: LANES rows from j on and LANES columns from k on are inside, because
                // width and depth are multiples of LANES.
                unsafe {
                    let from = self.rows.as_ptr().add(j * self.depth + k);
                    let to = self.panel.as_mut_ptr().add(k * width + j);
                    S::transpose(from, self.depth, to, width);
                }
            }
        }
    }
}
