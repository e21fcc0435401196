//! The numbers in the files are fair-esm's.

use crate::bench::*;
use crate::common::{Hidden, MAX_ABS, RELATIVE_L2, Reference, assert_parity, differences, fixture};

/// Embeds the reference sequences with all layers and compares every file with fair-esm. Returns
/// the indices of the sequences that were compared.
fn check(model: &str, reference: &str, layers: usize, options: &str, code: i32) -> Vec<usize> {
    let bench = Bench::new();
    let input = fixture("reference/sequences.fasta");
    let text = std::fs::read_to_string(&input).unwrap();
    let ids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('>'))
        .collect();
    let all: Vec<String> = (0..=layers).map(|layer| layer.to_string()).collect();
    let ended = bench.run(&format!(
        "{} --model ${model} --out emb -q --layer {} --pool mean,bos {options}",
        input.display(),
        all.join(",")
    ));
    assert_eq!(ended.code, code, "{model}: {}", ended.err);

    let reference = Reference::open(reference);
    let due: Vec<usize> = reference.numbers().collect();
    let matrices = |what: &str| -> Vec<_> {
        let name = |layer| format!("emb/{what}.layer{layer}.npy");
        (0..=layers)
            .map(|layer| bench.matrix(&name(layer)))
            .collect()
    };
    let (bos, mean, residues) = (matrices("bos"), matrices("mean"), matrices("residues"));
    let index = bench.text("emb/index.tsv");
    let mut compared = Vec::new();
    for (row, fields) in rows(&index).iter().enumerate() {
        let k = ids.iter().position(|id| *id == fields[1]).unwrap();
        if !due.contains(&k) {
            continue;
        }
        let (length, offset): (usize, usize) =
            (fields[2].parse().unwrap(), fields[3].parse().unwrap());
        let hidden: Hidden = (0..=layers)
            .map(|layer| {
                let own = residues[layer].slice(ndarray::s![offset..offset + length, ..]);
                (bos[layer].row(row).to_vec(), own.iter().copied().collect())
            })
            .collect();
        assert_parity(&reference, k, &hidden, &format!("files of {model}"));
        for (layer, mean) in mean.iter().enumerate() {
            let (most, relative) = differences(&mean.row(row).to_vec(), &reference.mean(k, layer));
            assert!(
                most <= MAX_ABS && relative <= RELATIVE_L2,
                "{model}: {most:e}"
            );
        }
        compared.push(k);
    }
    compared
}

#[test]
fn rotary_models_from_every_kind_of_path() {
    let all: Vec<usize> = (0..20).collect();
    for (model, layers) in [
        ("esm2_hd16", 2),
        ("esm2_hd16/model.safetensors", 2),
        ("esm2_hd16_sharded", 2),
        ("esm2_hd16_bin", 2),
        ("esm2_hd16_bin/pytorch_model.bin", 2),
        ("esm2_hd16_v5", 2),
        ("fair_esm/esm2_hd16.pt", 2),
    ] {
        assert_eq!(check(model, "esm2_hd16", layers, "", 0), all, "{model}");
    }
    assert_eq!(check("esm2_hd24", "esm2_hd24", 3, "", 0), all);
    assert_eq!(check("fair_esm/esm2_hd24.pt", "esm2_hd24", 3, "", 0), all);
}

#[test]
fn any_batching_gives_the_same_numbers() {
    let all: Vec<usize> = (0..20).collect();
    for options in [
        "--deterministic --threads 1",
        "--max-tokens 5000 --threads 3",
    ] {
        assert_eq!(check("esm2_hd16", "esm2_hd16", 2, options, 0), all);
    }
}

/// 1,023 and 1,500 residues are too long for learned positions; the rows of the other records move up
/// and stay correct.
#[test]
fn learned_positions_with_records_skipped() {
    let fit: Vec<usize> = (0..20).filter(|k| ![8, 9].contains(k)).collect();
    for model in ["esm1b", "esm1v", "fair_esm/esm1b.pt", "fair_esm/esm1v.pt"] {
        let name = model
            .trim_start_matches("fair_esm/")
            .trim_end_matches(".pt");
        let options = "--on-invalid skip";
        assert_eq!(check(model, name, 2, options, 3), fit, "{model}");
    }
}
