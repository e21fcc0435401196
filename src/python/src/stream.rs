//! The iterator over the records of FASTA files.

use crate::errors::{defect, failed, of_session};
use crate::messages::Messages;
use crate::waiting::Watch;
use esm_embed::cancel::Cancel;
use esm_embed::output::id_text;
use esm_embed::product::Pool;
use esm_embed::session::{Session, SessionError, StreamOptions, Streamed, stream};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records that wait for the caller while the next ones are computed.
const WAITING: usize = 64;

/// What the thread sends.
enum Sent {
    One(Streamed),
    Failed(SessionError),
    End,
}

/// Where the records come from.
enum Source {
    /// The thread that computes.
    Open(Receiver<Sent>),
    /// A call that waits for the next record has it.
    Busy,
    /// There are no more records.
    Ended,
}

/// An iterator over records. Dropping or closing it ends the work.
#[pyclass(frozen, module = "esm_embed")]
pub struct Stream {
    source: Mutex<Source>,
    cancel: Cancel,
    messages: Messages,
    pool: Option<Pool>,
    has_residues: bool,
    dim: usize,
    process: u32,
}

impl Stream {
    /// Starts the thread that reads and computes.
    pub fn start(
        session: Arc<Session>,
        paths: Vec<PathBuf>,
        options: StreamOptions,
        pool: Option<Pool>,
    ) -> Stream {
        let (send, receive) = sync_channel(WAITING);
        let cancel = Cancel::default();
        let made = Stream {
            source: Mutex::new(Source::Open(receive)),
            cancel: cancel.clone(),
            messages: Messages::default(),
            pool,
            has_residues: options.request.products().len() > usize::from(pool.is_some()),
            dim: session.config().dim,
            process: std::process::id(),
        };
        std::thread::spawn(move || {
            let mut out = |one| match send.send(Sent::One(one)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            let ended = stream(&session, &paths, &options, &cancel, &mut out);
            // Nobody listens after a break.
            let _ = send.send(ended.map_or_else(Sent::Failed, |()| Sent::End));
        });
        made
    }

    fn stop(&self) {
        self.cancel.cancel();
        *self.source() = Source::Ended;
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[pymethods]
impl Stream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        if std::process::id() != self.process {
            return Err(failed(
                "this stream belongs to the parent of this process\n\
                 hint: make an Embedder and a stream in each process",
            ));
        }
        let mut receive = {
            let mut source = self.source();
            match std::mem::replace(&mut *source, Source::Busy) {
                Source::Open(receive) => receive,
                Source::Busy => {
                    return Err(PyValueError::new_err(
                        "another thread is waiting for the next record of this stream: use a lock, or a \
                         stream in each thread",
                    ));
                }
                Source::Ended => {
                    *source = Source::Ended;
                    return Ok(None);
                }
            }
        };
        let watch = Watch {
            cancel: self.cancel.clone(),
            messages: self.messages.clone(),
            progress: None,
        };
        loop {
            let (returned, received) = watch.next(py, receive);
            receive = returned;
            let received = received.map_err(|interrupted| self.ended(interrupted))?;
            match received {
                Some(Sent::One(Streamed::Skipped(why))) => {
                    self.messages
                        .warn(&format!("{why}; the record is left out"));
                    // A filter of warnings can make an exception of it, and the stream can be used again.
                    if let Err(error) = self.messages.deliver(py, None) {
                        self.put_back(receive);
                        return Err(error);
                    }
                }
                Some(Sent::One(Streamed::Record {
                    id,
                    description,
                    residues,
                    values,
                })) => {
                    self.put_back(receive);
                    return self
                        .record(py, &id, &description, residues, values)
                        .map(Some);
                }
                Some(Sent::End) => {
                    *self.source() = Source::Ended;
                    return Ok(None);
                }
                // Another thread has closed the stream.
                Some(Sent::Failed(SessionError::Cancelled)) => return Ok(None),
                Some(Sent::Failed(error)) => return Err(self.ended(of_session(error))),
                None => return Err(self.ended(defect())),
            }
        }
    }

    /// Ends the work.
    fn close(&self) {
        self.stop();
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, pyo3::types::PyTuple>) {
        self.stop();
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a stream reads and computes in this process and cannot be pickled",
        ))
    }
}

impl Stream {
    /// Unless the stream was closed in the meantime.
    fn put_back(&self, receive: Receiver<Sent>) {
        let mut source = self.source();
        if matches!(*source, Source::Busy) {
            *source = Source::Open(receive);
        }
    }

    /// Ends the stream with an error.
    fn ended(&self, error: PyErr) -> PyErr {
        self.stop();
        error
    }

    fn record(
        &self,
        py: Python<'_>,
        id: &[u8],
        description: &[u8],
        residues: usize,
        values: Vec<Vec<f32>>,
    ) -> PyResult<Record> {
        let mut values = values.into_iter();
        let pooled = self.pool.and_then(|_| values.next());
        let rows = values.next().filter(|_| self.has_residues);
        let rows = rows.map(|rows| PyArray1::from_vec(py, rows).reshape([residues, self.dim]));
        Ok(Record {
            id: String::from_utf8_lossy(&id_text(id)).into_owned(),
            description: String::from_utf8_lossy(description).into_owned(),
            length: residues,
            pool: self.pool,
            pooled: pooled.map(|row| PyArray1::from_vec(py, row).unbind()),
            residues: rows.transpose()?.map(Bound::unbind),
        })
    }
}

/// An embedded record.
#[pyclass(frozen, module = "esm_embed")]
pub struct Record {
    /// First word of the header.
    #[pyo3(get)]
    id: String,
    /// The rest of the header.
    #[pyo3(get)]
    description: String,
    /// Residues that are embedded.
    #[pyo3(get)]
    length: usize,
    pool: Option<Pool>,
    pooled: Option<Py<PyArray1<f32>>>,
    residues: Option<Py<PyArray2<f32>>>,
}

#[pymethods]
impl Record {
    /// The mean over the residues, [D].
    #[getter]
    fn mean(&self, py: Python<'_>) -> PyResult<Py<PyArray1<f32>>> {
        self.of_pool(py, Pool::Mean)
    }

    /// The row of <cls>, [D].
    #[getter]
    fn bos(&self, py: Python<'_>) -> PyResult<Py<PyArray1<f32>>> {
        self.of_pool(py, Pool::Bos)
    }

    /// The largest values of the residues, [D].
    #[getter]
    fn max(&self, py: Python<'_>) -> PyResult<Py<PyArray1<f32>>> {
        self.of_pool(py, Pool::Max)
    }

    /// A row for each residue, [n, D].
    #[getter]
    fn residues(&self, py: Python<'_>) -> PyResult<Py<PyArray2<f32>>> {
        let rows = self.residues.as_ref().map(|rows| rows.clone_ref(py));
        rows.ok_or_else(|| {
            PyAttributeError::new_err("residue rows were not asked for: use `residues=True`")
        })
    }

    fn __repr__(&self) -> String {
        format!("Record(id={:?}, length={})", self.id, self.length)
    }
}

impl Record {
    fn of_pool(&self, py: Python<'_>, pool: Pool) -> PyResult<Py<PyArray1<f32>>> {
        let row = self.pooled.as_ref().filter(|_| self.pool == Some(pool));
        row.map(|row| row.clone_ref(py)).ok_or_else(|| {
            let name = pool.name();
            PyAttributeError::new_err(format!("{name} was not asked for: use `pool={name}`"))
        })
    }
}
