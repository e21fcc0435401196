//! Scores of variants of one protein, by a model that is loaded.

use super::compute::Compute;
use super::method::{Method, Window};
use super::model::check_alphabet;
use super::mutation::Variant;
use super::piece::{Answers, Computed, Pieces};
use super::protein::Protein;
use super::scorer::Scorer;
use crate::numerals::{count, grouped};
use crate::pipeline::{Computing, Reporter, Stop};
use crate::product::{OutDtype, Product, Request};
use crate::session::Session;
use anyhow::{Result, bail};

/// The scores of variants in their order, as `esm-embed score` writes them; of the protein itself, by a
/// pseudo-log-likelihood, if there are none. None if it was asked to stop.
///
/// # Errors
/// A method that needs variants, windows that do not go with it, a protein that the model cannot take, or
/// a failed pass.
pub fn score_variants(
    session: &Session,
    protein: &Protein,
    variants: Option<&[Variant]>,
    (method, window): (Method, Option<Window>),
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Option<Vec<f64>>> {
    if variants.is_none() && !method.is_pll() {
        bail!(
            "without `variants`, there is nothing to score with this method\n\
             hint: use `method=pll` to score the protein itself"
        );
    }
    check_alphabet(session.checkpoint())?;
    session.checkpoint().lm_head()?;
    let positions = session.config().positions;
    let window = Window::resolve(window, method, positions)?;
    if let (Window::None, Some(most)) = (window, positions.max_residues())
        && protein.residues() > most
    {
        bail!(
            "the sequence has {}, but the model takes {} at most\nhint: leave out `window=none`",
            count(protein.residues() as u64, "residue"),
            grouped(most as u64)
        );
    }
    let scorer = Scorer {
        protein,
        number: 0,
        method,
        window,
    };
    let all = |answers: &mut dyn Answers| -> Vec<f64> {
        match variants {
            None => vec![scorer.pll(&[], answers)],
            Some(variants) => {
                let scores = variants
                    .iter()
                    .map(|variant| scorer.score(variant, answers));
                scores.collect()
            }
        }
    };
    let mut pieces = Pieces::default();
    all(&mut pieces);
    let request = Request::new([Product::Logits], OutDtype::F32);
    let (memory, cost) = session.needs_of(&request)?;
    let compute = session.compute();
    let computed = Compute {
        embedder: session.embedder(),
        computed_by: String::new(),
        computing: Computing {
            device: session.device(),
            dtype: session.dtype(),
        },
        proteins: std::slice::from_ref(protein),
        threads: compute.threads,
        max_tokens: match session.device().is_gpu() {
            true => compute.max_tokens,
            false => Some(cost.max_tokens()),
        },
        one_each: compute.deterministic,
        cost,
        memory: memory.map(|memory| memory.bytes),
        journal: None,
        reporter,
        stop,
    };
    let _turn = session.turn();
    let Some(kept) = computed.all(&pieces)? else {
        return Ok(None);
    };
    Ok(Some(all(&mut Computed {
        pieces: &pieces,
        kept: &kept,
    })))
}
