//! Memory of the kernels, aligned to cache lines.

use candle_core::{DType, Device, Shape, Storage, Tensor};
use memmap2::MmapMut;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;
/// Numbers whose every bit pattern is valid, zeros included.
pub(crate) trait Number: Copy + Send + Sync {}
impl Number for f32 {}
impl Number for half::f16 {}
impl Number for half::bf16 {}

/// A fixed number of elements in separate memory pages, initially zero.
pub(crate) struct Buffer<T> {
    map: MmapMut,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Number> Buffer<T> {
    /// # Errors
    /// The system is out of memory.
    pub(crate) fn zeroed(len: usize) -> std::io::Result<Buffer<T>> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::OutOfMemory,
                "more bytes than the address space has",
            )
        })?;
        let map = MmapMut::map_anon(bytes.max(1))?;
        Ok(Buffer {
            map,
            len,
            kind: PhantomData,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the map holds `len` elements, is aligned to a page, and any bits are a number.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }

    /// A part that is about to be written for the first time. Its pages are allocated together,
    /// which is faster than one page fault each, and are still in the cache when they are written.
    /// Linux before 5.14 allocates them one by one.
    ///
    /// # Panics
    /// The range reaches past the end.
    pub(crate) fn fresh(&mut self, range: Range<usize>) -> &mut [T] {
        #[cfg(target_os = "linux")]
        if range.start <= range.end && range.end <= self.len {
            let (start, len) = (range.start * size_of::<T>(), range.len() * size_of::<T>());
            let _ = self
                .map
                .advise_range(memmap2::Advice::PopulateWrite, start, len);
        }
        &mut self.as_mut_slice()[range]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}

/// A cache line of floats.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE / size_of::<f32>()]);

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Limit of what a thread keeps for its next call: 256 MiB, enough for the widest ESM-2. Only records
/// of more than 200,000 residues need more, which is allocated for each call.
const KEPT: usize = (256 << 20) / LINE;

/// Calls `work` with `len` floats of unspecified content, aligned to a cache line.
///
/// A nested call gets a separate buffer.
pub(crate) fn scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let lines = len.div_ceil(LINE / size_of::<f32>());
    let fresh = || vec![Line([0.0; LINE / size_of::<f32>()]); lines];
    if lines > KEPT {
        return work(floats(&mut fresh(), len));
    }
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut buffer) => {
            if buffer.len() < lines {
                // Free the old one before the new one is allocated.
                *buffer = Vec::new();
                *buffer = fresh();
            }
            work(floats(&mut buffer, len))
        }
        Err(_) => work(floats(&mut fresh(), len)),
    })
}

/// Frees what this thread keeps for its next call.
pub(super) fn release() {
    SCRATCH.with(|cell| {
        if let Ok(mut buffer) = cell.try_borrow_mut() {
            *buffer = Vec::new();
        }
    });
}

fn floats(lines: &mut [Line], len: usize) -> &mut [f32] {
    let available = size_of_val(lines) / size_of::<f32>();
    // SAFETY: `Line` is an array of floats, and the length is limited to theirs.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len.min(available)) }
}

/// A contiguous f32 tensor of zeros on the CPU whose first element is at the start of a cache line.
///
/// # Errors
/// Candle's.
pub fn tensor(shape: impl Into<Shape>) -> candle_core::Result<Tensor> {
    let shape = shape.into();
    let len = shape.elem_count();
    let all = Tensor::zeros(len + LINE / size_of::<f32>(), DType::F32, &Device::Cpu)?;
    let offset = match &*all.storage_and_layout().0 {
        Storage::Cpu(storage) => line_offset(storage.as_slice::<f32>()?),
        _ => 0,
    };
    all.narrow(0, offset, len)?.reshape(shape)
}

/// Index of the first element that is at the start of a cache line.
fn line_offset(values: &[f32]) -> usize {
    let misaligned = values.as_ptr() as usize % LINE;
    (LINE - misaligned) % LINE / size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::{Buffer, line_offset, scratch};

    #[test]
    fn buffers_are_zero_and_aligned_to_cache_lines() {
        for len in [0, 1, 1000, 3 << 20] {
            let mut buffer = Buffer::<f32>::zeroed(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(buffer.as_slice().iter().all(|x| *x == 0.0));
            assert_eq!(buffer.as_mut_slice().as_ptr() as usize % 64, 0);
        }
        assert!(Buffer::<f32>::zeroed(usize::MAX).is_err());
    }

    #[test]
    fn nested_scratch_does_not_overlap() {
        for len in [10, 9 << 20] {
            scratch(len, |outer| {
                assert_eq!((outer.len(), outer.as_ptr() as usize % 64), (len, 0));
                outer.fill(1.0);
                scratch(len, |inner| inner.fill(2.0));
                assert!(outer.iter().all(|x| *x == 1.0));
                assert_eq!(line_offset(&outer[1..]), 15);
                assert_eq!(line_offset(outer), 0);
            });
        }
    }
}
