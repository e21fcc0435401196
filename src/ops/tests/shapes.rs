//! What every operation says of wrong shapes.

use super::chunks::chunked;
use super::{pack, tensor};
use crate::ops::{Attention, CpuPath, FeedForward, LayerNorm, QkvProjection, Team, WeightType};

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
        team: Team::One,
    };
    assert!(qkv.inplace_op2(&x, &project).is_err());
    let feed_forward = FeedForward {
        path,
        out: &layer,
        norm: &norm,
        fc1: &layer,
        fc2: &layer,
        team: Team::One,
    };
    assert!(x.inplace_op2(&qkv, &feed_forward).is_err());
}
