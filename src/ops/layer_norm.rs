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
            task: Task::Chunks(x, out),
        });
    }

    /// Normalises D features from feature `first` on, with their padding, in every row of the chunks.
    ///
    /// # Panics
    /// The chunks hold fewer features, or `first` is inside a chunk.
    pub(super) fn in_chunks(&self, x: ChunkedMut<'_>, first: usize) {
        self.path.dispatch(Normalize {
            norm: self,
            task: Task::InChunks(x, first),
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
            task: Task::Rows(x, &mut out),
        });
        Ok((CpuStorage::F32(out), l.shape().clone()))
    }
}

enum Task<'a> {
    /// Rows to rows.
    Rows(&'a [f32], &'a mut [f32]),
    /// Rows to chunks.
    Chunks(&'a [f32], ChunkedMut<'a>),
    /// Chunks in place, from this feature on.
    InChunks(ChunkedMut<'a>, usize),
}

/// Where rows of `dim` features are, after their size has been checked.
trait Place: Copy {
    /// Whether features are padded to whole tiles.
    const IS_PADDED: bool;

    /// Feature i of row t; those after it follow, up to a multiple of eight.
    fn at<S: Simd>(self, dim: usize, t: usize, i: usize) -> *mut f32;
}

#[derive(Clone, Copy)]
struct Rows(*mut f32);

impl Place for Rows {
    const IS_PADDED: bool = false;

    #[inline(always)]
    fn at<S: Simd>(self, dim: usize, t: usize, i: usize) -> *mut f32 {
        self.0.wrapping_add(t * dim + i)
    }
}

impl Place for Chunks {
    const IS_PADDED: bool = true;

    #[inline(always)]
    fn at<S: Simd>(self, _: usize, t: usize, i: usize) -> *mut f32 {
        let lane = i % S::LANES;
        let chunk = (i - lane) * self.stride + t * S::LANES;
        self.at.wrapping_add(chunk).wrapping_add(lane)
    }
}

/// Rows that are normalised together, so that their sums do not wait for each other.
const ROWS: usize = 4;

struct Normalize<'a> {
    norm: &'a LayerNorm,
    task: Task<'a>,
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let norm = self.norm;
        let dim = norm.weight.len();
        let padded = dim.next_multiple_of(tile::width::<S>());
        assert_eq!(norm.bias.len(), dim);
        match self.task {
            Task::Rows(x, to) => {
                let rows = x.len() / dim.max(1);
                assert!(to.len() >= rows * dim);
                let from = Rows(x.as_ptr().cast_mut());
                // SAFETY: the caller's; the sizes were checked.
                unsafe { norm.all::<S, _, _>(rows, from, Rows(to.as_mut_ptr())) }
            }
            Task::Chunks(x, mut to) => {
                let (rows, extent) = (x.len() / dim.max(1), to.extent());
                assert!(extent.lanes == S::LANES);
                assert!(extent.rows >= rows && extent.features() >= padded);
                let from = Rows(x.as_ptr().cast_mut());
                // SAFETY: as above.
                unsafe { norm.all::<S, _, _>(rows, from, to.chunks()) }
            }
            Task::InChunks(mut x, first) => {
                let extent = x.extent();
                assert!(extent.lanes == S::LANES && first.is_multiple_of(S::LANES));
                assert!(extent.features() >= first + padded);
                let x = x.chunks();
                let x = Chunks {
                    at: x.at.wrapping_add(first * x.stride),
                    ..x
                };
                // SAFETY: as above; a feature is written after it was read for the last time.
                unsafe { norm.all::<S, _, _>(extent.rows, x, x) }
            }
        }
    }
}

impl LayerNorm {
    /// Normalises `rows` rows.
    ///
    /// # Safety
    /// As [`LayerNorm::rows`], for all of them.
    #[inline(always)]
    unsafe fn all<S: Simd, F: Place, P: Place>(&self, rows: usize, from: F, to: P) {
        let whole = rows - rows % ROWS;
        // SAFETY: the caller's.
        unsafe {
            for t in (0..whole).step_by(ROWS) {
                self.rows::<S, F, P, ROWS>(t, from, to);
            }
            for t in whole..rows {
                self.rows::<S, F, P, 1>(t, from, to);
            }
        }
    }

    /// Normalises R rows from row t on.
    ///
    /// # Safety
    /// `from` and `to` have the rows, with their padding if there is any; weight and bias have D
    /// elements; the processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn rows<S: Simd, F: Place, P: Place, const R: usize>(&self, t: usize, from: F, to: P) {
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
                    *sums = S::Eight::add(*sums, S::Eight::load(from.at::<S>(dim, t + r, i)));
                }
            }
            let mut means = [0.0; R];
            for (r, mean) in means.iter_mut().enumerate() {
                let mut sum = S::Eight::sum_lanes(sums[r]);
                for i in whole..dim {
                    sum += *from.at::<S>(dim, t + r, i);
                }
                *mean = sum / dim as f32;
            }

            let mut sums = [S::Eight::splat(0.0); R];
            for i in (0..whole).step_by(eight) {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = S::Eight::load(from.at::<S>(dim, t + r, i));
                    let d = S::Eight::sub(x, S::Eight::splat(means[r]));
                    *sums = S::Eight::fma(d, d, *sums);
                }
            }
            let mut scales = [0.0; R];
            for (r, scale) in scales.iter_mut().enumerate() {
                let mut sum = S::Eight::sum_lanes(sums[r]);
                for i in whole..dim {
                    let d = *from.at::<S>(dim, t + r, i) - means[r];
                    sum += d * d;
                }
                *scale = 1.0 / (sum / dim as f32 + eps).sqrt();
            }

            for i in (0..whole).step_by(eight) {
                let weight = S::Eight::load(weight.as_ptr().add(i));
                let bias = S::Eight::load(bias.as_ptr().add(i));
                for r in 0..R {
                    let x = S::Eight::load(from.at::<S>(dim, t + r, i));
                    let d = S::Eight::sub(x, S::Eight::splat(means[r]));
                    let y = S::Eight::mul(d, S::Eight::splat(scales[r]));
                    let y = S::Eight::fma(y, weight, bias);
                    S::Eight::store(to.at::<S>(dim, t + r, i), y);
                }
            }
            for r in 0..R {
                let mut edge = [0.0f32; 8];
                for i in whole..dim {
                    let d = *from.at::<S>(dim, t + r, i) - means[r];
                    edge[i - whole] = d * scales[r] * weight[i] + bias[i];
                }
                if P::IS_PADDED {
                    let padded = dim.next_multiple_of(tile::width::<S>());
                    for i in (whole..padded).step_by(eight) {
                        let at = to.at::<S>(dim, t + r, i);
                        S::Eight::store(at, S::Eight::load(edge.as_ptr()));
                        edge = [0.0; 8];
                    }
                } else {
                    for (i, y) in edge[..dim - whole].iter().enumerate() {
                        *to.at::<S>(dim, t + r, whole + i) = *y;
                    }
                }
            }
        }
    }
}
