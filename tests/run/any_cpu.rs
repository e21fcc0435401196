//! The promise: a sequence has the same bits in any batch, on any CPU. Runs are forced to each CPU path
//! of this machine, and every file has the same bytes, `run.json` included.

use crate::bench::*;
use crate::common::MODELS;
use crate::shards::{INPUTS, OPTIONS, assert_same, bench, merge};
use esm_embed::ops::CpuPath;
use proptest::prelude::*;

/// The paths of this CPU.
fn paths() -> Vec<String> {
    let all = CpuPath::ALL.into_iter().filter(|path| path.is_available());
    all.map(|path| path.to_string()).collect()
}

/// As a SLURM array whose tasks land on different kinds of nodes.
#[test]
fn a_job_array_on_different_paths_merges_to_the_files_of_one_run() {
    for (dtype, residues) in [("f32", "files"), ("f16", "packed"), ("bf16", "none")] {
        let bench = bench();
        let options = format!("{INPUTS} {OPTIONS} --dtype {dtype} --residues {residues}");
        let ended = bench.run(&format!("{options} --out whole"));
        assert_eq!(ended.code, 3, "{}", ended.err);
        let paths = paths();
        let of = paths.len() + 1;
        let shards: Vec<String> = (1..=of)
            .map(|i| {
                let path = &paths[i % paths.len()];
                let line = format!("{options} --shard {i}/{of} --out {path}-{i} --cpu-path {path}");
                let ended = bench.run(&line);
                assert!([0, 3].contains(&ended.code), "{line}: {}", ended.err);
                format!("{path}-{i}")
            })
            .collect();
        let ended = merge(&bench, &format!("{} --out merged -q", shards.join(" ")));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let (whole, merged) = (bench.tree("whole"), bench.tree("merged"));
        assert_same(&whole, &merged, &format!("{dtype}, {}", shards.join(" ")));
    }
}

#[test]
fn messages_name_the_path_and_run_json_does_not() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAYIAK\n");
    for path in paths() {
        let line = format!("in.fasta --model $MODEL --threads 1 --cpu-path {path} --out {path}");
        let ended = bench.run(&line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let message = format!("; computing on cpu ({path}), 1 thread, f32\n");
        assert!(ended.err.contains(&message), "{}", ended.err);
        let record = bench.text(&format!("{path}/run.json"));
        assert!(
            !record.contains(&path) && !record.contains("arch"),
            "{record}"
        );
    }
}

/// Residues on both sides of the kernels' tiles and blocks.
const LENGTHS: [usize; 18] = [
    1, 2, 3, 5, 11, 14, 15, 16, 30, 31, 62, 64, 100, 127, 254, 258, 511, 700,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_on_any_cpu_path_gives_the_same_files(
        model in prop::sample::select(&MODELS[..]),
        dtype in prop::sample::select(&["f32", "f16", "bf16"][..]),
        picks in prop::collection::vec((prop::sample::select(&LENGTHS[..]), any::<u64>()), 1..9),
        ways in prop::collection::vec((1usize..4, 1usize..2000), 4),
        more in any::<bool>(),
    ) {
        let bench = Bench::in_memory();
        let records: Vec<(String, String)> = picks
            .iter()
            .enumerate()
            .map(|(i, (residues, seed))| (format!("r{i}"), sequence(*seed, *residues)))
            .collect();
        bench.write("in.fasta", fasta(records.iter().map(|(id, s)| (&**id, &**s))));
        let include = match (more, model) {
            (false, _) => "",
            (true, "esm1v") => " --include logits,attentions",
            (true, _) => " --include logits,contacts,attentions",
        };
        let options =
            format!("in.fasta --model ${model} --dtype {dtype} --layer all --pool mean,bos,max{include}");
        bench.embed(&format!("{options} --out single --deterministic --threads 1"));
        let single = bench.tree("single");
        for (path, (threads, tokens)) in paths().iter().zip(ways) {
            bench.embed(&format!(
                "{options} --out {path} --cpu-path {path} --threads {threads} --max-tokens {tokens}"
            ));
            assert_same(&single, &bench.tree(path), &format!("{model}, {dtype}, {path}"));
        }
    }
}
