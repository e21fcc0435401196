//! How batches are taken from the queue, and what happens to work that nobody waits for.

use super::queue::{Batching, Queue};
use super::*;
use crate::admission::{Gate, PassCost, PassLimits};
use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig};
use crate::device::{Device, Dtype};
use crate::embedder::{
    About, Capacity, Computed, Embedder, EmbedderOptions, Engine, EngineError, Out,
};
use crate::model::{Packed, PassMemory};
use crate::ops::CpuPath;
use crate::product::{Pool, Product, Request, Values};
use crate::tokenizer::TokenId;
use proptest::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

const MEAN: Product = Product::Pooled {
    layer: 2,
    pool: Pool::Mean,
};

fn item(tokens: Vec<TokenId>, product: Product) -> Arc<Item> {
    Arc::new(Item {
        tokens,
        windows: Vec::new(),
        products: Arc::new([product]),
    })
}

proptest! {
    #[test]
    fn every_item_is_in_one_batch_the_oldest_first(
        lengths in proptest::collection::vec((2usize..400, any::<bool>()), 0..60),
        max_tokens in 0usize..600,
        workers in 1usize..4,
    ) {
        let mut queue = Queue::new(usize::MAX);
        let works: Vec<Arc<Work>> = lengths
            .iter()
            .map(|&(length, logits)| {
                let product = if logits { Product::Logits } else { MEAN };
                Arc::new(Work::new(item(vec![5; length], product)))
            })
            .collect();
        works.iter().for_each(|work| queue.push(Arc::clone(work)));
        let all: usize = lengths.iter().map(|(length, _)| length).sum();
        prop_assert_eq!((queue.tokens(), queue.len()), (all, works.len()));
        let mut left = works.clone();
        loop {
            let batch = queue.take(Batching { max_tokens, workers });
            let Some(first) = batch.first() else { break };
            // The oldest of all that wait leads the batch.
            prop_assert!(Arc::ptr_eq(first, &left[0]));
            let tokens: usize = batch.iter().map(|work| work.item.cost()).sum();
            prop_assert!(batch.len() == 1 || tokens <= max_tokens);
            for work in &batch {
                prop_assert_eq!(&work.item.products, &first.item.products);
                let at = left.iter().position(|one| Arc::ptr_eq(one, work)).unwrap();
                left.remove(at);
            }
            let tokens: usize = left.iter().map(|work| work.item.cost()).sum();
            prop_assert_eq!(queue.tokens(), tokens);
        }
        prop_assert!(left.is_empty());
    }

    #[test]
    fn what_is_removed_is_not_computed(
        lengths in proptest::collection::vec(2usize..50, 1..20),
        which in any::<proptest::sample::Index>(),
    ) {
        let mut queue = Queue::new(usize::MAX);
        let works: Vec<Arc<Work>> = lengths
            .iter()
            .map(|&length| Arc::new(Work::new(item(vec![5; length], MEAN))))
            .collect();
        works.iter().for_each(|work| queue.push(Arc::clone(work)));
        let gone = which.get(&works);
        prop_assert!(queue.remove(gone));
        prop_assert!(!queue.remove(gone));
        let batch = queue.take(Batching { max_tokens: 10_000, workers: 1 });
        prop_assert_eq!(batch.len(), works.len() - 1);
        prop_assert!(!batch.iter().any(|work| Arc::ptr_eq(work, gone)));
        prop_assert_eq!((queue.tokens(), queue.len()), (0, 0));
    }
}

#[test]
fn the_queue_takes_one_large_request_when_it_is_empty() {
    let mut queue = Queue::new(100);
    assert!(queue.has_room(1_000_000));
    queue.push(Arc::new(Work::new(item(vec![5; 60], MEAN))));
    assert!(queue.has_room(40) && !queue.has_room(41) && !queue.has_room(usize::MAX));
}

/// An engine that does what the test says, pass by pass.
struct Told {
    config: EsmConfig,
    passes: AtomicUsize,
    begun: Mutex<Sender<Vec<Vec<TokenId>>>>,
    go: Mutex<Receiver<Do>>,
}

enum Do {
    Answer,
    Fail(usize),
    Panic,
    /// Waits until the pass is cancelled.
    Wait,
}

impl Engine for Told {
    fn config(&self) -> &EsmConfig {
        &self.config
    }

    fn capacity(&self, _: &Request) -> Capacity {
        Capacity {
            tokens: 64,
            lanes: None,
            shares_passes: true,
            varying_fallback: None,
        }
    }

    fn about(&self) -> About {
        About::default()
    }

    fn run(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        let sequences: Vec<Vec<TokenId>> = batch.sequences().map(<[TokenId]>::to_vec).collect();
        self.begun.lock().unwrap().send(sequences.clone()).unwrap();
        match self.go.lock().unwrap().recv().unwrap() {
            Do::Answer => {}
            Do::Fail(sequence) => return Err(EngineError::NotFinite { sequence }),
            Do::Panic => panic!("as told"),
            Do::Wait => {
                while !cancel.is_cancelled() {
                    std::thread::yield_now();
                }
                return Err(EngineError::Cancelled);
            }
        }
        for (sequence, tokens) in sequences.iter().enumerate() {
            for &product in request.products() {
                let computed = Computed {
                    sequence,
                    product,
                    values: Values::F32(&[f32::from(tokens[1])]),
                    fallback: None,
                };
                if out(computed) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A scheduler with one thread, what its engine begins, and what it is told to do.
fn told(max_queue_tokens: usize) -> (Scheduler, Receiver<Vec<Vec<TokenId>>>, Sender<Do>) {
    let checkpoint = Checkpoint::open("fixtures/esm2_hd16".as_ref()).unwrap();
    let config = checkpoint.config().clone();
    let (begun, begins) = channel();
    let (tell, go) = channel();
    let limits = PassLimits {
        max_tokens: 64,
        threads: 1,
        one_each: false,
    };
    let options = EmbedderOptions::new(Device::cpu(CpuPath::Portable), Dtype::F32, 2);
    let memory = PassMemory::new(&config, options.device.path, options.dtype.weight_type());
    let computer = Computer {
        cost: PassCost::new(&config, memory, 1, limits),
        embedder: Embedder::new(Arc::new(Told {
            config,
            passes: AtomicUsize::new(0),
            begun: Mutex::new(begun),
            go: Mutex::new(go),
        })),
        gate: Gate::new(None),
    };
    let options = SchedulerOptions {
        batching: Batching {
            max_tokens: 64,
            workers: 1,
        },
        max_queue_tokens,
        cache_bytes: 0,
    };
    (Scheduler::start(computer, options).unwrap().0, begins, tell)
}

fn wait(mut ticket: Ticket) -> Result<f32, Kind> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let outcome = runtime.block_on(ticket.outcome());
    outcome
        .map(|arrays| arrays.values(MEAN)[0])
        .map_err(|refusal| refusal.kind)
}

fn one(residue: TokenId) -> Arc<Item> {
    item(vec![0, residue, 2], MEAN)
}

#[test]
fn equal_items_are_computed_once_and_each_gets_its_own() {
    let (scheduler, begins, tell) = told(1000);
    let first = scheduler.submit(&[one(5)]).unwrap();
    assert_eq!(begins.recv().unwrap(), [[0, 5, 2]]);
    // While it is computed: the same again, and others twice.
    let more = scheduler.submit(&[one(5), one(6), one(7), one(6)]).unwrap();
    tell.send(Do::Answer).unwrap();
    assert_eq!(begins.recv().unwrap(), [[0, 6, 2], [0, 7, 2]]);
    tell.send(Do::Answer).unwrap();
    let values: Vec<_> = first.into_iter().chain(more).map(wait).collect();
    assert_eq!(values, [5.0, 5.0, 6.0, 7.0, 6.0].map(Ok));
    // Afterwards it is computed again.
    let again = scheduler.submit(&[one(5)]).unwrap();
    assert_eq!(begins.recv().unwrap(), [[0, 5, 2]]);
    tell.send(Do::Answer).unwrap();
    assert_eq!(again.into_iter().map(wait).collect::<Vec<_>>(), [Ok(5.0)]);
}

#[test]
fn an_item_that_fails_or_panics_leaves_the_others_alone() {
    let (scheduler, begins, tell) = told(1000);
    let holding = scheduler.submit(&[one(4)]).unwrap();
    begins.recv().unwrap();
    let tickets = scheduler.submit(&[one(5), one(6), one(7)]).unwrap();
    tell.send(Do::Answer).unwrap();
    assert_eq!(begins.recv().unwrap().len(), 3);
    tell.send(Do::Fail(1)).unwrap();
    assert_eq!(begins.recv().unwrap(), [[0, 5, 2], [0, 7, 2]]);
    tell.send(Do::Answer).unwrap();
    let values: Vec<_> = tickets.into_iter().map(wait).collect();
    assert_eq!(values, [Ok(5.0), Err(Kind::Failed), Ok(7.0)]);
    let tickets = scheduler.submit(&[one(8)]).unwrap();
    begins.recv().unwrap();
    tell.send(Do::Panic).unwrap();
    assert_eq!(
        tickets.into_iter().map(wait).collect::<Vec<_>>(),
        [Err(Kind::Failed)]
    );
    // The lock of the test's engine is poisoned by the panic; the thread lives.
    drop(holding);
}

#[test]
fn work_that_nobody_waits_for_leaves_the_queue_or_is_cancelled() {
    let (scheduler, begins, tell) = told(9);
    let running = scheduler.submit(&[one(5)]).unwrap();
    begins.recv().unwrap();
    let queued = scheduler.submit(&[one(6), one(7), one(8)]).unwrap();
    let full = scheduler.submit(&[one(9)]).err().unwrap();
    assert_eq!(full.kind, Kind::Busy);
    assert!(full.retry_after.is_some());
    // What is in flight already needs no room.
    let joined = scheduler.submit(&[one(5), one(7)]).unwrap();
    drop(queued);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let waited = runtime
        .block_on(scheduler.submit_when_room(&one(9)))
        .unwrap();
    // Somebody still waits for 5 and 7: only then is the pass cancelled.
    tell.send(Do::Wait).unwrap();
    drop(running);
    assert!(begins.try_recv().is_err());
    let mut joined = joined.into_iter();
    drop(joined.next());
    assert_eq!(begins.recv().unwrap(), [[0, 7, 2], [0, 9, 2]]);
    tell.send(Do::Answer).unwrap();
    assert_eq!(wait(joined.next().unwrap()), Ok(7.0));
    assert_eq!(wait(waited), Ok(9.0));
}

#[test]
fn a_scheduler_that_gives_up_tells_everybody() {
    let (scheduler, begins, tell) = told(1000);
    let running = scheduler.submit(&[one(5)]).unwrap();
    begins.recv().unwrap();
    let queued = scheduler.submit(&[one(6)]).unwrap();
    tell.send(Do::Wait).unwrap();
    scheduler.abort();
    for ticket in running.into_iter().chain(queued) {
        assert_eq!(wait(ticket), Err(Kind::Unavailable));
    }
    assert_eq!(
        scheduler.submit(&[one(7)]).err().unwrap().kind,
        Kind::Unavailable
    );
}
