//! Self-attention of packed sequences: `softmax(q·kᵀ)·v`, each sequence over its own tokens.
//!
//! Everything depends on the sequence alone, so its bits do not depend on its neighbours.

#[cfg(target_arch = "x86_64")]
mod fixed_point;
mod head;
mod rotary;

pub use rotary::RotaryTable;

use crate::ops::buffer::scratch;
use crate::ops::matrix::{Chunked, lanes, padded};
use crate::ops::simd::CpuPath;
use crate::ops::team::Team;
use candle_core::{CpuStorage, InplaceOp1, Layout};
use head::{Head, Sizes};

/// Queries of one part of the work when a team shares a long sequence.
pub const QUERY_SPAN: usize = 512;

/// Attention in place over q, k and v, `[3, features / lanes, rows, lanes]`: the result takes
/// the place of q.
pub struct Attention<'a> {
    /// Instructions to run with.
    pub path: CpuPath,
    /// Where sequences start, and the total at the end: `[sequences + 1]`, ascending from 0.
    pub cu_seqlens: &'a [usize],
    /// Number of heads.
    pub heads: usize,
    /// Features of one head.
    pub head_dim: usize,
    /// Rotates q and k; None for models with learned positions.
    pub rotary: Option<&'a RotaryTable>,
    /// Who works.
    pub team: Team<'a>,
}

/// Rows of a q, k and v tensor for `tokens` tokens: vectors are read whole at its end too.
pub(super) fn rows(tokens: usize, path: CpuPath) -> usize {
    tokens + lanes(path)
}

/// Floats of working memory for a head of a sequence of `len` tokens.
pub(super) fn floats(head_dim: usize, len: usize, path: CpuPath) -> usize {
    Sizes::new(head_dim, len, lanes(path), path.in_fixed_point()).total()
}

/// The same for a few queries only, to see how fast it is.
pub struct AttentionSample<'a> {
    /// Of which this is a part.
    pub attention: Attention<'a>,
    /// Queries of one head of one sequence that are worked on together, at most.
    pub queries: usize,
    /// How many times as many.
    pub parts: usize,
}

/// Some queries of a head of a sequence.
struct Part {
    start: usize,
    len: usize,
    head: usize,
    queries: std::ops::Range<usize>,
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
        "attention of some queries"
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, l: &Layout) -> candle_core::Result<()> {
        let parts = self.attention.parts(self.queries, self.parts);
        self.attention.run(s, l, parts)
    }
}

impl Attention<'_> {
    /// At most `most` parts of at most `span` queries each.
    fn parts(&self, span: usize, most: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        for bounds in self.cu_seqlens.windows(2) {
            let (start, len) = (bounds[0], bounds[1].saturating_sub(bounds[0]));
            for head in 0..self.heads {
                for first in (0..len).step_by(span.min(len).max(1)) {
                    if parts.len() == most {
                        return parts;
                    }
                    parts.push(Part {
                        start,
                        len,
                        head,
                        queries: first..len.min(first.saturating_add(span)),
                    });
                }
            }
        }
        parts
    }

    fn run(&self, s: &mut CpuStorage, l: &Layout, work: Vec<Part>) -> candle_core::Result<()> {
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
        let at = qkv.as_mut_ptr();
        let [q, k, v] = [0, 1, 2].map(|i| Chunked {
            at: at.wrapping_add(i * part),
            stride,
        });
        let fixed = self.path.in_fixed_point();
        self.team.each(work.len(), |i| {
            let Part {
                start,
                len,
                head,
                ref queries,
            } = work[i];
            let sizes = Sizes::new(self.head_dim, len, lanes, fixed);
            scratch(sizes.total(), |buffer| {
                let head = Head {
                    q: q.skip(start, lanes),
                    k: k.skip(start, lanes),
                    v: v.skip(start, lanes),
                    len,
                    column: head * self.head_dim,
                    head_dim: self.head_dim,
                    rotary: self.rotary,
                    queries: queries.clone(),
                    sizes,
                    buffer,
                };
                #[cfg(target_arch = "x86_64")]
                if fixed {
                    // SAFETY: the path's instructions are there.
                    return unsafe { fixed_point::run(head) };
                }
                self.path.dispatch(head);
            });
        });
        Ok(())
    }
}
