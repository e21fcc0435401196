//! FASTA files → records with their products, in order, while the files are read.

use super::{Session, SessionError};
use crate::admission::Prepared;
use crate::cancel::Cancel;
use crate::fasta::{FastaError, Input, Reader, Record};
use crate::pipeline::OnInvalid;
use crate::printable;
use crate::product::{Product, Request, Values};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Batches of each thread that are computed before their records are handed over: sorting by length
/// needs some to choose from.
const BATCHES: usize = 4;
/// Records that are computed before they are handed over.
const RECORDS: usize = 4096;

/// What to compute for the records of a stream.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// The products of each record.
    pub request: Request,
    /// Records that cannot be embedded.
    pub on_invalid: OnInvalid,
}

/// What comes out of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Streamed {
    /// An embedded record.
    Record {
        /// First word of its header.
        id: Vec<u8>,
        /// The rest of its header.
        description: Vec<u8>,
        /// Residues that are embedded.
        residues: usize,
        /// The numbers of each product, in the order of the request.
        values: Vec<Vec<f32>>,
    },
    /// A record that cannot be embedded, and why.
    Skipped(String),
}

/// A record that waits to be embedded.
struct Waiting {
    id: Vec<u8>,
    description: Vec<u8>,
}

/// Embeds the records of FASTA files, `-` being standard input, and hands them over in order. After a
/// break, nothing more is read.
///
/// # Errors
/// A file that cannot be read, the first record that cannot be embedded unless those are skipped, a
/// failed pass, or a cancellation.
pub fn stream(
    session: &Session,
    paths: &[PathBuf],
    options: &StreamOptions,
    cancel: &Cancel,
    out: &mut dyn FnMut(Streamed) -> ControlFlow<()>,
) -> Result<(), SessionError> {
    let request = &options.request;
    session.check(request)?;
    let admission = session.admission(request)?;
    let batching = session.batching(request, session.needs_of(request)?.1);
    let most_tokens = BATCHES * batching.max_tokens * batching.threads.max(1);
    let mut chunk = Chunk {
        session,
        request,
        cancel,
        waiting: Vec::new(),
        prepared: Vec::new(),
        tokens: 0,
    };
    for path in paths {
        let failed = |error: FastaError| match cancel.is_cancelled() {
            true => SessionError::Cancelled,
            false => SessionError::Input(error.to_string()),
        };
        let input = Input::open_until(path, cancel.clone()).map_err(failed)?;
        let has_hash = session.config().alphabet.has_hash();
        let mut reader = Reader::new(input).hash_is_letter(has_hash);
        let mut record = Record::default();
        loop {
            if cancel.is_cancelled() {
                return Err(SessionError::Cancelled);
            }
            let why = match reader.read(&mut record) {
                Ok(false) => break,
                Ok(true) => match admission.admit(&record.sequence) {
                    Ok(prepared) => {
                        chunk.take(&mut record, prepared);
                        let is_full = chunk.tokens >= most_tokens || chunk.waiting.len() >= RECORDS;
                        if is_full && chunk.hand_over(out)?.is_break() {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(unfit) => {
                        format!("{}: {unfit}", shown(reader.get_ref().name(), &record))
                    }
                },
                Err(FastaError::Record(bad)) => bad.to_string(),
                Err(error) => return Err(failed(error)),
            };
            match options.on_invalid {
                OnInvalid::Fail => {
                    return Err(SessionError::Input(format!(
                        "{why}\nhint: use `on_invalid=skip` to leave such records out"
                    )));
                }
                // In order with the records before it.
                OnInvalid::Skip if chunk.hand_over(out)?.is_break() => return Ok(()),
                OnInvalid::Skip => {
                    if out(Streamed::Skipped(why)).is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }
    chunk.hand_over(out).map(|_| ())
}

/// Where a record is, as a run names it.
fn shown(file: &str, record: &Record) -> String {
    let id = match record.id.is_empty() {
        true => "no identifier".to_owned(),
        false => printable::start(&record.id, 80),
    };
    format!(
        "{file}, line {}, record {} ({id})",
        record.line, record.number
    )
}

/// Records that are computed together.
struct Chunk<'a> {
    session: &'a Session,
    request: &'a Request,
    cancel: &'a Cancel,
    waiting: Vec<Waiting>,
    prepared: Vec<Prepared>,
    tokens: usize,
}

impl Chunk<'_> {
    fn take(&mut self, record: &mut Record, prepared: Prepared) {
        self.tokens += prepared.tokens.len();
        self.waiting.push(Waiting {
            id: std::mem::take(&mut record.id),
            description: std::mem::take(&mut record.description),
        });
        self.prepared.push(prepared);
    }

    /// Computes what waits and hands it over.
    fn hand_over(
        &mut self,
        out: &mut dyn FnMut(Streamed) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SessionError> {
        self.tokens = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let prepared = std::mem::take(&mut self.prepared);
        let all = collect(self.session, &prepared, self.request, self.cancel, &|_| ())
            .map_err(|error| named(error, &waiting))?;
        for ((one, prepared), values) in waiting.into_iter().zip(&prepared).zip(all) {
            let record = Streamed::Record {
                id: one.id,
                description: one.description,
                residues: prepared.residues(),
                values,
            };
            if out(record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The error of a pass with the name of the record.
fn named(error: SessionError, waiting: &[Waiting]) -> SessionError {
    match error {
        SessionError::Pass {
            sequence: Some(at),
            error,
        } => {
            let id = waiting.get(at).map(|one| &one.id[..]).unwrap_or_default();
            SessionError::Input(format!("record {}: {error}", printable::start(id, 80)))
        }
        other => other,
    }
}

/// The numbers of every product of every sequence, in the order of the request.
///
/// # Errors
/// As [`Session::embed`].
pub fn collect(
    session: &Session,
    sequences: &[Prepared],
    request: &Request,
    cancel: &Cancel,
    done: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Vec<Vec<f32>>>, SessionError> {
    let number = |product: Product| request.products().iter().position(|one| *one == product);
    let empty = || Mutex::new(vec![Vec::new(); request.products().len()]);
    let all: Vec<_> = sequences.iter().map(|_| empty()).collect();
    session.embed(sequences, request, cancel, done, &|computed| {
        let Values::F32(values) = computed.values else {
            return;
        };
        if let (Some(record), Some(at)) = (all.get(computed.sequence), number(computed.product))
            && let Some(to) = record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_mut(at)
        {
            to.extend_from_slice(values);
        }
    })?;
    let values = all.into_iter().map(Mutex::into_inner);
    Ok(values
        .map(|one| one.unwrap_or_else(PoisonError::into_inner))
        .collect())
}
