//! What the model has to be asked: pieces of proteins, each once.

use super::protein::Protein;
use super::windows::weight;
use crate::tokenizer::{MASK, TokenId, VOCABULARY};
use std::collections::HashMap;
use std::ops::Range;

/// A pass over a part of a protein or of a variant of it, and what is kept of its log-probabilities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The protein, by its number.
    pub protein: usize,
    /// Tokens that the part covers; `<cls>` is token 0.
    pub window: Range<usize>,
    /// Residues that differ from the protein's, in ascending order, with their tokens. Those outside the
    /// window and a masked one are left out: copies that are equal are one piece.
    pub changes: Vec<(usize, TokenId)>,
    /// The residue that is `<mask>`.
    pub masked: Option<usize>,
    /// What is kept.
    pub keep: Keep,
}

/// Log-probabilities that are kept of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// All 33 at one residue.
    Residue(usize),
    /// That of one token at one residue.
    Token(usize, TokenId),
    /// That of the piece's own token at every token of the window.
    Own,
    /// All 33 at every token of the window.
    All,
}

impl Piece {
    /// A piece without changes that cannot show in it.
    pub fn new(
        protein: usize,
        window: Range<usize>,
        changes: &[(usize, TokenId)],
        masked: Option<usize>,
        keep: Keep,
    ) -> Piece {
        let shows = |&&(residue, _): &&(usize, TokenId)| {
            window.contains(&(residue + 1)) && masked != Some(residue)
        };
        Piece {
            protein,
            changes: changes.iter().filter(shows).copied().collect(),
            window,
            masked,
            keep,
        }
    }

    /// The tokens that the model sees.
    pub fn tokens(&self, protein: &Protein) -> Vec<TokenId> {
        let tokens = protein.tokens().get(self.window.clone());
        let mut tokens = tokens.unwrap_or_default().to_vec();
        let masked = self.masked.map(|residue| (residue, MASK));
        for (residue, token) in self.changes.iter().copied().chain(masked) {
            let at = (residue + 1).checked_sub(self.window.start);
            if let Some(place) = at.and_then(|at| tokens.get_mut(at)) {
                *place = token;
            }
        }
        tokens
    }

    /// Whether the first and the last token of the window need logits: they are residues.
    pub fn has_ends(&self, protein: &Protein) -> bool {
        matches!(self.keep, Keep::Own | Keep::All) && self.window.len() < protein.tokens().len()
    }

    /// Numbers that are kept.
    pub fn kept(&self) -> usize {
        match self.keep {
            Keep::Token(..) => 1,
            Keep::Residue(_) => LogProbs::TOKENS,
            Keep::Own => self.window.len(),
            Keep::All => self.window.len() * LogProbs::TOKENS,
        }
    }

    /// What is kept of the logits `[rows, width]` of its tokens: of all of them, or of all but the ends.
    pub fn select(&self, tokens: &[TokenId], logits: &[f32], width: usize) -> Option<Box<[f64]>> {
        let row = |residue: usize| {
            let row = residue.checked_sub(self.window.start)?;
            logits.get(row * width..(row + 1) * width)
        };
        Some(match self.keep {
            Keep::All => {
                let rows = logits.chunks_exact(width.max(1));
                // Without its ends, a window has rows of zeros there.
                let ends = self.window.len().checked_sub(rows.len())? / 2;
                let end = vec![0.0; ends * LogProbs::TOKENS];
                let rows = rows.flat_map(LogProbs::of);
                let all = end.iter().copied().chain(rows);
                all.chain(end.iter().copied()).collect()
            }
            Keep::Own => {
                let rows = logits.chunks_exact(width.max(1));
                let ends = self.window.len().checked_sub(rows.len())? / 2;
                let mut own = vec![0.0; self.window.len()];
                let places = own.iter_mut().zip(tokens).skip(ends);
                for ((to, token), row) in places.zip(rows) {
                    *to = *LogProbs::of(row).get(usize::from(*token))?;
                }
                own.into()
            }
            Keep::Residue(residue) => LogProbs::of(row(residue)?).into(),
            Keep::Token(residue, token) => {
                let all = LogProbs::of(row(residue)?);
                Box::from([*all.get(usize::from(token))?])
            }
        })
    }
}

/// Log-probabilities of the tokens of the alphabet at one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbs([f64; LogProbs::TOKENS]);

impl LogProbs {
    /// Tokens of the alphabet. The other rows of ESM C are not tokens.
    pub const TOKENS: usize = VOCABULARY.len();

    /// `log_softmax` over all logits of a row, in f64: the values of the tokens.
    pub fn of(logits: &[f32]) -> [f64; Self::TOKENS] {
        let logits = logits.iter().map(|&x| f64::from(x));
        let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.clone().map(|x| libm::exp(x - most)).sum();
        let norm = most + libm::log(sum);
        let mut all = [0.0; Self::TOKENS];
        for (to, x) in all.iter_mut().zip(logits) {
            *to = x - norm;
        }
        all
    }

    /// Those that a piece has kept of one residue.
    pub fn kept(kept: &[f64]) -> LogProbs {
        let mut all = [0.0; Self::TOKENS];
        for (to, from) in all.iter_mut().zip(kept) {
            *to = *from;
        }
        LogProbs(all)
    }

    /// Those of the token at `position` in windows that overlap, averaged.
    pub fn average<'a>(
        position: usize,
        windows: impl Iterator<Item = (&'a Range<usize>, &'a [f64])>,
    ) -> LogProbs {
        let (mut sums, mut weights) = ([0.0; Self::TOKENS], 0.0);
        for (window, row) in windows {
            let weight = weight(position.saturating_sub(window.start));
            for (sum, lp) in sums.iter_mut().zip(row) {
                *sum += weight * lp;
            }
            weights += weight;
        }
        LogProbs(sums.map(|sum| sum / weights))
    }

    /// The same of one token.
    pub fn average_of_one<'a>(
        position: usize,
        windows: impl Iterator<Item = (&'a Range<usize>, f64)>,
    ) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (window, lp) in windows {
            let weight = weight(position.saturating_sub(window.start));
            sum += weight * lp;
            weights += weight;
        }
        sum / weights
    }

    /// That of a token.
    pub fn token(&self, token: TokenId) -> f64 {
        self.0.get(usize::from(token)).copied().unwrap_or(f64::NAN)
    }
}

/// What answers pieces: first a list of what will be needed, then the computed numbers.
pub trait Answers {
    /// What is kept of a piece.
    fn kept(&mut self, piece: Piece) -> &[f64];
}

/// Every piece that was asked for, each once, in the order in which they were first needed.
#[derive(Debug, Default)]
pub struct Pieces {
    pub(super) all: Vec<Piece>,
    numbers: HashMap<Piece, usize>,
    /// Used for numbers that are not computed yet.
    zeros: Vec<f64>,
}

impl Answers for Pieces {
    fn kept(&mut self, piece: Piece) -> &[f64] {
        let count = piece.kept();
        if self.zeros.len() < count {
            self.zeros.resize(count, 0.0);
        }
        if !self.numbers.contains_key(&piece) {
            self.numbers.insert(piece.clone(), self.all.len());
            self.all.push(piece);
        }
        self.zeros.get(..count).unwrap_or_default()
    }
}

/// The numbers of all pieces.
#[derive(Debug)]
pub struct Computed<'a> {
    pub(super) pieces: &'a Pieces,
    pub(super) kept: &'a [Box<[f64]>],
}

impl Answers for Computed<'_> {
    fn kept(&mut self, piece: Piece) -> &[f64] {
        let number = self.pieces.numbers.get(&piece);
        let kept = number.and_then(|number| self.kept.get(*number));
        kept.map(|kept| &**kept).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Alphabet;

    #[test]
    fn log_probabilities_sum_to_one_and_do_not_overflow() {
        let mut logits = [0.0f32; 33];
        logits[5] = 500.0;
        logits[6] = 501.0;
        let all = LogProbs::of(&logits);
        let sum: f64 = all.iter().map(|lp| lp.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!((all[6] - all[5] - 1.0).abs() < 1e-12);
        assert!((all[6] + (1.0 + (-1.0f64).exp()).ln()).abs() < 1e-12);
    }

    #[test]
    fn equal_copies_are_one_piece() {
        let mut pieces = Pieces::default();
        // Residue 3 is masked: what it was does not show.
        let masked =
            |changes: &[(usize, TokenId)]| Piece::new(0, 0..9, changes, Some(3), Keep::Residue(3));
        for changes in [&[][..], &[(3, 7)], &[(3, 8)], &[(2, 8), (3, 8)]] {
            assert_eq!(pieces.kept(masked(changes)).len(), 33);
        }
        assert_eq!(pieces.all, [masked(&[]), masked(&[(2, 8)])]);
        // Nor does a change outside the window.
        let window = Piece::new(0, 4..9, &[(1, 8), (5, 8)], None, Keep::All);
        assert_eq!(window.changes, [(5, 8)]);
    }

    #[test]
    fn tokens_of_a_piece_and_the_rows_that_are_kept() {
        let protein = Protein::new("p", b"LAGVSE", Alphabet::Esm).unwrap();
        let piece = Piece::new(0, 2..7, &[(4, 20)], Some(2), Keep::Token(2, 6));
        assert_eq!(piece.tokens(&protein), [5, MASK, 7, 20, 9]);
        // Without the ends of the window, the first row is that of residue 2.
        let mut logits = vec![0.0f32; 3 * 33];
        logits[6] = 2.0;
        let tokens = piece.tokens(&protein);
        let kept = piece.select(&tokens, &logits, 33).unwrap();
        let expected = 2.0 - (32.0 + 2.0f64.exp()).ln();
        assert!((kept[0] - expected).abs() < 1e-12);
        assert_eq!(piece.select(&tokens, &[], 33), None);
        // ESM C has 64 logits, all of which count in the sum.
        let mut logits = vec![0.0f32; 3 * 64];
        logits[6] = 2.0;
        let kept = piece.select(&tokens, &logits, 64).unwrap();
        assert!((kept[0] - (2.0 - (63.0 + 2.0f64.exp()).ln())).abs() < 1e-12);
        // Its own tokens, without the ends and with them: the second one is <mask>.
        let own = Piece {
            keep: Keep::Own,
            ..piece.clone()
        };
        let kept = own.select(&tokens, &logits, 64).unwrap();
        let masked = -(63.0 + 2.0f64.exp()).ln();
        let other = -64.0f64.ln();
        let expected = [0.0, masked, other, other, 0.0];
        assert_eq!((kept.len(), own.kept()), (5, 5));
        for (found, expected) in kept.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{kept:?}");
        }
        let kept = own.select(&tokens, &[0.0; 5 * 64], 64).unwrap();
        assert!(kept.iter().all(|lp| (lp - other).abs() < 1e-12), "{kept:?}");
    }

    #[test]
    fn overlapping_windows_are_averaged_by_weight() {
        let (a, b) = ([-1.0; 33], [-4.0; 33]);
        let windows = [(&(0..1024), &a[..]), (&(896..1920), &b[..])];
        // 1,022 in the first window has the weight σ(−8), 126 in the second σ(−1/8).
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (first, second) = (sigmoid(-8.0), sigmoid(-0.125));
        let expected = (-first - 4.0 * second) / (first + second);
        let found = LogProbs::average(1022, windows.into_iter()).token(7);
        assert!((found - expected).abs() < 1e-12);
        let one = windows.into_iter().map(|(window, row)| (window, row[7]));
        assert_eq!(LogProbs::average_of_one(1022, one), found);
    }
}
