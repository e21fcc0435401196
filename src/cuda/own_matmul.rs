//! The program's own matrix products (`kernels/matmul.cu`), which also do what the model does next with
//! each row. A row has the same bits in products of any height and by tiles of any height.

use super::error::{CudaError, While};
use super::kernels::{COLUMNS, ModelKernels, TileKernel, launch};
use super::row_kernels::Rotation;
use cudarc::driver::CudaStream;
use std::sync::Arc;

/// What follows a product.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// GELU of the result with its bias.
    Gelu,
    /// The result with its bias is added to the residual stream.
    Residual,
    /// Queries, keys and values: bias, scale and rotation of the first two.
    Rotary(Rotation),
}

/// A product with weights of one shape.
pub(super) struct OwnMatmul {
    inputs: usize,
    outputs: usize,
    /// Columns of a tile that are used.
    used: usize,
    /// By tiles of different heights, the highest first.
    kernels: Vec<TileKernel>,
    /// Rows of the highest tiles in use.
    highest: usize,
    multiprocessors: usize,
}

/// Addresses of a product's input, weights, bias and result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) x: u64,
    pub(super) weights: u64,
    pub(super) bias: u64,
    /// The result, or the residual stream.
    pub(super) y: u64,
}

/// Which linear layer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Queries, keys and values, of heads of this width.
    Qkv { head_dim: usize },
    /// The first feed-forward layer.
    Inner,
    /// The first feed-forward layer of SwiGLU: both factors, one after the other.
    Gated,
    /// Attention's output and the second feed-forward layer.
    Outer,
}

impl OwnMatmul {
    /// None if there are no kernels for the number format.
    pub(super) fn new(
        kernels: &ModelKernels,
        multiprocessors: usize,
        role: Role,
        outputs: usize,
        inputs: usize,
    ) -> Option<OwnMatmul> {
        let kernels = kernels.products.as_ref()?;
        let (kernels, used) = match role {
            Role::Qkv { head_dim } => (&kernels.rotary, COLUMNS / head_dim * head_dim),
            Role::Inner => (&kernels.gelu, COLUMNS),
            // Without rotation, that kernel leaves the product as it is.
            Role::Gated => (&kernels.rotary, COLUMNS),
            Role::Outer => (&kernels.residual, COLUMNS),
        };
        Some(OwnMatmul {
            inputs,
            outputs,
            used: used.max(1),
            kernels: kernels.clone(),
            highest: kernels.first()?.tile.rows,
            multiprocessors,
        })
    }

    /// Heights of tiles, among which the highest in use may be chosen: all but the lowest, which are for
    /// products of few rows.
    pub(super) fn tiles(&self) -> Vec<usize> {
        let (_, high) = self.kernels.split_last().unzip();
        let high: &[TileKernel] = high.unwrap_or_default();
        high.iter().map(|kernel| kernel.tile.rows).collect()
    }

    /// From now on no higher tiles than of `rows` rows are used.
    pub(super) fn limit(&mut self, rows: usize) {
        self.highest = rows;
    }

    /// Rows of the highest tiles in use.
    pub(super) fn highest(&self) -> usize {
        self.highest
    }

    /// Computes `rows` rows, and `next`, on a stream.
    ///
    /// # Safety
    /// Operands are addresses of the GPU that the stream belongs to, of as many rows; `next` is of the
    /// product's role, and its addresses are as it says.
    pub(super) unsafe fn run(
        &self,
        stream: &Arc<CudaStream>,
        operands: Operands,
        rows: usize,
        next: Next,
    ) -> Result<(), CudaError> {
        if rows == 0 {
            return Ok(());
        }
        let across = self.outputs.div_ceil(self.used);
        let heights: Vec<usize> = self.kernels.iter().map(|kernel| kernel.tile.rows).collect();
        let chosen = choose(&heights, self.highest, rows, across, self.multiprocessors);
        let mut kernels = self.kernels.iter();
        let kernel = kernels.find(|kernel| kernel.tile.rows == chosen);
        let TileKernel { tile, function } = kernel.ok_or(CudaError::Defect)?;
        let grid = tile.grid(rows.div_ceil(tile.rows) * across);
        let Operands {
            x,
            weights,
            bias,
            y,
        } = operands;
        let (rows, outputs, inputs) = (rows as i32, self.outputs as i32, self.inputs as i32);
        // SAFETY: arguments as the kernels declare them; the rest is the caller's.
        let launched = unsafe {
            match next {
                Next::Gelu | Next::Residual => launch!(
                    stream, function, grid, y, x, weights, bias, rows, outputs, inputs,
                ),
                Next::Rotary(rotation) => launch!(
                    stream,
                    function,
                    grid,
                    y,
                    x,
                    weights,
                    bias,
                    rows,
                    outputs,
                    inputs,
                    rotation.cosines,
                    rotation.sines,
                    rotation.positions,
                    rotation.scale,
                    rotation.half as i32,
                ),
            }
        };
        launched.while_("starting a matrix product")?;
        Ok(())
    }
}

/// The height of the tiles of a product of `rows` rows and `across` columns of tiles: the highest up to
/// `highest` that give every multiprocessor one, else the lowest. Pure.
fn choose(
    heights: &[usize],
    highest: usize,
    rows: usize,
    across: usize,
    multiprocessors: usize,
) -> usize {
    let fills = |height: usize| rows.div_ceil(height) * across >= multiprocessors;
    let mut allowed = heights.iter().copied().filter(|height| *height <= highest);
    let lowest = heights.last().copied().unwrap_or(1);
    allowed.find(|height| fills(*height)).unwrap_or(lowest)
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn tiles_are_as_high_as_all_multiprocessors_have_work() {
        let of = |highest, rows, outputs: usize| {
            choose(&[256, 128, 32], highest, rows, outputs.div_ceil(128), 132)
        };
        assert_eq!(of(256, 16_896, 1280), 256);
        assert_eq!(of(128, 16_896, 1280), 128);
        assert_eq!(of(256, 4096, 1280), 256);
        assert_eq!(of(256, 1024, 5120), 256);
        assert_eq!(of(256, 1024, 3840), 128);
        assert_eq!(of(256, 1024, 1280), 32);
        assert_eq!(of(256, 1, 320), 32);
    }
}
