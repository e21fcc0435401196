//! A loaded model that takes sequences: what there is to ask for, admission, the queue, and answers
//! with what was done to each sequence.

use super::byte_budget::{ByteBudget, Taken};
use super::facts::{Facts, Truncate};
use super::job::ServeJob;
use super::memory_shares::MemoryShares;
use super::notes::Notes;
use super::refusal::{Kind, Refusal};
use super::scheduler::{Arrays, Batching, Computer, Item, Scheduler, SchedulerOptions, Ticket};
use crate::admission::Gate;
use crate::fasta::MAX_SEQUENCE;
use crate::numerals::bytes;
use crate::pipeline::Resident;
use crate::product::{ModelShape, OutDtype, Pool, Product, Request};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that a sequence and its answer take beside tokens and numbers.
const BESIDE_NUMBERS: u64 = 1 << 10;

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
                    format!("this server was started without {name}"),
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
        truncate: Truncate,
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
        let admitted = facts.admit(facts.admission_for(products), sequence, truncate);
        let prepared = admitted.map_err(|unfit| facts.refusal(&unfit, truncate))?;
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
        truncate: Truncate,
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
