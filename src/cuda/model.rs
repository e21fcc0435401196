//! The forward pass on cards.

use super::batch::Batch;
use super::card::{Card, Memory};
use super::error::{CudaError, While};
use super::kernels::{ModelKernels, grid, launch};
use super::lane::{Lane, Lanes, Rows, SLAB, Shape};
use super::load::{Block, Linear, Loader, Norm, RotaryTable, Weights};
use super::product::{Blas, Product};
use super::selftest;
use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource, Positions};
use crate::device::{self, Dtype};
use crate::model::Packed;
use candle_core::cuda_backend::cudarc::driver::result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lanes of a card, at most: one computes, one brings its rows to the machine, and one has them
/// written.
const LANES: usize = 3;
/// Of the memory that is free after loading, the part that lanes may take.
const LANES_SHARE: f64 = 0.9;

/// What one representation of one sequence of n residues comes to.
#[derive(Clone, Copy, Debug)]
pub struct HostRows<'a> {
    /// The `<cls>` row, `[D]`.
    pub bos: &'a [f32],
    /// Mean of the residue rows, `[D]`.
    pub mean: &'a [f32],
    /// Largest values of the residue rows, `[D]`.
    pub max: &'a [f32],
    /// Residue rows, `[n, D]`; empty if they are not wanted.
    pub residues: &'a [f32],
}

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

/// The products of a model, one for each shape of weights.
pub(super) struct Products {
    pub(super) qkv: Product,
    pub(super) out: Product,
    pub(super) fc1: Product,
    pub(super) fc2: Product,
}

/// A model on one card.
pub(super) struct Replica {
    pub(super) card: Card,
    pub(super) weights: Weights,
    pub(super) products: Products,
    kernels: ModelKernels,
}

/// A model on one card or more.
pub struct Esm {
    config: EsmConfig,
    inv_freq: Option<InvFreqSource>,
    replicas: Vec<Replica>,
    lanes: Lanes,
    lane_count: usize,
    /// Tokens of a batch above which it is cut before it is tried.
    budget: AtomicUsize,
    /// Whether the bits of a sequence were seen not to depend on its batch; if not, every sequence
    /// has a pass of its own.
    same_bits: bool,
}

impl Esm {
    /// Loads the blocks up to representation `top` onto every card, chooses the algorithms of the
    /// products, and proves that bits do not depend on the batch.
    ///
    /// # Errors
    /// A damaged checkpoint, a shape without kernels, or a card without memory for it.
    pub fn load(
        checkpoint: &Checkpoint,
        cards: &[device::Card],
        dtype: Dtype,
        top: usize,
        threads: usize,
    ) -> Result<Esm, CudaError> {
        let config = checkpoint.config().clone();
        if !config.intermediate.is_multiple_of(8) {
            return Err(CudaError::Shape(format!(
                "a feed-forward width of {}, only multiples of 8",
                config.intermediate
            )));
        }
        let shape = Shape::new(&config, dtype);
        let mut replicas = Vec::new();
        let mut inv_freq = None;
        let mut each = LANES;
        for about in cards {
            let (replica, source) = Replica::load(checkpoint, about, dtype, top, threads)?;
            inv_freq = source;
            each = each.min(lanes(&replica.card, shape)?);
            replicas.push(replica);
        }
        let mut all = Vec::new();
        // Cards take turns.
        for _ in 0..each {
            for (number, replica) in replicas.iter().enumerate() {
                all.push(Lane::new(number, &replica.card, shape)?);
            }
        }
        let mut esm = Esm {
            config,
            inv_freq,
            lane_count: all.len(),
            lanes: Lanes::new(all, each),
            replicas,
            budget: AtomicUsize::new(usize::MAX),
            same_bits: true,
        };
        esm.same_bits = selftest::sequences(&esm, top)?;
        Ok(esm)
    }

    /// Shape of the model.
    pub fn config(&self) -> &EsmConfig {
        &self.config
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

    /// What computed: libraries and algorithms, as `run.json` records them.
    pub fn about(&self) -> serde_json::Value {
        let algorithms = |products: &Products| {
            let all = [&products.qkv, &products.out, &products.fc1, &products.fc2];
            let each = all.map(|product| {
                let algorithm = product.algorithm().map(|a| a.describe());
                (
                    format!("{} x {}", product.outputs, product.inputs),
                    serde_json::Value::from(algorithm),
                )
            });
            serde_json::Map::from_iter(each)
        };
        // Cards that compute alike stand here once, however many they are.
        let mut cards: Vec<serde_json::Value> = Vec::new();
        for replica in &self.replicas {
            let card = serde_json::json!({
                "card": replica.card.about.name,
                "driver": replica.card.about.driver,
                "algorithms": algorithms(&replica.products),
            });
            if !cards.contains(&card) {
                cards.push(card);
            }
        }
        serde_json::json!({
            "cublaslt": Blas::version(),
            "rows_of_a_product": SLAB,
            "same_bits_in_any_batch": self.same_bits,
            "cards": cards,
        })
    }

    /// Runs the model on whole sequences and hands over the representations asked for.
    ///
    /// `wanted` holds representation indices, ascending, each once, up to the `top` of the load.
    /// `each(layer, sequence, rows)` is called layer by layer, with the position of the layer in
    /// `wanted`. `go_on` is asked before every block. A batch for which the card has no memory is
    /// cut in two, and later ones before they are tried.
    ///
    /// # Errors
    /// A sequence that the card has no memory for even alone, numbers that are not finite, or
    /// whatever `go_on` or `each` returns.
    pub fn forward<E>(
        &self,
        sequences: &[&[u8]],
        wanted: &[usize],
        residues: bool,
        go_on: &dyn Fn() -> Result<(), E>,
        each: &mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let pass = Pass {
            wanted,
            residues,
            go_on,
        };
        self.split(&pass, sequences, 0, each)
    }

    /// The same for the sequences of which the first has the index `first`.
    fn split<E>(
        &self,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        first: usize,
        each: &mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let tokens: usize = sequences.iter().map(|s| s.len()).sum();
        let most = match self.same_bits {
            true => self.budget.load(Ordering::Relaxed),
            false => 0,
        };
        let done = match sequences.len() {
            0 => return Ok(()),
            1 => self.attempt(pass, sequences, first, each),
            _ if tokens > most => None,
            _ => self.attempt(pass, sequences, first, each),
        };
        if let Some(done) = done {
            return done;
        }
        if let [_] = sequences {
            return self.alone(pass, sequences, first, each);
        }
        if self.same_bits {
            self.budget.fetch_min(tokens.div_ceil(2), Ordering::Relaxed);
        }
        let (left, right) = sequences.split_at(sequences.len() / 2);
        self.split(pass, left, first, each)?;
        self.split(pass, right, first + left.len(), each)
    }

    /// A pass on the next free lane; None if the card has no memory for it.
    fn attempt<E>(
        &self,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        first: usize,
        each: &mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>,
    ) -> Option<Result<(), Failure<E>>> {
        let mut lane = self.lanes.take();
        let done = self.run(&mut lane, pass, sequences, first, each);
        let is_memory = matches!(&done, Err(Failure::Cuda { error, .. }) if error.is_memory());
        if is_memory {
            lane.release();
        }
        self.lanes.give([lane]);
        (!is_memory).then_some(done)
    }

    /// A pass over one sequence with a card to itself.
    fn alone<E>(
        &self,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        first: usize,
        each: &mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let mut lanes = self.lanes.take_card(0);
        for lane in &mut lanes {
            lane.release();
        }
        let done = match lanes.first_mut() {
            Some(lane) => {
                let done = self.run(lane, pass, sequences, first, each);
                // Others need the memory too.
                lane.release();
                done
            }
            None => Err(CudaError::Thread.into()),
        };
        self.lanes.give(lanes);
        match done {
            Err(Failure::Cuda { error, .. }) => Err(Failure::Cuda {
                sequence: Some(first),
                error,
            }),
            done => done,
        }
    }

    /// A pass on a lane, which is idle when this returns.
    fn run<E>(
        &self,
        lane: &mut Lane,
        pass: &Pass<'_, E>,
        sequences: &[&[u8]],
        first: usize,
        each: &mut dyn FnMut(usize, usize, HostRows<'_>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
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
        // Everything that takes memory comes before anything is handed over.
        let layout = Results::new(&batch, self.config.dim, pass.residues);
        let results = lane.results(layout.floats())?;
        let at = lane.upload(&batch)?;
        let tables = replica
            .weights
            .rotary
            .iter()
            .map(|rotary| rotary.table(&replica.card, batch.longest))
            .collect::<Result<Vec<_>, _>>()?;
        lane.rows(batch.tokens.next_multiple_of(SLAB))?;
        let done = Running {
            esm: self,
            replica,
            batch: &batch,
            at,
            tables: &tables,
            layout,
            results,
        }
        .layers(lane, pass, |layer, sequence, rows| {
            each(layer, first + sequence, rows)
        });
        // Tables and memory are not to go while the card works, however this ended.
        let idle = lane.stream.synchronize().while_("waiting for the card");
        match done {
            Err(Failure::NotFinite { sequence }) => Err(Failure::NotFinite {
                sequence: first + sequence,
            }),
            Err(failure) => Err(failure),
            Ok(()) => Ok(idle?),
        }
    }
}

/// Lanes for which a card has memory after the weights.
fn lanes(card: &Card, shape: Shape) -> Result<usize, CudaError> {
    let slab = shape.row_bytes() * SLAB;
    let free = (card.free_memory()? as f64 * LANES_SHARE) as usize;
    match free / slab {
        0 => Err(CudaError::Memory {
            what: "a forward pass",
            bytes: slab,
        }),
        lanes => Ok(lanes.min(LANES)),
    }
}

impl Replica {
    fn load(
        checkpoint: &Checkpoint,
        about: &device::Card,
        dtype: Dtype,
        top: usize,
        threads: usize,
    ) -> Result<(Replica, Option<InvFreqSource>), CudaError> {
        let config = checkpoint.config();
        let (dim, inside) = (config.dim, config.intermediate);
        let card = Card::open(about)?;
        let kernels = card.kernels.of(dtype, dim, config.head_dim())?;
        let (weights, inv_freq) = Loader {
            checkpoint,
            card: &card,
            dtype,
            top,
            threads,
        }
        .load()?;
        let mut products = Products {
            qkv: Product::new(dtype, 3 * dim, dim)?,
            out: Product::new(dtype, dim, dim)?,
            fc1: Product::new(dtype, inside, dim)?,
            fc2: Product::new(dtype, dim, inside)?,
        };
        if let Some(block) = weights.blocks.first() {
            let pin = |product: &mut Product, linear: &Linear| {
                selftest::pin(&card, dtype, product, &linear.weight)
            };
            pin(&mut products.qkv, &block.qkv)?;
            pin(&mut products.out, &block.out)?;
            pin(&mut products.fc1, &block.fc1)?;
            pin(&mut products.fc2, &block.fc2)?;
        }
        let replica = Replica {
            card,
            weights,
            products,
            kernels,
        };
        Ok((replica, inv_freq))
    }
}

/// What is asked of a pass.
struct Pass<'a, E> {
    wanted: &'a [usize],
    residues: bool,
    go_on: &'a dyn Fn() -> Result<(), E>,
}

/// Where the parts of a result stand, counted in floats: marks of sequences that are not finite,
/// means, largest values and first rows of all sequences, residue rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Results {
    sequences: usize,
    dim: usize,
    residues: usize,
}

impl Results {
    fn new(batch: &Batch, dim: usize, residues: bool) -> Results {
        Results {
            sequences: batch.sequences,
            dim,
            residues: if residues { batch.residues() } else { 0 },
        }
    }

    /// A pooled part of all sequences: 0, 1, 2, and 3 for what follows them.
    fn pooled(&self, part: usize) -> usize {
        self.sequences.next_multiple_of(4) + part * self.sequences * self.dim
    }

    fn floats(&self) -> usize {
        self.pooled(3) + self.residues * self.dim
    }
}

/// A pass that has all the memory it needs.
struct Running<'a> {
    esm: &'a Esm,
    replica: &'a Replica,
    batch: &'a Batch,
    /// Address of the batch's arrays.
    at: u64,
    tables: &'a [Arc<RotaryTable>],
    layout: Results,
    /// Address of the results.
    results: u64,
}

impl Running<'_> {
    fn layers<E>(
        &self,
        lane: &mut Lane,
        pass: &Pass<'_, E>,
        mut each: impl FnMut(usize, usize, HostRows<'_>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let Some(&top) = pass.wanted.last() else {
            return Ok(());
        };
        let weights = &self.replica.weights;
        if top > weights.blocks.len() {
            return Err(Failure::from(CudaError::Batch(format!(
                "representation {top} was asked of a model loaded up to {}",
                weights.blocks.len()
            ))));
        }
        self.embed(lane)?;
        let mut wanted = pass.wanted.iter().enumerate().peekable();
        for index in 0..=top {
            if let Some(block) = index.checked_sub(1).and_then(|i| weights.blocks.get(i)) {
                (pass.go_on)().map_err(Failure::Caller)?;
                // The norm that follows the block: the next one's, or the last.
                let next = weights.blocks.get(index).filter(|_| index < top);
                self.block(lane, block, next, index)?;
            }
            if let Some((layer, _)) = wanted.next_if(|(_, wanted)| **wanted == index) {
                self.hand_over(lane, |sequence, rows| each(layer, sequence, rows))?;
            }
        }
        Ok(())
    }

    /// Representation 0, and what the first block begins with.
    fn embed(&self, lane: &mut Lane) -> Result<(), CudaError> {
        let (batch, weights, kernels) = (self.batch, &self.replica.weights, &self.replica.kernels);
        let dim = self.esm.config.dim;
        let stream = Arc::clone(&lane.stream);
        let rows = lane.rows(0)?;
        // SAFETY: arguments as the kernel declares them; x has a row for each token, tokens are
        // within the table and positions within theirs, which `Batch::new` and `Esm::run` see to.
        unsafe {
            launch!(
                stream,
                kernels.embed,
                grid(batch.tokens, 1, 0),
                rows.x.at(0),
                weights.tokens.at(0),
                weights.positions.as_ref().map_or(0, |places| places.at(0)),
                self.at + batch.tokens_at as u64,
                self.at + batch.scales_at as u64,
                self.at + batch.positions_at as u64,
                dim as i32,
            )
        }
        .while_("starting a kernel")?;
        if let Some(norm) = &weights.norm_before {
            self.add_norm(lane, None, Some(norm), true)?;
        }
        match weights.blocks.first() {
            Some(block) => self.add_norm(lane, None, Some(&block.attention_norm), false),
            None => Ok(()),
        }
    }

    /// x += y + bias if there is a bias, then h = norm(x), or x = norm(x) if that is what is wanted.
    fn add_norm(
        &self,
        lane: &mut Lane,
        y_bias: Option<&Memory>,
        norm: Option<&Norm>,
        into_x: bool,
    ) -> Result<(), CudaError> {
        let kernels = &self.replica.kernels;
        let config = &self.esm.config;
        let stream = Arc::clone(&lane.stream);
        let rows = lane.rows(0)?;
        let (kernel, out) = match into_x {
            true => (&kernels.final_norm, rows.x.at(0)),
            false => (&kernels.add_norm, rows.h.at(0)),
        };
        // SAFETY: arguments as both kernels declare them; x, y and out have a row for each token,
        // and weights and biases a number for each column.
        unsafe {
            launch!(
                stream,
                kernel,
                grid(self.batch.tokens, 1, 0),
                rows.x.at(0),
                y_bias.map_or(0, |_| rows.y.at(0)),
                y_bias.map_or(0, |bias| bias.at(0)),
                norm.map_or(0, |norm| norm.weight.at(0)),
                norm.map_or(0, |norm| norm.bias.at(0)),
                config.layer_norm_eps,
                out,
                config.dim as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// h holds the block's input after its first norm; x is the residual stream. Afterwards x is
    /// representation `index`, and h the input of `next` after its norm.
    fn block(
        &self,
        lane: &mut Lane,
        block: &Block,
        next: Option<&Block>,
        index: usize,
    ) -> Result<(), CudaError> {
        let (products, weights) = (&self.replica.products, &self.replica.weights);
        let part = |rows: &Rows| (rows.h.at(0), rows.wide.at(0), rows.y.at(0));
        let (h, wide, y) = part(lane.rows(0)?);
        self.product(lane, &products.qkv, &block.qkv, h, wide)?;
        self.attend(lane, block, wide, h)?;
        self.product(lane, &products.out, &block.out, h, y)?;
        self.add_norm(
            lane,
            Some(&block.out.bias),
            Some(&block.feed_forward_norm),
            false,
        )?;
        self.product(lane, &products.fc1, &block.fc1, h, wide)?;
        self.gelu(lane, block, wide)?;
        self.product(lane, &products.fc2, &block.fc2, wide, y)?;
        let bias = Some(&block.fc2.bias);
        match (next, &weights.norm_after) {
            (Some(next), _) => self.add_norm(lane, bias, Some(&next.attention_norm), false),
            (None, Some(norm)) if index == self.esm.config.layers => {
                self.add_norm(lane, bias, Some(norm), true)
            }
            (None, _) => self.add_norm(lane, bias, None, false),
        }
    }

    fn product(
        &self,
        lane: &Lane,
        product: &Product,
        linear: &Linear,
        from: u64,
        to: u64,
    ) -> Result<(), CudaError> {
        let slabs = self.batch.tokens.div_ceil(SLAB);
        let (blas, stream) = (&self.replica.card.blas, &lane.stream);
        // SAFETY: `from` and `to` are parts of the lane's memory for whole slabs, as wide as the
        // product's inputs and outputs or wider.
        unsafe { product.run(blas, stream, &linear.weight, from, to, slabs) }
    }

    /// Bias and rotation of q, k and v, then attention.
    fn attend(&self, lane: &Lane, block: &Block, qkv: u64, out: u64) -> Result<(), CudaError> {
        let (config, kernels, batch) = (&self.esm.config, &self.replica.kernels, self.batch);
        let head_dim = config.head_dim();
        let table = block.rotary.and_then(|number| self.tables.get(number));
        let scale = (head_dim as f32).powf(-0.5);
        // SAFETY: arguments as the kernels declare them; qkv has 3 and out 1 row of `dim` for each
        // token, the table has a row for each position, and tiles name rows of the batch.
        unsafe {
            launch!(
                lane.stream,
                kernels.bias_rotary,
                grid(batch.tokens, 1, 0),
                qkv,
                block.qkv.bias.at(0),
                table.map_or(0, |table| table.cosines.at(0)),
                table.map_or(0, |table| table.sines.at(0)),
                self.at + batch.positions_at as u64,
                scale,
                config.dim as i32,
                (head_dim / 2) as i32,
            )
            .while_("starting a kernel")?;
            launch!(
                lane.stream,
                kernels.attention,
                grid(batch.tiles, config.heads, kernels.attention_shared),
                out,
                qkv,
                self.at + batch.tiles_at as u64,
                config.dim as i32,
            )
            .while_("starting a kernel")?;
        }
        Ok(())
    }

    fn gelu(&self, lane: &Lane, block: &Block, inside: u64) -> Result<(), CudaError> {
        // SAFETY: arguments as the kernel declares them; there is a row for each token.
        unsafe {
            launch!(
                lane.stream,
                self.replica.kernels.bias_gelu,
                grid(self.batch.tokens, 1, 0),
                inside,
                block.fc1.bias.at(0),
                self.esm.config.intermediate as i32,
            )
        }
        .while_("starting a kernel")?;
        Ok(())
    }

    /// Pools x, and hands its rows over sequence by sequence.
    fn hand_over<E>(
        &self,
        lane: &mut Lane,
        mut each: impl FnMut(usize, HostRows<'_>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let (batch, layout, kernels) = (self.batch, self.layout, &self.replica.kernels);
        let dim = layout.dim;
        let stream = Arc::clone(&lane.stream);
        let x = lane.rows(0)?.x.at(0);
        let part = |i: usize| self.results + 4 * layout.pooled(i) as u64;
        // SAFETY: arguments as the kernels declare them, and addresses of parts of the results as
        // `layout` has them; `places` are rows of the residues, each once.
        unsafe {
            let bytes = 4 * layout.sequences;
            result::memset_d8_async(self.results, 0, bytes, stream.cu_stream())
                .while_("clearing marks")?;
            launch!(
                stream,
                kernels.pool,
                grid(layout.sequences, dim.div_ceil(128), 0),
                part(0),
                part(1),
                part(2),
                self.results,
                x,
                self.at + batch.starts_at as u64,
                dim as i32,
            )
            .while_("starting a kernel")?;
            if layout.residues > 0 {
                launch!(
                    stream,
                    kernels.take_rows,
                    grid(batch.tokens, 1, 0),
                    part(3),
                    x,
                    self.at + batch.places_at as u64,
                    dim as i32,
                )
                .while_("starting a kernel")?;
            }
        }
        let all = lane.fetch(layout.floats())?;
        let rows = |start: usize, count: usize| all.get(start..start + count * dim);
        let mut residue = 0;
        for (sequence, length) in lengths(batch).enumerate() {
            if all.get(sequence).is_none_or(|mark| mark.to_bits() != 0) {
                return Err(Failure::NotFinite { sequence });
            }
            let pooled = |i| rows(layout.pooled(i) + sequence * dim, 1).unwrap_or_default();
            let taken = match layout.residues {
                0 => Some(&[][..]),
                _ => rows(layout.pooled(3) + residue * dim, length),
            };
            residue += length;
            let rows = HostRows {
                mean: pooled(0),
                max: pooled(1),
                bos: pooled(2),
                residues: taken.unwrap_or_default(),
            };
            each(sequence, rows).map_err(Failure::Caller)?;
        }
        Ok(())
    }
}

/// Residues of each sequence of a batch.
fn lengths(batch: &Batch) -> impl Iterator<Item = usize> + '_ {
    let end = batch.starts_at + 4 * (batch.sequences + 1);
    let starts = batch.bytes.get(batch.starts_at..end).unwrap_or_default();
    let starts = starts.as_chunks::<4>().0;
    starts.windows(2).map(|pair| match pair {
        [a, b] => (i32::from_ne_bytes(*b) - i32::from_ne_bytes(*a) - 2).max(0) as usize,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_result_do_not_overlap() {
        let packed = Packed::new([[0u8, 4, 5, 2].as_slice(), &[0, 4, 2]]);
        let batch = Batch::new(&packed, 33, true).unwrap();
        let layout = Results::new(&batch, 8, true);
        assert_eq!([0, 1, 2, 3].map(|i| layout.pooled(i)), [4, 20, 36, 52]);
        assert_eq!(layout.floats(), 52 + 3 * 8);
        assert_eq!(Results::new(&batch, 8, false).floats(), 52);
        assert_eq!(lengths(&batch).collect::<Vec<_>>(), [2, 1]);
    }
}
