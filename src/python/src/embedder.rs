//! The class `Embedder`.

use crate::arguments::{self, ModelName};
use crate::errors::{failed, of_list, of_session, wrong};
use crate::messages::Messages;
use crate::sequences::{prepare, string, text, texts};
use crate::stream::Stream;
use crate::waiting::Watch;
use esm_embed::cancel::Cancel;
use esm_embed::device::{Dtype, Tested, available_threads};
use esm_embed::hub::{self, Adapted, AskedModel, HubError, HubSettings, ModelRef};
use esm_embed::pipeline::{ComputeOptions, OnInvalid, Stop};
use esm_embed::product::{OutDtype, Product, Request, Values};
use esm_embed::score::{Protein, Variant, check_alphabet, score_variants};
use esm_embed::session::{Session, SessionError, SessionOptions, StreamOptions, collect};
use esm_embed::settings;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use std::sync::{Arc, Mutex, PoisonError};

/// The model if none is given, as on the command line.
const DEFAULT: &str = "esm2_t33_650M_UR50D";

/// Embeds protein sequences with one model.
///
/// model: a name ("650M", "esm2_t33_650M_UR50D"; `esm-embed models` lists them), a repository
/// "organisation/name" on the Hugging Face Hub, or a path to a folder or file. A model that is not in the
/// cache is downloaded. None means esm2_t33_650M_UR50D.
/// adapter: a LoRA adapter: the folder that PEFT saved, or a repository. Without model, its base is the model
/// that it names. An adapter can also be given as model.
/// device: "auto", "cpu", "cuda", "cuda:0,1" or "all".
/// dtype: "f32", "f16", "bf16" or "tf32"; None means f32 on a CPU and f16 on a GPU.
/// threads: None uses the CPUs that this process may use.
/// long: "full", "error", "truncate[:N]" or "window[:N[:OVERLAP]]" for sequences of more than 1,022
/// residues; None embeds them whole where the model can.
/// unknown: "unk" or "error" for letters outside the alphabet. gaps: "keep" or "drop".
/// progress: receives the number of bytes that were downloaded since the last time: a callable such as
/// tqdm(...).update, or an object with a method update.
///
/// Results have the bits of `esm-embed run`. Several threads may use one Embedder; they take turns.
#[pyclass(frozen, module = "esm_embed")]
pub struct Embedder {
    session: Arc<Session>,
    model: String,
    /// As it was given.
    adapter: Option<String>,
    process: u32,
}

#[pymethods]
impl Embedder {
    #[new]
    #[pyo3(signature = (model=None, device="auto", dtype=None, *, threads=None, revision=None, adapter=None, long=None, unknown="unk", gaps="keep", progress=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are Python's keyword arguments"
    )]
    fn new(
        py: Python<'_>,
        model: Option<ModelName>,
        device: &str,
        dtype: Option<&str>,
        threads: Option<isize>,
        revision: Option<String>,
        adapter: Option<ModelName>,
        long: Option<&str>,
        unknown: &str,
        gaps: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Embedder> {
        let setting = |name, value: &str, why: String| wrong(name, value, why);
        let dtype =
            dtype.map(|text| settings::dtype(text).map_err(|why| setting("dtype", text, why)));
        let long = long.map(|text| settings::long(text).map_err(|why| setting("long", text, why)));
        let threads = match threads.map(|number| (usize::try_from(number).unwrap_or(0), number)) {
            Some((0, number)) => {
                let number = number.to_string();
                return Err(wrong("threads", &number, "expected a number from 1"));
            }
            Some((threads, _)) => threads,
            None => available_threads(),
        };
        let mut options = SessionOptions {
            compute: ComputeOptions {
                device: settings::device(device).map_err(|why| setting("device", device, why))?,
                dtype: dtype.transpose()?,
                threads,
                ..ComputeOptions::default()
            },
            long: long.transpose()?,
            unknown: settings::unknown(unknown).map_err(|why| setting("unknown", unknown, why))?,
            gaps: settings::gaps(gaps).map_err(|why| setting("gaps", gaps, why))?,
            self_tests: Tested::default(),
            adapter: None,
        };
        let given = model.map(|ModelName(model)| model);
        let given_adapter = adapter.map(|ModelName(adapter)| adapter);
        let adapter = given_adapter.as_deref().map(ModelRef::parse_adapter);
        let name = given.as_deref().unwrap_or(DEFAULT);
        let reference =
            ModelRef::parse(name).map_err(|error| PyValueError::new_err(error.to_string()))?;
        // What is sure to fail fails before a model is downloaded.
        options.compute.resolve_device().map_err(failed)?;
        let watch = Watch {
            cancel: Cancel::default(),
            messages: Messages::default(),
            progress: progress.as_ref(),
        };
        let messages = watch.messages.clone();
        let is_given = given.is_some();
        let (session, named) = watch.leave(py, move || {
            let asked = match &adapter {
                None => AskedModel::Model(&reference),
                Some(adapter) if is_given => AskedModel::Both {
                    model: &reference,
                    adapter,
                },
                Some(adapter) => AskedModel::Adapter(adapter),
            };
            let Adapted {
                model,
                adapter,
                named,
                warning,
            } = hub::resolve(asked, revision.as_deref(), &messages).map_err(of_hub)?;
            if let Some(warning) = warning {
                messages.warn(&warning);
            }
            options.adapter = adapter.map(|local| local.path);
            options.self_tests.folder = HubSettings::from_env().ok().map(|hub| hub.remembered());
            let session = Session::load(&model.path, &options, &messages).map_err(of_session)?;
            Ok::<_, PyErr>((session, named))
        })??;
        Ok(Embedder {
            session: Arc::new(session),
            model: given.or(named).unwrap_or_else(|| DEFAULT.to_owned()),
            adapter: given_adapter,
            process: std::process::id(),
        })
    }

    /// Embeds a list of sequences.
    ///
    /// Returns a float32 array [N, D], a row for each sequence in its order: the mean over the residues,
    /// the row of <cls> (pool="bos"), or the largest values (pool="max"). With pool=None, a list of
    /// arrays [n, D] with a row for each residue.
    ///
    /// layer: 0 is the input embedding, -1 the last layer.
    /// progress: receives the number of sequences that were embedded since the last time.
    #[pyo3(
        signature = (sequences, layer=-1, pool=Some("mean"), *, progress=None),
        text_signature = "($self, sequences, layer=-1, pool='mean', *, progress=None)"
    )]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        sequences: &Bound<'py, PyAny>,
        layer: i64,
        pool: Option<&str>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_process()?;
        let layer = self.session.layer(layer).map_err(of_session)?;
        let pool = pool.map(arguments::pool).transpose()?;
        let product = match pool {
            Some(pool) => Product::Pooled { layer, pool },
            None => Product::Residues { layer },
        };
        let request = Request::new([product], OutDtype::F32);
        let texts = texts(sequences)?;
        let watch = watch(progress.as_ref());
        let (session, messages, cancel) = (&*self.session, &watch.messages, &watch.cancel);
        let dim = session.config().dim;
        let done = |sequences| messages.step(sequences);
        if pool.is_none() {
            let found = watch.work(py, || {
                let prepared = prepare(session, &texts, &request, messages)?;
                let all = collect(session, &prepared, &request, cancel, &done).map_err(of_list)?;
                Ok::<_, PyErr>(all)
            })??;
            let arrays = found.into_iter().map(|mut products| {
                let rows = products.pop().unwrap_or_default();
                let residues = rows.len() / dim;
                matrix(py, rows, residues, dim)
            });
            return Ok(PyList::new(py, arrays.collect::<PyResult<Vec<_>>>()?)?.into_any());
        }
        let rows = watch.work(py, || {
            let prepared = prepare(session, &texts, &request, messages)?;
            let rows = Mutex::new(vec![0.0f32; prepared.len() * dim]);
            let out = |computed: esm_embed::embedder::Computed<'_>| {
                let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                let at = computed.sequence * dim;
                if let (Values::F32(values), Some(row)) =
                    (computed.values, rows.get_mut(at..at + dim))
                {
                    row.copy_from_slice(values);
                }
            };
            session
                .embed(&prepared, &request, cancel, &done, &out)
                .map_err(of_list)?;
            Ok::<_, PyErr>(rows.into_inner().unwrap_or_else(PoisonError::into_inner))
        })??;
        Ok(matrix(py, rows, texts.len(), dim)?.into_any())
    }

    /// Embeds the records of FASTA files while they are read.
    ///
    /// fasta: a path or several paths, such as a list or `Path.glob`; "-" is standard input. Plain, gzip or zstd.
    /// residues: whether each record has its residue rows. pool: with None, there is no pooled row.
    /// on_invalid: "fail", or "skip" to leave out records that cannot be embedded, with a warning.
    ///
    /// Returns an iterator over records with id, description, length, mean (or the pool that was asked
    /// for) and residues. The next records are computed in the background.
    #[pyo3(
        signature = (fasta, layer=-1, pool=Some("mean"), *, residues=false, on_invalid="fail"),
        text_signature = "($self, fasta, layer=-1, pool='mean', *, residues=False, on_invalid='fail')"
    )]
    fn stream(
        &self,
        fasta: &Bound<'_, PyAny>,
        layer: i64,
        pool: Option<&str>,
        residues: bool,
        on_invalid: &str,
    ) -> PyResult<Stream> {
        self.check_process()?;
        let paths = arguments::paths(fasta)?;
        let layer = self.session.layer(layer).map_err(of_session)?;
        let pool = pool.map(arguments::pool).transpose()?;
        if pool.is_none() && !residues {
            return Err(PyValueError::new_err(
                "with `pool=None` and `residues=False`, there is nothing to compute",
            ));
        }
        let pooled = pool.map(|pool| Product::Pooled { layer, pool });
        let rows = residues.then_some(Product::Residues { layer });
        let options = StreamOptions {
            request: Request::new(pooled.into_iter().chain(rows), OutDtype::F32),
            on_invalid: match on_invalid {
                "fail" => OnInvalid::Fail,
                "skip" => OnInvalid::Skip,
                other => return Err(wrong("on_invalid", other, "expected fail or skip")),
            },
        };
        Ok(Stream::start(self.session.clone(), paths, options, pool))
    }

    /// The logits of a sequence, float32 [n, 33] (ESM C: [n, 64]): a row for each residue, a column for
    /// each of `letters`.
    fn logits<'py>(
        &self,
        py: Python<'py>,
        sequence: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (rows, residues) = self.one(py, &self.session, sequence, Product::Logits)?;
        let width = rows.len() / residues.max(1);
        matrix(py, rows, residues, width)
    }

    /// The probabilities of contacts between the residues of a sequence, float32 [n, n].
    ///
    /// They are computed on the CPU, also where a GPU computes everything else.
    fn contacts<'py>(
        &self,
        py: Python<'py>,
        sequence: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        self.check_process()?;
        let session =
            watch(None).work(py, || self.session.for_contacts().map_err(of_session))??;
        let (rows, residues) = self.one(py, session, sequence, Product::Contacts)?;
        matrix(py, rows, residues, residues)
    }

    /// Scores variants of a sequence: a float64 for each of them, as `esm-embed score` computes it.
    ///
    /// variants: a list of texts such as "A42G", or "A42G:K50R" for several mutations at once.
    /// method: "masked-marginals", "wt-marginals", "pll" or "pll-unmasked".
    /// window: "optimal", "overlapping" or "none" for sequences of more than 1,022 residues; None is the
    /// default of the method and model. offset: the number of the first residue.
    /// progress: receives the number of passes that were computed since the last time.
    #[pyo3(signature = (sequence, variants, *, method="masked-marginals", window=None, offset=1, progress=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are Python's keyword arguments"
    )]
    fn score<'py>(
        &self,
        py: Python<'py>,
        sequence: &Bound<'py, PyAny>,
        variants: &Bound<'py, PyAny>,
        method: &str,
        window: Option<&str>,
        offset: i64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        self.check_process()?;
        if variants.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "variants is a str: give a list of them, such as [\"A42G\"]",
            ));
        }
        let how = (
            arguments::method(method)?,
            window.map(arguments::window).transpose()?,
        );
        check_alphabet(self.session.checkpoint()).map_err(failed)?;
        let alphabet = self.session.config().alphabet;
        let protein = Protein::new("the sequence", &text("sequence", sequence)?, alphabet)
            .map_err(|error| {
                // Its hints are for embedding, which can read an unknown letter as <unk>.
                let text = error.to_string();
                PyValueError::new_err(text.lines().next().unwrap_or_default().to_owned())
            })?;
        if protein.residues() == 0 {
            return Err(PyValueError::new_err("the sequence is empty"));
        }
        let variants: Vec<Variant> = variants
            .try_iter()?
            .enumerate()
            .map(|(at, one)| {
                let place = format!("variants[{at}]");
                Variant::parse(&string(&place, &one?)?, &protein, offset)
                    .map_err(|why| PyValueError::new_err(format!("{place}: {why}")))
            })
            .collect::<PyResult<_>>()?;
        let stop = Stop::default();
        let watch = Watch {
            cancel: stop.cancel().clone(),
            messages: Messages::default(),
            progress: progress.as_ref(),
        };
        let messages = &watch.messages;
        let session = &*self.session;
        let scores = watch.work(py, || {
            score_variants(session, &protein, Some(&variants), how, messages, &stop)
        })?;
        let scores = scores.map_err(|error| failed(format!("{error:#}")))?;
        let scores = scores.ok_or_else(|| failed(SessionError::Cancelled))?;
        Ok(PyArray1::from_vec(py, scores))
    }

    /// The model, as it was given; the base that the adapter names, if only an adapter was given.
    #[getter]
    fn model(&self) -> &str {
        &self.model
    }

    /// Number of layers; the last is layer `layers`, or -1.
    #[getter]
    fn layers(&self) -> usize {
        self.session.config().layers
    }

    /// Width of an embedding, D.
    #[getter]
    fn dim(&self) -> usize {
        self.session.config().dim
    }

    /// What computes: "cpu", or the kind of the GPUs.
    #[getter]
    fn device(&self) -> String {
        self.session.device().to_string()
    }

    /// The number format of the computation.
    #[getter]
    fn dtype(&self) -> &'static str {
        Dtype::name(self.session.dtype())
    }

    /// The tokens that the columns of logits belong to.
    #[getter]
    fn letters(&self) -> Vec<&'static str> {
        self.session.config().alphabet.rows().to_vec()
    }

    fn __repr__(&self) -> String {
        format!(
            "Embedder({}, device={:?}, dtype={:?})",
            self.names(),
            self.device(),
            self.dtype()
        )
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "an Embedder holds a loaded model and cannot be pickled: make one in each process with \
             Embedder({})",
            self.names()
        )))
    }
}

impl Embedder {
    /// The arguments that name the model.
    fn names(&self) -> String {
        match &self.adapter {
            Some(adapter) => format!("{:?}, adapter={adapter:?}", self.model),
            None => format!("{:?}", self.model),
        }
    }

    /// After a fork, the threads of a loaded model exist only in the parent.
    fn check_process(&self) -> PyResult<()> {
        match std::process::id() == self.process {
            true => Ok(()),
            false => Err(failed(
                "this Embedder belongs to the parent of this process\n\
                 hint: make one in each process\n\
                 hint: or use threads, which can share one",
            )),
        }
    }

    /// One product of one sequence, and its number of residues.
    fn one(
        &self,
        py: Python<'_>,
        session: &Session,
        sequence: &Bound<'_, PyAny>,
        product: Product,
    ) -> PyResult<(Vec<f32>, usize)> {
        self.check_process()?;
        let text = text("sequence", sequence)?;
        let request = Request::new([product], OutDtype::F32);
        session.check(&request).map_err(of_session)?;
        let watch = watch(None);
        watch.work(py, || {
            let prepared = session.admit(&text, &request).map_err(of_session)?;
            let residues = prepared.residues();
            let found = collect(session, &[prepared], &request, &watch.cancel, &|_| ());
            let values = found
                .map_err(of_session)?
                .pop()
                .and_then(|mut all| all.pop());
            Ok((values.unwrap_or_default(), residues))
        })?
    }
}

fn watch(progress: Option<&Py<PyAny>>) -> Watch<'_> {
    Watch {
        cancel: Cancel::default(),
        messages: Messages::default(),
        progress,
    }
}

/// A revision of a path is a wrong value; all else is a failure.
fn of_hub(error: HubError) -> PyErr {
    match error {
        HubError::NoRevisions { .. } | HubError::NoBase { .. } => {
            PyValueError::new_err(error.to_string())
        }
        error => failed(error),
    }
}

/// An array that takes the numbers over without a copy.
fn matrix(
    py: Python<'_>,
    values: Vec<f32>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'_, PyArray2<f32>>> {
    PyArray1::from_vec(py, values).reshape([rows, columns])
}
