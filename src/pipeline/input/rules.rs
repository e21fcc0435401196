//! Which records are embedded, left out, or end the run. Pure.

use crate::admission::{Admission, Prepared, Unfit};
use crate::memory::LimitedBy;
use crate::numerals::{bytes, count, grouped};
use crate::pipeline::job::OnInvalid;
use thiserror::Error;

/// How the records of a run are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a sequence has to pass.
    pub admission: Admission,
    /// What happens to a record that cannot be embedded.
    pub on_invalid: OnInvalid,
    /// Residues beyond which records were left out for lack of memory when the run began that is
    /// resumed; None if only the present memory decides.
    pub left_out_beyond: Option<usize>,
}

/// Why a record is not embedded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its sequence cannot be embedded.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It was left out for lack of memory when the run began, and so it stays left out.
    #[error("{}", self.listed())]
    LeftOut {
        /// Residues of the sequence.
        residues: usize,
        /// Whether there is enough memory for it now.
        fits: bool,
    },
    /// It was not left out when the run began, and now there is too little memory for it.
    #[error(
        "the sequence has {} and belongs to the interrupted run, which left out only sequences of \
         more than {}; it needs about {} of memory, and {} are left beside the model ({})\n\
         hint: resume where there is as much memory as before\n\
         hint: use fewer `threads`, which need less memory\n\
         hint: choose another folder with `out`",
        count(*.residues as u64, "residue"),
        grouped(*.left_out_beyond as u64),
        bytes(*.needed),
        bytes(*.available),
        .by
    )]
    LessMemory {
        /// Residues of the sequence.
        residues: usize,
        /// The most residues that fitted when the run began.
        left_out_beyond: usize,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// What sets the limit.
        by: LimitedBy,
    },
}

impl Refusal {
    /// The reason as `skipped.tsv` gives it: without remedies, and without numbers that would
    /// differ on another machine.
    pub fn listed(&self) -> String {
        match self {
            Refusal::Unfit(Unfit::TooLarge { residues, .. })
            | Refusal::LeftOut { residues, .. }
            | Refusal::LessMemory { residues, .. } => {
                let residues = count(*residues as u64, "residue");
                format!("the sequence has {residues}, too many for the memory of the run")
            }
            Refusal::Unfit(unfit) => {
                let text = unfit.to_string();
                text.lines().next().unwrap_or_default().to_owned()
            }
        }
    }

    /// Residues of the whole sequence, as far as they could be read: the same for every model.
    pub fn residues(&self) -> usize {
        match self {
            Refusal::Unfit(unfit) => unfit.residues().unwrap_or(0),
            Refusal::LeftOut { residues, .. } | Refusal::LessMemory { residues, .. } => *residues,
        }
    }
}

impl Rules {
    /// Whether a sequence of this many residues, in which nothing else is wrong, is embedded.
    pub fn fits(&self, residues: usize) -> bool {
        self.admission.check_length(residues).is_ok()
            && self.left_out_beyond.is_none_or(|most| residues <= most)
    }

    /// Judges one sequence.
    ///
    /// # Errors
    /// Why it is not embedded.
    pub fn judge(&self, sequence: &[u8]) -> Result<Prepared, Refusal> {
        let admitted = self.admission.admit(sequence);
        let Some(left_out_beyond) = self.left_out_beyond else {
            return Ok(admitted?);
        };
        let (residues, fits) = match &admitted {
            Ok(prepared) => (prepared.original_residues(), true),
            Err(Unfit::TooLarge { residues, .. }) => (*residues, false),
            Err(_) => return Ok(admitted?),
        };
        match admitted {
            _ if residues > left_out_beyond => Err(Refusal::LeftOut { residues, fits }),
            Err(Unfit::TooLarge {
                needed,
                available,
                by,
                ..
            }) => Err(Refusal::LessMemory {
                residues,
                left_out_beyond,
                needed,
                available,
                by,
            }),
            admitted => Ok(admitted?),
        }
    }
}
