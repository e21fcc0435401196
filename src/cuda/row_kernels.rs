//! The kernels that follow matrix products of cuBLASLt, and work on each row by itself.

use super::error::{CudaError, While};
use super::kernels::{ModelKernels, grid, launch};
use super::load::Norm;
use cudarc::driver::CudaStream;
use std::sync::Arc;

/// The rotation of queries and keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// Addresses of cosines and sines, `[positions, head_dim / 2]`; 0 for models without rotation.
    pub(super) cosines: u64,
    pub(super) sines: u64,
    /// Address of the position of each row.
    pub(super) positions: u64,
    /// Factor of the queries.
    pub(super) scale: f32,
    /// Half of the width of a head.
    pub(super) half: usize,
}

/// Addresses of the weights of the norms of queries and of keys.
pub(super) type QkNorms = [u64; 2];

impl Rotation {
    /// Neither a rotation nor a factor, for heads of the same width: numbers stay as they are.
    pub(super) fn without_angles(self) -> Rotation {
        Rotation {
            cosines: 0,
            sines: 0,
            scale: 1.0,
            ..self
        }
    }

    /// The same for rows that have no heads, eight numbers at a time.
    pub(super) fn none() -> Rotation {
        Rotation {
            cosines: 0,
            sines: 0,
            positions: 0,
            scale: 1.0,
            half: 4,
        }
    }
}

/// What is added to the residual stream: addresses of rows in the number format, and of their bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) y: u64,
    pub(super) bias: u64,
}

/// Where the norm of the residual stream goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum NormTo {
    /// To rows in the number format, at this address.
    Rows(u64),
    /// To the residual stream itself.
    Stream,
}

/// Rows on a stream, and the kernels for their width and number format.
#[derive(Clone, Copy)]
pub(super) struct RowKernels<'a> {
    pub(super) stream: &'a Arc<CudaStream>,
    pub(super) kernels: &'a ModelKernels,
    pub(super) rows: usize,
    /// Width of the residual stream.
    pub(super) dim: usize,
    pub(super) eps: f32,
}

impl RowKernels<'_> {
    /// x += y + bias if there is something to add, then the norm of x if there is one.
    ///
    /// # Safety
    /// Addresses are of memory of the GPU with this number of rows, and biases and weights as wide.
    pub(super) unsafe fn add_norm(
        &self,
        x: u64,
        added: Option<Added>,
        norm: Option<&Norm>,
        to: NormTo,
    ) -> Result<(), CudaError> {
        let (kernel, out) = match to {
            NormTo::Stream => (&self.kernels.final_norm, x),
            NormTo::Rows(out) => (&self.kernels.add_norm, out),
        };
        // SAFETY: arguments as both kernels declare them; the rest is the caller's.
        unsafe {
            launch!(
                self.stream,
                kernel,
                grid(self.rows, 1, 0),
                x,
                added.map_or(0, |added| added.y),
                added.map_or(0, |added| added.bias),
                norm.map_or(0, |norm| norm.weight.at(0)),
                norm.map_or(0, |norm| norm.bias.at(0)),
                self.eps,
                out,
                self.dim as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// Bias, scale and rotation of q and k, in place.
    ///
    /// # Safety
    /// `qkv` is the address of this number of rows, `bias` that of as many numbers as a row has, and those
    /// of the rotation are as they say.
    pub(super) unsafe fn bias_rotary(
        &self,
        qkv: u64,
        bias: u64,
        rotation: &Rotation,
    ) -> Result<(), CudaError> {
        // SAFETY: arguments as the kernel declares them; the rest is the caller's.
        unsafe {
            launch!(
                self.stream,
                self.kernels.bias_rotary,
                grid(self.rows, 1, 0),
                qkv,
                bias,
                rotation.cosines,
                rotation.sines,
                rotation.positions,
                rotation.scale,
                self.dim as i32,
                rotation.half as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// Norms of q and k over the whole width, in place.
    ///
    /// # Safety
    /// `qkv` is the address of this number of rows, and the weights are as wide as the residual stream.
    pub(super) unsafe fn qk_norm(&self, qkv: u64, [q, k]: QkNorms) -> Result<(), CudaError> {
        // SAFETY: arguments as the kernel declares them; the rest is the caller's.
        unsafe {
            launch!(
                self.stream,
                self.kernels.qk_norm,
                grid(self.rows, 2, 0),
                qkv,
                q,
                k,
                self.eps,
                self.dim as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// out = silu(a) · g, of `width` numbers each, for rows a, g at `u`.
    ///
    /// # Safety
    /// `u` is the address of this number of rows, and `out` that of as many of `width` numbers, which do
    /// not overlap.
    pub(super) unsafe fn swiglu(&self, out: u64, u: u64, width: usize) -> Result<(), CudaError> {
        // SAFETY: arguments as the kernel declares them; the rest is the caller's.
        unsafe {
            launch!(
                self.stream,
                self.kernels.swiglu,
                grid(self.rows, 1, 0),
                out,
                u,
                width as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// u = gelu(u + bias), for rows of `width` numbers.
    ///
    /// # Safety
    /// `u` is the address of this number of rows, and `bias` that of `width` numbers.
    pub(super) unsafe fn bias_gelu(
        &self,
        u: u64,
        bias: u64,
        width: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: arguments as the kernel declares them; the rest is the caller's.
        unsafe {
            launch!(
                self.stream,
                self.kernels.bias_gelu,
                grid(self.rows, 1, 0),
                u,
                bias,
                width as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }
}
