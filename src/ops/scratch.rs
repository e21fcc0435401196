//! Working memory of the kernels, kept by each thread between calls.

use std::cell::RefCell;

thread_local! {
    static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The most that a thread keeps for its next call: 16 MiB. Only records far beyond the usual
/// lengths need more, and they allocate for themselves.
const KEPT: usize = 4 << 20;

/// Calls `work` with `len` floats of unspecified content.
///
/// A nested call gets a buffer of its own.
pub(crate) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    if len <= KEPT {
        BUFFER.with(|cell| match cell.try_borrow_mut() {
            Ok(mut buffer) => {
                if buffer.len() < len {
                    buffer.resize(len, 0.0);
                }
                work(&mut buffer[..len])
            }
            Err(_) => work(&mut vec![0.0; len]),
        })
    } else {
        work(&mut vec![0.0; len])
    }
}

/// A vector of `len` floats that `fill` writes in full.
///
/// Outputs are tens of megabytes that are overwritten at once; setting them to zero first would
/// cost a pass over memory per operation.
pub(crate) fn uninit(len: usize, fill: impl FnOnce(*mut f32)) -> Vec<f32> {
    let mut out: Vec<f32> = Vec::with_capacity(len);
    fill(out.as_mut_ptr());
    // SAFETY: the capacity is `len`, and every caller in this module's parent writes each of the
    // `len` elements (the kernels' tests compare all of them).
    unsafe { out.set_len(len) };
    out
}
