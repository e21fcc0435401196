//! Protein sequences in, exact ESM embeddings out: a library and the program `esm-embed`.
//!
//! This page follows one sequence from its FASTA record to the file that holds its embedding. Each
//! step is a module, whose page says what it promises; [`guarantees`] lists all promises.
//!
//! # The path of one sequence
//!
//! 1. **Text.** A [`fasta::Reader`] reads files, standard input or any bytes, compressed or not, and
//!    returns one [`fasta::Record`] at a time: identifier, description, sequence. Anything that is not
//!    FASTA is a [`fasta::FastaError`] that names file, line and record.
//! 2. **Admission.** [`admission`] turns the text into token numbers, or says why the sequence cannot
//!    be embedded. [`tokenizer::tokenize`] writes `<cls>`, one token for each residue, and `<eos>`. One
//!    residue is one token is one row of output, always; a character outside the alphabet is one `<unk>`.
//!    Long sequences are cut into overlapping [`windows`] on request, and a sequence for whose forward
//!    pass there is no memory is refused.
//! 3. **A batch.** [`pipeline`] collects sequences, and [`batching::batches`] groups those of similar
//!    length up to a budget of tokens. A batch is [`model::Packed`]: whole sequences end to end, `[T]`,
//!    and their starts. There is no padding.
//! 4. **A model.** [`hub::Hub`] finds the files of a model by name, and downloads them if the cache does
//!    not have them. [`checkpoint::Checkpoint`] reads every layout in use and returns checked weights
//!    under fair-esm's names. [`device::Device`] decides where to compute.
//! 5. **An engine.** [`embedder::Engine`] is the contract between a loaded model and everything above
//!    it: packed sequences and a [`product::Request`] go in, the requested products come out. The CPU
//!    engine and the GPU engine in [`cuda`] implement it; [`embedder::Embedder`] loads either one.
//! 6. **Hidden states.** On the CPU, [`model::Esm`] runs the transformer over the packed tokens: `[T, D]`
//!    after the embedding and after every block. The arithmetic is in [`ops`]. Every output element has a
//!    fixed order of additions, and rows meet only in attention, within a sequence. Hence a sequence has
//!    the same bits in any batch.
//! 7. **Products.** Still inside the engine, [`pooling`] takes the residue rows `[n, D]` out of the
//!    `[n + 2, D]` of a sequence, and their mean, their largest values, or the `<cls>` row.
//!    [`product::Product`] lists everything a model can produce, with shape and file name. Logits are made
//!    of the residue rows of the last layer by [`model::LmHead`], on the CPU for every engine.
//! 8. **Files.** The [`output::Ledger`] gives each record its row in input order. Worker threads write
//!    rows through the [`output::ArrayWriter`] as batches finish, in any order, and the
//!    [`output::Journal`] records finished rows, so that an interrupted run can be resumed.
//!    [`output::OutputFolder::finish`] takes checksums and writes `run.json` last: a folder that has one
//!    is complete.
//!
//! [`pipeline::run()`] does all this for one [`pipeline::Job`], with a reading thread, worker threads and a
//! bounded channel between them, so memory does not grow with the number of records. A
//! [`cancel::Cancel`] goes along with every forward pass and is checked before each block of the model.
//!
//! # Parts of an input
//!
//! With a [`pipeline::Shard`], the reading thread skips the records of other shards; everything else
//! is the same. Which records belong to which shard follows from the number of sequences of each length,
//! so a shard reads the input once more to count them. [`output::merge()`] enters the records of all
//! shards into a new ledger in input order, as a run does, and copies their rows.
//!
//! # Memory
//!
//! [`memory::MemoryLimit`] is what this process may use. What weights and threads leave of it is the
//! [`admission::MemoryBudget`] for forward passes: a record that needs more is refused before any work,
//! and passes wait for each other rather than exceed it together.
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
//! Dependencies point down:
//!
//! ```text
//! main → cli → { pipeline, score, session, export, plot } → { admission, embedder, output }
//!                              → { product, fasta, tokenizer, batching, windows, checkpoint, model, cuda }
//!                                   → ops
//! ```
//!
//! | only | knows |
//! |---|---|
//! | `cli` | clap, flags, exit statuses, colours |
//! | [`pipeline`] | jobs: what to read, compute and write |
//! | [`admission`] | which sequences can be embedded, and how much memory a pass needs |
//! | [`embedder`] | that there is more than one engine |
//! | [`cuda`] | GPUs |
//! | [`model`], [`ops`] | Candle |
//! | [`output`] | files of an output folder |
//! | [`session`] | a loaded model for sequences in memory |
//! | [`score`] | variants of proteins: which passes they need, and what becomes a score |
//! | [`export`] | the formats of other tools |
//! | [`plot`] | pictures of an output folder |
//! | [`product`] | what a model can produce; everything that stores or computes loops over its list |
//! | [`run_record`] | what was asked of a run and what that resolved to; `run.json`, resume and merge compare these types |
//! | [`hub`] | names, the cache and the network |
//!
//! [`fasta`], [`batching`], [`checkpoint`] and [`output`] do not know each other: bytes, integers and
//! `&[f32]` pass between them.
//!
//! # Errors and settings
//!
//! Errors are enums. Their text is one sentence: where, what, and what was found. A remedy follows on
//! a separate line that opens with `hint: `. Library text names a setting in its Python spelling, in
//! backticks, with a value if there is one: `` `out_dtype` ``, `` `dtype=bf16` ``. The program prints
//! these as flags, `--out-dtype` and `--dtype bf16`, and collects the hints below the error.

// The command line names the library as other programs do.
extern crate self as esm_embed;

pub mod admission;
pub mod batching;
pub mod cancel;
pub mod checkpoint;
pub mod cli;
#[cfg_attr(not(target_os = "linux"), path = "cuda/absent.rs")]
pub mod cuda;
pub mod device;
mod disk_cache;
pub mod embedder;
pub mod export;
pub mod fasta;
pub mod fingerprint;
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
mod parquet;
pub mod pipeline;
pub mod plan;
pub mod plot;
pub mod pooling;
pub mod printable;
pub mod product;
pub mod run_record;
pub mod score;
pub mod server;
pub mod session;
pub mod settings;
pub mod sha256;
pub mod stamp;
pub mod threads;
pub mod tokenizer;
mod varint;
pub mod windows;
