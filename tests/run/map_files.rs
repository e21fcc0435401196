//! Contacts and attention maps from end to end: files, shapes, `run.json`, shards, and what is refused.

use crate::bench::*;
use crate::common::{Reference, fixture, records};
use esm_embed::tokenizer::{UnknownPolicy, tokenize};
use half::f16;
use ndarray::ArrayD;
use ndarray_npy::read_npy;
use serde_json::json;

/// A record twice, one of a single residue, and one with X and B.
fn proteins() -> Bench {
    let bench = Bench::new();
    let long = sequence(4, 70);
    let text = format!(">a/1\nMKTVRQERLKXBAGALV\n>b\n{long}\n>g\nG\n>again\n{long}\n");
    bench.write("in.fasta", text);
    bench
}

const LENGTHS: [usize; 4] = [17, 70, 1, 70];

/// The files of a folder of records, by row.
fn files(bench: &Bench, folder: &str, what: &str) -> Vec<String> {
    let index = bench.text(&format!("{folder}/index.tsv"));
    let header = index.lines().next().unwrap().split('\t');
    let column = header.into_iter().position(|name| name == "file").unwrap();
    let file = |line: &str| line.split('\t').nth(column).unwrap().to_owned();
    let names = index.lines().skip(1).map(file);
    names
        .map(|name| {
            format!(
                "{folder}/{what}/000000/{}",
                name.rsplit('/').next().unwrap()
            )
        })
        .collect()
}

fn array(bench: &Bench, file: &str) -> ArrayD<f32> {
    read_npy(bench.path(file)).unwrap()
}

#[test]
fn a_run_writes_contacts_and_attentions() {
    let bench = proteins();
    bench.embed("in.fasta --model $MODEL --include attentions,contacts --out emb");
    let contacts = files(&bench, "emb", "contacts");
    let attentions = files(&bench, "emb", "attentions");
    for ((n, contacts), attentions) in LENGTHS.into_iter().zip(&contacts).zip(&attentions) {
        let contacts = array(&bench, contacts);
        assert_eq!(contacts.shape(), [n, n]);
        assert!(contacts.iter().all(|p| (0.0..=1.0).contains(p)));
        assert_eq!(contacts, contacts.t());
        assert_eq!(array(&bench, attentions).shape(), [2, 2, n + 2, n + 2]);
    }
    assert_eq!(array(&bench, &contacts[1]), array(&bench, &contacts[3]));
    assert_eq!(array(&bench, &attentions[1]), array(&bench, &attentions[3]));
    assert_eq!(
        bench.recorded("emb", "/asked/include"),
        json!(["contacts", "attentions"])
    );
    assert_eq!(
        bench.recorded("emb", "/resolved/attention_layers"),
        json!([0, 1])
    );
    assert_eq!(
        bench.recorded("emb", "/arrays/2"),
        json!({"name": "contacts", "dtype": "f32", "shape": ["n", "n"], "location": "contacts/"})
    );
    assert_eq!(
        bench.recorded("emb", "/arrays/3/shape"),
        json!([2, 2, "n+2", "n+2"])
    );
    let inspected = bench.call("inspect emb --check");
    assert_eq!(inspected.code, 0, "{}", inspected.err);
    // The other arrays are those of a run without them.
    bench.embed("in.fasta --model $MODEL --out plain");
    for name in ["mean.layer2.npy", "residues.layer2.npy", "ids.npy"] {
        assert_eq!(
            bench.bytes(&format!("emb/{name}")),
            bench.bytes(&format!("plain/{name}"))
        );
    }
}

#[test]
fn the_files_of_a_record_hold_fair_esm_s_numbers() {
    let bench = Bench::new();
    let path = fixture("reference/sequences.fasta");
    let run = format!(
        "{} --model $esm1b --include contacts,attentions --pool none --residues none \
         --on-invalid skip --out emb",
        path.display()
    );
    let ended = bench.run(&format!("{run} -q"));
    assert_eq!(ended.code, 3, "{}", ended.err);
    let reference = Reference::open("maps");
    let records = records("reference/sequences.fasta");
    // The last four are the inputs of fair-esm's basic example.
    for id in [
        "len1", "len17", "mask", "basic_1", "basic_2", "basic_3", "basic_4",
    ] {
        let k = records.iter().position(|(name, _)| name == id).unwrap();
        let tokens = tokenize(&records[k].1, UnknownPolicy::Unk).unwrap();
        let n = tokens.ids.len() - 2;
        let kept = |size: usize| match size {
            ..=24 => (0..size).collect(),
            _ => vec![0, size / 3, size - 1],
        };
        for (what, size) in [("contacts", n), ("attentions", n + 2)] {
            let found = array(&bench, &format!("emb/{what}/000000/{id}.npy"));
            let found: Vec<f32> = found.iter().copied().collect();
            let maps = found.chunks_exact(size * size);
            let rows = maps.flat_map(|map| {
                let rows: Vec<usize> = kept(size);
                rows.into_iter()
                    .flat_map(|row| map[row * size..(row + 1) * size].to_vec())
            });
            let want = reference.f32(&format!("esm1b.seq{k}.{what}")).unwrap();
            let rows: Vec<f32> = rows.collect();
            assert_eq!(rows.len(), want.len(), "{what} of {id}");
            for (x, y) in rows.iter().zip(&want) {
                assert!((x - y).abs() <= 1e-5, "{what} of {id}: {x} for {y}");
            }
        }
    }
}

#[test]
fn some_layers_the_mean_and_f16_are_written() {
    let bench = proteins();
    let run = "in.fasta --model $esm2_hd24 --include attentions --pool none --residues none";
    bench.embed(&format!("{run} --out all"));
    bench.embed(&format!(
        "{run} --attention-layers -1,0 --attention-heads mean --out emb"
    ));
    assert_eq!(
        bench.names("emb"),
        [
            "attentions",
            "attentions.sha256",
            "ids.npy",
            "index.tsv",
            "run.json"
        ]
    );
    assert_eq!(
        bench.recorded("emb", "/asked/attention_heads"),
        json!("mean")
    );
    assert_eq!(
        bench.recorded("emb", "/asked/attention_layers"),
        json!([-1, 0])
    );
    assert_eq!(
        bench.recorded("emb", "/resolved/attention_layers"),
        json!([0, 2])
    );
    assert_eq!(
        bench.recorded("emb", "/arrays/0/shape"),
        json!([2, "n+2", "n+2"])
    );
    let file = &files(&bench, "emb", "attentions")[0];
    let (some, all) = (
        array(&bench, file),
        array(&bench, &file.replace("emb/", "all/")),
    );
    assert_eq!(
        (some.shape(), all.shape()),
        (&[2, 19, 19][..], &[3, 2, 19, 19][..])
    );
    for (i, layer) in [(0, 0), (1, 2)] {
        let mean = all.index_axis(ndarray::Axis(0), layer);
        let mean = mean.sum_axis(ndarray::Axis(0)) / 2.0;
        assert_eq!(some.index_axis(ndarray::Axis(0), i), mean);
    }
    bench.embed(&format!(
        "{run} --attention-layers 1 --out-dtype f16 --out half"
    ));
    let bytes = bench.bytes(&file.replace("emb/", "half/"));
    let halves = bytes[128..].chunks_exact(2);
    let halves: Vec<f16> = halves.map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
    let layer = all.index_axis(ndarray::Axis(0), 1);
    let expected: Vec<f16> = layer.iter().map(|p| f16::from_f32(*p)).collect();
    assert_eq!(halves, expected);
    // The model is not computed further than its maps are wanted.
    let ended = bench.run(&format!("{run} --attention-layers 3 --out beyond -q"));
    assert_eq!(
        ended.err,
        "error: --attention-layers 3: the maps of this model have layers 0 to 2 (or -3 to -1, counted \
         from the end)\n"
    );
}

#[test]
fn shards_and_any_batch_give_the_bytes_of_one_run() {
    for (model, residues) in [("MODEL", "none"), ("esm1b", "files")] {
        let include = "--include logits,contacts,attentions";
        let run = format!("in.fasta --model ${model} {include} --residues {residues}");
        proteins().check_batches_and_shards(&run);
    }
}

#[test]
fn the_order_of_the_records_changes_no_bit() {
    let bench = proteins();
    let run =
        "--model $MODEL --include logits,contacts,attentions --residues files --max-tokens 90";
    bench.embed(&format!("in.fasta {run} --out emb"));
    let text = bench.text("in.fasta");
    let mut backwards: Vec<&str> = text.split_inclusive('\n').collect();
    backwards.reverse();
    let backwards: Vec<String> = backwards
        .chunks(2)
        .map(|line| [line[1], line[0]].concat())
        .collect();
    bench.write("backwards.fasta", backwards.concat());
    bench.embed(&format!("backwards.fasta {run} --out other"));
    for what in ["logits", "contacts", "attentions"] {
        let names = files(&bench, "emb", what).into_iter();
        let others = files(&bench, "other", what).into_iter().rev();
        let mut sizes = Vec::new();
        for (name, other) in names.zip(others) {
            let bytes = bench.bytes(&name);
            assert!(bytes == bench.bytes(&other), "{name}, {other}");
            sizes.push(bytes.len());
        }
        assert_eq!(sizes.len(), 4);
        assert_eq!(sizes[1], sizes[3]);
    }
}

#[test]
fn a_contact_regression_is_named_and_recorded() {
    let bench = proteins();
    let pt = std::fs::read(fixture("fair_esm/esm2_hd16.pt")).unwrap();
    bench.write("m.pt", pt);
    let refused = bench.run("in.fasta --model m.pt --include contacts --out emb -q");
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.starts_with(
            "error: m.pt: contacts cannot be computed: fair-esm keeps the contact regression in a second \
             file, NAME-contact-regression.pt, which is not beside this one\n"
        ) && refused.err.contains("  hint: name the file that fair-esm publishes for this model with --contact-regression\n"),
        "{}",
        refused.err
    );
    let regression = fixture("fair_esm/esm2_hd16-contact-regression.pt");
    let regression = regression.display();
    let run = "in.fasta --model m.pt --include contacts --residues none --out emb";
    bench.embed(&format!("{run} --contact-regression {regression}"));
    assert_eq!(
        bench.recorded("emb", "/asked/contact_regression"),
        json!(regression.to_string())
    );
    assert_eq!(
        bench.recorded("emb", "/resolved/model/files/1/name"),
        json!("esm2_hd16-contact-regression.pt")
    );
    bench.embed("in.fasta --model $MODEL --include contacts --residues none --out hf");
    for file in files(&bench, "hf", "contacts") {
        assert_eq!(
            bench.bytes(&file),
            bench.bytes(&file.replace("hf/", "emb/"))
        );
    }
}

#[test]
fn what_cannot_be_computed_is_refused_before_the_output_is_touched() {
    let bench = proteins();
    let esm1v = fixture("esm1v").display().to_string();
    let refused = bench.run("in.fasta --model $esm1v --include contacts --out emb -q");
    assert!(
        refused.err.starts_with(&format!(
            "error: {esm1v}: contacts cannot be computed: ESM-1v was published without a contact \
             regression\n"
        )) && refused
            .err
            .contains("  hint: use --include attentions for the attention maps"),
        "{}",
        refused.err
    );
    let windows =
        bench.run("in.fasta --model $MODEL --include contacts --long window --out emb -q");
    assert!(
        windows.err.starts_with(
            "error: --long window:1022:256 cannot be combined with --include contacts or --include \
             attentions: a residue of one window does not attend to those of another\n  \
             hint: use --long full, which embeds a sequence in one pass\n"
        ),
        "{}",
        windows.err
    );
    // 2 · 2 · 16,386² numbers are just above 4 GiB.
    bench.write("long.fasta", format!(">long\n{}\n", "M".repeat(16_384)));
    let run =
        "long.fasta --model $MODEL --include attentions --pool none --residues none --out emb";
    let large = bench.run(&format!("{run} -q"));
    assert!(
        large.err.contains(
            "the attention maps of 16,384 residues would take 4.3 GB, more than the limit of 4.3 GB for a \
             record\n  hint: choose some layers with --attention-layers, use --attention-heads mean, or \
             --out-dtype f16"
        ),
        "{}",
        large.err
    );
    assert!(!bench.path("emb").exists());
    let forecast = bench.run(&format!("{run} --out-dtype f16 --dry-run -q"));
    assert_eq!(forecast.code, 0, "{}", forecast.err);
    assert!(
        forecast.out.contains("disk          2.1 GB"),
        "{}",
        forecast.out
    );
}

#[test]
fn a_resumed_run_must_include_the_same_maps() {
    let bench = proteins();
    let run = "in.fasta --model $MODEL --include attentions --residues none --out emb";
    bench.embed(run);
    let ended = bench.run(&format!("{run} --resume --attention-layers 1 -q"));
    assert!(
        ended.err.contains("--attention-layers was 0,1 and is 1"),
        "{}",
        ended.err
    );
    let ended = bench.run(&format!("{run} --resume --attention-heads mean -q"));
    assert!(
        ended.err.contains("--attention-heads was all and is mean"),
        "{}",
        ended.err
    );
    bench.embed(&format!("{run} --resume"));
}
