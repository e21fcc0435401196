//! The kernels on a GPU, and their launch.

use super::error::{CudaError, While};
use super::images;
use crate::device::{AMPERE, Dtype};
use cudarc::driver::sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, LaunchConfig};
use cudarc::nvrtc::Ptx;
use std::sync::Arc;

/// Threads of every block.
const THREADS: u32 = 128;
/// Queries of a block of attention.
pub(super) const QUERIES: usize = 64;

/// All kernels, loaded onto a GPU.
pub(super) struct Kernels {
    module: Arc<CudaModule>,
    capability: (i32, i32),
    /// Name of the image that they come from.
    pub(super) image: String,
}

/// The kernels of one model.
pub(super) struct ModelKernels {
    pub(super) embed: CudaFunction,
    pub(super) add_norm: CudaFunction,
    pub(super) final_norm: CudaFunction,
    pub(super) bias_rotary: CudaFunction,
    pub(super) bias_gelu: CudaFunction,
    pub(super) qk_norm: CudaFunction,
    pub(super) swiglu: CudaFunction,
    pub(super) attention: CudaFunction,
    /// Bytes of shared memory of the attention.
    pub(super) attention_shared: u32,
    pub(super) pool: CudaFunction,
    pub(super) take_rows_f32: CudaFunction,
    pub(super) take_rows_f16: CudaFunction,
    /// Matrix products; none for TF32.
    pub(super) products: Option<ProductKernels>,
}

/// Matrix products, by what they do next with a row: see `matmul.cu`.
pub(super) struct ProductKernels {
    pub(super) gelu: Vec<TileKernel>,
    pub(super) residual: Vec<TileKernel>,
    pub(super) rotary: Vec<TileKernel>,
}

/// A matrix product by tiles of one height.
#[derive(Clone)]
pub(super) struct TileKernel {
    pub(super) tile: Tile,
    pub(super) function: CudaFunction,
}

/// A tile of the result that a block computes, of [`COLUMNS`] columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) rows: usize,
    threads: u32,
    /// Bytes of shared memory.
    shared: u32,
}

/// Columns of a tile.
pub(super) const COLUMNS: usize = 128;

impl Tile {
    /// A grid with this many tiles.
    pub(super) fn grid(&self, tiles: usize) -> LaunchConfig {
        LaunchConfig {
            grid_dim: (tiles as u32, 1, 1),
            block_dim: (self.threads, 1, 1),
            shared_mem_bytes: self.shared,
        }
    }
}

impl Kernels {
    pub(super) fn load(
        context: &Arc<CudaContext>,
        capability: (i32, i32),
    ) -> Result<Kernels, CudaError> {
        let image = images::image(capability)?;
        let module = context
            .load_module(Ptx::from_binary(image.bytes))
            .while_("loading the kernels")?;
        Ok(Kernels {
            module,
            capability,
            image: image.name,
        })
    }

    /// The kernels for a number format and a shape.
    pub(super) fn of(
        &self,
        dtype: Dtype,
        dim: usize,
        head_dim: usize,
    ) -> Result<ModelKernels, CudaError> {
        let kernel = |name: &str| {
            let found = self.module.load_function(name);
            found.while_("looking for a kernel")
        };
        let fours = fours(dim)?;
        let name = name(dtype);
        let attention_shared = attention_shared(dtype, head_dim, self.capability)?;
        let attention = format!("attention_{name}_{head_dim}");
        let attention = self.function(&attention, attention_shared)?;
        Ok(ModelKernels {
            embed: kernel("embed")?,
            add_norm: kernel(&format!("add_norm_{name}_{fours}"))?,
            final_norm: kernel(&format!("final_norm_{name}_{fours}"))?,
            bias_rotary: kernel(&format!("bias_rotary_{name}"))?,
            bias_gelu: kernel(&format!("bias_gelu_{name}"))?,
            qk_norm: kernel(&format!("qk_norm_{name}_{fours}"))?,
            swiglu: kernel(&format!("swiglu_{name}"))?,
            attention,
            attention_shared,
            pool: kernel("pool")?,
            take_rows_f32: kernel("take_rows_f32")?,
            take_rows_f16: kernel("take_rows_f16")?,
            products: match dtype {
                Dtype::Tf32 => None,
                _ => Some(self.products(dtype)?),
            },
        })
    }

    fn products(&self, dtype: Dtype) -> Result<ProductKernels, CudaError> {
        let kernels = |next: &str| {
            let tiles = tiles(dtype, self.capability).into_iter();
            tiles
                .map(|tile| {
                    let kernel = format!("product_{}_{next}_{}", name(dtype), tile.rows);
                    let function = self.function(&kernel, tile.shared)?;
                    Ok(TileKernel { tile, function })
                })
                .collect::<Result<Vec<_>, CudaError>>()
        };
        Ok(ProductKernels {
            gelu: kernels("gelu")?,
            residual: kernels("residual")?,
            rotary: kernels("rotary")?,
        })
    }

    /// A kernel with this many bytes of shared memory, chosen at launch.
    fn function(&self, name: &str, shared: u32) -> Result<CudaFunction, CudaError> {
        let function = self.module.load_function(name);
        let function = function.while_("looking for a kernel")?;
        function
            .set_attribute(
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shared as i32,
            )
            .while_("reserving shared memory")?;
        Ok(function)
    }
}

/// The part of a kernel's name that stands for a number format. TF32 concerns matrix products only.
fn name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 | Dtype::Tf32 => "f32",
        Dtype::F16 => "f16",
        Dtype::Bf16 => "bf16",
    }
}

/// How many groups of four numbers each thread of a LayerNorm holds, among the compiled variants.
fn fours(dim: usize) -> Result<usize, CudaError> {
    let fours = [1, 2, 3, 5, 10].into_iter().find(|v| dim <= 512 * v);
    match fours {
        Some(fours) if dim.is_multiple_of(8) => Ok(fours),
        _ => Err(CudaError::Shape(format!(
            "a model of width {dim} (only multiples of 8 up to 5,120)"
        ))),
    }
}

/// Bytes of shared memory that a block of attention uses: see `attention.cu`.
fn attention_shared(
    dtype: Dtype,
    head_dim: usize,
    capability: (i32, i32),
) -> Result<u32, CudaError> {
    let width = match head_dim {
        16 | 32 | 64 | 128 => head_dim,
        24 => 32,
        _ => {
            return Err(CudaError::Shape(format!(
                "attention heads of {head_dim} (only of 16, 24, 32, 64 and 128)"
            )));
        }
    };
    // Older GPUs have values in the place of the keys in single precision, and one buffer in half.
    let copies = if capability < AMPERE { 1 } else { 2 };
    let bytes = match dtype {
        // Queries, 32 keys and values, rows padded by one; the weights of 64 queries.
        Dtype::F32 | Dtype::Tf32 => 4 * ((64 + copies * 32) * (head_dim + 1) + 64 * 33),
        // Buffers of 64 keys and values, rows padded by 8.
        Dtype::F16 | Dtype::Bf16 => 2 * copies * 2 * 64 * (width + 8),
    };
    Ok(bytes as u32)
}

/// The tiles of matrix products in a number format, the highest first: see `matmul.cu`.
fn tiles(dtype: Dtype, capability: (i32, i32)) -> Vec<Tile> {
    let tile = |rows: usize, threads, row_bytes| Tile {
        rows,
        threads,
        shared: (rows + COLUMNS) as u32 * row_bytes,
    };
    match dtype {
        // Two steps of 16 numbers, rows padded by 4.
        Dtype::F32 | Dtype::Tf32 => vec![tile(128, 128, 160), tile(32, 128, 160)],
        // Two to four steps of 32 numbers.
        Dtype::F16 | Dtype::Bf16 if capability < AMPERE => {
            vec![tile(128, 128, 2 * 64), tile(32, 128, 2 * 64)]
        }
        Dtype::F16 | Dtype::Bf16 => vec![
            tile(256, 256, 4 * 64),
            tile(128, 128, 3 * 64),
            tile(32, 128, 4 * 64),
        ],
    }
}

/// A grid of blocks of 128 threads.
pub(super) fn grid(x: usize, y: usize, shared: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: shared,
    }
}

/// Launches a kernel with its arguments in order.
///
/// Inside `unsafe`: the arguments must be those that the kernel declares, and addresses must point to as
/// much memory as it touches.
macro_rules! launch {
    ($stream:expr, $kernel:expr, $grid:expr, $($argument:expr),+ $(,)?) => {{
        use cudarc::driver::PushKernelArg;
        let mut launch = $stream.launch_builder(&$kernel);
        $(
            // Each stays alive until the launch, shadowed by the next.
            let argument = $argument;
            launch.arg(&argument);
        )+
        launch.launch($grid)
    }};
}
pub(super) use launch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_the_shared_memory_of_their_gpus() {
        let shared = |dtype, capability| {
            let tiles = tiles(dtype, capability).into_iter();
            tiles.map(|tile| tile.shared).collect::<Vec<_>>()
        };
        // 99 KiB on 8.6 and 8.9, and 64 KiB on 7.5.
        assert_eq!(shared(Dtype::F16, (8, 6)), [98_304, 49_152, 40_960]);
        assert_eq!(shared(Dtype::F16, (7, 5)), [32_768, 20_480]);
        assert_eq!(shared(Dtype::F32, (7, 5)), [40_960, 25_600]);
    }

    #[test]
    fn shapes_with_kernels() {
        let found = [320, 480, 640, 1280, 2560, 5120].map(|dim| fours(dim).ok());
        assert_eq!(
            found,
            [Some(1), Some(1), Some(2), Some(3), Some(5), Some(10)]
        );
        assert!(fours(5128).is_err() && fours(36).is_err());
        let shared =
            |dtype, head_dim, capability| attention_shared(dtype, head_dim, capability).ok();
        assert_eq!(shared(Dtype::F16, 64, (9, 0)), Some(36_864));
        assert_eq!(shared(Dtype::Bf16, 24, (8, 0)), Some(20_480));
        assert_eq!(shared(Dtype::F16, 128, (9, 0)), Some(69_632));
        assert_eq!(shared(Dtype::F32, 128, (9, 0)), Some(74_496));
        assert_eq!(shared(Dtype::F16, 48, (9, 0)), None);
        // At most 64 KiB.
        assert_eq!(shared(Dtype::F16, 128, (7, 5)), Some(34_816));
        assert_eq!(shared(Dtype::F32, 128, (7, 5)), Some(57_984));
        assert_eq!(shared(Dtype::F16, 24, (7, 5)), Some(10_240));
        assert_eq!(shared(Dtype::F32, 64, (7, 5)), Some(33_408));
    }
}
