//! Times the kernels and matrix products of a model's blocks one by one, on random numbers.

use super::batch::Batch;
use super::blaslt::Blas;
use super::choice::Choice;
use super::error::{CudaError, While};
use super::gpu::{OpenGpu, check_environment};
use super::kernels::{ModelKernels, grid, launch};
use super::linear_layer::LinearLayer;
use super::load::{Block, Linear, Norm, RotaryTable};
use super::matmul_test::numbers;
use super::measured::{
    MeasuredAttention, MeasuredKernel, MeasuredModel, MeasuredProduct, MeasuredRows, MeasuredTiles,
};
use super::memory::Memory;
use super::number_format::{put, size};
use super::own_choice::Trial;
use super::replica::Layers;
use super::row_kernels::{Added, NormTo, Rotation, RowKernels};
use super::tested::Tests;
use super::timing;
use crate::device::{Dtype, Gpu, Tested};
use crate::model::Packed;
use crate::ops::{self, Activation};
use crate::tokenizer::{CLS, EOS, MASK, TokenId, VOCABULARY};
use cudarc::driver::result;
use std::time::Duration;

const DTYPE: Dtype = Dtype::F16;
/// Slabs of rows that the kernels are timed with: more than the second-level cache holds.
const SLABS: usize = 4;
/// Tokens of the sequences of the row kernels.
const USUAL: usize = 300;
/// Tokens of the sequences that attention is timed with.
const LENGTHS: [usize; 3] = [128, 300, 1000];
/// Random numbers that memory is filled with, again and again.
const DIFFERENT: usize = 1 << 20;
/// ε of LayerNorms.
const EPS: f32 = 1e-5;

/// Times the parts of a block of a model of this width, with the usual feed-forward width of four times
/// as much, in f16.
///
/// # Errors
/// A GPU that cannot be used, a shape without kernels, or too little memory.
pub fn measure(gpu: &Gpu, dim: usize, heads: usize) -> Result<MeasuredModel, CudaError> {
    check_environment(DTYPE)?;
    let gpu = OpenGpu::open(gpu)?;
    let context = gpu.context();
    context.bind_to_thread().while_("selecting a GPU")?;
    let head_dim = dim.checked_div(heads).unwrap_or(0);
    let bench = Bench {
        kernels: gpu.kernels.of(DTYPE, dim, head_dim)?,
        tokens: SLABS * gpu.heights.slab(),
        gpu: &gpu,
        dim,
        heads,
        head_dim,
    };
    Ok(MeasuredModel {
        dim,
        heads,
        tokens: bench.tokens,
        products: bench.products()?,
        rows: bench.rows()?,
        attention: LENGTHS
            .into_iter()
            .map(|length| bench.attention(length))
            .collect::<Result<_, _>>()?,
    })
}

/// The parts of a block that are timed.
struct Bench<'a> {
    gpu: &'a OpenGpu,
    kernels: ModelKernels,
    dim: usize,
    heads: usize,
    head_dim: usize,
    tokens: usize,
}

impl Bench<'_> {
    /// The products of a block, which are tested and chosen as those of a model are.
    fn products(&self) -> Result<Vec<MeasuredProduct>, CudaError> {
        let (gpu, dim, wide) = (self.gpu, self.dim, 4 * self.dim);
        let norm = || {
            Ok::<Norm, CudaError>(Norm {
                weight: self.filled(Dtype::F32, dim)?,
                bias: self.filled(Dtype::F32, dim)?,
            })
        };
        let linear = |outputs, inputs| {
            Ok::<Linear, CudaError>(Linear {
                weight: self.filled(DTYPE, outputs * inputs)?,
                bias: self.filled(Dtype::F32, outputs)?,
            })
        };
        let block = Block {
            rotary: Some(0),
            attention_norm: norm()?,
            qkv: linear(3 * dim, dim)?,
            qk_norms: None,
            out: linear(dim, dim)?,
            feed_forward_norm: norm()?,
            fc1: linear(wide, dim)?,
            fc2: linear(dim, wide)?,
        };
        let table = self.table(USUAL)?;
        // Nothing is remembered, so that every algorithm is tested.
        let version = gpu.blas.as_ref().map(Blas::version);
        let tests = Tests::new(&Tested::default(), &gpu.about, DTYPE, version);
        let trial = Trial {
            gpu,
            kernels: &self.kernels,
            dtype: DTYPE,
            block: &block,
            table: Some(&table),
            dim,
            eps: EPS,
            tests: &tests,
        };
        let mut layers = Layers::new(
            gpu,
            &self.kernels,
            DTYPE,
            [dim, wide, self.head_dim],
            Activation::Gelu,
        )?;
        let mut choices = layers.choose(trial)?;
        layers.time_single(trial, &mut choices)?;
        let all = layers.all().into_iter().zip(&choices);
        Ok(all.map(|(layer, choice)| product(layer, choice)).collect())
    }

    fn table(&self, positions: usize) -> Result<RotaryTable, CudaError> {
        let half = self.head_dim / 2;
        let inv_freq = (0..half).map(|i| 10_000f32.powf(-(i as f32) / half as f32));
        RotaryTable::new(self.gpu, &inv_freq.collect::<Vec<_>>(), positions)
    }

    /// Sequences of `length` tokens that fill the measured tokens; at least one.
    fn batch(&self, length: usize) -> Result<(Batch, Memory), CudaError> {
        let residues = (2..length).map(|i| 4 + (i * 7 % 20) as TokenId);
        let sequence: Vec<TokenId> = [CLS].into_iter().chain(residues).chain([EOS]).collect();
        let count = (self.tokens / length).max(1);
        let packed = Packed::new(std::iter::repeat_n(sequence.as_slice(), count));
        let batch = Batch::new(&packed, VOCABULARY.len(), Some(MASK))?;
        let memory = Memory::upload(&self.gpu.stream, "a batch", &batch.bytes)?;
        Ok((batch, memory))
    }

    /// Every kernel that works on each token by itself, in the order in which a pass first needs them.
    fn rows(&self) -> Result<Vec<MeasuredKernel>, CudaError> {
        let (dim, wide) = (self.dim, 4 * self.dim);
        let (batch, arrays) = self.batch(USUAL)?;
        let tokens = batch.tokens;
        let [x, out] = [(); 2].map(|()| self.filled(Dtype::F32, tokens * dim));
        let [y, h] = [(); 2].map(|()| self.filled(DTYPE, tokens * dim));
        let (x, out, y, h) = (x?, out?, y?, h?);
        // q, k and v, or the inner layer.
        let inner = self.filled(DTYPE, tokens * wide)?;
        let bias = self.filled(Dtype::F32, wide)?;
        let table = self.filled(Dtype::F32, VOCABULARY.len() * dim)?;
        let norm = Norm {
            weight: self.filled(Dtype::F32, dim)?,
            bias: self.filled(Dtype::F32, dim)?,
        };
        let marks = Memory::zeroed(&self.gpu.stream, "a measurement", 4 * batch.sequences)?;
        let angles = self.table(batch.longest)?;
        let rotation = Rotation {
            cosines: angles.cosines.at(0),
            sines: angles.sines.at(0),
            positions: arrays.at(batch.positions_at),
            scale: ops::score_scale(self.head_dim),
            half: self.head_dim / 2,
        };
        let (stream, kernels) = (&self.gpu.stream, &self.kernels);
        let rows = RowKernels {
            stream,
            kernels,
            rows: tokens,
            dim,
            eps: EPS,
        };
        let added = Some(Added {
            y: y.at(0),
            bias: bias.at(0),
        });
        let doing = "starting a kernel";
        let mut found = Vec::new();
        let mut time = |kernel, bytes: usize, launch: &dyn Fn() -> Result<(), CudaError>| {
            let time = timing::of_launch(stream, launch)?;
            found.push(MeasuredKernel {
                kernel,
                milliseconds: milliseconds(time),
                gb_per_second: rate(bytes * tokens, time) / 1e9,
            });
            Ok::<(), CudaError>(())
        };
        let all = grid(tokens, 1, 0);
        let (columns, null) = (dim as i32, 0u64);
        // SAFETY, of every launch: arguments as the kernel declares them. x and out hold `dim` floats for
        // each token, y and h as many halves, and inner four times as many; the table has a row for each
        // word of the vocabulary, and the arrays are those of the batch.
        time("embed", 4 * dim, &|| unsafe {
            let (tokens, scales) = (arrays.at(batch.tokens_at), arrays.at(batch.scales_at));
            let positions = arrays.at(batch.positions_at);
            launch!(
                stream,
                kernels.embed,
                all,
                x.at(0),
                table.at(0),
                null,
                tokens,
                scales,
                positions,
                columns
            )
            .map(drop)
            .while_(doing)
        })?;
        time("bias_rotary", 8 * dim, &|| unsafe {
            rows.bias_rotary(inner.at(0), bias.at(0), &rotation)
        })?;
        time("add_norm", 12 * dim, &|| unsafe {
            rows.add_norm(x.at(0), added, Some(&norm), NormTo::Rows(h.at(0)))
        })?;
        time("bias_gelu", 4 * wide, &|| unsafe {
            rows.bias_gelu(inner.at(0), bias.at(0), wide)
        })?;
        time("final_norm", 10 * dim, &|| unsafe {
            rows.add_norm(x.at(0), added, Some(&norm), NormTo::Stream)
        })?;
        time("pool", 4 * dim, &|| unsafe {
            let each = grid(batch.sequences, dim.div_ceil(128), 0);
            let (marks, starts) = (marks.at(0), arrays.at(batch.starts_at));
            launch!(
                stream,
                kernels.pool,
                each,
                out.at(0),
                null,
                null,
                marks,
                x.at(0),
                starts,
                columns
            )
            .map(drop)
            .while_(doing)
        })?;
        for (name, kernel, bytes) in [
            ("take_rows_f32", &kernels.take_rows_f32, 8),
            ("take_rows_f16", &kernels.take_rows_f16, 6),
        ] {
            time(name, bytes * dim, &|| unsafe {
                let places = arrays.at(batch.places_at);
                launch!(stream, kernel, all, out.at(0), x.at(0), places, columns)
                    .map(drop)
                    .while_(doing)
            })?;
        }
        Ok(found)
    }

    fn attention(&self, length: usize) -> Result<MeasuredAttention, CudaError> {
        let (batch, arrays) = self.batch(length)?;
        let qkv = self.filled(DTYPE, batch.tokens * 3 * self.dim)?;
        let out = self.filled(DTYPE, batch.tokens * self.dim)?;
        let bias = self.filled(Dtype::F32, 3 * self.dim)?;
        let stream = &self.gpu.stream;
        let time = timing::of_launch(stream, || {
            // SAFETY: arguments as the kernel declares them; qkv has 3 and out 1 row of `dim` for each
            // token, and tiles name rows of the batch.
            let launched = unsafe {
                launch!(
                    stream,
                    self.kernels.attention,
                    grid(batch.tiles, self.heads, self.kernels.attention_shared),
                    out.at(0),
                    qkv.at(0),
                    bias.at(0),
                    arrays.at(batch.tiles_at),
                    self.dim as i32,
                )
            };
            launched.map(drop).while_("starting a kernel")
        })?;
        let flop = 4 * length * length * self.dim * batch.sequences;
        Ok(MeasuredAttention {
            length,
            sequences: batch.sequences,
            milliseconds: milliseconds(time),
            tflop_per_second: rate(flop, time) / 1e12,
        })
    }

    /// Memory with `count` random numbers between −1 and 1.
    fn filled(&self, dtype: Dtype, count: usize) -> Result<Memory, CudaError> {
        let stream = &self.gpu.stream;
        let doing = "filling memory";
        let mut some = Vec::new();
        put(dtype, &numbers(count.min(DIFFERENT)), &mut some);
        let bytes = count * size(dtype);
        let memory = Memory::zeroed(stream, "a measurement", bytes)?;
        for start in (0..bytes).step_by(some.len().max(1)) {
            let part = some
                .get(..some.len().min(bytes - start))
                .unwrap_or_default();
            // SAFETY: the memory has as many bytes from there on, and they are read before this returns.
            unsafe { result::memcpy_htod_async(memory.at(start), part, stream.cu_stream()) }
                .while_(doing)?;
        }
        stream.synchronize().while_(doing)?;
        Ok(memory)
    }
}

/// What was found of a layer.
fn product(layer: &LinearLayer, choice: &Choice) -> MeasuredProduct {
    let (outputs, inputs) = (layer.outputs, layer.inputs);
    let times = choice.times.iter().map(|&(rows, time)| MeasuredRows {
        rows,
        milliseconds: milliseconds(time),
        tflop_per_second: rate(2 * rows * outputs * inputs, time) / 1e12,
    });
    let own = choice
        .own
        .own
        .iter()
        .map(|&(tile_rows, time)| MeasuredTiles {
            tile_rows,
            milliseconds: milliseconds(time),
        });
    MeasuredProduct {
        outputs,
        inputs,
        offered: choice.offered,
        tested: choice.tested,
        passed: choice.passed,
        times: times.collect(),
        milliseconds_with_next: choice.own.blas.map(milliseconds),
        own: own.collect(),
        used: layer.describe().unwrap_or_default(),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Amount per second.
fn rate(amount: usize, time: Duration) -> f64 {
    amount as f64 / time.as_secs_f64()
}
