//! Driver calls that fail.

use crate::bench::{Bench, messages, sequence};
use crate::command::*;
use crate::stand_in;

const OPTIONS: &str =
    "in.fasta --model $MODEL --layer 2 --device cuda --max-tokens 100 --threads 2";

/// Whichever call fails, and whenever: one error, nothing that looks finished, and resuming gives the
/// bytes of an undisturbed run.
#[test]
fn every_call_can_fail() {
    let bench = Bench::new();
    // More than twenty batches.
    let text: String = (0..60)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 3 + i as usize)))
        .collect();
    bench.write("in.fasta", text);
    let failures = [
        "cuInit:1:999",
        "cuDeviceGetCount:1:999",
        "cuDevicePrimaryCtxRetain:1:2",
        "cuDevicePrimaryCtxSetFlags_v2:1:999",
        "cuStreamCreate:1:2",
        "cuStreamCreate:3:2",
        "cuModuleLoadData:1:2",
        "cuModuleGetFunction:4:500",
        "cuFuncSetAttribute:1:1",
        "cuMemAllocAsync:1:2",
        "cuMemAllocAsync:30:999",
        "cuMemHostAlloc:1:2",
        "cuMemHostAlloc:2:999",
        "cuMemcpyHtoDAsync_v2:5:999",
        "cuMemcpyHtoDAsync_v2:40:700",
        "cuMemcpyDtoHAsync_v2:20:700",
        "cuMemsetD8Async:20:999",
        "cuLaunchKernel:1:999",
        "cuLaunchKernel:200:700",
        "cuStreamSynchronize:3:700",
        "cuStreamSynchronize:70:700",
        "cublasLtCreate:1:1",
        "cublasLtMatmulAlgoGetHeuristic:1:15",
        "cublasLtMatmul:3:13",
        "cublasLtMatmul:120:13",
    ];
    let passed = assert_resumed(&bench, &[], &failures);
    // With little pinned memory, a batch is split. After a failed query, another one has no mask.
    let expected = ["cuMemHostAlloc:1:2", "cublasLtMatmulAlgoGetHeuristic:1:15"];
    assert_eq!(passed, expected);
}

/// The same without cuBLASLt.
#[test]
fn every_call_of_own_products_can_fail() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAY\n>b\nWWKLMMNRST\n");
    let variables = [
        ("LD_LIBRARY_PATH", stand_in::folder().to_str().unwrap()),
        ("STAND_IN_MULTIPROCESSORS", "2"),
        ("STAND_IN_PRODUCTS", "even"),
    ];
    let failures = [
        "cuModuleGetFunction:12:500",
        "cuFuncSetAttribute:3:1",
        "cuLaunchKernel:1:999",
        "cuLaunchKernel:9:700",
        "cuLaunchKernel:16:700",
        "cuMemAllocAsync:30:999",
        "cuStreamSynchronize:30:700",
    ];
    let passed = assert_resumed(&bench, &variables, &failures);
    assert_eq!(passed, [""; 0]);
}

/// Runs with each of these failures, and resumes what is left. Returns those with which the run succeeds.
fn assert_resumed<'a>(
    bench: &Bench,
    variables: &[Variable<'_>],
    failures: &[&'a str],
) -> Vec<&'a str> {
    let mut passed = Vec::new();
    embed(bench, variables, &format!("{OPTIONS} --out whole"));
    let whole = bench.tree("whole");
    for failure in failures {
        let line = format!("run {OPTIONS} --out emb --resume -q");
        let failing = [variables, &[("STAND_IN_FAIL", failure)]].concat();
        let ended = run(bench, &failing, &line);
        if ended.code != 0 {
            assert_eq!(
                (ended.code, &*ended.out),
                (1, ""),
                "{failure}: {}",
                ended.err
            );
            assert_eq!(messages(&ended.err), 1, "{failure}: {}", ended.err);
            // What the driver reports is in the message once.
            assert!(!ended.err.contains("Error("), "{failure}: {}", ended.err);
            assert!(!bench.path("emb/index.tsv").exists(), "{failure}");
            embed(bench, variables, &format!("{OPTIONS} --out emb --resume"));
        } else {
            passed.push(*failure);
        }
        assert!(bench.tree("emb") == whole, "{failure}");
        std::fs::remove_dir_all(bench.path("emb")).unwrap();
    }
    passed
}
