//! FASTA in, exact ESM protein embeddings out.
//!
//! This page follows one sequence from its FASTA record to the file that holds its embedding. Each
//! step is a module, and each module's page says what it promises.
//!
//! # The path of one sequence
//!
//! 1. **Text.** A [`fasta::Reader`] takes files, standard input or any bytes, compressed or not,
//!    and gives one [`fasta::Record`] at a time: identifier, description, sequence. What is not
//!    FASTA becomes a [`fasta::FastaError`] that names file, line and record.
//! 2. **Tokens.** [`tokenizer::tokenize`] turns the sequence into numbers of the ESM alphabet:
//!    `<cls>`, one number for each residue, `<eos>`. One residue is one token is one row of output,
//!    always; a character outside the alphabet becomes one `<unk>`.
//! 3. **Windows**, only if they were asked for: a sequence that is too long is cut into overlapping
//!    ranges by [`windows::windows`], and later joined by a [`windows::Blend`].
//! 4. **A batch.** [`batching::batches`] puts sequences of like length together up to a budget of
//!    tokens. A batch is [`model::Packed`]: whole sequences end to end, `[T]`, and the places where
//!    they start. There is no padding.
//! 5. **A model.** [`hub::Hub`] finds the files of a model by name, downloading them if they are
//!    not in the cache. [`checkpoint::Checkpoint`] reads any layout that people hold and hands out
//!    weights by fair-esm's names, read row by row and checked. [`device::Device`] decides what to
//!    compute on.
//! 6. **Hidden states.** [`model::Esm`] runs the transformer on the packed tokens, `[T, D]` after
//!    the embedding and after every block. Its arithmetic is in [`ops`]: linear layers, LayerNorm,
//!    rotary positions, attention within each sequence. Every output element has a fixed order of
//!    additions, which is why a sequence has the same bits in any batch. With the feature `cuda`, the
//!    module `cuda` has the same model for NVIDIA cards.
//! 7. **Rows.** [`pooling`] takes the residue rows `[n, D]` out of the `[n + 2, D]` of a sequence,
//!    and its mean, its largest values or its `<cls>` row. [`embedder::Embedder`] is the name for
//!    steps 4 to 7: token numbers in, the products of a [`product::Request`] out.
//! 8. **Files.** The [`output::Ledger`] gives each record its row in input order, and the
//!    [`output::ArrayWriter`] writes rows to their place in `.npy` matrices in whatever order batches
//!    finish; the [`output::Journal`] remembers which ones are done, for a run that is interrupted.
//!    [`output::OutputFolder::finish`] seals the folder with checksums; `run.json` is written last,
//!    and a folder that has one is complete.
//!
//! [`pipeline::run()`] is all of this for one [`pipeline::Job`]: a reading thread, worker threads and
//! a bounded channel between them, so that memory does not grow with the number of records.
//!
//! # Parts of an input
//!
//! With a [`pipeline::Shard`] the reading thread passes over the records of other shards; everything
//! else is as above. Which records are whose follows from how many sequences there are of each
//! length, so a shard reads the input once more to count them. [`output::merge()`] enters the records
//! of all shards into a new ledger in the order of the input, as a run does, and copies their rows:
//! the whole is made by the same code as that of one run.
//!
//! # Memory
//!
//! [`memory::MemoryLimit`] is what this process may use. What weights and threads leave of it is for
//! forward passes: a record that needs more is refused before any work, and passes wait for each
//! other rather than take more together.
//!
//! # The same in code
//!
//! ```
//! use esm_embed::cancel::Cancel;
//! use esm_embed::checkpoint::Checkpoint;
//! use esm_embed::device::{DeviceChoice, Dtype};
//! use esm_embed::embedder::{Embedder, EmbedderOptions, Sequence, resolve};
//! use esm_embed::fasta::{Reader, Record};
//! use esm_embed::product::{OutDtype, Pool, Product, Request, Values};
//! use esm_embed::tokenizer::{UnknownPolicy, tokenize};
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! let mut reader = Reader::from_read("peptides.fasta", b">p1\nMKTVRQERLK\n".as_slice());
//! let mut record = Record::default();
//! assert!(reader.read(&mut record)?);
//! let tokens = tokenize(&record.sequence, UnknownPolicy::Unk)?;
//!
//! let checkpoint = Arc::new(Checkpoint::open("fixtures/esm2_hd16".as_ref())?);
//! let layer = checkpoint.config().layers;
//! let device = resolve(&DeviceChoice::Cpu, None, Some(Dtype::F32))?;
//! let options = EmbedderOptions::new(device, Dtype::F32, layer);
//! let embedder = Embedder::load(&checkpoint, &options)?;
//!
//! let request = Request::new([Product::Pooled { layer, pool: Pool::Mean }], OutDtype::F32);
//! let batch = [Sequence { tokens: &tokens.ids, windows: &[] }];
//! let mut means = Vec::new();
//! embedder.embed(&batch, &request, &Cancel::default(), &mut |computed| {
//!     if let Values::F32(mean) = computed.values {
//!         means.push(mean.to_vec());
//!     }
//!     ControlFlow::Continue(())
//! })?;
//!
//! // The numbers that fair-esm 2.0.0 computes with this checkpoint.
//! let expected = [0.753_530, -0.757_231, 0.645_789, -0.783_363];
//! for (ours, theirs) in means[0].iter().zip(expected) {
//!     assert!((ours - theirs).abs() < 2e-5);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which module knows what
//!
//! Dependencies point one way. [`pipeline`] uses [`fasta`], [`embedder`] and [`output`];
//! [`embedder`] uses [`batching`], [`checkpoint`], [`model`], [`pooling`] and [`windows`];
//! [`model`] uses [`ops`]. [`fasta`], [`tokenizer`], [`batching`], [`checkpoint`] and [`output`]
//! know neither Candle nor each other: bytes, integers and `&[f32]` pass between them; [`numerals`]
//! writes numbers for all of them. Errors are
//! enums that say where, what was found and what to do; only [`pipeline`] wraps them in `anyhow`.

pub mod admission;
pub mod batching;
pub mod cancel;
pub mod checkpoint;
#[cfg_attr(not(target_os = "linux"), path = "cuda/absent.rs")]
pub mod cuda;
pub mod device;
mod disk_cache;
pub mod embedder;
pub mod fasta;
mod flock;
pub mod guarantees;
pub mod hub;
mod invisible;
pub mod memory;
pub mod model;
mod nucleotides;
pub mod numerals;
pub mod ops;
pub mod output;
pub mod pipeline;
pub mod pooling;
pub mod printable;
pub mod product;
pub mod run_record;
pub mod sha256;
pub mod stamp;
pub mod tokenizer;
pub mod windows;
