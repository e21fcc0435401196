//! LayerNorm over the last dimension: `y = (x − mean) / √(var + eps) · w + b`.
//!
//! Two passes over the row (mean, then squared deviations), because E[x²] − mean² loses precision
//! on ESM's outlier channels. Both sums have eight accumulators on every path: number i adds the
//! features f with f mod 8 = i, in ascending order, as far as features come in eights. The
//! accumulators are added in pairs, then the other features one by one.

use super::matrix::{ChunkedMut, Chunks};
use super::simd::{CpuPath, Kernel, Simd};
use super::tile;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape};

/// A LayerNorm with its weights, `[D]` each.
pub struct LayerNorm {
    path: CpuPath,
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// Weight and bias have the same length, D.
    pub fn new(path: CpuPath, weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> LayerNorm {
        LayerNorm {
            path,
            weight,
            bias,
            eps,
        }
    }

    /// D.
    pub(super) fn features(&self) -> usize {
        self.weight.len()
    }

    /// Normalises rows `[rows, D]` into chunks, padded with zeros.
    ///
    /// # Panics
    /// The chunks hold fewer rows or features.
    pub(super) fn chunks(&self, x: &[f32], out: ChunkedMut<'_>) {
        self.path.dispatch(Normalize {
            norm: self,
            x,
            to: To::Chunks(out),
        });
    }
}

/// `[T, D] → [T, D]`.
impl CustomOp1 for &LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = super::contiguous(s, l)?;
        let dim = self.weight.len();
        if l.dims().last() != Some(&dim) || self.bias.len() != dim {
            candle_core::bail!("layer norm of {dim} features was given {:?}", l.dims());
        }
        let mut out = vec![0.0; x.len()];
        self.path.dispatch(Normalize {
            norm: self,
            x,
            to: To::Rows(&mut out),
        });
        Ok((CpuStorage::F32(out), l.shape().clone()))
    }
}

enum To<'a> {
    Rows(&'a mut [f32]),
    Chunks(ChunkedMut<'a>),
}

/// [`To`], after its size has been checked.
#[derive(Clone, Copy)]
enum Destination {
    Rows(*mut f32),
    Chunks(Chunks),
}

impl Destination {
    /// Where feature i of row t of `dim` features goes, and the seven after it.
    #[inline(always)]
    fn vector<S: Simd>(self, dim: usize, t: usize, i: usize) -> *mut f32 {
        match self {
            Destination::Rows(to) => to.wrapping_add(t * dim + i),
            Destination::Chunks(to) => {
                let lane = i % S::LANES;
                let chunk = to.at.wrapping_add((i - lane) * to.stride + t * S::LANES);
                chunk.wrapping_add(lane)
            }
        }
    }
}

/// Rows that are normalised together, so that their sums do not wait for each other.
const ROWS: usize = 4;

struct Normalize<'a> {
    norm: &'a LayerNorm,
    x: &'a [f32],
    to: To<'a>,
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let dim = self.norm.weight.len();
        let padded = dim.next_multiple_of(tile::width::<S>());
        let rows = self.x.len() / dim.max(1);
        assert_eq!(self.norm.bias.len(), dim);
        let to = match self.to {
            To::Rows(to) => {
                assert!(to.len() >= rows * dim);
                Destination::Rows(to.as_mut_ptr())
            }
            To::Chunks(mut to) => {
                let extent = to.extent();
                assert!(extent.lanes == S::LANES);
                assert!(extent.rows >= rows && extent.features() >= padded);
                Destination::Chunks(to.chunks())
            }
        };
        let (norm, whole) = (self.norm, rows - rows % ROWS);
        for t in (0..whole).step_by(ROWS) {
            let x = &self.x[t * dim..][..ROWS * dim];
            // SAFETY: the caller's; the sizes were checked.
            unsafe { norm.rows::<S, ROWS>(x, t, to) }
        }
        for t in whole..rows {
            let x = &self.x[t * dim..][..dim];
            // SAFETY: as above.
            unsafe { norm.rows::<S, 1>(x, t, to) }
        }
    }
}

impl LayerNorm {
    /// Normalises R rows, the first of which is row t of the target.
    ///
    /// # Safety
    /// `x` holds R rows of D elements, and the target the rows with their padding; weight and bias
    /// have D elements; the processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(&self, x: &[f32], t: usize, to: Destination) {
        let LayerNorm {
            weight, bias, eps, ..
        } = self;
        let dim = weight.len();
        let eight = S::Eight::LANES;
        let whole = dim - dim % eight;
        // SAFETY: the caller's; every load and store is below `dim` in a row of `dim` elements, or
        // in the padding of the last chunks.
        unsafe {
            let mut sums = [S::Eight::splat(0.0); R];
            for i in (0..whole).step_by(eight) {
                for (r, sums) in sums.iter_mut().enumerate() {
                    *sums = S::Eight::add(*sums, S::Eight::load(x.as_ptr().add(r * dim + i)));
                }
            }
            let mut means = [0.0; R];
            for (r, mean) in means.iter_mut().enumerate() {
                let mut sum = S::Eight::sum_lanes(sums[r]);
                for x in &x[r * dim + whole..(r + 1) * dim] {
                    sum += x;
                }
                *mean = sum / dim as f32;
            }

            let mut sums = [S::Eight::splat(0.0); R];
            for i in (0..whole).step_by(eight) {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = S::Eight::load(x.as_ptr().add(r * dim + i));
                    let d = S::Eight::sub(x, S::Eight::splat(means[r]));
                    *sums = S::Eight::fma(d, d, *sums);
                }
            }
            let mut scales = [0.0; R];
            for (r, scale) in scales.iter_mut().enumerate() {
                let mut sum = S::Eight::sum_lanes(sums[r]);
                for x in &x[r * dim + whole..(r + 1) * dim] {
                    sum += (x - means[r]) * (x - means[r]);
                }
                *scale = 1.0 / (sum / dim as f32 + eps).sqrt();
            }

            for i in (0..whole).step_by(eight) {
                let weight = S::Eight::load(weight.as_ptr().add(i));
                let bias = S::Eight::load(bias.as_ptr().add(i));
                for r in 0..R {
                    let x = S::Eight::load(x.as_ptr().add(r * dim + i));
                    let d = S::Eight::sub(x, S::Eight::splat(means[r]));
                    let y = S::Eight::mul(d, S::Eight::splat(scales[r]));
                    let y = S::Eight::fma(y, weight, bias);
                    S::Eight::store(to.vector::<S>(dim, t + r, i), y);
                }
            }
            for r in 0..R {
                let mut edge = [0.0f32; 8];
                for i in whole..dim {
                    let d = x[r * dim + i] - means[r];
                    edge[i - whole] = d * scales[r] * weight[i] + bias[i];
                }
                match to {
                    Destination::Rows(_) => {
                        let out = to.vector::<S>(dim, t + r, whole);
                        for (i, y) in edge[..dim - whole].iter().enumerate() {
                            *out.add(i) = *y;
                        }
                    }
                    Destination::Chunks(_) => {
                        let padded = dim.next_multiple_of(tile::width::<S>());
                        for i in (whole..padded).step_by(eight) {
                            let at = to.vector::<S>(dim, t + r, i);
                            S::Eight::store(at, S::Eight::load(edge.as_ptr()));
                            edge = [0.0; 8];
                        }
                    }
                }
            }
        }
    }
}
