//! Bytes that forward passes take.

use super::maps::MapCost;
use crate::checkpoint::EsmConfig;
use crate::embedder::{TEAM_TOKENS, kept_tokens, shared_from};
use crate::model::{LmHead, PassMemory};
use crate::product::Product;
use std::ops::Range;

/// The limits of forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassLimits {
    /// Tokens of one batch.
    pub max_tokens: usize,
    /// Passes that run at the same time, each on a thread; long sequences are shared by all
    /// threads.
    pub threads: usize,
    /// Whether each sequence has a separate pass.
    pub one_each: bool,
}

/// Bytes that forward passes take, in one model under some limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassCost {
    memory: PassMemory,
    /// Bytes of one row `[D]`.
    row: u64,
    layers: u32,
    /// Logits of a residue; 0 if they are not computed.
    logits: usize,
    /// None without attention maps.
    maps: Option<MapCost>,
    limits: PassLimits,
}

impl PassCost {
    /// Passes through a model from which the rows of `layers` layers are taken.
    pub fn new(
        config: &EsmConfig,
        memory: PassMemory,
        layers: usize,
        limits: PassLimits,
    ) -> PassCost {
        PassCost {
            memory,
            row: config.dim as u64 * 4,
            layers: u32::try_from(layers).unwrap_or(u32::MAX),
            logits: 0,
            maps: None,
            limits,
        }
    }

    /// The same with logits.
    pub fn with_logits(self, config: &EsmConfig) -> PassCost {
        PassCost {
            logits: config.logits(),
            ..self
        }
    }

    /// The same with attention maps.
    pub fn with_maps(self, maps: Option<MapCost>) -> PassCost {
        PassCost { maps, ..self }
    }

    /// The same for passes that compute nothing but these products, and rows.
    pub fn for_products(self, products: &[Product]) -> PassCost {
        let has = |product| products.contains(&product);
        PassCost {
            logits: if has(Product::Logits) { self.logits } else { 0 },
            maps: self
                .maps
                .filter(|_| has(Product::Contacts) || has(Product::Attentions)),
            ..self
        }
    }

    /// Tokens of one batch, unless it holds a single longer sequence.
    pub fn max_tokens(&self) -> usize {
        self.limits.max_tokens
    }

    /// Bytes that `threads` threads keep from pass to pass if no pass has more than `tokens`.
    pub fn kept(&self, threads: u64, tokens: usize) -> u64 {
        let workspace = self.memory.workspace(tokens.min(self.kept_tokens()));
        let scratch = self.memory.scratch(tokens.min(TEAM_TOKENS));
        workspace.saturating_add(scratch).saturating_mul(threads)
    }

    /// Bytes that one pass over `tokens` takes beyond those, with a longest sequence of `longest`
    /// tokens.
    pub fn pass(&self, tokens: usize, longest: usize) -> u64 {
        self.passes(1, tokens, longest)
    }

    /// The same for `count` passes at a time. Threads that share a long sequence have working
    /// memory for it each.
    pub fn passes(&self, count: u64, tokens: usize, longest: usize) -> u64 {
        let kept = self.memory.workspace(self.kept_tokens());
        let workspace = self.memory.workspace(tokens).saturating_sub(kept);
        let passing = self.memory.passing(tokens, longest);
        let scratch = match longest > TEAM_TOKENS {
            true => self.memory.scratch(longest),
            false => 0,
        };
        let threads = match longest > shared_from(self.limits.max_tokens) {
            true => self.threads(),
            false => count,
        };
        // The head works on one sequence at a time.
        let logits = match self.logits {
            0 => 0,
            logits => LmHead::passing((self.row / 4) as usize, logits, longest),
        };
        let maps = self.maps.map_or(0, |maps| maps.pass(tokens, longest));
        workspace
            .saturating_add(passing)
            .saturating_add(logits)
            .saturating_add(maps)
            .saturating_mul(count)
            .saturating_add(scratch.saturating_mul(threads))
    }

    /// Bytes that one sequence of `tokens` takes when it is embedded by itself: whole, or in
    /// `windows` if there are any.
    pub fn record(&self, tokens: usize, windows: &[Range<usize>]) -> u64 {
        let Some(longest) = windows.iter().map(|w| w.len() + 2).max() else {
            return self.pass(tokens, tokens);
        };
        // Windows share passes; the blended rows are those of the whole sequence.
        let blends = u64::from(self.layers).saturating_mul(tokens as u64 * self.row);
        let logits = (tokens * self.logits * 4) as u64;
        let pass = self.pass(self.limits.max_tokens.max(longest), longest);
        pass.saturating_add(blends).saturating_add(logits)
    }

    /// Bytes of the passes over a batch of sequences, each with its tokens and windows: one for those
    /// that are embedded whole, then those of each sequence with windows.
    pub fn batch<'a>(&self, batch: impl Iterator<Item = (usize, &'a [Range<usize>])>) -> u64 {
        let (mut tokens, mut longest, mut most) = (0, 0, 0);
        for (length, windows) in batch {
            match windows {
                [] => {
                    tokens += length;
                    longest = longest.max(length);
                }
                _ => most = most.max(self.record(length, windows)),
            }
        }
        self.pass(tokens, longest).max(most)
    }

    /// The same with batches halved until every thread can work on one within `bytes`, but not
    /// below `least` tokens.
    pub(super) fn within(mut self, bytes: u64, least: usize) -> PassCost {
        while self.limits.max_tokens > least && self.all_threads() > bytes {
            self.limits.max_tokens /= 2;
        }
        self
    }

    /// Bytes if every thread works on a full batch.
    fn all_threads(&self) -> u64 {
        let tokens = self.limits.max_tokens;
        let passes = self.pass(tokens, tokens).saturating_mul(self.threads());
        self.kept(self.threads(), tokens).saturating_add(passes)
    }

    pub(super) fn threads(&self) -> u64 {
        self.limits.threads.max(1) as u64
    }

    fn kept_tokens(&self) -> usize {
        match self.limits.one_each {
            true => kept_tokens(0),
            false => kept_tokens(self.limits.max_tokens),
        }
    }
}
