//! What is refused before any work: wrong layers, models and inputs. The output is not touched.

use crate::bench::*;
use crate::common::fixture;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAYI\n");
    bench
}

#[test]
fn layers_the_model_does_not_have() {
    let bench = bench();
    for layer in [
        "3",
        "-4",
        "0,33",
        "-9223372036854775808",
        "9223372036854775807",
    ] {
        let wrong = layer.rsplit(',').next().unwrap();
        assert_fails(
            &bench,
            &format!("in.fasta --model $MODEL --layer {layer}"),
            &format!(
                "--layer {wrong}: this model has layers 0 to 2 (or -3 to -1, counted from the end)"
            ),
        );
    }
}

#[test]
fn a_missing_model() {
    let bench = bench();
    assert_fails(
        &bench,
        "in.fasta --model ./none",
        "./none does not exist\n\
         \x20 hint: check the path given as --model; a model of the Hub is named like 650M, \
         esm2_t33_650M_UR50D or organisation/name",
    );
    std::fs::create_dir(bench.path("empty")).unwrap();
    let ended = bench.run("in.fasta --model ./empty --out refused -q");
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.starts_with(
            "error: ./empty: is a folder without model.safetensors or pytorch_model.bin"
        ),
        "{}",
        ended.err
    );
    let ended = bench.run("in.fasta --model 8M --out refused -q");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("HF_HUB_OFFLINE"), "{}", ended.err);
    assert!(ended.err.contains("esm-embed fetch"), "{}", ended.err);
    assert!(!exists(&bench.path("refused")));
}

/// The checkpoint truncated at several lengths, or with one tensor renamed: always an error that names
/// the file, and never an output.
#[test]
fn a_broken_checkpoint() {
    let bench = bench();
    std::fs::create_dir(bench.path("model")).unwrap();
    let copy = |name: &str| std::fs::read(fixture(&format!("esm2_hd16/{name}"))).unwrap();
    bench.write("model/config.json", copy("config.json"));
    let weights = copy("model.safetensors");
    let mut renamed = weights.clone();
    let name = b"esm.encoder.layer.1.output.dense.weight";
    let at = renamed.windows(name.len()).position(|w| w == name).unwrap();
    renamed[at + name.len() - 1] = b'T';
    let mut infinite = weights.clone();
    let at = first_byte(&weights, "esm.encoder.layer.1.output.dense.weight");
    infinite[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let cuts = [0, 7, 100, weights.len() / 2, weights.len() - 1];
    let mut broken: Vec<Vec<u8>> = cuts.iter().map(|&cut| weights[..cut].to_vec()).collect();
    broken.push(renamed);
    broken.push(infinite);
    for bytes in broken {
        bench.write("model/model.safetensors", &bytes);
        let ended = bench.run("in.fasta --model ./model --out refused -q");
        assert_eq!((ended.code, &*ended.out), (1, ""), "{} bytes", bytes.len());
        assert_eq!(ended.err.lines().count(), 2, "{}", ended.err);
        assert!(ended.err.contains("\n  hint: "), "{}", ended.err);
        assert!(
            ended.err.starts_with("error: ./model/model.safetensors"),
            "{}",
            ended.err
        );
        assert!(!exists(&bench.path("refused")));
    }
    // A tensor of the LM head, which embeddings do not need: a warning names it.
    let mut unread = weights.clone();
    let at = first_byte(&weights, "lm_head.layer_norm.weight");
    unread[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    bench.write("model/model.safetensors", &unread);
    let ended = bench.run("in.fasta --model ./model --out headless -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.err.contains(
            "warning: the language-model head is not used: ./model/model.safetensors: the tensor \
             `lm_head.layer_norm.weight` holds inf at row 0, column 0"
        ),
        "{}",
        ended.err
    );
    bench.write("model/model.safetensors", &weights);
    bench.write("model/config.json", "{\"model_type\": \"bert\"}");
    let ended = bench.run("in.fasta --model ./model --out refused -q");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("config.json"), "{}", ended.err);
    bench.write("model/config.json", copy("config.json"));
    bench.embed("in.fasta --model ./model --out emb");
}

#[test]
fn inputs_that_cannot_be_read() {
    let bench = bench();
    std::fs::create_dir(bench.path("folder")).unwrap();
    bench.write("empty.fasta", "");
    bench.write("blank.fasta", "\n \r\n\t\n");
    for (input, error) in [
        (
            "none.fasta",
            "none.fasta: cannot be opened: No such file or directory (os error 2)\n\
             \x20 hint: check the path and its permissions",
        ),
        (
            "in.fasta none.fasta",
            "none.fasta: cannot be opened: No such file or directory (os error 2)\n\
             \x20 hint: check the path and its permissions",
        ),
        (
            "folder",
            "folder: is a folder\n  hint: name the FASTA files in it, for example folder/*.fasta",
        ),
        (
            "empty.fasta",
            "empty.fasta: holds no FASTA record; a record starts with a line `>name`\n\
             \x20 hint: check that this is the right file and that it was written completely",
        ),
        (
            "empty.fasta blank.fasta",
            "empty.fasta, blank.fasta: holds no FASTA record; a record starts with a line `>name`\n\
             \x20 hint: check that this is the right file and that it was written completely",
        ),
    ] {
        for option in ["", "--on-invalid skip", "--dry-run"] {
            let line = format!("{input} --model $MODEL {option}");
            assert_fails(&bench, &line, error);
        }
    }
}

#[test]
fn standard_input_twice_is_wrong_usage() {
    let bench = bench();
    let ended = bench.pipe("- in.fasta - --model $MODEL --out emb", b">a\nMKT\n");
    assert_eq!((ended.code, &*ended.out), (2, ""));
    assert!(
        ended
            .err
            .starts_with("error: standard input (-) is given more than once\n"),
        "{}",
        ended.err
    );
    assert!(!exists(&bench.path("emb")));
}

#[test]
fn characters_outside_the_alphabet_on_request() {
    let bench = Bench::new();
    bench.write(
        "in.fasta",
        ">a\nMKT\n>b text\nMK\nJT1\n>c\nmkxbzuo.-<mask>*\n",
    );
    assert_fails(
        &bench,
        "in.fasta --model $MODEL --unknown error",
        "in.fasta, line 3, record 2 (b): residue 3: `J` is not in the ESM alphabet \
         (LAGVSERTIDPKQNFYMHWCXBUZO.-)\n\
         \x20 hint: correct it, or write X for an unknown residue\n\
         \x20 hint: use --unknown unk, which embeds it as <unk>\n\
         \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
    );
    let line = "in.fasta --model $MODEL --unknown error --on-invalid skip --out emb -q";
    let ended = bench.run(line);
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert_eq!(
        bench.text("emb/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
         0\ta\t3\t0\t\t\n\
         1\tc\t10\t3\tlower=7,masks=1,gaps=2,stop\t\n"
    );
    assert_eq!(
        bench.text("emb/skipped.tsv"),
        "file\tline\trecord\tid\treason\n\
         in.fasta\t3\t2\tb\tresidue 3: `J` is not in the ESM alphabet \
         (LAGVSERTIDPKQNFYMHWCXBUZO.-)\n"
    );
    let ended = bench.run("in.fasta --model $MODEL --unknown unk --out unk -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let index = bench.text("unk/index.tsv");
    assert_eq!(rows(&index)[1], ["1", "b", "5", "3", "unknown=2", "text"]);
    assert_eq!(bench.matrix("unk/residues.layer2.npy").dim(), (18, 32));
}
