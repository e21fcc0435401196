//! Scores of one pass over a protein as it is.

use super::method::{Method, Window};
use super::mutation::Variant;
use super::piece::{Answers, Keep, LogProbs, Piece};
use super::protein::Protein;
use super::scorer::Scorer;

/// The log-probabilities of one unmasked pass.
#[derive(Clone, Debug)]
pub struct UnmaskedPass<'a> {
    protein: &'a Protein,
    kept: Box<[f64]>,
}

/// Answers the one piece that such scores need.
struct One<'a>(&'a [f64]);

impl Answers for One<'_> {
    fn kept(&mut self, _: Piece) -> &[f64] {
        self.0
    }
}

impl UnmaskedPass<'_> {
    /// From the logits of all residues, `[n, V]`; None if they are of another protein.
    pub fn new<'a>(protein: &'a Protein, logits: &[f32]) -> Option<UnmaskedPass<'a>> {
        let piece = Piece::new(0, 0..protein.tokens().len(), &[], None, Keep::All);
        let width = logits.len().checked_div(protein.residues())?;
        if width < LogProbs::TOKENS || !logits.len().is_multiple_of(protein.residues()) {
            return None;
        }
        let kept = piece.select(protein.tokens(), logits, width)?;
        (kept.len() == piece.kept()).then_some(UnmaskedPass { protein, kept })
    }

    /// Σ `lp[i, mutant] − lp[i, wild type]`: [`Method::WtMarginals`].
    pub fn log_odds(&self, variant: &Variant) -> f64 {
        let scorer = Scorer {
            protein: self.protein,
            number: 0,
            method: Method::WtMarginals,
            window: Window::None,
        };
        scorer.score(variant, &mut One(&self.kept))
    }

    /// Σ `lp[i, residue i]`: the pseudo-log-likelihood of [`Method::PllUnmasked`].
    pub fn pll(&self) -> f64 {
        let rows = self.kept.chunks_exact(LogProbs::TOKENS);
        let rows = self.protein.tokens().iter().zip(rows);
        let residues = rows.skip(1).take(self.protein.residues());
        let each = residues.map(|(token, row)| LogProbs::kept(row).token(*token));
        each.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Alphabet;

    #[test]
    fn log_odds_and_likelihood_of_known_logits() {
        let protein = Protein::new("p", b"LA", Alphabet::Esm).unwrap();
        let mut logits = vec![0.0f32; 2 * 33];
        // L, A and G at the first residue; only A at the second.
        [logits[4], logits[5], logits[6]] = [3.0, 1.0, 2.0];
        logits[33 + 5] = 4.0;
        let pass = UnmaskedPass::new(&protein, &logits).unwrap();
        let variant = Variant::parse("L1G:A2L", &protein, 1).unwrap();
        assert!((pass.log_odds(&variant) - (-1.0 - 4.0)).abs() < 1e-12);
        let first = 3.0 - (30.0 + 3.0f64.exp() + 1.0f64.exp() + 2.0f64.exp()).ln();
        let second = 4.0 - (32.0 + 4.0f64.exp()).ln();
        assert!((pass.pll() - (first + second)).abs() < 1e-12);
        assert!(UnmaskedPass::new(&protein, &logits[33..]).is_none());
    }
}
