//! Whether a linear layer is computed by cuBLASLt or by the program's own product. The own product is
//! used where it passes the test of its bits and is faster, with what follows it on both sides, and
//! where cuBLASLt is missing or its bits depend on the place of a row.

use super::choice::Choice;
use super::error::CudaError;
use super::gpu::OpenGpu;
use super::kernels::ModelKernels;
use super::linear_layer::{By, Call, LinearLayer, To};
use super::load::{Block, Linear, RotaryTable};
use super::matmul_test::{Found, MatmulTest, Piece, Tested, row_at};
use super::memory::Memory;
use super::number_format::size;
use super::own_matmul::{OwnMatmul, Role};
use super::row_kernels::{NormTo, Rotation, RowKernels};
use super::tested::Tests;
use crate::device::Dtype;
use crate::ops;
use std::fmt;
use std::time::Duration;

/// The own product rounds in other places than cuBLASLt and a kernel after it. It has to be faster by this
/// share of the time, so that noise seldom decides about bits.
const FASTER_BY: f64 = 0.05;
/// What a single launch may take besides its work.
const STARTING: Duration = Duration::from_micros(100);
/// Numbers of rows of the test, besides the heights of cuBLASLt's products: the own product takes any.
pub(super) const ODD_HEIGHTS: [usize; 2] = [1, 131];

/// What is remembered of a layer for which cuBLASLt was faster.
const BLAS: &str = "cublaslt";

/// Times of a slab of a layer with what follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnChoice {
    /// With cuBLASLt, if that was measured.
    pub(super) blas: Option<Duration>,
    /// With the own product, by rows of its highest tiles.
    pub(super) own: Vec<(usize, Duration)>,
}

impl fmt::Display for OwnChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: &Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
        if let Some(time) = &self.blas {
            write!(f, "; with what follows, a slab takes {}", micros(time))?;
        }
        for (rows, time) in &self.own {
            write!(f, "; own product by tiles of {rows} rows: {}", micros(time))?;
        }
        Ok(())
    }
}

/// A model on a GPU, with what its layers are tested with.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) gpu: &'a OpenGpu,
    pub(super) kernels: &'a ModelKernels,
    pub(super) dtype: Dtype,
    /// The first block.
    pub(super) block: &'a Block,
    /// Its rotary table and the positions that it has.
    pub(super) table: Option<&'a RotaryTable>,
    pub(super) dim: usize,
    pub(super) eps: f32,
    pub(super) tests: &'a Tests,
}

/// Decides what computes a layer, given the choice of cuBLASLt's algorithm, if there is one.
///
/// # Errors
/// Neither can compute it, or the GPU failed.
pub(super) fn choose(
    trial: Trial<'_>,
    layer: &mut LinearLayer,
    linear: &Linear,
    choice: &mut Choice,
) -> Result<(), CudaError> {
    let Some(own) = &layer.own else {
        return Ok(());
    };
    let is_good = choice.same_bits && layer.matmul.as_ref().is_some_and(|m| !m.in_slabs_only);
    match trial.tests.find(&name(layer)).as_deref() {
        Some(BLAS) if is_good => return Ok(()),
        Some(found) => {
            let mut tiles = own.tiles().into_iter();
            if let Some(rows) = tiles.find(|rows| of_tiles(*rows) == found) {
                use_own(layer, rows);
                choice.same_bits = true;
                return Ok(());
            }
        }
        None => {}
    }
    let made = Buffers::new(trial, layer).and_then(|buffers| {
        let test = MatmulTest::new(trial.gpu, tested(trial, layer, linear))?;
        Ok((buffers, test))
    });
    let (buffers, mut test) = match made {
        // Memory is short, and cuBLASLt works.
        Err(CudaError::Memory { .. }) if is_good => return Ok(()),
        made => made?,
    };
    choice.own = measure(trial, layer, linear, &buffers, &test, is_good)?;
    if let Some(rows) = choice.own.fastest() {
        limit(layer, rows);
        let heights = [trial.gpu.heights.all(), &ODD_HEIGHTS].concat();
        let by_own = buffers.compute(trial, layer, linear, By::Own);
        let is_same = test.run(&by_own, &heights)? == Found::Same;
        drop(by_own);
        if is_same || layer.matmul.is_none() {
            use_own(layer, rows);
            choice.same_bits = is_same;
        }
        if is_same {
            remember(layer, trial.tests);
            return Ok(());
        }
    }
    if is_good {
        trial.tests.pass(&name(layer), BLAS);
    }
    Ok(())
}

/// Times of a slab of the layer by both, by cuBLASLt only if that can be used. A layer whose own product
/// cannot be started loses it, unless there is nothing else.
fn measure(
    trial: Trial<'_>,
    layer: &mut LinearLayer,
    linear: &Linear,
    buffers: &Buffers,
    test: &MatmulTest<'_>,
    with_blas: bool,
) -> Result<OwnChoice, CudaError> {
    let slab = trial.gpu.heights.slab();
    let few = trial.gpu.heights.all().first().copied().unwrap_or(slab);
    let mut of_few = Vec::new();
    for rows in layer.own.as_ref().map_or(Vec::new(), OwnMatmul::tiles) {
        limit(layer, rows);
        let by_own = buffers.compute(trial, layer, linear, By::Own);
        match test.single_time(&by_own, few) {
            Err(error) if error.cannot_start() && layer.matmul.is_some() => {
                drop(by_own);
                layer.own = None;
                return Ok(OwnChoice::default());
            }
            time => of_few.push((rows, time?)),
        }
    }
    let mut times = OwnChoice::default();
    if with_blas {
        let by_blas = buffers.compute(trial, layer, linear, By::Blas);
        times.blas = Some(test.time(&by_blas, slab)?);
    }
    for (rows, time) in of_few {
        limit(layer, rows);
        let by_own = buffers.compute(trial, layer, linear, By::Own);
        // No measurement of a slab is needed if few rows take longer than a slab by cuBLASLt.
        let is_slow = |blas| time.saturating_sub(STARTING) > blas;
        if !times.blas.is_some_and(is_slow) {
            times.own.push((rows, test.time(&by_own, slab)?));
        }
    }
    Ok(times)
}

impl OwnChoice {
    /// The height of the tiles with which the own product is the fastest; None if cuBLASLt is.
    fn fastest(&self) -> Option<usize> {
        let (rows, time) = self.own.iter().min_by_key(|(_, time)| *time)?;
        let limit = time.mul_f64(1.0 + FASTER_BY);
        let is_faster = self.blas.is_none_or(|blas| limit < blas);
        is_faster.then_some(*rows)
    }
}

/// From now on the own product computes the layer, by tiles of at most `rows` rows.
fn use_own(layer: &mut LinearLayer, rows: usize) {
    limit(layer, rows);
    layer.by = By::Own;
}

fn limit(layer: &mut LinearLayer, rows: usize) {
    if let Some(own) = &mut layer.own {
        own.limit(rows);
    }
}

/// Remembers that the own product has passed.
pub(super) fn remember(layer: &LinearLayer, tests: &Tests) {
    if let Some(own) = &layer.own {
        tests.pass(&name(layer), &of_tiles(own.highest()));
    }
}

/// What is remembered of an own product by tiles of this height.
fn of_tiles(rows: usize) -> String {
    format!("own {rows}")
}

/// The name of the test of a layer.
fn name(layer: &LinearLayer) -> String {
    let role = match layer.role {
        Role::Qkv { head_dim } => format!("heads of {head_dim}"),
        Role::Inner => "inner".to_owned(),
        Role::Gated => "gated".to_owned(),
        Role::Outer => "outer".to_owned(),
    };
    format!("own product {} x {}, {role}", layer.outputs, layer.inputs)
}

/// Bytes of a result of the own product.
fn result(trial: Trial<'_>, layer: &LinearLayer) -> usize {
    match layer.role {
        Role::Outer => size(Dtype::F32),
        Role::Qkv { .. } | Role::Inner | Role::Gated => size(trial.dtype),
    }
}

/// The layer as it is tested.
fn tested<'a>(trial: Trial<'_>, layer: &LinearLayer, linear: &'a Linear) -> Tested<'a> {
    Tested {
        dtype: trial.dtype,
        inputs: layer.inputs,
        outputs: layer.outputs,
        result: result(trial, layer),
        weights: &linear.weight,
    }
}

/// Memory for a slab besides that of the test.
struct Buffers {
    /// The position of each row.
    positions: Memory,
    /// Results of cuBLASLt and of the norm, of layers whose result is added to the residual stream; of
    /// SwiGLU, its results.
    outer: Option<(Memory, Memory)>,
}

impl Buffers {
    fn new(trial: Trial<'_>, layer: &LinearLayer) -> Result<Buffers, CudaError> {
        let stream = &trial.gpu.stream;
        let slab = trial.gpu.heights.slab();
        let longest = trial.table.map_or(1, RotaryTable::positions);
        // Equal rows have equal positions.
        let positions = (0..slab).map(|row| (row_at(row) * 7 % longest) as i32);
        let positions: Vec<u8> = positions.flat_map(i32::to_ne_bytes).collect();
        let what = "a self-test";
        let bytes = slab * layer.outputs * size(trial.dtype);
        let rows = || Memory::zeroed(stream, what, bytes);
        Ok(Buffers {
            positions: Memory::upload(stream, what, &positions)?,
            outer: match layer.role {
                Role::Outer | Role::Gated => Some((rows()?, rows()?)),
                Role::Qkv { .. } | Role::Inner => None,
            },
        })
    }

    /// Computes a piece with what follows it.
    fn compute<'a>(
        &'a self,
        trial: Trial<'a>,
        layer: &'a LinearLayer,
        linear: &'a Linear,
        by: By,
    ) -> impl Fn(Piece) -> Result<(), CudaError> + 'a {
        move |piece| {
            let angles = trial.table.map(|t| (t.cosines.at(0), t.sines.at(0)));
            let (cosines, sines) = angles.unwrap_or_default();
            let to = match (layer.role, &self.outer) {
                (Role::Qkv { head_dim }, _) => To::Qkv {
                    qkv: piece.y,
                    rotation: Rotation {
                        cosines,
                        sines,
                        positions: self.positions.at(piece.first * size_of::<i32>()),
                        scale: ops::score_scale(head_dim),
                        half: head_dim / 2,
                    },
                    norms: trial.block.norms(),
                },
                (Role::Gated, Some((out, _))) => To::Gated {
                    u: piece.y,
                    out: out.at(0),
                },
                (Role::Outer, Some((y, h))) => To::Outer {
                    x: piece.y,
                    y: y.at(0),
                    norm: Some(&trial.block.feed_forward_norm),
                    norm_to: NormTo::Rows(h.at(0)),
                },
                _ => To::Inner { u: piece.y },
            };
            let call = Call {
                rows: RowKernels {
                    stream: &trial.gpu.stream,
                    kernels: trial.kernels,
                    rows: piece.rows,
                    dim: trial.dim,
                    eps: trial.eps,
                },
                blas: trial.gpu.blas.as_ref(),
                pieces: &[piece.rows],
                linear,
                from: piece.x,
                to,
            };
            // SAFETY: the piece and the buffers have as many rows, of the layer's widths, and positions
            // are within the table.
            unsafe { layer.run(by, &call) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_product_has_to_be_clearly_faster() {
        let micros = Duration::from_micros;
        let fastest = |blas: Option<u64>, own: &[(usize, u64)]| {
            let own = own.iter().map(|&(rows, time)| (rows, micros(time)));
            let (blas, own) = (blas.map(micros), own.collect());
            OwnChoice { blas, own }.fastest()
        };
        assert_eq!(fastest(Some(100), &[]), None);
        assert_eq!(fastest(Some(100), &[(256, 120), (128, 94)]), Some(128));
        assert_eq!(fastest(Some(100), &[(256, 96), (128, 99)]), None);
        assert_eq!(fastest(None, &[(256, 96), (128, 99)]), Some(256));
    }

    #[test]
    fn times_as_text() {
        let mut choice = OwnChoice::default();
        assert_eq!(choice.to_string(), "");
        choice.own = vec![(256, Duration::from_micros(120))];
        assert_eq!(
            choice.to_string(),
            "; own product by tiles of 256 rows: 120.0 µs"
        );
        choice.blas = Some(Duration::from_nanos(130_500));
        assert_eq!(
            choice.to_string(),
            "; with what follows, a slab takes 130.5 µs; own product by tiles of 256 rows: 120.0 µs"
        );
    }
}
