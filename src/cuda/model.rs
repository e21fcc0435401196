//! The model on cards: batches in, representations out.

use super::batch::Batch;
use super::budget::{Budget, Room};
use super::card::Card;
use super::choice;
use super::error::{CudaError, While};
use super::forward::Running;
use super::images;
use super::lane::{Lane, Lanes, Shape};
use super::product::Blas;
use super::replica::{Replica, Wanted};
use super::results::{HostRows, Layout};
use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource, Positions};
use crate::device::{Device, Dtype, PINNED, ResidueRows};
use crate::model::{Packed, make_blocks};
use crate::run_record::{CudaFacts, GpuFacts, ProductRows};
use std::sync::Arc;

/// Of the memory that is free after loading, the part that lanes may take.
const LANES_SHARE: f64 = 0.9;
/// Slabs of a batch at most, however much memory there is: of more tokens a smaller part is padding
/// of the last slab, which is a hundredth at one and a quarter of that at four.
const MOST_SLABS: usize = 4;

/// Why a pass ended early.
#[derive(Debug)]
pub enum Failure<E> {
    /// The card, or what it was given.
    Cuda {
        /// The sequence that it concerns, if it is one.
        sequence: Option<usize>,
        /// What happened.
        error: CudaError,
    },
    /// A number of this sequence is not finite.
    NotFinite {
        /// Its index.
        sequence: usize,
    },
    /// What the caller's functions returned.
    Caller(E),
}

impl<E> From<CudaError> for Failure<E> {
    fn from(error: CudaError) -> Self {
        Failure::Cuda {
            sequence: None,
            error,
        }
    }
}

/// A sequence whose numbers do not fit f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Its index in the batch.
    pub sequence: usize,
    /// The first of the wanted representations, by its position among them, that was not handed
    /// over for it; none that follow were.
    pub layer: usize,
}

/// What is asked of a pass.
pub(super) struct Pass<'a, E> {
    pub(super) wanted: &'a [usize],
    pub(super) residues: ResidueRows,
    /// Whether numbers that are not finite are an [`Overflow`]; else they are a failure.
    pub(super) may_overflow: bool,
    pub(super) go_on: &'a dyn Fn() -> Result<(), E>,
}

/// Takes rows: position of the layer among the wanted ones, index of the sequence, rows.
type Each<'a, E> = &'a mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>;

/// A model on one card or more.
pub struct Esm {
    config: EsmConfig,
    dtype: Dtype,
    inv_freq: Option<InvFreqSource>,
    replicas: Vec<Replica>,
    /// Shared with a model of the same shape and size on the same cards, if there is one.
    lanes: Arc<Lanes>,
    lane_count: usize,
    /// Slabs of rows for which every lane has memory.
    slabs: usize,
    budget: Budget,
    /// Whether the bits of a sequence were seen not to depend on its batch; if not, every sequence
    /// has a pass of its own.
    same_bits: bool,
}

impl Esm {
    /// Loads the blocks up to representation `top` onto every card of the device, chooses the
    /// algorithms of the products, and proves that bits do not depend on the batch, unless that is
    /// known from before. `threads` read weights. It takes turns on the cards with the model
    /// `beside`, of the same shape and in a number format of the same size, and shares its memory for
    /// passes.
    ///
    /// # Errors
    /// A damaged checkpoint, a shape without kernels, or a card without memory for it.
    pub fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        dtype: Dtype,
        top: usize,
        threads: usize,
        beside: Option<&Esm>,
    ) -> Result<Esm, CudaError> {
        let config = checkpoint.config().clone();
        if !config.intermediate.is_multiple_of(8) {
            return Err(CudaError::Shape(format!(
                "a feed-forward width of {}, only multiples of 8",
                config.intermediate
            )));
        }
        let shape = Shape::new(&config, dtype);
        let wanted = Wanted {
            checkpoint,
            dtype,
            top,
            threads: threads.div_ceil(device.cards.len().max(1)),
            tested: &device.tested,
        };
        let count = device.cards.len();
        let load = |i: usize| match device.cards.get(i) {
            Some(about) => Replica::load(wanted, about),
            None => Err(CudaError::Thread),
        };
        // Every card reads the checkpoint for itself, all at the same time.
        let loaded = make_blocks(count, count, load)?.ok_or(CudaError::Thread)?;
        let (replicas, sources): (Vec<Replica>, Vec<_>) = loaded.into_iter().unzip();
        let inv_freq = sources.first().copied().flatten();
        if let Some(other) = other_choice(&replicas) {
            let number = other.card.about.number;
            return Err(CudaError::Unlike { number });
        }
        let (lanes, lane_count, slabs) = match beside {
            Some(other) => (Arc::clone(&other.lanes), other.lane_count, other.slabs),
            None => {
                let mut slabs = usize::MAX;
                for replica in &replicas {
                    slabs = slabs.min(room(&replica.card, shape)?);
                }
                let each = device.lanes(threads).min(slabs);
                let mut all = Vec::new();
                // Cards take turns.
                for _ in 0..each {
                    for (number, replica) in replicas.iter().enumerate() {
                        all.push(Lane::new(number, &replica.card, shape)?);
                    }
                }
                let count = all.len();
                (Arc::new(Lanes::new(all, each)), count, slabs / each.max(1))
            }
        };
        let mut esm = Esm {
            config,
            dtype,
            inv_freq,
            lane_count,
            lanes,
            slabs,
            replicas,
            budget: Budget::new(),
            same_bits: true,
        };
        let is_same = esm.replicas.iter().all(|replica| replica.same_bits);
        esm.same_bits = is_same && choice::settle(&mut esm, top)?;
        if !esm.same_bits {
            esm.budget.one_each();
        }
        Ok(esm)
    }

    /// Shape of the model.
    pub fn config(&self) -> &EsmConfig {
        &self.config
    }

    /// Number format of the computation.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Where the rotary frequencies came from; None for learned positions.
    pub fn inv_freq(&self) -> Option<InvFreqSource> {
        self.inv_freq
    }

    /// Batches that can be worked on at the same time.
    pub fn lanes(&self) -> usize {
        self.lane_count
    }

    /// Whether several sequences share a pass: not if their bits were seen to depend on that.
    pub fn has_same_bits(&self) -> bool {
        self.same_bits
    }

    pub(super) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    pub(super) fn replicas_mut(&mut self) -> &mut [Replica] {
        &mut self.replicas
    }

    /// The algorithms of the products, if they are the same on every card.
    pub(super) fn choice(&self) -> Option<String> {
        match other_choice(&self.replicas) {
            Some(_) => None,
            None => Some(self.replicas.first()?.products.numbers()),
        }
    }

    /// Gives the memory for passes back that no pass needs right now, to make room for another model.
    pub(super) fn release(&self) {
        for card in 0..self.replicas.len() {
            let mut lanes = self.lanes.take_card(card);
            lanes.iter_mut().for_each(Lane::release);
            self.lanes.give_card(lanes);
        }
    }

    /// Rows of a slab.
    fn slab(&self) -> usize {
        let first = self.replicas.first();
        first.map_or(1, |replica| replica.card.heights.slab())
    }

    /// Tokens of a batch for which every lane has memory, a whole number of slabs, if it keeps such
    /// residue rows.
    pub fn batch_tokens(&self, residues: ResidueRows) -> usize {
        let row = match residues {
            ResidueRows::None => 0,
            ResidueRows::F16 => 2 * self.config.dim,
            ResidueRows::F32 => 4 * self.config.dim,
        };
        let rows = self.slab();
        let slab = (row * rows).max(1) as u64;
        let pinned = usize::try_from(PINNED / slab).unwrap_or(usize::MAX);
        rows * self.slabs.min(pinned).clamp(1, MOST_SLABS)
    }

    /// What computed: libraries and algorithms, as `run.json` records them.
    pub fn about(&self) -> CudaFacts {
        // GPUs that compute alike are listed once.
        let mut cards: Vec<GpuFacts> = Vec::new();
        for replica in &self.replicas {
            let about = &replica.card.about;
            let card = GpuFacts {
                algorithms: replica.products.describe(),
                card: about.name.clone(),
                compute_capability: format!("{}.{}", about.capability.0, about.capability.1),
                driver: about.driver,
                driver_version: about.driver_version.clone(),
                image: Some(replica.card.kernels.image.clone()),
            };
            if !cards.contains(&card) {
                cards.push(card);
            }
        }
        let first = self.replicas.first();
        let blas = first.map(|replica| &replica.card.blas);
        let heights = first.map(|replica| replica.card.heights.all().to_vec());
        CudaFacts {
            cards,
            cublaslt: blas.map(Blas::version),
            cublaslt_path: blas.map(|blas| blas.path().to_string_lossy().into_owned()),
            in_slabs_only: first.map(Replica::is_in_slabs_only),
            kernels: images::digest().to_owned(),
            rows_of_a_product: heights.map(ProductRows::Heights),
            same_bits_in_any_batch: self.same_bits,
            ..CudaFacts::default()
        }
    }

    /// Runs the model on whole sequences and hands over the representations asked for.
    ///
    /// `wanted` holds representation indices, ascending, each once, up to the `top` of the load.
    /// `each(layer, sequence, rows)` is called layer by layer, with the position of the layer in
    /// `wanted`. `go_on` is asked before every block. A batch for which the card has no memory is
    /// cut in two, and later ones before they are tried. Sequences whose numbers do not fit f16 come
    /// back; of other number formats they are an error.
    ///
    /// # Errors
    /// A sequence that the card has no memory for even alone, numbers that are not finite, or
    /// whatever `go_on` or `each` returns.
    pub fn forward<E>(
        &self,
        sequences: &[&[u8]],
        wanted: &[usize],
        residues: ResidueRows,
        go_on: &dyn Fn() -> Result<(), E>,
        each: Each<'_, E>,
    ) -> Result<Vec<Overflow>, Failure<E>> {
        let pass = Pass {
            wanted,
            residues,
            may_overflow: self.dtype == Dtype::F16,
            go_on,
        };
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
        let mut overflows = Vec::new();
        self.budget.each_pass(&lengths, &mut |range, room| {
            let first = range.start;
            let part = sequences.get(range).unwrap_or_default();
            let mut each =
                |layer, sequence, rows: HostRows<'_>| each(layer, first + sequence, rows);
            let done = match room {
                Room::Lane => self.on_a_lane(&pass, part, &mut each),
                Room::Card => self.on_a_card(&pass, part, &mut each).map(Some),
            };
            let found = done.map_err(|failure| match failure {
                Failure::NotFinite { sequence } => Failure::NotFinite {
                    sequence: first + sequence,
                },
                Failure::Cuda { error, .. } if room == Room::Card => Failure::Cuda {
                    sequence: Some(first),
                    error,
                },
                other => other,
            })?;
            let Some(found) = found else {
                return Ok::<bool, Failure<E>>(false);
            };
            overflows.extend(found.into_iter().map(|overflow| Overflow {
                sequence: first + overflow.sequence,
                ..overflow
            }));
            Ok(true)
        })?;
        Ok(overflows)
    }

    /// A pass on the next free lane; None if the card has no memory for it.
    fn on_a_lane<E>(
        &self,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        each: Each<'_, E>,
    ) -> Result<Option<Vec<Overflow>>, Failure<E>> {
        let tokens: usize = sequences.iter().map(|s| s.len()).sum();
        loop {
            let mut lane = self.lanes.take();
            let done = self.run(&mut lane, pass, sequences, each);
            if !matches!(&done, Err(Failure::Cuda { error, .. }) if error.is_memory()) {
                self.lanes.give(lane);
                return done.map(Some);
            }
            lane.release();
            // Where it is one slab, fewer lanes with as many tokens each are faster than more with less.
            match self.lanes.retire(lane, tokens <= self.slab()) {
                true => {}
                false => return Ok(None),
            }
        }
    }

    /// A pass over one sequence with a card to itself.
    fn on_a_card<E>(
        &self,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        each: Each<'_, E>,
    ) -> Result<Vec<Overflow>, Failure<E>> {
        let mut lanes = self.lanes.take_card(0);
        for lane in &mut lanes {
            lane.release();
        }
        let done = match lanes.first_mut() {
            Some(lane) => {
                let done = self.run(lane, pass, sequences, each);
                // Others need the memory too.
                lane.release();
                done
            }
            None => Err(CudaError::Thread.into()),
        };
        self.lanes.give_card(lanes);
        done
    }

    /// A pass on a lane, which is idle when this returns. What it needs of memory it takes before
    /// anything is handed over.
    fn run<E>(
        &self,
        lane: &mut Lane,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        each: Each<'_, E>,
    ) -> Result<Vec<Overflow>, Failure<E>> {
        let replica = self.replicas.get(lane.card).ok_or(CudaError::Thread)?;
        // From here on this thread's calls are for this card.
        let context = replica.card.context();
        context.bind_to_thread().while_("choosing a card")?;
        let packed = Packed::new(sequences.iter().copied());
        let batch = Batch::new(&packed, self.config.vocab, self.config.token_dropout)?;
        if let Positions::Learned { rows } = self.config.positions
            && batch.longest + 2 > rows
        {
            return Err(Failure::from(CudaError::Batch(format!(
                "a sequence of {} tokens is longer than the model's {} positions",
                batch.longest,
                rows - 2
            ))));
        }
        let layout = Layout::new(&batch, self.config.dim, pass.residues);
        let results = lane.results(layout.floats())?;
        let pieces = replica.pieces(batch.tokens);
        lane.rows(pieces.iter().sum())?;
        let tables = replica
            .weights
            .rotary
            .iter()
            .map(|rotary| rotary.table(&replica.card, batch.longest))
            .collect::<Result<Vec<_>, _>>()?;
        // Last, so that nothing that fails before leaves the card reading what is gone.
        let at = lane.upload(&batch)?;
        let done = Running {
            config: &self.config,
            replica,
            batch: &batch,
            pieces: &pieces,
            at,
            tables: &tables,
            layout,
            results,
        }
        .layers(lane, pass, each);
        // Tables and memory are not to go while the card works, however this ended.
        let idle = lane.stream.synchronize().while_("waiting for the card");
        let overflows = done?;
        idle?;
        Ok(overflows)
    }
}

/// The first whose products have other algorithms than those of the first of all.
fn other_choice(replicas: &[Replica]) -> Option<&Replica> {
    let algorithms = |replica: &Replica| replica.products.numbers();
    let first = replicas.first().map(algorithms);
    replicas.iter().find(|r| Some(algorithms(r)) != first)
}

/// Slabs of rows for which a card has memory after the weights.
fn room(card: &Card, shape: Shape) -> Result<usize, CudaError> {
    let slab = shape.row_bytes() * card.heights.slab();
    let free = (card.free_memory()? as f64 * LANES_SHARE) as usize;
    match free / slab {
        0 => Err(CudaError::Memory {
            what: "a forward pass",
            bytes: slab,
        }),
        slabs => Ok(slabs),
    }
}
