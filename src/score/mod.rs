//! Scores of variants: what a model says about substitutions in a protein.
//!
//! ```text
//! FASTA, table of variants ──> pieces, each once ──> log-probabilities ──> scores ──> table
//! ```
//!
//! `lp[i, a]` is the logarithm of the probability that a model gives residue a at position i, by
//! `log_softmax` over all its logits: one for each of the 33 tokens of its alphabet, or 64 in ESM C.
//! [`Method`] says which passes it comes from and how it becomes a score. Of a sequence longer than ESM's
//! training maximum, the model sees [`Window`]s, as in ProteinGym. fair-esm's own `pseudo-ppl` masks token i but looks up residue i, one position off, and
//! leaves out the last two residues; scores here are those of the definition.
//!
//! Copies of a protein that are equal are computed once, and copies of one length share batches. The
//! bits of a score depend on model, protein and variant only.

mod compute;
mod in_memory;
mod job;
mod journal;
mod landscape;
mod method;
mod model;
mod mutation;
mod piece;
mod places;
mod protein;
mod proteins;
mod run;
mod scorer;
mod scores;
mod skipped;
mod table;
mod unmasked;
mod variants;
mod windows;

pub use in_memory::score_variants;
pub use job::{ScoreJob, VariantTable};
pub use method::{Method, NotTogether, Window};
pub use model::check_alphabet;
pub use mutation::{Mutation, Variant};
pub use protein::Protein;
pub use run::{Outcome, ScoreStopped, run};
pub use unmasked::UnmaskedPass;
