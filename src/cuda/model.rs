//! The model on GPUs: batches in, representations out.

use super::batch::Batch;
use super::blaslt::{self, Blas};
use super::error::{CudaError, While};
use super::forward::Running;
use super::gpu::OpenGpu;
use super::images;
use super::lane::{Lane, Lanes, Shape};
use super::lm_head::{GpuHead, columns};
use super::pass::{Each, Failure, HostRows, Overflow, Pass, ResidueRows};
use super::replica::{Replica, Wanted, agree, other_choice};
use super::results::{Layout, Results};
use super::selftest;
use super::settle;
use super::split::{Budget, Share};
use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, EsmConfig, InvFreqSource, Positions};
use crate::device::{Device, Dtype, PINNED};
use crate::model::Packed;
use crate::ops::Activation;
use crate::run_record::{CudaFacts, GpuFacts, ProductRows};
use crate::tokenizer::TokenId;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Of the memory that is free after loading, the part that lanes may take.
const LANES_SHARE: f64 = 0.9;
/// Slabs of a batch at most, however much memory there is. Padding of the last slab is a hundredth of
/// one slab and a quarter of that of four: more are not worth it.
const MOST_SLABS: usize = 4;

/// A model on one GPU or more.
pub(super) struct GpuModel {
    config: EsmConfig,
    dtype: Dtype,
    inv_freq: Option<InvFreqSource>,
    replicas: Vec<Replica>,
    /// Shared with the same model in another number format on the same GPUs, if there is one.
    lanes: Arc<Lanes>,
    lane_count: usize,
    /// Slabs of rows for which every lane has memory.
    slabs: usize,
    budget: Budget,
    /// Whether the bits of a sequence do not depend on its batch, by the self-tests. If they do, every
    /// sequence has its own pass.
    same_bits: bool,
}

impl GpuModel {
    /// Loads the blocks up to representation `top` onto every GPU of the device with `threads` threads,
    /// chooses the algorithms of the products, and tests that bits do not depend on the batch, unless
    /// earlier tests are remembered. A model `beside` it, the same in another number format, takes turns
    /// with it and shares its memory for passes.
    ///
    /// # Errors
    /// A damaged checkpoint, a shape without kernels, or a GPU without memory for the model.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        dtype: Dtype,
        top: usize,
        threads: usize,
        beside: Option<&GpuModel>,
    ) -> Result<GpuModel, CudaError> {
        let config = checkpoint.config().clone();
        if !config.intermediate.is_multiple_of(8) {
            return Err(CudaError::Shape(format!(
                "a feed-forward width of {} (only multiples of 8)",
                config.intermediate
            )));
        }
        let wanted = Wanted {
            checkpoint,
            dtype,
            top,
            threads: threads.div_ceil(device.gpus.len().max(1)),
            tested: &device.tested,
        };
        // Every GPU reads the checkpoint for itself, all at the same time.
        let loaded = std::thread::scope(|scope| {
            let load = |gpu| scope.spawn(move || Replica::load(wanted, gpu));
            let threads: Vec<_> = device.gpus.iter().map(load).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            let ended = joined.map(|loaded| loaded.unwrap_or(Err(CudaError::Defect)));
            ended.collect::<Result<Vec<_>, _>>()
        })?;
        let (mut replicas, sources): (Vec<Replica>, Vec<_>) = loaded.into_iter().unzip();
        agree(&mut replicas);
        let inv_freq = sources.first().copied().flatten();
        let (lanes, lane_count, slabs) = match beside {
            Some(other) => (Arc::clone(&other.lanes), other.lane_count, other.slabs),
            None => {
                let mut slabs = usize::MAX;
                for replica in &replicas {
                    slabs = slabs.min(slabs_that_fit(
                        &replica.gpu,
                        shape(&config, dtype, &replica.gpu),
                    )?);
                }
                let each = device.lanes(threads).min(slabs);
                let mut all = Vec::new();
                // GPUs take turns.
                for _ in 0..each {
                    for (number, replica) in replicas.iter().enumerate() {
                        all.push(Lane::new(number, &replica.gpu)?);
                    }
                }
                let count = all.len();
                (Arc::new(Lanes::new(all, each)), count, slabs / each.max(1))
            }
        };
        let mut model = GpuModel {
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
        let is_same = model.replicas.iter().all(Replica::has_same_bits);
        let mut settling = Settling {
            model: &mut model,
            top,
        };
        model.same_bits = is_same && settle::settle(&mut settling)?;
        if let Some(other) = other_choice(&model.replicas) {
            let number = other.gpu.about.number;
            return Err(CudaError::Unlike { number });
        }
        if !model.same_bits {
            model.budget.one_each();
        }
        Ok(model)
    }

    /// Shape of the model.
    pub(super) fn config(&self) -> &EsmConfig {
        &self.config
    }

    /// Where the rotary frequencies came from; None for learned positions.
    pub(super) fn inv_freq(&self) -> Option<InvFreqSource> {
        self.inv_freq
    }

    /// Batches that it works on at the same time.
    pub(super) fn lanes(&self) -> usize {
        self.lane_count
    }

    /// Loads the language-model head onto every GPU. Returns whether all can compute it; if not, none
    /// does.
    ///
    /// # Errors
    /// A checkpoint without a head, or a GPU that fails.
    pub(super) fn load_head(&mut self, checkpoint: &Checkpoint) -> Result<bool, CudaError> {
        for replica in &mut self.replicas {
            replica.head = GpuHead::load(&replica.gpu, checkpoint, &replica.tests)?;
        }
        if !self.has_head() {
            self.replicas
                .iter_mut()
                .for_each(|replica| replica.head = None);
        }
        Ok(self.has_head())
    }

    /// Whether it computes logits.
    pub(super) fn has_head(&self) -> bool {
        self.replicas.iter().all(|replica| replica.head.is_some())
    }

    /// Whether the sequences of a batch share passes: not if their bits would depend on that.
    pub(super) fn has_same_bits(&self) -> bool {
        self.same_bits
    }

    /// Frees the memory for passes, to make room for another model. The next passes allocate it again.
    pub(super) fn release(&self) {
        for gpu in 0..self.replicas.len() {
            let mut lanes = self.lanes.take_gpu(gpu);
            lanes.iter_mut().for_each(Lane::release);
            self.lanes.give_gpu(lanes);
        }
    }

    /// Rows of a slab.
    fn slab(&self) -> usize {
        let first = self.replicas.first();
        first.map_or(1, |replica| replica.gpu.heights.slab())
    }

    /// Tokens of a batch for which every lane has memory, a whole number of slabs, with such residue
    /// rows.
    pub(super) fn batch_tokens(&self, residues: ResidueRows) -> usize {
        let rows = self.slab();
        let slab = (residues.row_bytes(self.config.dim) * rows).max(1) as u64;
        let pinned = usize::try_from(PINNED / slab).unwrap_or(usize::MAX);
        rows * self.slabs.min(pinned).clamp(1, MOST_SLABS)
    }

    /// Why cuBLASLt is not used, if it is missing.
    pub(super) fn notice(&self) -> Option<String> {
        let first = self.replicas.first()?;
        let why = match first.gpu.blas {
            Some(_) => None,
            None => blaslt::library().err(),
        };
        Some(format!(
            "the program's own matrix products are used: {}",
            why?
        ))
    }

    /// How the algorithms of the first GPU were chosen, a line for each product. All GPUs use the same.
    pub(super) fn choices(&self) -> Vec<String> {
        let first = self.replicas.first();
        first.map_or_else(Vec::new, Replica::describe_choices)
    }

    /// Libraries, GPUs and algorithms, as `run.json` records them.
    pub(super) fn facts(&self) -> CudaFacts {
        // GPUs that compute alike are listed once.
        let mut cards: Vec<GpuFacts> = Vec::new();
        for replica in &self.replicas {
            let about = &replica.gpu.about;
            let card = GpuFacts {
                algorithms: replica.algorithms_for_record(),
                card: about.name.clone(),
                compute_capability: format!("{}.{}", about.capability.0, about.capability.1),
                driver: about.driver,
                driver_version: about.driver_version.clone(),
                image: Some(replica.gpu.kernels.image.clone()),
            };
            if !cards.contains(&card) {
                cards.push(card);
            }
        }
        let first = self.replicas.first();
        let blas = first.and_then(|replica| replica.gpu.blas.as_ref());
        let heights = first.filter(|_| blas.is_some());
        let heights = heights.map(|replica| replica.gpu.heights.all().to_vec());
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

    /// Runs the model on whole sequences and hands over the layers of the pass, layer by layer. A batch
    /// for which the GPU has no memory is cut in two, and later batches are cut before they are tried.
    /// Returns the sequences whose numbers do not fit f16; in other number formats they are a failure.
    ///
    /// # Errors
    /// A sequence that the GPU has no memory for even by itself, numbers that are not finite, or a pass
    /// that was cancelled or broken off.
    pub(super) fn forward(
        &self,
        sequences: &[&[TokenId]],
        pass: &Pass<'_>,
        each: Each<'_>,
    ) -> Result<Vec<Overflow>, Failure> {
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
        let mut overflows = Vec::new();
        self.budget.each_pass(&lengths, &mut |range, share| {
            let first = range.start;
            let part = sequences.get(range).unwrap_or_default();
            let mut each = |layer: usize, sequence: usize, rows: HostRows<'_>| {
                each(layer, first + sequence, rows)
            };
            let found = match share {
                Share::Lane => self.on_a_lane(pass, part, &mut each),
                Share::WholeGpu => self.on_a_whole_gpu(pass, part, &mut each).map(Some),
            };
            match found.map_err(|failure| failure.offset_by(first))? {
                None => Ok::<bool, Failure>(false),
                Some(found) => {
                    overflows.extend(found.into_iter().map(|overflow| Overflow {
                        sequence: first + overflow.sequence,
                        ..overflow
                    }));
                    Ok(true)
                }
            }
        })?;
        Ok(overflows)
    }

    /// A pass on the next free lane; None if the GPU has no memory for it.
    fn on_a_lane(
        &self,
        pass: &Pass<'_>,
        sequences: &[&[TokenId]],
        each: Each<'_>,
    ) -> Result<Option<Vec<Overflow>>, Failure> {
        let tokens: usize = sequences.iter().map(|s| s.len()).sum();
        loop {
            let mut lane = self.lanes.take();
            let done = self.run(&mut lane, pass, sequences, each);
            if !matches!(&done, Err(Failure::Cuda { error, .. }) if error.is_memory()) {
                self.lanes.give(lane);
                return done.map(Some);
            }
            lane.release();
            // Fewer lanes with a whole slab each are faster than more lanes with less.
            match self.lanes.retire(lane, tokens <= self.slab()) {
                true => {}
                false => return Ok(None),
            }
        }
    }

    /// A pass over one sequence with a GPU to itself.
    fn on_a_whole_gpu(
        &self,
        pass: &Pass<'_>,
        sequences: &[&[TokenId]],
        each: Each<'_>,
    ) -> Result<Vec<Overflow>, Failure> {
        let mut lanes = self.lanes.take_gpu(0);
        for lane in &mut lanes {
            lane.release();
        }
        let done = match lanes.first_mut() {
            Some(lane) => {
                let done = self.run(lane, pass, sequences, each);
                // The other lanes need the memory again.
                lane.release();
                done
            }
            None => Err(CudaError::Defect.into()),
        };
        self.lanes.give_gpu(lanes);
        // What fails here fails because of this sequence.
        done.map_err(|failure| match failure {
            Failure::Cuda { error, .. } => Failure::Cuda {
                sequence: Some(0),
                error,
            },
            other => other,
        })
    }

    /// A pass on a lane, which is idle when this returns. It takes the memory that it needs before
    /// anything is handed over.
    fn run(
        &self,
        lane: &mut Lane,
        pass: &Pass<'_>,
        sequences: &[&[TokenId]],
        each: Each<'_>,
    ) -> Result<Vec<Overflow>, Failure> {
        let replica = self.replicas.get(lane.gpu).ok_or(CudaError::Defect)?;
        // From here on this thread's calls are for this GPU.
        let context = replica.gpu.context();
        context.bind_to_thread().while_("selecting a GPU")?;
        let packed = Packed::new(sequences.iter().copied());
        let batch = Batch::new(&packed, self.config.vocab, self.config.dropped_token())?;
        if let Positions::Learned { rows } = self.config.positions
            && batch.longest + 2 > rows
        {
            return Err(Failure::from(CudaError::Batch(format!(
                "a sequence of {} tokens is longer than the model's {} positions",
                batch.longest,
                rows - 2
            ))));
        }
        let logits = pass.logits.then(|| columns(&self.config));
        let layout = Layout::new(&batch, self.config.dim, pass.residues, logits);
        let address = lane.results(layout.floats(), layout.reserved(pass.batch_tokens))?;
        let pieces = replica.pieces(batch.tokens);
        let shape = shape(&self.config, self.dtype, &replica.gpu);
        lane.reserve(shape, pieces.iter().sum())?;
        let tables = replica
            .weights
            .rotary
            .iter()
            .map(|rotary| rotary.table(&replica.gpu, batch.longest))
            .collect::<Result<Vec<_>, _>>()?;
        // Last, so that a failure before it cannot leave the GPU reading memory that is gone.
        let at = lane.upload(&batch)?;
        let done = Running {
            config: &self.config,
            replica,
            batch: &batch,
            pieces: &pieces,
            at,
            tables: &tables,
            results: Results {
                kernels: &replica.kernels,
                batch: &batch,
                at,
                layout,
                address,
            },
            may_overflow: self.dtype == Dtype::F16,
        }
        .layers(lane, pass, each);
        // Tables and memory must stay until the GPU is done, however this ended.
        let idle = lane.stream.synchronize().while_("waiting for the GPU");
        let overflows = done?;
        idle?;
        Ok(overflows)
    }

    /// The bits of the residue rows of each sequence, at layer `top`.
    fn bits(&self, sequences: &[&[TokenId]], top: usize) -> Result<Vec<Vec<u32>>, CudaError> {
        let mut bits = vec![Vec::new(); sequences.len()];
        let mut keep = |_: usize, sequence: usize, rows: HostRows<'_>| {
            if let Some(bits) = bits.get_mut(sequence) {
                *bits = rows.residues.iter().map(|x| x.to_bits()).collect();
            }
            ControlFlow::Continue(())
        };
        let pass = Pass {
            layers: &[top],
            residues: ResidueRows::F32,
            logits: false,
            batch_tokens: 0,
            cancel: &Cancel::default(),
        };
        match self.forward(sequences, &pass, &mut keep) {
            Err(Failure::Cuda { error, .. }) => Err(*error),
            // A sequence that does not fit the number format is left to the run, which names its record.
            Ok(_) | Err(_) => Ok(bits),
        }
    }
}

/// A model whose algorithms are being chosen, loaded up to layer `top`.
struct Settling<'a> {
    model: &'a mut GpuModel,
    top: usize,
}

impl settle::Model for Settling<'_> {
    fn replicas(&mut self) -> &mut [Replica] {
        &mut self.model.replicas
    }

    fn passes(&mut self) -> Result<bool, CudaError> {
        let GpuModel {
            config, replicas, ..
        } = &*self.model;
        let embed = |sequences: &[&[TokenId]]| self.model.bits(sequences, self.top);
        selftest::passes(config, replicas, self.top, &embed)
    }
}

/// What decides how much memory a pass of a model takes on a GPU.
fn shape(config: &EsmConfig, dtype: Dtype, gpu: &OpenGpu) -> Shape {
    let (slab, cache) = (gpu.heights.slab(), gpu.about.cache);
    let inner = match config.activation {
        Activation::Gelu => config.intermediate,
        // Both factors and their product.
        Activation::SwiGlu => 3 * config.intermediate,
    };
    Shape::new(config.dim, inner, dtype, slab, cache)
}

/// Slabs of rows for which a GPU has memory after the weights.
fn slabs_that_fit(gpu: &OpenGpu, shape: Shape) -> Result<usize, CudaError> {
    let slab = shape.row_bytes() * gpu.heights.slab();
    let free = (gpu.free_memory()? as f64 * LANES_SHARE) as usize;
    match free / slab {
        0 => Err(CudaError::Memory {
            what: "a forward pass",
            bytes: slab,
        }),
        slabs => Ok(slabs),
    }
}
