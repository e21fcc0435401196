//! Attention that hands over the maps of some heads.

use super::{Attention, Part, QUERY_GROUP, QUERY_SPAN};
use crate::ops::team::Team;
use crate::ops::tile::MAX_WIDTH;
use candle_core::{CpuStorage, InplaceOp1, Layout};
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

/// Queries of the smallest part of a map that a team shares.
const LEAST_SPAN: usize = QUERY_GROUP;

/// Receives attention maps while they are computed.
pub trait TakeMaps {
    /// Whether the maps of a head are wanted.
    fn wants(&self, head: usize) -> bool;

    /// Takes the map of one head of one sequence: probabilities `[tokens, tokens]`, one row for each
    /// query. They arrive by sequence, then head. After [`ControlFlow::Break`], no more arrive.
    fn take(&mut self, sequence: usize, head: usize, map: &[f32]) -> ControlFlow<()>;
}

/// Attention, and the maps of the heads that are wanted. The bits of the result are the same.
pub struct AttentionWithMaps<'a> {
    attention: Attention<'a>,
    maps: RefCell<&'a mut dyn TakeMaps>,
    /// Memory for one map.
    buffer: RefCell<&'a mut Vec<f32>>,
    flow: Cell<ControlFlow<()>>,
}

impl<'a> AttentionWithMaps<'a> {
    /// `buffer` has the memory of one map, and is kept for the next call.
    pub fn new(
        attention: Attention<'a>,
        maps: &'a mut dyn TakeMaps,
        buffer: &'a mut Vec<f32>,
    ) -> AttentionWithMaps<'a> {
        AttentionWithMaps {
            attention,
            maps: RefCell::new(maps),
            buffer: RefCell::new(buffer),
            flow: Cell::new(ControlFlow::Continue(())),
        }
    }

    /// Whether the maps were taken to the end; the result of the attention is incomplete otherwise.
    pub fn flow(&self) -> ControlFlow<()> {
        self.flow.get()
    }
}

impl InplaceOp1 for AttentionWithMaps<'_> {
    fn name(&self) -> &'static str {
        "attention_with_maps"
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, l: &Layout) -> candle_core::Result<()> {
        let attention = &self.attention;
        let (mut maps, mut buffer) = (self.maps.borrow_mut(), self.buffer.borrow_mut());
        let wanted = |part: &Part<'_>| maps.wants(part.head);
        let (wanted, others): (Vec<_>, Vec<_>) = attention
            .parts(usize::MAX, usize::MAX)
            .into_iter()
            .partition(wanted);
        for whole in wanted {
            let Part {
                sequence,
                start,
                len,
                head,
                ..
            } = whole;
            if buffer.len() < len * len {
                buffer.resize(len * len, 0.0);
            }
            let (map, _) = buffer.split_at_mut(len * len);
            let span = span(attention.team, len);
            let rows = map.chunks_mut((span * len).max(1));
            let parts = rows.enumerate().map(|(i, rows)| Part {
                sequence,
                start,
                len,
                head,
                queries: i * span..len.min((i + 1) * span),
                map: Some(rows),
            });
            attention.run(s, l, parts.collect())?;
            if maps.take(sequence, head, map).is_break() {
                self.flow.set(ControlFlow::Break(()));
                return Ok(());
            }
        }
        attention.run(s, l, others)
    }
}

/// Queries of one part of a map of `len` tokens.
fn span(team: Team<'_>, len: usize) -> usize {
    match team {
        Team::One => len.max(1),
        Team::Pool(_) => {
            let share = len.div_ceil(2 * team.threads()).next_multiple_of(MAX_WIDTH);
            share.clamp(LEAST_SPAN, QUERY_SPAN)
        }
    }
}
