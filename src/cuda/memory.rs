//! Memory of a GPU.

use super::error::{CudaError, While, no_memory};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, result};
use std::sync::Arc;

/// Bytes of a GPU's memory.
pub(super) struct Memory {
    slice: CudaSlice<u8>,
    start: u64,
}

impl Memory {
    /// `bytes` bytes, which are zero for everything later on the stream.
    pub(super) fn zeroed(
        stream: &Arc<CudaStream>,
        what: &'static str,
        bytes: usize,
    ) -> Result<Memory, CudaError> {
        let slice = stream.alloc_zeros::<u8>(bytes.max(1)).map_err(|source| {
            no_memory(
                "reserving memory",
                source,
                CudaError::Memory { what, bytes },
            )
        })?;
        let start = slice.device_ptr(stream).0;
        Ok(Memory { slice, start })
    }

    /// Uploads bytes, and waits until they have arrived.
    pub(super) fn upload(
        stream: &Arc<CudaStream>,
        what: &'static str,
        bytes: &[u8],
    ) -> Result<Memory, CudaError> {
        let memory = Memory::zeroed(stream, what, bytes.len())?;
        // SAFETY: the memory has as many bytes, and they are copied before this returns.
        unsafe { result::memcpy_htod_async(memory.at(0), bytes, stream.cu_stream()) }
            .while_("uploading")?;
        stream.synchronize().while_("uploading")?;
        Ok(memory)
    }

    /// Uploads floats.
    pub(super) fn upload_floats(
        stream: &Arc<CudaStream>,
        what: &'static str,
        floats: &[f32],
    ) -> Result<Memory, CudaError> {
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_ne_bytes()).collect();
        Memory::upload(stream, what, &bytes)
    }

    pub(super) fn bytes(&self) -> usize {
        self.slice.len()
    }

    /// The address of a byte.
    pub(super) fn at(&self, byte: usize) -> u64 {
        debug_assert!(byte < self.slice.len());
        self.start + byte as u64
    }
}
