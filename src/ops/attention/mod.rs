//! Self-attention of packed sequences: `softmax(q·kᵀ)·v`, each sequence over its own tokens.
//!
//! The result for a sequence depends only on that sequence, so its bits do not depend on the
//! others.

mod ahead;
mod fixed_point;
mod float;
mod geometry;
mod head;
mod maps;
mod memory;
mod probabilities;
mod query_tile;
mod rotary;

pub use maps::{AttentionWithMaps, TakeMaps};
pub use memory::QUERY_GROUP;
pub use rotary::RotaryTable;
#[cfg(target_os = "linux")]
pub(crate) use rotary::{cos_sin, score_scale};

use crate::ops::buffer::scratch;
use crate::ops::linear::WeightType;
use crate::ops::matrix::{Chunked, ChunkedMut, lanes, padded};
use crate::ops::simd::CpuPath;
use crate::ops::team::Team;
use candle_core::{CpuStorage, InplaceOp1, Layout};
use fixed_point::FixedHead;
use head::Head;
use memory::Sizes;

/// Queries of one part when a team shares a long sequence.
pub const QUERY_SPAN: usize = 512;

/// Attention in place over q, k and v, `[3, features / lanes, rows, lanes]`: the result replaces q.
pub struct Attention<'a> {
    /// Instructions to run with.
    pub path: CpuPath,
    /// How linear weights are stored: products of attention are in fixed point if theirs are.
    pub weight_type: WeightType,
    /// Where each sequence starts, then the total: `[sequences + 1]`, ascending from 0.
    pub cu_seqlens: &'a [usize],
    /// Number of heads.
    pub heads: usize,
    /// Features of one head.
    pub head_dim: usize,
    /// Rotates q and k; None for models with learned positions.
    pub rotary: Option<&'a RotaryTable>,
    /// The threads that share the work.
    pub team: Team<'a>,
}

/// Rows of a q, k and v tensor for `tokens` tokens: whole vectors are read at its end too.
pub(super) fn rows(tokens: usize, path: CpuPath) -> usize {
    tokens + lanes(path)
}

/// Floats of working memory for a head of a sequence of `len` tokens.
pub(super) fn floats(head_dim: usize, len: usize, path: CpuPath, weight_type: WeightType) -> usize {
    Sizes::new(head_dim, len, lanes(path), weight_type.in_fixed_point()).total()
}

/// A sample of an attention's work, to measure its speed.
pub struct AttentionSample<'a> {
    /// The attention to sample.
    pub attention: Attention<'a>,
    /// Upper limit for the queries of one part.
    pub queries: usize,
    /// Upper limit for the parts.
    pub parts: usize,
}

/// Some queries of a head of a sequence.
struct Part<'m> {
    /// Index of the sequence.
    sequence: usize,
    start: usize,
    len: usize,
    head: usize,
    queries: std::ops::Range<usize>,
    /// Where their probabilities go, `[queries, len]`; None if they are not wanted.
    map: Option<&'m mut [f32]>,
}

impl InplaceOp1 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, l: &Layout) -> candle_core::Result<()> {
        let span = match self.team {
            Team::One => usize::MAX,
            Team::Pool(_) => QUERY_SPAN,
        };
        self.run(s, l, self.parts(span, usize::MAX))
    }
}

impl InplaceOp1 for AttentionSample<'_> {
    fn name(&self) -> &'static str {
        "attention_sample"
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, l: &Layout) -> candle_core::Result<()> {
        let parts = self.attention.parts(self.queries, self.parts);
        self.attention.run(s, l, parts)
    }
}

impl Attention<'_> {
    /// The work in parts of up to `span` queries; the first `limit` of them.
    fn parts(&self, span: usize, limit: usize) -> Vec<Part<'static>> {
        let mut parts = Vec::new();
        for (sequence, bounds) in self.cu_seqlens.windows(2).enumerate() {
            let (start, len) = (bounds[0], bounds[1].saturating_sub(bounds[0]));
            for head in 0..self.heads {
                for first in (0..len).step_by(span.min(len).max(1)) {
                    if parts.len() == limit {
                        return parts;
                    }
                    parts.push(Part {
                        sequence,
                        start,
                        len,
                        head,
                        queries: first..len.min(first.saturating_add(span)),
                        map: None,
                    });
                }
            }
        }
        parts
    }

    fn run(&self, s: &mut CpuStorage, l: &Layout, work: Vec<Part<'_>>) -> candle_core::Result<()> {
        let qkv = crate::ops::contiguous_mut(s, l)?;
        let lanes = lanes(self.path);
        let chunks = padded(self.heads * self.head_dim, self.path) / lanes;
        let tokens = self.cu_seqlens.last().copied().unwrap_or(usize::MAX);
        let (parts, width, stride, last) = l.shape().dims4()?;
        let covered = self.cu_seqlens.first() == Some(&0) && self.cu_seqlens.is_sorted();
        if (parts, width, last) != (3, chunks, lanes)
            || !covered
            || stride < rows(tokens, self.path)
        {
            candle_core::bail!(
                "attention of {} heads of {} was given {:?} and {} sequence bounds",
                self.heads,
                self.head_dim,
                l.dims(),
                self.cu_seqlens.len()
            );
        }
        let longest = self.cu_seqlens.windows(2).map(|w| w[1] - w[0]).max();
        if let Some(table) = self.rotary
            && (table.head_dim() != self.head_dim
                || table.positions() < longest.unwrap_or_default())
        {
            candle_core::bail!(
                "rotary table of {} positions of {} features for {longest:?} tokens of {}",
                table.positions(),
                table.head_dim(),
                self.head_dim
            );
        }
        let part = chunks * stride * lanes;
        let (q, rest) = qkv.split_at_mut(part);
        let (k, v) = rest.split_at(part);
        let q = ChunkedMut::new(q, stride, lanes);
        let [k, v] = [k, v].map(|x| Chunked::new(x, stride, lanes));
        self.team.each(work, |part: Part<'_>| {
            let rows = stride - part.start;
            let floats = floats(self.head_dim, part.len, self.path, self.weight_type);
            scratch(floats, |buffer| {
                let head = Head {
                    // SAFETY: a part reads and writes only its head's features of its queries,
                    // and parts are distinct.
                    q: unsafe { q.shared_rows(part.start) },
                    k: k.rows(part.start, rows),
                    v: v.rows(part.start, rows),
                    len: part.len,
                    column: part.head * self.head_dim,
                    head_dim: self.head_dim,
                    rotary: self.rotary,
                    queries: part.queries,
                    map: part.map,
                    buffer,
                };
                match self.weight_type.in_fixed_point() {
                    true => self.path.dispatch(FixedHead(head)),
                    false => self.path.dispatch(head),
                }
            });
        });
        Ok(())
    }
}
