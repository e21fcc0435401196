//! Passes over all pieces, in batches, on as many threads as were asked for.

use super::journal::{Journal, key};
use super::piece::{Keep, Pieces};
use super::protein::Protein;
use crate::admission::{Gate, PassCost};
use crate::batching::batches;
use crate::embedder::{Computed, Embedder, EngineError, Sequence};
use crate::pipeline::{Computing, Counted, Reporter, Stop, Totals};
use crate::product::{OutDtype, Product, Request, Values};
use crate::tokenizer::TokenId;
use anyhow::{Context, Result, anyhow, bail};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What computes the scores, and where progress is reported.
pub struct Compute<'a> {
    /// The model with its language-model head.
    pub embedder: &'a Embedder,
    /// Everything that the numbers depend on besides tokens and rows.
    pub computed_by: String,
    /// The same for display.
    pub computing: Computing<'a>,
    /// The proteins by their numbers.
    pub proteins: &'a [Protein],
    /// Worker threads, on a CPU.
    pub threads: usize,
    /// Tokens of a batch, if it was asked for.
    pub max_tokens: Option<usize>,
    /// One sequence in each pass.
    pub one_each: bool,
    /// Memory of a pass.
    pub cost: PassCost,
    /// Bytes for passes; None without a limit.
    pub memory: Option<u64>,
    /// What is finished; None to keep nothing.
    pub journal: Option<&'a Journal>,
    /// Receives progress.
    pub reporter: &'a dyn Reporter,
    /// Asks to stop.
    pub stop: &'a Stop,
}

/// The tokens of the pieces of a batch, by the number of the piece.
type Batch = Vec<(usize, Vec<TokenId>)>;

impl Compute<'_> {
    /// What is kept of each piece; None if it was asked to stop.
    ///
    /// # Errors
    /// A pass fails, or the journal cannot be written.
    pub fn all(&self, pieces: &Pieces) -> Result<Option<Vec<Box<[f64]>>>> {
        let keys: Vec<String> = pieces
            .all
            .iter()
            .map(
                |piece| match (self.journal, self.proteins.get(piece.protein)) {
                    (Some(_), Some(protein)) => key(&self.computed_by, piece, protein),
                    _ => String::new(),
                },
            )
            .collect();
        let finished = |i: usize| {
            let kept = self.journal?.finished(keys.get(i)?)?;
            (kept.len() == pieces.all.get(i)?.kept()).then(|| Box::from(kept))
        };
        let kept: Vec<Option<Box<[f64]>>> = (0..pieces.all.len()).map(finished).collect();
        let left: Vec<usize> = (0..kept.len())
            .filter(|&i| kept.get(i) == Some(&None))
            .collect();
        let tokens = |i: &usize| {
            pieces
                .all
                .get(*i)
                .map_or(0, |piece| piece.window.len() as u64)
        };
        let of_all: u64 = (0..kept.len()).map(|i| tokens(&i)).sum();
        let of_left: u64 = left.iter().map(tokens).sum();
        let restored = (kept.len() - left.len()) as u64;
        self.reporter.start(
            self.computing,
            Totals {
                counted: Counted::Passes,
                records: Some(kept.len() as u64),
                residues: Some(of_all),
                restored_records: restored,
                restored_residues: of_all - of_left,
                ..Totals::default()
            },
        );
        self.reporter.restored(restored, of_all - of_left);
        self.reporter.working();

        let with_ends = |i: &usize| {
            let piece = pieces.all.get(*i)?;
            Some(piece.has_ends(self.proteins.get(piece.protein)?))
        };
        let (ends, plain): (Vec<usize>, Vec<usize>) =
            left.into_iter().partition(|i| with_ends(i) == Some(true));
        let kept = Mutex::new(kept);
        for (numbers, has_ends) in [(plain, false), (ends, true)] {
            self.compute(pieces, &keys, &numbers, has_ends, &kept)?;
        }
        self.reporter.finish();
        if self.stop.is_asked() {
            return Ok(None);
        }
        let kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        let all: Option<Vec<_>> = kept.into_iter().collect();
        all.map(Some)
            .ok_or_else(|| anyhow!("a pass has no result: this is a defect"))
    }

    /// Passes over some pieces.
    fn compute(
        &self,
        pieces: &Pieces,
        keys: &[String],
        numbers: &[usize],
        has_ends: bool,
        kept: &Mutex<Vec<Option<Box<[f64]>>>>,
    ) -> Result<()> {
        let request = Request::new([Product::Logits], OutDtype::F32);
        let request = match has_ends {
            true => request.with_ends(),
            false => request,
        };
        let capacity = self.embedder.engine().capacity(&request);
        let lengths: Vec<usize> = numbers
            .iter()
            .map(|&i| pieces.all.get(i).map_or(0, |piece| piece.window.len()))
            .collect();
        let budget = self.max_tokens.unwrap_or(capacity.tokens);
        let batches = batches(&lengths, budget, self.one_each);
        let gate = Gate::new(self.memory);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<()> {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) || self.stop.is_asked() {
                    break;
                }
                let batch: Batch = batch
                    .iter()
                    .filter_map(|&at| {
                        let number = *numbers.get(at)?;
                        let piece = pieces.all.get(number)?;
                        Some((number, piece.tokens(self.proteins.get(piece.protein)?)))
                    })
                    .collect();
                if let Err(error) = self.pass(&batch, &request, &gate, pieces, keys, kept) {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        let workers = capacity
            .lanes
            .unwrap_or(self.threads)
            .clamp(1, batches.len().max(1));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let ended = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a worker thread panicked: this is a defect"),
            });
            ended.fold(Ok(()), Result::and)
        })
    }

    /// One batch.
    fn pass(
        &self,
        batch: &Batch,
        request: &Request,
        gate: &Gate,
        pieces: &Pieces,
        keys: &[String],
        kept: &Mutex<Vec<Option<Box<[f64]>>>>,
    ) -> Result<()> {
        let sequences: Vec<Sequence<'_>> = batch
            .iter()
            .map(|(_, tokens)| Sequence {
                tokens,
                windows: &[],
            })
            .collect();
        let lengths = batch.iter().map(|(_, tokens)| tokens.len());
        let longest = lengths.clone().max().unwrap_or(0);
        let _entered = gate.enter(self.cost.pass(lengths.sum(), longest));
        let mut found: Vec<Option<Box<[f64]>>> = vec![None; batch.len()];
        let width = self.embedder.config().logits();
        let mut not_finite = None;
        let mut out = |computed: Computed<'_>| {
            let at = computed.sequence;
            let piece = batch
                .get(at)
                .and_then(|(number, tokens)| Some((pieces.all.get(*number)?, tokens)));
            if let (Some((piece, tokens)), Values::F32(logits), Some(to)) =
                (piece, computed.values, found.get_mut(at))
            {
                *to = piece.select(tokens, logits, width);
                if to.iter().flatten().any(|lp| !lp.is_finite()) {
                    not_finite = Some(at);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let done = self
            .embedder
            .embed(&sequences, request, self.stop.cancel(), &mut out);
        let done = match not_finite {
            Some(sequence) => Err(EngineError::NotFinite { sequence }),
            None => done,
        };
        match done {
            Err(EngineError::Cancelled) => return Ok(()),
            Err(error) => {
                let at = error.sequence().unwrap_or(0);
                let number = batch.get(at).map_or(0, |(number, _)| *number);
                return Err(anyhow!(error).context(self.describe(pieces, number)));
            }
            Ok(()) => {}
        }
        if let Some(journal) = self.journal {
            let lines = batch.iter().zip(&found).filter_map(|((number, _), kept)| {
                Some((keys.get(*number)?.as_str(), &**kept.as_ref()?))
            });
            let entered = journal.enter(lines);
            entered.with_context(|| journal.path().display().to_string())?;
        }
        let mut all = kept.lock().unwrap_or_else(PoisonError::into_inner);
        for ((number, _), found) in batch.iter().zip(found) {
            if let Some(to) = all.get_mut(*number) {
                *to = found;
            }
        }
        drop(all);
        let tokens = batch.iter().map(|(_, tokens)| tokens.len() as u64).sum();
        self.reporter.advance(batch.len() as u64, tokens);
        Ok(())
    }

    /// What a piece is, for an error.
    fn describe(&self, pieces: &Pieces, number: usize) -> String {
        let piece = pieces.all.get(number);
        let protein = piece.and_then(|piece| self.proteins.get(piece.protein));
        let shown = protein.map_or_else(String::new, Protein::shown);
        match piece.map(|piece| (piece.masked, piece.keep)) {
            Some((Some(residue), _)) => format!("{shown} with residue {} masked", residue + 1),
            Some((None, Keep::Residue(residue) | Keep::Token(residue, _))) => {
                format!("{shown} around residue {}", residue + 1)
            }
            _ => shown,
        }
    }
}
