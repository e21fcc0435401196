//! LayerNorm over the last dimension: `y = (x − mean) / √(var + eps) · w + b`.
//!
//! Two passes over the row (mean, then squared deviations), because E[x²] − mean² cancels on
//! ESM's outlier channels.

use super::scratch;
use super::simd::{CpuPath, Kernel, Simd};
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
        let out = scratch::uninit(x.len(), |out| {
            self.path.dispatch(Rows { norm: self, x, out })
        });
        Ok((CpuStorage::F32(out), l.shape().clone()))
    }
}

struct Rows<'a> {
    norm: &'a LayerNorm,
    x: &'a [f32],
    out: *mut f32,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let LayerNorm {
            weight, bias, eps, ..
        } = self.norm;
        let dim = weight.len();
        let whole = dim - dim % S::LANES;
        for (t, row) in self.x.chunks_exact(dim).enumerate() {
            // SAFETY: every load and store stays below `dim` in a row of `dim` elements.
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

                let out = self.out.add(t * dim);
                for i in (0..whole).step_by(S::LANES) {
                    let d = S::sub(S::load(row.as_ptr().add(i)), S::splat(mean));
                    let y = S::fma(
                        S::mul(d, S::splat(scale)),
                        S::load(weight.as_ptr().add(i)),
                        S::load(bias.as_ptr().add(i)),
                    );
                    S::store(out.add(i), y);
                }
                for i in whole..dim {
                    *out.add(i) = (row[i] - mean) * scale * weight[i] + bias[i];
                }
            }
        }
    }
}

/// The lanes of a vector added pairwise, always in the same order.
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
