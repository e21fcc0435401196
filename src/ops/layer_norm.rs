//! LayerNorm over the last dimension: `y = (x − mean) / √(var + eps) · w + b`.
//!
//! Two passes over the row (mean, then squared deviations), because E[x²] − mean² loses precision
//! on ESM's outlier channels.

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
    /// Where vector `i / LANES` of row t of `dim` elements goes.
    #[inline(always)]
    fn vector<S: Simd>(self, dim: usize, t: usize, i: usize) -> *mut f32 {
        match self {
            Destination::Rows(to) => to.wrapping_add(t * dim + i),
            Destination::Chunks(to) => to.at.wrapping_add(i * to.stride + t * S::LANES),
        }
    }
}

struct Normalize<'a> {
    norm: &'a LayerNorm,
    x: &'a [f32],
    to: To<'a>,
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let LayerNorm {
            weight, bias, eps, ..
        } = self.norm;
        let dim = weight.len();
        let whole = dim - dim % S::LANES;
        let padded = dim.next_multiple_of(tile::width::<S>());
        let rows = self.x.len() / dim.max(1);
        assert_eq!(bias.len(), dim);
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
        for t in 0..rows {
            let row = &self.x[t * dim..][..dim];
            // SAFETY: every load and store is below `dim` in a row of `dim` elements, or in the
            // padding of the last chunks.
            unsafe {
                let mut sums = S::splat(0.0);
                for i in (0..whole).step_by(S::LANES) {
                    sums = S::add(sums, S::load(row.as_ptr().add(i)));
                }
                let mut sum = add_lanes::<S>(sums);
                for x in &row[whole..] {
                    sum += x;
                }
                let mean = sum / dim as f32;

                let mut sums = S::splat(0.0);
                for i in (0..whole).step_by(S::LANES) {
                    let d = S::sub(S::load(row.as_ptr().add(i)), S::splat(mean));
                    sums = S::fma(d, d, sums);
                }
                let mut sum = add_lanes::<S>(sums);
                for x in &row[whole..] {
                    sum += (x - mean) * (x - mean);
                }
                let scale = 1.0 / (sum / dim as f32 + eps).sqrt();

                for i in (0..whole).step_by(S::LANES) {
                    let d = S::sub(S::load(row.as_ptr().add(i)), S::splat(mean));
                    let y = S::fma(
                        S::mul(d, S::splat(scale)),
                        S::load(weight.as_ptr().add(i)),
                        S::load(bias.as_ptr().add(i)),
                    );
                    S::store(to.vector::<S>(dim, t, i), y);
                }
                let mut edge = [0.0f32; 16];
                for i in whole..dim {
                    edge[i - whole] = (row[i] - mean) * scale * weight[i] + bias[i];
                }
                match to {
                    Destination::Rows(_) => {
                        let out = to.vector::<S>(dim, t, whole);
                        for (i, y) in edge[..dim - whole].iter().enumerate() {
                            *out.add(i) = *y;
                        }
                    }
                    Destination::Chunks(_) => {
                        for i in (whole..padded).step_by(S::LANES) {
                            S::store(to.vector::<S>(dim, t, i), S::load(edge.as_ptr()));
                            edge = [0.0; 16];
                        }
                    }
                }
            }
        }
    }
}

/// The sum of the lanes of a vector, added pairwise in a fixed order.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn add_lanes<S: Simd>(v: S::V) -> f32 {
    let mut lanes = [0.0f32; 16];
    // SAFETY: 16 ≥ LANES.
    unsafe { S::store(lanes.as_mut_ptr(), v) };
    let mut n = S::LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}
