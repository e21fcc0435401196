//! A loaded model that takes sequences: what there is to ask for, admission, the queue, and answers
//! with what was done to each sequence.

use super::byte_budget::{ByteBudget, Taken};
use super::job::ServeJob;
use super::memory_shares::MemoryShares;
use super::notes::Notes;
use super::refusal::{Kind, Refusal};
use super::scheduler::{Arrays, Batching, Computer, Item, Scheduler, SchedulerOptions, Ticket};
use crate::admission::{Admission, Gate, Long, MemoryBudget, Prepared, Unfit};
use crate::checkpoint::{EsmConfig, TRAINING_MAXIMUM};
use crate::fasta::MAX_SEQUENCE;
use crate::numerals::{bytes, grouped};
use crate::pipeline::Resident;
use crate::product::{ModelShape, OutDtype, Pool, Product, Request};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that a sequence and its answer take beside tokens and numbers.
const BESIDE_NUMBERS: u64 = 1 << 10;

/// Which residues of a long sequence are embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// The first ones.
    KeepFirst,
    /// The last ones.
    KeepLast,
}

/// What a request asks for of each sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The layer of pooled rows and residue rows, as the flag counts: -1 is the last. None for the
    /// highest that is served.
    pub layer: Option<i64>,
    /// Pooled rows.
    pub pools: Vec<Pool>,
    /// Residue rows.
    pub residues: bool,
    /// Logits.
    pub logits: bool,
    /// Contacts.
    pub contacts: bool,
}

/// A loaded model.
pub struct Service {
    resident: Facts,
    scheduler: Scheduler,
    room: ByteBudget,
}

/// What does not change while the server runs.
pub struct Facts {
    /// The shape of the model.
    pub config: EsmConfig,
    /// Its shape as products count it.
    pub shape: ModelShape,
    /// What a sequence has to pass.
    pub admission: Admission,
    /// The layers that may be asked for, ascending; at least one.
    pub layers: Vec<usize>,
    /// Logits and contacts, if they may be asked for.
    pub include: Vec<Product>,
    /// `cpu (avx512)`, or the kinds of GPUs.
    pub device: String,
    /// Number format of the computation.
    pub dtype: String,
    /// Tokens of a batch.
    pub max_tokens: usize,
}

/// A sequence that may be computed.
#[derive(Clone, Debug)]
pub struct Admitted {
    item: Arc<Item>,
    notes: Notes,
    answer_bytes: u64,
}

/// A sequence that is in the queue or is computed. Dropping it gives it up.
pub struct Pending {
    ticket: Ticket,
    admitted: Admitted,
    taken: Taken,
}

/// The answer to one sequence.
pub struct Answer {
    arrays: Arc<Arrays>,
    item: Arc<Item>,
    /// What was done to the sequence.
    pub notes: Notes,
    /// The memory of the answer, until it has been sent.
    taken: Taken,
}

impl Service {
    /// Starts to take sequences for a loaded model.
    ///
    /// # Errors
    /// The system refuses to start threads.
    pub(super) fn start(
        resident: Resident,
        job: &ServeJob,
    ) -> std::io::Result<(Service, Vec<JoinHandle<()>>)> {
        let config = resident.embedder.config().clone();
        let device = match resident.device.is_gpu() {
            true => resident.device.to_string(),
            false => format!("{} ({})", resident.device, resident.device.path),
        };
        let facts = Facts {
            shape: ModelShape {
                dim: config.dim,
                vocab: config.logits(),
                layers: config.layers,
                heads: Some(config.heads),
                stacked: 0,
            },
            config,
            admission: resident.admission,
            layers: resident.layers,
            include: job.include.clone(),
            device,
            dtype: resident.dtype.to_string(),
            max_tokens: resident.max_tokens,
        };
        let shares = MemoryShares::of(resident.admission.memory.map(|budget| budget.bytes));
        let computer = Computer {
            embedder: resident.embedder,
            gate: Gate::new(shares.passes),
            cost: resident.cost,
        };
        let options = SchedulerOptions {
            batching: Batching {
                max_tokens: resident.max_tokens,
                workers: resident.workers,
            },
            max_queue_tokens: job.limits.max_queue_tokens,
            cache_bytes: job.limits.cache_bytes,
        };
        let (scheduler, threads) = Scheduler::start(computer, options)?;
        let service = Service {
            resident: facts,
            scheduler,
            room: ByteBudget::new(shares.answers),
        };
        Ok((service, threads))
    }

    /// What does not change while the server runs.
    pub fn facts(&self) -> &Facts {
        &self.resident
    }

    /// The products that a request asks for.
    ///
    /// # Errors
    /// A layer that is not served, or a product for which the model is not loaded.
    pub fn products(&self, wanted: &Wanted) -> Result<Arc<[Product]>, Refusal> {
        let facts = self.facts();
        let layer = facts.layer(wanted.layer)?;
        for (is_wanted, product) in [
            (wanted.logits, Product::Logits),
            (wanted.contacts, Product::Contacts),
        ] {
            if is_wanted && !facts.include.contains(&product) {
                let name = product.file_stem();
                return Err(Refusal::new(
                    Kind::NotServed,
                    format!("this server does not compute {name}: it was started without them"),
                ));
            }
        }
        let pooled = wanted
            .pools
            .iter()
            .map(|&pool| Product::Pooled { layer, pool });
        let residues = wanted.residues.then_some(Product::Residues { layer });
        let logits = wanted.logits.then_some(Product::Logits);
        let contacts = wanted.contacts.then_some(Product::Contacts);
        let all = pooled.chain(residues).chain(logits).chain(contacts);
        Ok(Request::new(all, OutDtype::F32).products().into())
    }

    /// Turns the text of a sequence into what is embedded, with the decisions of `run`.
    ///
    /// # Errors
    /// Why it cannot be embedded, in the words of `run`.
    pub fn admit(
        &self,
        sequence: &[u8],
        truncate: Option<Truncate>,
        products: &Arc<[Product]>,
    ) -> Result<Admitted, Refusal> {
        let facts = self.facts();
        if sequence.len() > MAX_SEQUENCE {
            let limit = bytes(MAX_SEQUENCE as u64);
            let text = format!("the sequence has more than {limit}");
            return Err(Refusal::new(Kind::TooLarge, text));
        }
        if sequence.trim_ascii_start().starts_with(b">") {
            return Err(Refusal::new(
                Kind::Character,
                "the sequence begins with `>`: send it without the header line of FASTA",
            ));
        }
        let admission = facts.admission_for(products);
        let admitted = match truncate {
            None => admission.admit(sequence),
            Some(side) => facts.admit_truncated(admission, sequence, side),
        };
        let prepared = admitted.map_err(|unfit| facts.refusal(&unfit))?;
        let residues = prepared.residues() as u64;
        let numbers = products.iter().map(|product| {
            let elements = product.extent().elements(residues);
            let width = product.width(&facts.shape) as u64;
            elements.unwrap_or(u64::MAX).saturating_mul(width)
        });
        let numbers = numbers.fold(0, u64::saturating_add).saturating_mul(4);
        let answer_bytes = numbers.saturating_add(prepared.tokens.len() as u64 + BESIDE_NUMBERS);
        let notes = Notes::of(&prepared);
        Ok(Admitted {
            item: Arc::new(Item {
                tokens: prepared.tokens,
                windows: prepared.windows,
                products: Arc::clone(products),
            }),
            notes,
            answer_bytes,
        })
    }

    /// Admits the sequences of a request, as long as their answers fit in memory together.
    ///
    /// # Errors
    /// The first one that cannot be embedded, with its place in the request; or the answer is larger
    /// than the server can hold.
    pub fn admit_all<'a>(
        &self,
        name: &str,
        sequences: impl ExactSizeIterator<Item = &'a [u8]>,
        truncate: Option<Truncate>,
        products: &Arc<[Product]>,
    ) -> Result<Vec<Admitted>, Refusal> {
        if sequences.len() == 0 {
            return Err(Refusal::new(Kind::Empty, format!("`{name}` is empty")));
        }
        let mut all = Vec::new();
        let mut answers: u64 = 0;
        for (i, sequence) in sequences.enumerate() {
            let admitted = self.admit(sequence, truncate, products);
            let admitted = admitted.map_err(|refusal| refusal.of_input(name, i))?;
            answers = answers.saturating_add(admitted.answer_bytes);
            self.check_answer(answers)?;
            all.push(admitted);
        }
        Ok(all)
    }

    /// Queues all sequences of a request, or none of them.
    ///
    /// # Errors
    /// The answer is larger than the server can hold; or there is too much to do already.
    pub fn submit(&self, admitted: Vec<Admitted>) -> Result<Vec<Pending>, Refusal> {
        let sizes = admitted.iter().map(|one| one.answer_bytes);
        self.check_answer(sizes.fold(0, u64::saturating_add))?;
        let taken: Option<Vec<Taken>> = admitted
            .iter()
            .map(|one| self.room.take(one.answer_bytes))
            .collect();
        let taken = taken.ok_or_else(no_memory)?;
        let items: Vec<Arc<Item>> = admitted.iter().map(|one| Arc::clone(&one.item)).collect();
        let tickets = self.scheduler.submit(&items)?;
        let all = tickets.into_iter().zip(admitted).zip(taken);
        let pending = all.map(|((ticket, admitted), taken)| Pending {
            ticket,
            admitted,
            taken,
        });
        Ok(pending.collect())
    }

    /// Queues one sequence as soon as there is room for it and its answer. For streams, which read
    /// no further meanwhile.
    ///
    /// # Errors
    /// The answer is larger than the server can hold; or the server is about to end.
    pub async fn submit_when_room(&self, admitted: Admitted) -> Result<Pending, Refusal> {
        self.check_answer(admitted.answer_bytes)?;
        let taken = self.room.take_when_free(admitted.answer_bytes).await;
        let ticket = self.scheduler.submit_when_room(&admitted.item).await?;
        Ok(Pending {
            ticket,
            admitted,
            taken,
        })
    }

    /// Takes memory for an answer that holds no numbers when it is free. For streams.
    ///
    /// # Errors
    /// It is larger than what the server can hold.
    pub async fn reserve_when_free(&self, bytes: u64) -> Result<Taken, Refusal> {
        let bytes = bytes.saturating_add(BESIDE_NUMBERS);
        self.check_answer(bytes)?;
        Ok(self.room.take_when_free(bytes).await)
    }

    /// Takes memory for an answer that is made of several, beside theirs.
    ///
    /// # Errors
    /// It is larger than what the server can hold, or not free.
    pub fn reserve(&self, bytes: u64) -> Result<Taken, Refusal> {
        self.check_answer(bytes)?;
        self.room.take(bytes).ok_or_else(no_memory)
    }

    /// Bytes that answers may take together.
    pub fn answer_limit(&self) -> u64 {
        self.room.limit()
    }

    /// Gives up everything that is not computed yet.
    pub fn abort(&self) {
        self.scheduler.abort();
    }

    fn check_answer(&self, needed: u64) -> Result<(), Refusal> {
        match needed > self.room.limit() {
            true => Err(Refusal::new(
                Kind::TooLarge,
                format!(
                    "the answer would take at least {}, and this server has {} of memory for answers: ask for \
                     fewer sequences in a request",
                    bytes(needed),
                    bytes(self.room.limit())
                ),
            )),
            false => Ok(()),
        }
    }
}

/// Why an answer cannot be computed now.
fn no_memory() -> Refusal {
    let text = "answers that have not been sent yet take all the memory for answers";
    Refusal::new(Kind::Busy, text).retry_after(Duration::from_secs(1))
}

impl Facts {
    /// The highest layer that is served.
    pub fn last_layer(&self) -> usize {
        self.layers.last().copied().unwrap_or(self.config.layers)
    }

    /// The index of a layer as a request names it.
    ///
    /// # Errors
    /// It is not served.
    pub fn layer(&self, asked: Option<i64>) -> Result<usize, Refusal> {
        let Some(asked) = asked else {
            return Ok(self.last_layer());
        };
        let found = self.config.layer_index(asked);
        found
            .filter(|layer| self.layers.contains(layer))
            .ok_or_else(|| {
                let layers: Vec<String> = self.layers.iter().map(usize::to_string).collect();
                let layers = layers.join(", ");
                Refusal::new(
                    Kind::Invalid,
                    format!("layer {asked} is not served; this server has layer {layers}"),
                )
            })
    }

    /// What a sequence has to pass for these products: what a request does not ask for takes no memory.
    fn admission_for(&self, products: &[Product]) -> Admission {
        let memory = self.admission.memory.map(|budget| MemoryBudget {
            cost: budget.cost.for_products(products),
            ..budget
        });
        Admission {
            memory,
            ..self.admission
        }
    }

    /// Residues of the longest sequence that is taken as it is, for embeddings.
    pub fn longest(&self) -> usize {
        let policy = self.admission.policy;
        let by_policy = match (policy.long, policy.model_limit) {
            (Long::Error, None) => Some(TRAINING_MAXIMUM),
            (Long::Full | Long::Error, limit) => limit,
            (Long::Truncate(_) | Long::Window { .. }, _) => None,
        };
        let by_memory = self.admission_for(&[]).longest();
        by_policy.map_or(by_memory, |limit| limit.min(by_memory))
    }

    /// Residues that truncation leaves: ESM's training maximum, if the model has positions for it.
    pub fn truncated_to(&self) -> usize {
        let limit = self.admission.policy.model_limit;
        limit.map_or(TRAINING_MAXIMUM, |limit| limit.min(TRAINING_MAXIMUM))
    }

    /// Shape of the array of a product.
    pub fn shape_of(&self, product: Product, residues: usize) -> Vec<u64> {
        product.shape(&self.shape, residues as u64)
    }

    /// The first or last residues of a sequence that is too long. What is kept has the bits of a
    /// sequence that consists of it.
    fn admit_truncated(
        &self,
        mut admission: Admission,
        sequence: &[u8],
        side: Truncate,
    ) -> Result<Prepared, Unfit> {
        let most = self.truncated_to();
        admission.policy.long = match side {
            Truncate::KeepFirst => Long::Truncate(most),
            Truncate::KeepLast => Long::Full,
        };
        admission.policy.model_limit = None;
        let mut prepared = admission.policy.prepare(sequence)?;
        let residues = prepared.residues();
        if residues > most {
            prepared.tokens.drain(1..=residues - most);
            prepared.truncated_from = Some(residues as u64);
        }
        admission.check(&prepared)?;
        Ok(prepared)
    }

    /// Why a sequence is refused, in the words of `run`, and what a client can do about it.
    fn refusal(&self, unfit: &Unfit) -> Refusal {
        let text = unfit.to_string();
        let reason = text.lines().next().unwrap_or_default();
        match unfit {
            Unfit::Empty | Unfit::OnlyGaps => Refusal::new(Kind::Empty, reason),
            Unfit::Token(_) => Refusal::new(Kind::Character, reason),
            Unfit::TooLong { .. } | Unfit::BeyondModel { .. } | Unfit::TooLarge { .. } => {
                let limit = grouped(self.truncated_to() as u64);
                let remedy = format!("with `truncate`, its first {limit} residues are embedded");
                Refusal::new(Kind::TooLarge, format!("{reason}; {remedy}"))
            }
            Unfit::MapsTooLarge { .. } => Refusal::new(Kind::TooLarge, reason),
        }
    }
}

impl Admitted {
    /// Residues that are embedded.
    pub fn residues(&self) -> usize {
        self.item.tokens.len().saturating_sub(2)
    }

    /// Tokens that it costs.
    pub fn tokens(&self) -> usize {
        self.item.cost()
    }

    /// The same with more bytes in its answer.
    pub fn beside(self, bytes: u64) -> Admitted {
        Admitted {
            answer_bytes: self.answer_bytes.saturating_add(bytes),
            ..self
        }
    }

    /// Bytes of its answer.
    pub fn answer_bytes(&self) -> u64 {
        self.answer_bytes
    }
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    /// The pass failed, or the server is about to end.
    pub async fn answer(mut self) -> Result<Answer, Refusal> {
        let arrays = self.ticket.outcome().await?;
        let Admitted { item, notes, .. } = self.admitted;
        Ok(Answer {
            notes: notes.computed_in(arrays.fallback),
            arrays,
            item,
            taken: self.taken,
        })
    }
}

impl Answer {
    /// The memory of the answer. Its arrays are dropped: they have been written somewhere else.
    pub fn into_taken(self) -> Taken {
        self.taken
    }

    /// Residues of the sequence that were embedded.
    pub fn residues(&self) -> usize {
        self.item.tokens.len().saturating_sub(2)
    }

    /// Tokens of the passes over it.
    pub fn tokens(&self) -> usize {
        self.item.cost()
    }

    /// The products, in a fixed order.
    pub fn products(&self) -> &[Product] {
        &self.item.products
    }

    /// The numbers of a product, row by row; none if it was not asked for.
    pub fn values(&self, product: Product) -> &[f32] {
        self.arrays.values(product)
    }
}
