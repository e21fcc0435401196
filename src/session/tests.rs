use super::*;
use crate::admission::Unfit;
use crate::cancel::Cancel;
use crate::device::GpuChoice;
use crate::embedder::Sequence;
use crate::pipeline::{OnInvalid, Silent, Stop};
use crate::product::{OutDtype, Pool, Values};
use crate::score::{Method, Protein, UnmaskedPass, Variant, score_variants};
use crate::tokenizer::Alphabet;
use std::ops::ControlFlow;
use std::path::PathBuf;

const SEQUENCES: [&[u8]; 4] = [b"MKTVRQERLK", b"LKKNDSLTKGVT", b"MKTVRQERLKXB", b"AG"];

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join(name)
}

fn session(compute: ComputeOptions) -> Session {
    let options = SessionOptions {
        compute: ComputeOptions {
            device: DeviceChoice::Cpu,
            ..compute
        },
        ..SessionOptions::default()
    };
    Session::load(&fixture("esm2_hd16"), &options, &Silent).unwrap()
}

fn request(session: &Session) -> Request {
    let layer = session.layer(-1).unwrap();
    let pool = Pool::Mean;
    let products = [
        Product::Pooled { layer, pool },
        Product::Residues { layer },
        Product::Logits,
        Product::Contacts,
    ];
    Request::new(products, OutDtype::F32)
}

fn all(session: &Session, request: &Request, sequences: &[&[u8]]) -> Vec<Vec<Vec<f32>>> {
    let prepared: Vec<Prepared> = sequences
        .iter()
        .map(|sequence| session.admit(sequence, request).unwrap())
        .collect();
    collect(session, &prepared, request, &Cancel::default(), &|_| ()).unwrap()
}

#[test]
fn a_list_has_the_bits_of_the_engine_whatever_the_threads_and_batches() {
    let one = session(ComputeOptions {
        threads: 1,
        deterministic: true,
        ..ComputeOptions::default()
    });
    let request = request(&one);
    let expected: Vec<Vec<Vec<f32>>> = SEQUENCES
        .iter()
        .map(|sequence| {
            let tokens = one.admit(sequence, &request).unwrap().tokens;
            let batch = [Sequence {
                tokens: &tokens,
                windows: &[],
            }];
            let mut products = Vec::new();
            let mut out = |computed: crate::embedder::Computed<'_>| {
                if let Values::F32(values) = computed.values {
                    products.push(values.to_vec());
                }
                ControlFlow::Continue(())
            };
            let cancel = Cancel::default();
            one.embedder()
                .embed(&batch, &request, &cancel, &mut out)
                .unwrap();
            products
        })
        .collect();
    assert_eq!(
        expected[3].iter().map(Vec::len).collect::<Vec<_>>(),
        [32, 64, 66, 4]
    );
    assert_eq!(all(&one, &request, &SEQUENCES), expected);
    let three = session(ComputeOptions {
        threads: 3,
        max_tokens: Some(20),
        ..ComputeOptions::default()
    });
    assert_eq!(all(&three, &request, &SEQUENCES), expected);
    assert!(all(&three, &request, &[]).is_empty());
}

#[test]
fn a_stream_keeps_the_order_and_names_what_it_refuses() {
    let session = session(ComputeOptions::default());
    let layer = session.layer(2).unwrap();
    let pool = Pool::Mean;
    let request = Request::new([Product::Pooled { layer, pool }], OutDtype::F32);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.fasta");
    let text = ">a one\nMKTVRQERLK\n>b\n\n>c two  words\nAG\n>d\nLKKNDSLTKGVT\n";
    std::fs::write(&path, text).unwrap();
    let run = |on_invalid, most: usize| {
        let mut found = Vec::new();
        let options = StreamOptions {
            request: request.clone(),
            on_invalid,
        };
        let paths = [path.clone()];
        let ended = stream(&session, &paths, &options, &Cancel::default(), &mut |one| {
            found.push(one);
            match found.len() < most {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        (ended, found)
    };
    let (ended, found) = run(OnInvalid::Skip, 9);
    ended.unwrap();
    let expected = all(
        &session,
        &request,
        &[SEQUENCES[0], SEQUENCES[3], SEQUENCES[1]],
    );
    let record = |id: &str, description: &str, residues, at: usize| Streamed::Record {
        id: id.into(),
        description: description.into(),
        residues,
        values: expected[at].clone(),
    };
    let why = format!(
        "{}, line 3, record 2 (b): the sequence is empty",
        path.display()
    );
    assert_eq!(
        found,
        [
            record("a", "one", 10, 0),
            Streamed::Skipped(why.clone()),
            record("c", "two  words", 2, 1),
            record("d", "", 12, 2),
        ]
    );
    let (ended, found) = run(OnInvalid::Skip, 2);
    ended.unwrap();
    assert_eq!(found.len(), 2);

    let (ended, found) = run(OnInvalid::Fail, 9);
    assert_eq!(
        ended.unwrap_err().to_string(),
        format!("{why}\nhint: use `on_invalid=skip` to leave such records out")
    );
    assert!(found.is_empty());
    let cancel = Cancel::default();
    cancel.cancel();
    let options = StreamOptions {
        request: request.clone(),
        on_invalid: OnInvalid::Fail,
    };
    let ended = stream(
        &session,
        std::slice::from_ref(&path),
        &options,
        &cancel,
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(matches!(ended, Err(SessionError::Cancelled)), "{ended:?}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let session = session(ComputeOptions::default());
    let request = request(&session);
    assert!(matches!(
        session.admit(b"", &request),
        Err(SessionError::Unfit(Unfit::Empty))
    ));
    let error = session.layer(7).unwrap_err();
    assert!(error.is_of_input());
    assert_eq!(
        error.to_string(),
        "`layer=7`: this model has layers 0 to 2 (or -3 to -1, counted from the end)"
    );
    let cancel = Cancel::default();
    cancel.cancel();
    let prepared = session.admit(b"AG", &request).unwrap();
    let ended = collect(&session, &[prepared], &request, &cancel, &|_| ());
    assert!(matches!(ended, Err(SessionError::Cancelled)), "{ended:?}");

    let options = SessionOptions {
        compute: ComputeOptions {
            device: DeviceChoice::Cpu,
            ..ComputeOptions::default()
        },
        ..SessionOptions::default()
    };
    for (model, product) in [
        ("esm2_hd16_noprefix", Product::Logits),
        ("fair_esm/esm2_hd24.pt", Product::Contacts),
    ] {
        let headless = Session::load(&fixture(model), &options, &Silent).unwrap();
        let request = Request::new([product], OutDtype::F32);
        let prepared = headless.admit(b"AG", &request).unwrap();
        let ended = collect(
            &headless,
            &[prepared],
            &request,
            &Cancel::default(),
            &|_| (),
        );
        assert!(
            matches!(ended, Err(SessionError::Checkpoint(_))),
            "{ended:?}"
        );
    }
    assert_eq!(
        SessionError::ContactsOnGpu(GpuChoice::These(vec![0])).to_string(),
        "`device=cuda:0`: contacts and attentions are computed on the CPU only\n\
         hint: use `device=cpu`"
    );
}

#[test]
fn scores_are_those_of_an_unmasked_pass() {
    let session = session(ComputeOptions::default());
    let protein = Protein::new("p", SEQUENCES[0], Alphabet::Esm).unwrap();
    let request = Request::new([Product::Logits], OutDtype::F32);
    let logits = &all(&session, &request, &[SEQUENCES[0]])[0][0];
    let pass = UnmaskedPass::new(&protein, logits).unwrap();
    let variants: Vec<Variant> = ["K2G", "M1A:K10E"]
        .map(|text| Variant::parse(text, &protein, 1).unwrap())
        .into();
    let score = |variants, method| {
        let how = (method, None);
        score_variants(&session, &protein, variants, how, &Silent, &Stop::default())
    };
    let expected: Vec<f64> = variants.iter().map(|one| pass.log_odds(one)).collect();
    let found = score(Some(&variants), Method::WtMarginals).unwrap();
    assert_eq!(found, Some(expected.clone()));
    let masked = score(Some(&variants), Method::MaskedMarginals).unwrap();
    assert_ne!(masked, Some(expected));
    let pll = score(None, Method::PllUnmasked).unwrap();
    assert_eq!(pll, Some(vec![pass.pll()]));
    let error = score(None, Method::WtMarginals).unwrap_err().to_string();
    assert!(
        error.starts_with("without `variants`, there is nothing to score"),
        "{error}"
    );
}

#[test]
fn an_adapter_is_added_to_the_weights() {
    let options = |adapter: Option<PathBuf>| SessionOptions {
        compute: ComputeOptions {
            device: DeviceChoice::Cpu,
            ..ComputeOptions::default()
        },
        adapter,
        ..SessionOptions::default()
    };
    let [plain, adapted] = [None, Some(fixture("adapters/lora"))].map(|adapter| {
        let session = Session::load(&fixture("esm2_hd16"), &options(adapter), &Silent).unwrap();
        let request = request(&session);
        all(&session, &request, &[SEQUENCES[0]])
    });
    let most = |a: &[f32], b: &[f32]| {
        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        differences.fold(0.0f32, f32::max)
    };
    assert!(most(&plain[0][0], &adapted[0][0]) > 0.01);
    let other = options(Some(fixture("adapters/dora")));
    let error = Session::load(&fixture("esm2_hd16"), &other, &Silent);
    assert!(error.is_err_and(|error| error.to_string().contains("DoRA")));
}
