//! From log-probabilities to scores.

use super::method::{Method, Window};
use super::mutation::Variant;
use super::piece::{Answers, Keep, LogProbs, Piece};
use super::protein::Protein;
use super::windows::{WIDTH, optimal, overlapping};
use crate::tokenizer::TokenId;
use std::ops::Range;

/// Scores variants of one protein.
#[derive(Clone, Copy, Debug)]
pub struct Scorer<'a> {
    /// The protein.
    pub protein: &'a Protein,
    /// Its number, for pieces.
    pub number: usize,
    /// How variants are scored.
    pub method: Method,
    /// What the model sees of a long sequence.
    pub window: Window,
}

impl Scorer<'_> {
    /// The score of a variant: a sum over its mutations, in the order in which they are written.
    pub fn score(&self, variant: &Variant, answers: &mut dyn Answers) -> f64 {
        if self.method.is_pll() {
            let mutant = self.pll(&variant.changes(), answers);
            return mutant - self.pll(&[], answers);
        }
        let each = variant.mutations().iter().map(|mutation| {
            let lp = self.log_probs(mutation.residue, answers);
            lp.token(mutation.mutant) - lp.token(mutation.wild)
        });
        each.sum()
    }

    /// The pseudo-log-likelihood of the protein with some residues changed, for a method that is one.
    pub fn pll(&self, changes: &[(usize, TokenId)], answers: &mut dyn Answers) -> f64 {
        let residues = 0..self.protein.residues();
        if !self.has_a_pass_for_each() {
            // Only its own tokens: a protein has thousands of variants.
            let windows = self.kept_of_windows(changes, Keep::Own, answers);
            let each = residues.map(|residue| {
                let position = residue + 1;
                let of_position = windows.iter().filter_map(|(window, kept)| {
                    let place = position.checked_sub(window.start)?;
                    Some((window, *kept.get(place)?))
                });
                let of_position: Vec<_> = of_position.collect();
                match of_position.as_slice() {
                    [(_, lp)] => *lp,
                    all => LogProbs::average_of_one(position, all.iter().copied()),
                }
            });
            return each.sum();
        }
        let each = residues.map(|residue| {
            let changed = changes.iter().find(|(changed, _)| *changed == residue);
            let token = changed.map(|(_, token)| *token);
            let token = token.or_else(|| self.protein.residue(residue)).unwrap_or(0);
            let masked = self.method.is_masked().then_some(residue);
            let keep = Keep::Token(residue, token);
            let piece = Piece::new(self.number, self.window_at(residue), changes, masked, keep);
            answers.kept(piece).first().copied().unwrap_or(f64::NAN)
        });
        each.sum()
    }

    /// Differences of log-probabilities to the protein's residue, `[residues, letters]`.
    pub fn landscape(&self, letters: &[TokenId], answers: &mut dyn Answers) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.protein.residues() * letters.len());
        for residue in 0..self.protein.residues() {
            let lp = self.log_probs(residue, answers);
            let wild = self.protein.residue(residue).unwrap_or(0);
            let differences = letters
                .iter()
                .map(|&letter| lp.token(letter) - lp.token(wild));
            all.extend(differences.map(|difference| difference as f32));
        }
        all
    }

    /// The log-probabilities at one residue of the protein.
    fn log_probs(&self, residue: usize, answers: &mut dyn Answers) -> LogProbs {
        if self.has_a_pass_for_each() {
            let masked = self.method.is_masked().then_some(residue);
            let keep = Keep::Residue(residue);
            let piece = Piece::new(self.number, self.window_at(residue), &[], masked, keep);
            return LogProbs::kept(answers.kept(piece));
        }
        let position = residue + 1;
        let of_position: Vec<(Range<usize>, Vec<f64>)> = self
            .unmasked_windows()
            .into_iter()
            .filter(|window| window.contains(&position))
            .map(|window| {
                let piece = Piece::new(self.number, window.clone(), &[], None, Keep::All);
                let kept = answers.kept(piece);
                let place = position - window.start;
                let row = kept.get(place * LogProbs::TOKENS..(place + 1) * LogProbs::TOKENS);
                (window, row.unwrap_or_default().to_vec())
            })
            .collect();
        match of_position.as_slice() {
            [(_, row)] => LogProbs::kept(row),
            rows => LogProbs::average(position, rows.iter().map(|(window, row)| (window, &**row))),
        }
    }

    /// Whether each residue has its own pass: it is masked, or it has its own window.
    fn has_a_pass_for_each(&self) -> bool {
        let is_long = self.protein.tokens().len() > WIDTH;
        self.method.is_masked() || (self.window == Window::Optimal && is_long)
    }

    /// One window for all residues, or several that overlap.
    fn unmasked_windows(&self) -> Vec<Range<usize>> {
        let tokens = self.protein.tokens().len();
        match self.window {
            Window::Overlapping => overlapping(tokens),
            Window::None | Window::Optimal => std::iter::once(0..tokens).collect(),
        }
    }

    /// What is kept of each window of the protein with some residues changed.
    fn kept_of_windows(
        &self,
        changes: &[(usize, TokenId)],
        keep: Keep,
        answers: &mut dyn Answers,
    ) -> Vec<(Range<usize>, Vec<f64>)> {
        let windows = self.unmasked_windows().into_iter();
        let kept = windows.map(|window| {
            let piece = Piece::new(self.number, window.clone(), changes, None, keep);
            (window, answers.kept(piece).to_vec())
        });
        kept.collect()
    }

    /// The window in which a residue is looked at.
    fn window_at(&self, residue: usize) -> Range<usize> {
        let tokens = self.protein.tokens().len();
        match self.window {
            Window::Optimal => optimal(tokens, residue + 1),
            Window::None | Window::Overlapping => 0..tokens,
        }
    }
}
