//! A stream with the memory of one forward pass.

use super::batch::Batch;
use super::error::{CudaError, While, no_memory};
use super::gpu::OpenGpu;
use super::memory::Memory;
use super::number_format::size;
use crate::device::Dtype;
use cudarc::driver::{CudaStream, PinnedHostSlice, result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Memory of results is reserved in steps of this many floats (16 MiB): pinning it takes time.
const RESULTS_STEP: usize = 4 << 20;

/// What decides how much memory a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) dim: usize,
    /// Numbers of a row of the inner feed-forward layer, with what is computed from it.
    pub(super) intermediate: usize,
    pub(super) size: usize,
    /// Rows of the inner feed-forward layer that are in memory at a time.
    pub(super) inner_rows: usize,
}

impl Shape {
    /// For a width and a feed-forward width, and a GPU with slabs of `slab` rows and `cache` bytes of second-level cache. If the inner
    /// feed-forward layer of a slab fits there, it is computed slab by slab, always in the same memory,
    /// so that the next kernel finds it in the cache.
    pub(super) fn new(
        dim: usize,
        intermediate: usize,
        dtype: Dtype,
        slab: usize,
        cache: usize,
    ) -> Shape {
        let size = size(dtype);
        let is_cached = slab * intermediate * size <= cache;
        Shape {
            dim,
            intermediate,
            size,
            inner_rows: if is_cached { slab } else { usize::MAX },
        }
    }

    /// Numbers of q, k and v of `rows` rows, or of their inner feed-forward layer, which share memory.
    fn wide(&self, rows: usize) -> usize {
        (3 * self.dim * rows).max(self.intermediate * rows.min(self.inner_rows))
    }

    /// Bytes of the GPU's memory for each row: residual stream and results in f32 (which also covers
    /// pooled rows: a sequence has three, and at least three tokens); input, output and wide rows of a
    /// layer in the number format.
    pub(super) fn row_bytes(&self) -> usize {
        12 * self.dim + (2 * self.dim + self.wide(1)) * self.size
    }
}

/// The memory of a pass over some rows.
pub(super) struct Rows {
    /// What the pass needs of it.
    pub(super) shape: Shape,
    /// Residual stream, `[rows, dim]` of f32.
    pub(super) x: Memory,
    /// Input of a layer, and result of attention, `[rows, dim]`.
    pub(super) h: Memory,
    /// q, k and v, or the inner feed-forward layer of [`Shape::inner_rows`] rows.
    pub(super) wide: Memory,
    /// Output of a layer, `[rows, dim]`.
    pub(super) y: Memory,
}

/// The results of a pass, on the GPU and, after a copy, in the memory of the machine.
struct Results {
    floats: usize,
    gpu: Memory,
    host: PinnedHostSlice<f32>,
}

impl Results {
    fn new(stream: &Arc<CudaStream>, floats: usize) -> Result<Results, CudaError> {
        let gpu = Memory::zeroed(stream, "results", 4 * floats)?;
        let doing = "reserving pinned memory";
        // SAFETY: written below before it is read. Not write-combined, which is slow to read.
        let host = unsafe { stream.context().alloc_pinned_with_flags::<f32>(floats, 0) };
        let used_up = CudaError::Pinned { bytes: 4 * floats };
        let mut host = host.map_err(|source| no_memory(doing, source, used_up))?;
        host.as_mut_slice().while_(doing)?.fill(0.0);
        Ok(Results { floats, gpu, host })
    }
}

/// A stream, with memory that grows with the largest batch.
pub(super) struct Lane {
    /// Index of its GPU in the model.
    pub(super) gpu: usize,
    pub(super) stream: Arc<CudaStream>,
    rows: Option<Rows>,
    batch: Option<Memory>,
    results: Option<Results>,
}

impl Lane {
    pub(super) fn new(number: usize, gpu: &OpenGpu) -> Result<Lane, CudaError> {
        let stream = gpu.context().new_stream().while_("making a stream")?;
        Ok(Lane {
            gpu: number,
            stream,
            rows: None,
            batch: None,
            results: None,
        })
    }

    /// Frees all memory, so that another lane can use it.
    pub(super) fn release(&mut self) {
        (self.rows, self.batch, self.results) = (None, None, None);
        // Memory is free once the stream gets there. An error here shows again in the next call.
        let _ = self.stream.synchronize();
    }

    /// Reserves memory for `rows` rows, those of whole pieces; their content is unspecified.
    pub(super) fn reserve(&mut self, shape: Shape, rows: usize) -> Result<(), CudaError> {
        let Shape { dim, size, .. } = shape;
        let (x, h, wide) = (rows * 4 * dim, rows * dim * size, shape.wide(rows) * size);
        let holds = |held: &Rows| {
            held.x.bytes() >= x
                && held.h.bytes().min(held.y.bytes()) >= h
                && held.wide.bytes() >= wide
        };
        if let Some(held) = self.rows.as_mut().filter(|held| holds(held)) {
            held.shape = shape;
        } else {
            // The old memory is freed before the new one is allocated.
            self.rows = None;
            let of = |bytes| Memory::zeroed(&self.stream, "a forward pass", bytes);
            self.rows = Some(Rows {
                shape,
                x: of(x)?,
                h: of(h)?,
                wide: of(wide)?,
                y: of(h)?,
            });
        }
        Ok(())
    }

    /// The memory that is reserved.
    pub(super) fn rows(&self) -> Result<&Rows, CudaError> {
        self.rows.as_ref().ok_or(CudaError::Defect)
    }

    /// Begins to upload a batch; returns its address.
    pub(super) fn upload(&mut self, batch: &Batch) -> Result<u64, CudaError> {
        let bytes = batch.bytes.len();
        if self.batch.as_ref().is_none_or(|held| held.bytes() < bytes) {
            self.batch = None;
            let room = bytes.next_power_of_two();
            self.batch = Some(Memory::zeroed(&self.stream, "a batch", room)?);
        }
        let memory = self.batch.as_ref().ok_or(CudaError::Defect)?;
        // SAFETY: there is room for the bytes, and from ordinary memory they are copied away before
        // the call returns.
        unsafe { result::memcpy_htod_async(memory.at(0), &batch.bytes, self.stream.cu_stream()) }
            .while_("uploading a batch")?;
        Ok(memory.at(0))
    }

    /// The address of memory for `floats` floats of results. If there is too little, it is replaced by
    /// memory for `reserved` floats, or for these only if that fails.
    pub(super) fn results(&mut self, floats: usize, reserved: usize) -> Result<u64, CudaError> {
        if let Some(held) = &self.results
            && held.floats >= floats
        {
            return Ok(held.gpu.at(0));
        }
        self.results = None;
        let reserved = reserved.max(floats).next_multiple_of(RESULTS_STEP);
        let made = match Results::new(&self.stream, reserved) {
            Err(CudaError::Memory { .. } | CudaError::Pinned { .. }) => {
                Results::new(&self.stream, floats.max(1))?
            }
            made => made?,
        };
        Ok(self.results.insert(made).gpu.at(0))
    }

    /// Copies `floats` floats of results to the machine after all work before it.
    pub(super) fn fetch(&mut self, floats: usize) -> Result<&[f32], CudaError> {
        let doing = "fetching results";
        let results = self.results.as_mut().ok_or(CudaError::Defect)?;
        let to = results.host.as_mut_slice().while_(doing)?;
        let to = to.get_mut(..floats).ok_or(CudaError::Defect)?;
        // SAFETY: both sides hold that many floats, and nobody reads them before the stream is waited
        // for.
        unsafe { result::memcpy_dtoh_async(to, results.gpu.at(0), self.stream.cu_stream()) }
            .while_(doing)?;
        self.stream.synchronize().while_(doing)?;
        let all = results.host.as_slice().while_(doing)?;
        all.get(..floats).ok_or(CudaError::Defect)
    }
}

/// The lanes of all GPUs.
pub(super) struct Lanes {
    free: Mutex<Free>,
    changed: Condvar,
}

/// Lanes that are not in use.
struct Free {
    lanes: Vec<Lane>,
    /// Number of lanes that each GPU has, used or not.
    of_gpu: Vec<usize>,
    /// The GPU that a thread has, or waits for, as a whole.
    kept: Option<usize>,
}

impl Lanes {
    /// `each` lanes of every GPU.
    pub(super) fn new(lanes: Vec<Lane>, each: usize) -> Lanes {
        let gpus = lanes.iter().map(|lane| lane.gpu + 1).max().unwrap_or(0);
        Lanes {
            free: Mutex::new(Free {
                lanes,
                of_gpu: vec![each; gpus],
                kept: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a lane. GPUs take turns: the lane that has been free longest comes first.
    pub(super) fn take(&self) -> Lane {
        self.wait(|free| {
            let kept = free.kept;
            let may_be = |lane: &Lane| Some(lane.gpu) != kept;
            let first = free.lanes.iter().position(may_be)?;
            Some(free.lanes.remove(first))
        })
    }

    /// Waits until no lane of a GPU is in use, and takes all of them. Nobody else gets one from now until
    /// [`Lanes::give_gpu`].
    pub(super) fn take_gpu(&self, gpu: usize) -> Vec<Lane> {
        self.wait(|free| match free.kept {
            Some(_) => None,
            None => {
                free.kept = Some(gpu);
                Some(())
            }
        });
        let is_here = |lane: &Lane| lane.gpu == gpu;
        self.wait(|free| {
            let here = free.lanes.iter().filter(|lane| is_here(lane)).count();
            if here < free.of_gpu.get(gpu).copied().unwrap_or(0) {
                return None;
            }
            let (taken, kept) = free.lanes.drain(..).partition(is_here);
            free.lanes = kept;
            Some(taken)
        })
    }

    pub(super) fn give(&self, lane: Lane) {
        self.lock().lanes.push(lane);
        self.changed.notify_all();
    }

    pub(super) fn give_gpu(&self, lanes: Vec<Lane>) {
        let mut free = self.lock();
        free.lanes.extend(lanes);
        free.kept = None;
        drop(free);
        self.changed.notify_all();
    }

    /// Removes a lane for good, so that others can use its memory, if `is_spare` and it is not the last
    /// of its GPU; otherwise gives it back. Returns whether it was removed.
    pub(super) fn retire(&self, lane: Lane, is_spare: bool) -> bool {
        let mut free = self.lock();
        let is_gone = match free.of_gpu.get_mut(lane.gpu) {
            Some(count) if is_spare && *count > 1 => {
                *count -= 1;
                true
            }
            _ => {
                free.lanes.push(lane);
                false
            }
        };
        drop(free);
        self.changed.notify_all();
        is_gone
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `take` takes something.
    fn wait<T>(&self, mut take: impl FnMut(&mut Free) -> Option<T>) -> T {
        let mut free = self.lock();
        loop {
            if let Some(taken) = take(&mut free) {
                return taken;
            }
            free = self
                .changed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of ESM-2 on an H100, with slabs of 16,896 rows and 50 MiB of cache.
    #[test]
    fn the_inner_layer_of_a_small_model_fits_the_cache() {
        let shape = |dim, dtype| Shape::new(dim, 4 * dim, dtype, 16_896, 50 << 20);
        let small = shape(320, Dtype::F16);
        assert_eq!(small.inner_rows, 16_896);
        assert_eq!(small.wide(16_896), 16_896 * 1280);
        assert_eq!(small.wide(4 * 16_896), 4 * 16_896 * 960);
        for large in [shape(320, Dtype::F32), shape(480, Dtype::F16)] {
            assert_eq!(large.inner_rows, usize::MAX);
            assert_eq!(large.wide(4 * 16_896), 4 * 16_896 * 4 * large.dim);
        }
    }
}
