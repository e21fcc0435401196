//! Residue rows as they leave the GPU.

use crate::bench::Bench;
use crate::command::*;
use half::f16;
use std::fs;

/// Bytes of a `.npy` before its rows.
const HEADER: usize = 128;

/// Rows rounded on the GPU equal, byte for byte, f32 rows rounded on the CPU.
#[test]
fn f16_rows_of_the_gpu_equal_those_rounded_by_the_cpu() {
    let bench = tested_bench();
    bench.write("in.fasta", text(&records()));
    let options = "in.fasta --model $esm2_hd64 --layer 0,2 --pool mean,max --device cuda";
    for kind in ["packed", "files"] {
        for dtype in ["f32", "f16"] {
            let out = format!("{kind}-{dtype}");
            let line = format!("{options} --residues {kind} --out-dtype {dtype} --out {out}");
            embed(&bench, &[], &line);
        }
        let whole = bench.tree(&format!("{kind}-f32"));
        let halves = bench.tree(&format!("{kind}-f16"));
        let mut compared = 0;
        for (name, bytes) in whole.iter().filter(|(name, _)| is_matrix(name)) {
            let floats = bytes[HEADER..].as_chunks::<4>().0.iter();
            let expected: Vec<u8> = floats
                .flat_map(|x| f16::from_f32(f32::from_le_bytes(*x)).to_le_bytes())
                .collect();
            assert!(halves[name][HEADER..] == expected, "{name}");
            compared += 1;
        }
        assert!(compared >= 6, "{kind}: {compared}");
    }
}

#[test]
fn a_passed_self_test_is_remembered_and_a_damaged_note_is_ignored() {
    let bench = Bench::new();
    bench.write("in.fasta", text(&records()));
    let embed = |out: &str, more: &str| {
        let line = format!("in.fasta --model $MODEL --layer 2 --device cuda --out {out} {more}");
        embed(&bench, &[], &line);
        bench.tree(out)
    };
    let remembered = bench.path("hf/hub/.locks/esm-embed");
    let entries = || {
        let all = fs::read_dir(&remembered).unwrap();
        let mut all: Vec<_> = all
            .map(|entry| {
                let path = entry.unwrap().path();
                (path.clone(), fs::read_to_string(path).unwrap())
            })
            .filter(|(_, text)| text.starts_with("esm-embed self-test 1\n"))
            .collect();
        all.sort();
        all
    };
    let first = embed("first", "");
    // For each of four shapes of weights, the algorithm and the choice of a product; and the model.
    let before = entries();
    assert_eq!(before.len(), 9);
    assert!(embed("second", "") == first);
    assert_eq!(entries(), before);
    for (path, _) in &before {
        fs::write(path, "esm-embed self-test 1\npassed\n").unwrap();
    }
    assert!(embed("third", "") == first);
    assert_eq!(entries(), before);
    assert!(embed("fourth", "--check-device") == first);
    // It does not hold for other number formats.
    embed("other", "--dtype bf16");
    assert_eq!(entries().len(), 18);
    fs::remove_dir_all(&remembered).unwrap();
    fs::create_dir_all(remembered.parent().unwrap()).unwrap();
    fs::write(&remembered, "in the way").unwrap();
    assert!(embed("fifth", "") == first);
}
