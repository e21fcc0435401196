//! Errors of the operations for wrong shapes, and of kernels for memory that is too small.

use super::chunks::chunked;
use super::{pack, tensor};
use crate::ops::linear::Target;
use crate::ops::matrix::{Chunked, ChunkedMut, lanes, padded};
use crate::ops::{
    Activation, Attention, CpuPath, FeedForward, LayerNorm, QkvProjection, Team, WeightType,
};

#[test]
fn wrong_shapes_are_errors() {
    let layer = pack(CpuPath::detect(), WeightType::F32, &[1.0, 2.0], &[0.0], 2);
    assert!(
        tensor(&[1.0; 3], &[1, 3])
            .apply_op1_no_bwd(&&layer)
            .is_err()
    );
    let x = tensor(&[1.0; 2], &[1, 2]);
    let norm = LayerNorm::new(CpuPath::detect(), vec![1.0; 4], vec![0.0; 4], 1e-5);
    assert!(x.apply_op1_no_bwd(&&norm).is_err());
    let path = CpuPath::detect();
    let qkv = chunked(path, &[1.0; 6], 3, 2);
    let bounds: [&[usize]; 4] = [&[0, 2], &[1], &[], &[0, 3, 1]];
    for cu_seqlens in bounds {
        let op = Attention {
            path,
            weight_type: WeightType::F32,
            cu_seqlens,
            heads: 1,
            head_dim: 2,
            rotary: None,
            team: Team::One,
        };
        assert!(qkv.inplace_op1(&op).is_err());
    }
    let project = QkvProjection {
        path,
        norm: &norm,
        qkv: &layer,
        qk_norms: None,
        team: Team::One,
    };
    assert!(qkv.inplace_op2(&x, &project).is_err());
    let feed_forward = FeedForward {
        path,
        out: &layer,
        norm: &norm,
        fc1: &layer,
        activation: Activation::Gelu,
        fc2: &layer,
        scale: 1.0,
        team: Team::One,
    };
    assert!(x.inplace_op2(&qkv, &feed_forward).is_err());
}

/// Kernels write through pointers: they check sizes first, because `dispatch` is safe.
#[test]
fn kernels_refuse_memory_that_is_too_small() {
    let refuses = |work: &mut dyn FnMut()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
    };
    for path in super::paths() {
        let (lanes, width, rows) = (lanes(path), padded(1, path), 3);
        let layer = pack(path, WeightType::F32, &vec![1.0; width], &[0.0], width);
        let norm = LayerNorm::new(path, vec![1.0; width], vec![0.0; width], 1e-5);
        let scratch = layer.size().scratch(rows);
        let apply = |x_rows: usize, out_rows: usize, scratch: usize| {
            let x = vec![1.0; x_rows * width];
            let mut out = vec![0.0; out_rows * width];
            let mut buffer = vec![0.0; scratch];
            refuses(&mut || {
                let target = ChunkedMut::new(&mut out, out_rows, lanes);
                let x = Chunked::new(&x, x_rows, lanes);
                layer.apply(x, Target::Chunks(target), &mut buffer);
            })
        };
        assert!(!apply(rows, rows, scratch), "{path}");
        assert!(apply(rows, rows - 1, scratch), "{path}");
        assert!(apply(rows, rows, scratch - 1), "{path}");
        let normalize = |out_rows: usize| {
            let mut out = vec![0.0; out_rows * width];
            refuses(&mut || {
                let out = ChunkedMut::new(&mut out, out_rows, lanes);
                norm.chunks(&vec![1.0; rows * width], out);
            })
        };
        assert!(!normalize(rows) && normalize(rows - 1), "{path}");
        let normalize = |first: usize| {
            let mut x = vec![1.0; rows * width];
            refuses(&mut || norm.in_chunks(ChunkedMut::new(&mut x, rows, lanes), first))
        };
        assert!(!normalize(0) && normalize(1) && normalize(lanes), "{path}");
        let gated = |out: usize| {
            let x = vec![1.0; rows * width];
            let (mut out, mut buffer) = (vec![0.0; out], vec![0.0; scratch]);
            refuses(&mut || {
                let target = ChunkedMut::new(&mut out, rows, lanes);
                let x = Chunked::new(&x, rows, lanes);
                layer.apply(x, Target::SwiGlu(target), &mut buffer);
            })
        };
        assert!(!gated(rows * lanes) && gated(rows * lanes - 1), "{path}");
    }
}
