//! Memory of a forward pass, kept for the next one.

use crate::ops;
use candle_core::{Result, Tensor};
use std::sync::Mutex;

/// Two tensors as flat memory; a pass takes views of their beginnings.
pub(super) struct Workspace {
    hidden: Tensor,
    qkv: Tensor,
}

impl Workspace {
    /// The residual stream `[T, D]`, with unspecified content.
    pub(super) fn hidden(&self, tokens: usize, dim: usize) -> Result<Tensor> {
        self.hidden
            .narrow(0, 0, tokens * dim)?
            .reshape((tokens, dim))
    }

    /// q, k and v of a layer (see [`ops::qkv_shape`]), with unspecified content.
    pub(super) fn qkv(&self, shape: [usize; 4]) -> Result<Tensor> {
        let [a, b, c, d] = shape;
        self.qkv.narrow(0, 0, a * b * c * d)?.reshape((a, b, c, d))
    }
}

/// Workspaces that wait for a pass: as many as passes ran at the same time.
pub(super) struct Workspaces {
    free: Mutex<Vec<Workspace>>,
    /// The largest q, k and v that are kept, in floats. Memory of longer passes goes back to the system.
    kept: usize,
}

impl Workspaces {
    pub(super) fn new(kept: usize) -> Workspaces {
        Workspaces {
            free: Mutex::default(),
            kept,
        }
    }

    /// One with space for `hidden` and `qkv` floats.
    pub(super) fn take(&self, hidden: usize, qkv: usize) -> Result<Workspace> {
        let found = match self.free.lock() {
            Ok(mut free) => free.pop(),
            Err(_) => None,
        };
        match found {
            Some(w) if w.hidden.elem_count() >= hidden && w.qkv.elem_count() >= qkv => Ok(w),
            _ => Ok(Workspace {
                hidden: ops::tensor(hidden)?,
                qkv: ops::tensor(qkv)?,
            }),
        }
    }

    /// Takes it back.
    pub(super) fn give(&self, workspace: Workspace) {
        if workspace.qkv.elem_count() <= self.kept
            && let Ok(mut free) = self.free.lock()
        {
            free.push(workspace);
        }
    }
}
