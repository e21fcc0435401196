//! Prepared sequences → products, in batches, on as many threads as were asked for.

use super::{Session, SessionError};
use crate::admission::{Gate, PassCost, Prepared};
use crate::batching::batches;
use crate::cancel::Cancel;
use crate::embedder::{Computed, EngineError, Sequence};
use crate::pipeline::plan::batches::{Batching, LEAST_TOKENS};
use crate::product::Request;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

impl Session {
    /// Computes the products of `request` for every sequence. `out` receives each of them, from several
    /// threads, in any order, with the index of the sequence; `done` the number of sequences that are
    /// finished since it was last called.
    ///
    /// # Errors
    /// The first failure, or a cancellation. What `out` received before that is valid.
    pub fn embed(
        &self,
        sequences: &[Prepared],
        request: &Request,
        cancel: &Cancel,
        done: &(dyn Fn(usize) + Sync),
        out: &(dyn Fn(Computed<'_>) + Sync),
    ) -> Result<(), SessionError> {
        self.check(request)?;
        let (memory, cost) = self.needs_of(request)?;
        let batching = self.batching(request, cost);
        let lengths: Vec<usize> = sequences.iter().map(|one| one.tokens.len()).collect();
        let budget = batching.budget(lengths.iter().sum());
        let work = Work {
            session: self,
            sequences,
            batches: batches(&lengths, budget, batching.one_each),
            request,
            cancel,
            cost,
            gate: Gate::new(memory.map(|memory| memory.bytes)),
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            done,
            out,
        };
        let _turn = self.turn();
        let workers = batching.threads.clamp(1, work.batches.len().max(1));
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(|| work.run())).collect();
            let mine = work.run();
            let ended = others.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.fold(mine, |first, next| match first {
                // The failure is the cause, and cancellations follow from it.
                Ok(()) | Err(SessionError::Cancelled) if next.is_err() => next,
                first => first,
            })
        })
    }

    /// How batches are formed for a request.
    pub(super) fn batching(&self, request: &Request, cost: PassCost) -> Batching {
        let capacity = self.embedder().engine().capacity(request);
        let max_tokens = capacity.tokens.max(cost.max_tokens());
        Batching {
            max_tokens,
            one_each: self.compute().deterministic,
            threads: capacity.lanes.unwrap_or(self.compute().threads),
            least: match self.device().is_gpu() {
                true => cost.max_tokens(),
                false => LEAST_TOKENS,
            },
        }
    }
}

/// What the worker threads share.
struct Work<'a> {
    session: &'a Session,
    sequences: &'a [Prepared],
    batches: Vec<Vec<usize>>,
    request: &'a Request,
    cancel: &'a Cancel,
    cost: PassCost,
    gate: Gate,
    next: AtomicUsize,
    failed: AtomicBool,
    done: &'a (dyn Fn(usize) + Sync),
    out: &'a (dyn Fn(Computed<'_>) + Sync),
}

impl Work<'_> {
    /// Works until there are no more batches.
    fn run(&self) -> Result<(), SessionError> {
        while let Some(batch) = self.batches.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Err(error) = self.pass(batch) {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
            (self.done)(batch.len());
        }
        Ok(())
    }

    fn pass(&self, batch: &[usize]) -> Result<(), SessionError> {
        if self.cancel.is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        let of_batch = || batch.iter().filter_map(|&at| self.sequences.get(at));
        let sequences: Vec<Sequence<'_>> = of_batch()
            .map(|one| Sequence {
                tokens: &one.tokens,
                windows: &one.windows,
            })
            .collect();
        let sizes = sequences.iter().map(|one| (one.tokens.len(), one.windows));
        let _entered = self.gate.enter(self.cost.batch(sizes));
        let number = |at: usize| batch.get(at).copied().unwrap_or(0);
        let mut out = |computed: Computed<'_>| {
            (self.out)(Computed {
                sequence: number(computed.sequence),
                ..computed
            });
            ControlFlow::Continue(())
        };
        let embedder = self.session.embedder();
        match embedder.embed(&sequences, self.request, self.cancel, &mut out) {
            Ok(()) => Ok(()),
            Err(EngineError::Cancelled) => Err(SessionError::Cancelled),
            Err(error) => Err(SessionError::Pass {
                sequence: error.sequence().map(number),
                error,
            }),
        }
    }
}
