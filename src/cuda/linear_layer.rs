//! A linear layer of the blocks and what the model does next with its result: a product of cuBLASLt and
//! a kernel for that, or the program's own product, which does both.

use super::blaslt::Blas;
use super::error::CudaError;
use super::gpu::OpenGpu;
use super::kernels::ModelKernels;
use super::load::{Linear, Norm};
use super::matmul::Matmul;
use super::own_matmul::{Next, Operands, OwnMatmul, Role};
use super::row_kernels::{Added, NormTo, QkNorms, Rotation, RowKernels};
use crate::device::Dtype;

/// What computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Blas,
    Own,
}

/// A linear layer with weights of one shape.
pub(super) struct LinearLayer {
    pub(super) role: Role,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The product of cuBLASLt, if there is one that can be used.
    pub(super) matmul: Option<Matmul>,
    /// The program's own; none for TF32.
    pub(super) own: Option<OwnMatmul>,
    pub(super) by: By,
}

/// Rows of a layer.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// The kernels that follow, and the number of rows.
    pub(super) rows: RowKernels<'a>,
    pub(super) blas: Option<&'a Blas>,
    /// Heights of the products of cuBLASLt, of at least as many rows.
    pub(super) pieces: &'a [usize],
    pub(super) linear: &'a Linear,
    /// Address of the inputs.
    pub(super) from: u64,
    pub(super) to: To<'a>,
}

/// Addresses of the results, and what follows the product.
#[derive(Clone, Copy)]
pub(super) enum To<'a> {
    Qkv {
        qkv: u64,
        rotation: Rotation,
        /// Of queries and keys, before their rotation.
        norms: Option<QkNorms>,
    },
    Inner {
        u: u64,
    },
    /// Both factors of SwiGLU, and where their product goes.
    Gated {
        u: u64,
        out: u64,
    },
    /// Addition to the residual stream `x`, and its norm. `y` is memory for rows in the number format.
    Outer {
        x: u64,
        y: u64,
        norm: Option<&'a Norm>,
        norm_to: NormTo,
    },
}

impl LinearLayer {
    pub(super) fn new(
        gpu: &OpenGpu,
        kernels: &ModelKernels,
        dtype: Dtype,
        role: Role,
        outputs: usize,
        inputs: usize,
    ) -> Result<LinearLayer, CudaError> {
        let matmul = |blas: &Blas| Matmul::new(blas, &gpu.heights, dtype, outputs, inputs);
        let matmul = gpu.blas.as_ref().map(matmul).transpose()?;
        let of = gpu.about.multiprocessors;
        Ok(LinearLayer {
            role,
            inputs,
            outputs,
            by: match matmul {
                Some(_) => By::Blas,
                None => By::Own,
            },
            matmul,
            own: OwnMatmul::new(kernels, of, role, outputs, inputs),
        })
    }

    /// What computes it, for `run.json`.
    pub(super) fn describe(&self) -> Option<String> {
        match self.by {
            By::Own => Some("esm-embed".to_owned()),
            By::Blas => Some(self.matmul.as_ref()?.algorithm()?.describe()),
        }
    }

    /// The same as text that is equal if the bits of the results are.
    pub(super) fn numbers(&self) -> String {
        match self.by {
            By::Own => "esm-embed".to_owned(),
            By::Blas => {
                let algorithm = self.matmul.as_ref().and_then(Matmul::algorithm);
                algorithm.map(|a| a.numbers()).unwrap_or_default()
            }
        }
    }

    /// Whether products smaller than a slab give a row other bits.
    pub(super) fn is_in_slabs_only(&self) -> bool {
        let in_slabs = self.matmul.as_ref().is_some_and(|m| m.in_slabs_only);
        self.by == By::Blas && in_slabs
    }

    /// Computes the layer and what follows it, on a stream.
    ///
    /// # Safety
    /// Addresses are of memory of the GPU that the stream belongs to, with a row for each token, and with
    /// those of all pieces unless the product is the program's own. `to` fits the role of the layer.
    pub(super) unsafe fn run(&self, by: By, call: &Call<'_>) -> Result<(), CudaError> {
        // SAFETY: the caller's.
        unsafe {
            match by {
                By::Own => self.run_own(call),
                By::Blas => self.run_blas(call),
            }
        }
    }

    /// # Safety
    /// As for [`LinearLayer::run`].
    unsafe fn run_own(&self, call: &Call<'_>) -> Result<(), CudaError> {
        let own = self.own.as_ref().ok_or(CudaError::Defect)?;
        let Call { rows, to, .. } = *call;
        let (y, next) = match to {
            To::Qkv {
                qkv,
                rotation,
                norms: None,
            } => (qkv, Next::Rotary(rotation)),
            // The norms come before the rotation.
            To::Qkv { qkv, rotation, .. } => (qkv, Next::Rotary(rotation.without_angles())),
            To::Gated { u, .. } => (u, Next::Rotary(Rotation::none())),
            To::Inner { u } => (u, Next::Gelu),
            To::Outer { x, .. } => (x, Next::Residual),
        };
        let operands = Operands {
            x: call.from,
            weights: call.linear.weight.at(0),
            bias: call.linear.bias.at(0),
            y,
        };
        // SAFETY: the caller's.
        unsafe { own.run(rows.stream, operands, rows.rows, next) }?;
        match to {
            To::Outer {
                x,
                norm: Some(norm),
                norm_to,
                ..
            } => {
                // SAFETY: the caller's.
                unsafe { rows.add_norm(x, None, Some(norm), norm_to) }
            }
            To::Qkv {
                qkv,
                rotation,
                norms: Some(norms),
            } => {
                // SAFETY: the caller's.
                unsafe {
                    rows.qk_norm(qkv, norms)?;
                    rows.bias_rotary(qkv, operands.bias, &rotation)
                }
            }
            // SAFETY: the caller's.
            To::Gated { u, out } => unsafe { rows.swiglu(out, u, self.outputs / 2) },
            _ => Ok(()),
        }
    }

    /// # Safety
    /// As for [`LinearLayer::run`].
    unsafe fn run_blas(&self, call: &Call<'_>) -> Result<(), CudaError> {
        let (matmul, blas) = self
            .matmul
            .as_ref()
            .zip(call.blas)
            .ok_or(CudaError::Defect)?;
        let Call {
            rows, linear, to, ..
        } = *call;
        let y = match to {
            To::Qkv { qkv, .. } => qkv,
            To::Inner { u } | To::Gated { u, .. } => u,
            To::Outer { y, .. } => y,
        };
        let bias = linear.bias.at(0);
        // SAFETY: the caller's.
        unsafe {
            matmul.run(blas, rows.stream, &linear.weight, call.from, y, call.pieces)?;
            match to {
                To::Qkv {
                    qkv,
                    rotation,
                    norms,
                } => {
                    if let Some(norms) = norms {
                        rows.qk_norm(qkv, norms)?;
                    }
                    rows.bias_rotary(qkv, bias, &rotation)
                }
                To::Gated { u, out } => rows.swiglu(out, u, self.outputs / 2),
                To::Inner { u } => rows.bias_gelu(u, bias, self.outputs),
                To::Outer {
                    x, norm, norm_to, ..
                } => rows.add_norm(x, Some(Added { y, bias }), norm, norm_to),
            }
        }
    }
}
