//! Matrix products of a linear layer, y = x Wᵀ, with cuBLASLt: x is `[rows, inputs]`, W as the
//! checkpoint has it, `[outputs, inputs]`, and y `[rows, outputs]`.
//!
//! Products have one of a few numbers of rows ([`super::slab`]), and each shape of weights has one
//! algorithm for all of them, so that a row is always computed in the same way. An algorithm is used only
//! if it takes no workspace, splits no sum among blocks, and passes a test: [`super::matmul_test`].

use super::blaslt::{Blas, BlasLt, checked, made};
use super::error::{CudaError, While};
use super::memory::Memory;
use super::slab::Heights;
use crate::device::Dtype;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtMatmulAlgo_t, cublasLtMatmulAlgoConfigAttributes_t as Config,
    cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Desc, cublasLtMatmulHeuristicResult_t,
    cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayout_t, cudaDataType,
};
use cudarc::driver::CudaStream;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Algorithms that cuBLASLt is asked to suggest.
const CANDIDATES: usize = 32;
/// cuBLAS's code for a transposed matrix.
const TRANSPOSED: i32 = 1;

/// An algorithm that cuBLASLt offers.
#[derive(Clone, Copy)]
pub(super) struct Algorithm {
    library: &'static BlasLt,
    algo: cublasLtMatmulAlgo_t,
    workspace: usize,
}

impl Algorithm {
    fn config(&self, attribute: Config) -> Option<i32> {
        let mut value = [0u8; 4];
        // cuBLASLt accepts only the size of the attribute.
        let size = match attribute {
            Config::CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID
            | Config::CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID => size_of::<u16>(),
            _ => size_of::<i32>(),
        };
        let mut written = 0;
        // SAFETY: the buffer has the size that is given, or more.
        let status = unsafe {
            (self.library.algorithm_get)(
                &self.algo,
                attribute,
                (&raw mut value).cast(),
                size,
                &mut written,
            )
        };
        // Machines with GPUs are little-endian.
        checked(status).is_ok().then_some(i32::from_le_bytes(value))
    }

    /// Whether every sum is formed in one place and in one order, as far as its settings show.
    fn is_whole(&self) -> bool {
        let at_most = |attribute, most| self.config(attribute).is_none_or(|value| value <= most);
        self.workspace == 0
            && at_most(Config::CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 1)
            && at_most(Config::CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 0)
    }

    /// Everything that cuBLASLt keeps of it, in hexadecimal.
    pub(super) fn numbers(&self) -> String {
        let words = self.algo.data.iter();
        words.map(|word| format!("{word:016x}")).collect()
    }

    /// Its settings, for `run.json`.
    pub(super) fn describe(&self) -> String {
        let all = [
            ("id", Config::CUBLASLT_ALGO_CONFIG_ID),
            ("tile", Config::CUBLASLT_ALGO_CONFIG_TILE_ID),
            ("stages", Config::CUBLASLT_ALGO_CONFIG_STAGES_ID),
            ("swizzle", Config::CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
            ("option", Config::CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
            ("inner", Config::CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
            ("cluster", Config::CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
        ];
        let known = all.into_iter().filter_map(|(name, attribute)| {
            let value = self.config(attribute)?;
            Some(format!("{name} {value}"))
        });
        known.collect::<Vec<_>>().join(", ")
    }
}

/// A product with weights of one shape.
pub(super) struct Matmul {
    library: &'static BlasLt,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Bytes of a number.
    size: usize,
    desc: cublasLtMatmulDesc_t,
    weights: cublasLtMatrixLayout_t,
    /// Ascending; the last is a slab.
    heights: Vec<Height>,
    algorithm: Option<Algorithm>,
    /// Algorithms that give the same bits as the one in use.
    pub(super) equals: Vec<Algorithm>,
    /// Whether a row has the same bits only in slabs, and not in smaller products.
    pub(super) in_slabs_only: bool,
}

/// Layouts of inputs and outputs with `rows` rows.
struct Height {
    rows: usize,
    x: cublasLtMatrixLayout_t,
    y: cublasLtMatrixLayout_t,
}

// SAFETY: the descriptions are made once and only read afterwards; they are not bound to a thread.
unsafe impl Send for Matmul {}
// SAFETY: as above.
unsafe impl Sync for Matmul {}

impl Matmul {
    /// Without an algorithm: see [`Matmul::pin`].
    pub(super) fn new(
        blas: &Blas,
        heights: &Heights,
        dtype: Dtype,
        outputs: usize,
        inputs: usize,
    ) -> Result<Matmul, CudaError> {
        let library = blas.library;
        let doing = "describing a matrix product";
        let (kind, size) = match dtype {
            Dtype::F16 => (cudaDataType::CUDA_R_16F, 2),
            Dtype::Bf16 => (cudaDataType::CUDA_R_16BF, 2),
            Dtype::F32 | Dtype::Tf32 => (cudaDataType::CUDA_R_32F, 4),
        };
        // CUBLAS_COMPUTE_32F multiplies f32 in f32: TF32 has to be requested by name.
        let compute = match dtype {
            Dtype::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        // cuBLASLt is column-major: `[rows, columns]` here is its transpose there.
        let layout = |columns: usize, rows: usize| {
            let (wide, high) = (columns as u64, rows as u64);
            // SAFETY: the call writes a layout.
            made(|made| unsafe { (library.layout_create)(made, kind, wide, high, columns as i64) })
                .while_(doing)
        };
        let null = std::ptr::null_mut();
        let mut product = Matmul {
            library,
            inputs,
            outputs,
            size,
            desc: null,
            weights: std::ptr::null_mut(),
            heights: Vec::new(),
            algorithm: None,
            equals: Vec::new(),
            in_slabs_only: false,
        };
        // If a later step fails, dropping the product destroys what was made.
        // SAFETY: the call writes a description.
        product.desc =
            made(|made| unsafe { (library.desc_create)(made, compute, cudaDataType::CUDA_R_32F) })
                .while_(doing)?;
        product.weights = layout(inputs, outputs)?;
        for &rows in heights.all() {
            let x = layout(inputs, rows)?;
            let y = std::ptr::null_mut();
            product.heights.push(Height { rows, x, y });
            let y = layout(outputs, rows)?;
            if let Some(height) = product.heights.last_mut() {
                height.y = y;
            }
        }
        let transposed = TRANSPOSED;
        // SAFETY: the description is alive, and the value has the size that is given.
        checked(unsafe {
            (library.desc_set)(
                product.desc,
                Desc::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast(),
                size_of::<i32>(),
            )
        })
        .while_(doing)?;
        Ok(product)
    }

    /// The algorithms that may be used, in cuBLASLt's order: those it expects to be fast first.
    pub(super) fn candidates(&self, blas: &Blas) -> Result<Vec<Algorithm>, CudaError> {
        // Algorithms that split sums are filtered out in either case. Excluding them in the query first
        // leaves more usable ones in its answer.
        match self.offered(blas, true) {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => self.offered(blas, false),
        }
    }

    fn offered(&self, blas: &Blas, is_masked: bool) -> Result<Vec<Algorithm>, CudaError> {
        let doing = "looking for an algorithm";
        let Some(slab) = self.heights.last() else {
            return Ok(Vec::new());
        };
        let library = self.library;
        // SAFETY: the call writes a preference.
        let preference = made(|made| unsafe { (library.preference_create)(made) }).while_(doing)?;
        // No workspace and no reduction rule out sums that are split among blocks.
        let workspace = 0u64;
        let reductions = 0u32;
        // Zeroed, because all bytes of an algorithm identify it later, whether cuBLASLt wrote them or not.
        let mut found = [MaybeUninit::<cublasLtMatmulHeuristicResult_t>::zeroed(); CANDIDATES];
        let mut count = 0;
        // SAFETY: descriptions and preference are alive, values have the sizes that are given, and
        // there is space for the requested number of results.
        let asked = unsafe {
            let set = |attribute, value: *const c_void, size| {
                checked((library.preference_set)(preference, attribute, value, size))
            };
            let asked = set(
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<u64>(),
            )
            .and_then(|()| match is_masked {
                true => set(
                    Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    (&raw const reductions).cast(),
                    size_of::<u32>(),
                ),
                false => Ok(()),
            })
            .and_then(|()| {
                checked((library.heuristic)(
                    blas.handle,
                    self.desc,
                    self.weights,
                    slab.x,
                    slab.y,
                    slab.y,
                    preference,
                    CANDIDATES as i32,
                    found.as_mut_ptr().cast(),
                    &mut count,
                ))
            });
            let destroyed = checked((library.preference_destroy)(preference));
            asked.and(destroyed)
        };
        asked.while_(doing)?;
        let found = found.iter().take(usize::try_from(count).unwrap_or(0));
        Ok(found
            // SAFETY: cuBLASLt has written the first `count` of them.
            .map(|result| unsafe { result.assume_init_ref() })
            .filter(|result| result.state.result().is_ok())
            .map(|result| Algorithm {
                library,
                algo: result.algo,
                workspace: result.workspaceSize,
            })
            .filter(Algorithm::is_whole)
            .collect())
    }

    /// From now on uses this algorithm.
    pub(super) fn pin(&mut self, algorithm: Algorithm) {
        self.algorithm = Some(algorithm);
    }

    /// Uses the algorithm with these numbers, if it is known to give the bits of the one in use. Returns
    /// whether it is another one.
    pub(super) fn use_equal(&mut self, numbers: &str) -> bool {
        let is_used = |algorithm: &Algorithm| algorithm.numbers() == numbers;
        if self.algorithm.as_ref().is_some_and(is_used) {
            return false;
        }
        match self.equals.iter().copied().find(is_used) {
            Some(equal) => {
                self.algorithm = Some(equal);
                true
            }
            None => false,
        }
    }

    /// Numbers of the algorithm in use, and of those with the same bits.
    pub(super) fn usable(&self) -> Vec<String> {
        let all = self.algorithm.iter().chain(&self.equals);
        all.map(Algorithm::numbers).collect()
    }

    /// The algorithm in use.
    pub(super) fn algorithm(&self) -> Option<&Algorithm> {
        self.algorithm.as_ref()
    }

    /// y = x Wᵀ for pieces of these heights, one after another, on a stream.
    ///
    /// # Safety
    /// `x` and `y` are addresses of the rows of inputs and outputs of all pieces, and `weights` holds the
    /// weights; all are memory of the GPU that the stream belongs to.
    pub(super) unsafe fn run(
        &self,
        blas: &Blas,
        stream: &Arc<CudaStream>,
        weights: &Memory,
        x: u64,
        y: u64,
        pieces: &[usize],
    ) -> Result<(), CudaError> {
        debug_assert_eq!(weights.bytes(), self.inputs * self.outputs * self.size);
        let Some(algorithm) = &self.algorithm else {
            return Err(CudaError::NoAlgorithm {
                outputs: self.outputs,
                inputs: self.inputs,
            });
        };
        let doing = "starting a matrix product";
        stream.context().bind_to_thread().while_(doing)?;
        let (one, zero) = (1.0f32, 0.0f32);
        let mut before = 0;
        for &rows in pieces {
            let height = self.heights.iter().find(|height| height.rows == rows);
            let height = height.ok_or(CudaError::Defect)?;
            let x = x + (before * self.inputs * self.size) as u64;
            let y = y + (before * self.outputs * self.size) as u64;
            before += rows;
            // SAFETY: the caller's; factors are read before the call returns.
            checked(unsafe {
                (self.library.matmul)(
                    blas.handle,
                    self.desc,
                    (&raw const one).cast(),
                    weights.at(0) as *const c_void,
                    self.weights,
                    x as *const c_void,
                    height.x,
                    (&raw const zero).cast(),
                    y as *const c_void,
                    height.y,
                    y as *mut c_void,
                    height.y,
                    &algorithm.algo,
                    std::ptr::null_mut(),
                    0,
                    stream.cu_stream().cast(),
                )
            })
            .while_(doing)?;
        }
        Ok(())
    }
}

impl Drop for Matmul {
    fn drop(&mut self) {
        // SAFETY: each was made by its own call, or is null, and nobody uses it any more. Failing to close
        // it changes nothing.
        unsafe {
            if !self.desc.is_null() {
                let _ = (self.library.desc_destroy)(self.desc);
            }
            let of_heights = self.heights.iter().flat_map(|height| [height.x, height.y]);
            for layout in of_heights.chain([self.weights]) {
                if !layout.is_null() {
                    let _ = (self.library.layout_destroy)(layout);
                }
            }
        }
    }
}
