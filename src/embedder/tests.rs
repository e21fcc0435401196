//! The embedder over an engine whose numbers are known, and over the tiny fixtures.

use super::*;
use crate::checkpoint::Positions;
use crate::product::{Fallback, OutDtype, Pool, Product, Values};
use crate::tokenizer::{CLS, EOS, TokenId};
use std::path::Path;
use std::sync::Mutex;

/// A token whose sequences do not fit f16.
const LARGE: TokenId = 30;

/// A model of width 1. The row of a token at layer l is `token + 100 l`; in the fallback it is negative.
struct Fake {
    config: EsmConfig,
    /// Whether it computes in bf16 what does not fit f16.
    has_fallback: bool,
    /// The batches that it was given, `b` first if in bf16.
    calls: Mutex<Vec<String>>,
}

impl Fake {
    fn new() -> Fake {
        let config = EsmConfig {
            dim: 1,
            layers: 3,
            ..fixture("esm2_hd16").config().clone()
        };
        assert_eq!(config.positions, Positions::Rotary);
        Fake {
            config,
            has_fallback: true,
            calls: Mutex::default(),
        }
    }

    fn pass(
        &self,
        batch: &Packed,
        request: &Request,
        in_bf16: bool,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        let lengths: Vec<usize> = batch.sequences().map(<[TokenId]>::len).collect();
        let format = if in_bf16 { "b" } else { "" };
        self.calls
            .lock()
            .unwrap()
            .push(format!("{format}{lengths:?}"));
        for (sequence, tokens) in batch.sequences().enumerate() {
            let is_large = tokens.contains(&LARGE);
            if is_large && !self.has_fallback {
                return Err(EngineError::Overflow { sequence });
            }
            let in_bf16 = in_bf16 || is_large;
            let sign = if in_bf16 { -1.0 } else { 1.0 };
            for layer in request.layers() {
                let row = |token: &TokenId| sign * (f32::from(*token) + 100.0 * layer as f32);
                let hidden: Vec<f32> = tokens.iter().map(row).collect();
                let rows = rows::LayerRows {
                    sequence,
                    layer,
                    bos: &hidden[..1],
                    residues: &hidden[1..hidden.len() - 1],
                    fallback: in_bf16.then_some(Fallback::Bf16),
                };
                if rows.hand_over(request, 1, out).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Engine for Fake {
    fn config(&self) -> &EsmConfig {
        &self.config
    }

    fn capacity(&self, _: &Request) -> Capacity {
        Capacity {
            tokens: 10,
            lanes: None,
            shares_passes: true,
            varying_fallback: None,
        }
    }

    fn about(&self) -> About {
        About::default()
    }

    fn run(
        &self,
        batch: &Packed,
        request: &Request,
        cancel: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        check(request, 2)?;
        match cancel.is_cancelled() {
            true => Err(EngineError::Cancelled),
            false => self.pass(batch, request, false, out),
        }
    }

    fn run_in_fallback(
        &self,
        batch: &Packed,
        request: &Request,
        _: &Cancel,
        out: Out<'_>,
    ) -> Result<(), EngineError> {
        self.pass(batch, request, true, out)
    }
}

fn fixture(name: &str) -> Arc<Checkpoint> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    Arc::new(Checkpoint::open(&fixtures.join(name)).unwrap())
}

fn tokens(residues: &[TokenId]) -> Vec<TokenId> {
    [&[CLS], residues, &[EOS]].concat()
}

const MEAN: Product = Product::Pooled {
    layer: 1,
    pool: Pool::Mean,
};
const BOS: Product = Product::Pooled {
    layer: 1,
    pool: Pool::Bos,
};
const ROWS: Product = Product::Residues { layer: 2 };

fn request(products: impl IntoIterator<Item = Product>) -> Request {
    Request::new(products, OutDtype::F32)
}

/// What one product of one sequence came to.
type Found = (usize, Product, Vec<f32>, bool);

/// Embeds a batch; `flow` decides after each product whether to go on.
fn embed(
    embedder: &Embedder,
    batch: &[Sequence<'_>],
    request: &Request,
    cancel: &Cancel,
    flow: impl Fn(&[Found]) -> ControlFlow<()>,
) -> (Vec<Found>, Result<(), String>) {
    let mut all = Vec::new();
    let mut keep = |computed: Computed<'_>| {
        let Values::F32(values) = computed.values else {
            panic!("f32 was requested");
        };
        all.push((
            computed.sequence,
            computed.product,
            values.to_vec(),
            computed.fallback.is_some(),
        ));
        flow(&all)
    };
    let done = embedder.embed(batch, request, cancel, &mut keep);
    (all, done.map_err(|error| error.to_string()))
}

/// All products of a batch.
fn all_of(embedder: &Embedder, batch: &[Sequence<'_>], request: &Request) -> Vec<Found> {
    let cancel = Cancel::default();
    let (all, done) = embed(embedder, batch, request, &cancel, |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(done, Ok(()));
    all
}

#[test]
fn whole_sequences_share_a_pass_and_windows_are_blended() {
    let fake = Fake::new();
    let long = tokens(&[5, 6, 7, 8, 9]);
    let short = tokens(&[10, 20]);
    let windows = [0..3, 2..5];
    let batch = [
        Sequence {
            tokens: &long,
            windows: &windows,
        },
        Sequence {
            tokens: &short,
            windows: &[],
        },
    ];
    let embedder = Embedder::new(Arc::new(fake));
    let found = all_of(&embedder, &batch, &request([ROWS, MEAN, BOS]));
    // A token has one row in any window of this model: blended rows are those of the whole.
    assert_eq!(
        found,
        [
            (1, MEAN, vec![115.0], false),
            (1, BOS, vec![100.0], false),
            (1, ROWS, vec![210.0, 220.0], false),
            (0, MEAN, vec![107.0], false),
            (0, BOS, vec![100.0], false),
            (0, ROWS, vec![205.0, 206.0, 207.0, 208.0, 209.0], false),
        ]
    );
}

fn calls(fake: &Fake) -> Vec<String> {
    fake.calls.lock().unwrap().clone()
}

#[test]
fn one_window_that_does_not_fit_f16_puts_all_windows_into_bf16() {
    let fake = Arc::new(Fake::new());
    let embedder = Embedder::new(fake.clone());
    let windows = [0..4, 3..7, 6..10];
    let mut residues = vec![4; 10];
    residues[4] = LARGE;
    let long = tokens(&residues);
    let batch = [Sequence {
        tokens: &long,
        windows: &windows,
    }];
    let found = all_of(&embedder, &batch, &request([ROWS]));
    let mut rows = vec![-204.0; 10];
    rows[4] = -230.0;
    assert_eq!(found, [(0, ROWS, rows, true)]);
    // The second window ends the first attempt; passes have room for one window each.
    assert_eq!(calls(&fake), ["[6]", "[6]", "b[6]", "b[6]", "b[6]"]);
}

#[test]
fn an_error_in_a_window_or_a_batch_names_its_sequence() {
    let mut fake = Fake::new();
    fake.has_fallback = false;
    let embedder = Embedder::new(Arc::new(fake));
    let (fits, large) = (tokens(&[4, 5, 6]), tokens(&[4, 5, LARGE]));
    let whole = |tokens| Sequence {
        tokens,
        windows: &[],
    };
    let windows = [0..2, 1..3];
    let windowed = |tokens| Sequence {
        tokens,
        windows: &windows,
    };
    let cancel = Cancel::default();
    for batch in [
        [whole(&fits), windowed(&fits), windowed(&large)],
        [windowed(&fits), windowed(&fits), whole(&large)],
    ] {
        let mut out = |_: Computed<'_>| ControlFlow::Continue(());
        let done = embedder.embed(&batch, &request([MEAN]), &cancel, &mut out);
        assert_eq!(done.unwrap_err().sequence(), Some(2));
    }
}

#[test]
fn a_break_ends_the_batch_without_an_error() {
    let fake = Arc::new(Fake::new());
    let embedder = Embedder::new(fake.clone());
    let short = tokens(&[4, 5, 6]);
    let windows = [0..2, 1..3];
    let batch = [&[][..], &windows, &windows].map(|windows| Sequence {
        tokens: &short,
        windows,
    });
    for count in 1..=6 {
        fake.calls.lock().unwrap().clear();
        let (found, done) = embed(
            &embedder,
            &batch,
            &request([MEAN, ROWS]),
            &Cancel::default(),
            |all| match all.len() == count {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
        );
        assert_eq!((found.len(), done), (count, Ok(())));
        // Nothing is computed for sequences that come after it.
        let passes = calls(&fake).len();
        assert_eq!(passes, [1, 1, 2, 2, 3, 3][count - 1]);
    }
}

#[test]
fn a_cancelled_batch_is_an_error() {
    let embedder = Embedder::new(Arc::new(Fake::new()));
    let short = tokens(&[4, 5, 6]);
    let windows = [0..2, 1..3];
    let batch = [&[][..], &windows].map(|windows| Sequence {
        tokens: &short,
        windows,
    });
    let cancel = Cancel::default();
    // Between two calls of the engine: what was handed over stays.
    let (found, done) = embed(&embedder, &batch, &request([MEAN]), &cancel, |_| {
        cancel.cancel();
        ControlFlow::Continue(())
    });
    assert_eq!(found.len(), 1);
    assert_eq!(done, Err("cancelled".to_owned()));
}

#[test]
fn requests_that_cannot_be_computed_are_refused() {
    let options = EmbedderOptions::new(Device::cpu(CpuPath::detect()), Dtype::F32, 1);
    let loaded = Embedder::load(&fixture("esm2_hd16"), &options).unwrap();
    let fake = Embedder::new(Arc::new(Fake::new()));
    let short = tokens(&[4, 5, 6]);
    let windows = [0..2, 1..3];
    for windows in [&[][..], &windows] {
        let batch = [Sequence {
            tokens: &short,
            windows,
        }];
        for (embedder, product, why) in [
            (
                &loaded,
                ROWS,
                "layer 2 was requested, but the model is loaded up to layer 1",
            ),
            (
                &fake,
                Product::Residues { layer: 3 },
                "layer 3 was requested, but the model is loaded up to layer 2",
            ),
            (
                &loaded,
                Product::Logits,
                "logits were requested, but the model is loaded without its language-model head",
            ),
            (
                &loaded,
                Product::Contacts,
                "contacts were requested, but the model is loaded without its contact regression",
            ),
            (
                &fake,
                Product::Attentions,
                "attentions are computed on the CPU only\nhint: use `device=cpu`",
            ),
        ] {
            let request = request([MEAN, product]);
            let (found, done) = embed(embedder, &batch, &request, &Cancel::default(), |_| {
                ControlFlow::Continue(())
            });
            let of_maps = matches!(product, Product::Contacts | Product::Attentions);
            let why = match of_maps && !windows.is_empty() {
                true => {
                    let name = product.file_stem();
                    format!("{name} of a sequence need it in one pass, not in windows")
                }
                false => why.to_owned(),
            };
            assert_eq!((found, done), (vec![], Err(why)));
        }
    }
}

#[test]
fn a_product_has_the_same_bits_whatever_else_is_requested() {
    let checkpoint = fixture("esm2_hd16");
    let last = checkpoint.config().layers;
    let options = EmbedderOptions::new(Device::cpu(CpuPath::detect()), Dtype::F32, last);
    let embedder = Embedder::load(&checkpoint, &options).unwrap();
    let (a, b) = (tokens(&[5, 9, 20, 7]), tokens(&[11; 30]));
    let batch = [&a, &b].map(|tokens| Sequence {
        tokens,
        windows: &[],
    });
    let products = (0..=last).flat_map(|layer| {
        let pooled = Pool::ALL.map(|pool| Product::Pooled { layer, pool });
        pooled.into_iter().chain([Product::Residues { layer }])
    });
    let products: Vec<Product> = products.collect();
    let everything = all_of(&embedder, &batch, &request(products.clone()));
    assert_eq!(everything.len(), 2 * products.len());
    for product in products {
        let expected: Vec<Found> = everything
            .iter()
            .filter(|found| found.1 == product)
            .cloned()
            .collect();
        assert_eq!(all_of(&embedder, &batch, &request([product])), expected);
    }
}

#[test]
fn windows_that_cover_the_whole_have_its_bits() {
    let checkpoint = fixture("esm2_hd16");
    let options = EmbedderOptions::new(Device::cpu(CpuPath::detect()), Dtype::F32, 2);
    let embedder = Embedder::load(&checkpoint, &options).unwrap();
    let a = tokens(&[5, 9, 20, 7, 8]);
    let whole = 0..5;
    let [alone, windowed] = [&[][..], std::slice::from_ref(&whole)].map(|windows| {
        let sequence = Sequence {
            tokens: &a,
            windows,
        };
        all_of(&embedder, &[sequence], &request([ROWS, MEAN, BOS]))
    });
    assert_eq!(alone, windowed);
}
