//! From log-probabilities to scores.

use super::method::{Method, Window};
use super::mutation::Variant;
use super::piece::{Answers, Keep, LogProbs, Piece};
use super::protein::Protein;
use super::windows::{optimal, overlapping};
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
            let lp = self.log_probs(&[], mutation.residue, answers);
            lp.token(mutation.mutant) - lp.token(mutation.wild)
        });
        each.sum()
    }

    /// The pseudo-log-likelihood of the protein with some residues changed, for a method that is one.
    pub fn pll(&self, changes: &[(usize, TokenId)], answers: &mut dyn Answers) -> f64 {
        let residues = 0..self.protein.residues();
        let each = residues.map(|residue| {
            let changed = changes.iter().find(|(changed, _)| *changed == residue);
            let token = changed.map(|(_, token)| *token);
            let token = token.or_else(|| self.protein.residue(residue)).unwrap_or(0);
            if self.method.is_masked() {
                let (window, masked) = (self.window_at(residue), Some(residue));
                let keep = Keep::Token(residue, token);
                let piece = Piece::new(self.number, window, changes, masked, keep);
                return answers.kept(piece).first().copied().unwrap_or(f64::NAN);
            }
            self.log_probs(changes, residue, answers).token(token)
        });
        each.sum()
    }

    /// Differences of log-probabilities to the protein's residue, `[residues, letters]`.
    pub fn landscape(&self, letters: &[TokenId], answers: &mut dyn Answers) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.protein.residues() * letters.len());
        for residue in 0..self.protein.residues() {
            let lp = self.log_probs(&[], residue, answers);
            let wild = self.protein.residue(residue).unwrap_or(0);
            let differences = letters
                .iter()
                .map(|&letter| lp.token(letter) - lp.token(wild));
            all.extend(differences.map(|difference| difference as f32));
        }
        all
    }

    /// The log-probabilities at one residue of the protein with some residues changed.
    fn log_probs(
        &self,
        changes: &[(usize, TokenId)],
        residue: usize,
        answers: &mut dyn Answers,
    ) -> LogProbs {
        let piece = |window: Range<usize>, masked, keep| {
            Piece::new(self.number, window, changes, masked, keep)
        };
        let tokens = self.protein.tokens().len();
        let window = self.window_at(residue);
        if self.method.is_masked() || (self.window == Window::Optimal && window.len() < tokens) {
            let masked = self.method.is_masked().then_some(residue);
            return LogProbs::kept(answers.kept(piece(window, masked, Keep::Residue(residue))));
        }
        // One pass for all residues, or one for each window.
        let windows = match self.window {
            Window::Overlapping => overlapping(tokens),
            Window::None | Window::Optimal => vec![window],
        };
        let position = residue + 1;
        let of_position: Vec<(Range<usize>, Vec<f64>)> = windows
            .into_iter()
            .filter(|window| window.contains(&position))
            .map(|window| {
                let kept = answers.kept(piece(window.clone(), None, Keep::All));
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

    /// The window in which a residue is looked at.
    fn window_at(&self, residue: usize) -> Range<usize> {
        let tokens = self.protein.tokens().len();
        match self.window {
            Window::Optimal => optimal(tokens, residue + 1),
            Window::None | Window::Overlapping => 0..tokens,
        }
    }
}
