//! Work that fails after it has begun.

use crate::bench::*;
use crate::common::fixture;
use std::time::Duration;

/// A copy of esm2_hd16 whose last LayerNorm adds `value` to column 5.
fn with_offset(bench: &Bench, value: f32) {
    std::fs::create_dir(bench.path("model")).unwrap();
    let copy = |name: &str| std::fs::read(fixture(&format!("esm2_hd16/{name}"))).unwrap();
    let mut weights = copy("model.safetensors");
    let at = first_byte(&weights, "esm.encoder.emb_layer_norm_after.bias") + 5 * 4;
    weights[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bench.write("model/config.json", copy("config.json"));
    bench.write("model/model.safetensors", weights);
}

fn stream() -> String {
    (0..20_000)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 10)))
        .collect()
}

/// Every worker stops at its first batch while most of the stream is still to come: the run ends with
/// their error instead of waiting.
#[test]
fn a_value_too_large_for_f16_ends_the_run() {
    let bench = Bench::new();
    with_offset(&bench, 1e30);
    for threads in [1, 2, 3] {
        let line = "run - --model ./model --out emb --out-dtype f16 --max-tokens 24 -q --force -t";
        let mut command = bench.command();
        command.args(line.split(' ')).arg(threads.to_string());
        // Only a hanging run takes this long.
        let ended = ended(
            command
                .write_stdin(stream())
                .timeout(Duration::from_secs(120)),
        );
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        assert_eq!(messages(&ended.err), 1, "{}", ended.err);
        assert!(
            ended.err.contains("mean.layer2.npy, record in row "),
            "{}",
            ended.err
        );
        assert!(
            ended.err.ends_with(
                ", column 5: 1000000000000000000000000000000 does not fit f16, whose largest value \
                 is 65504\n  \
                 hint: use --out-dtype f32\n  \
                 hint: finished work is kept in emb/.partial; once the cause is removed, use \
                 --resume to continue\n"
            ),
            "{}",
            ended.err
        );
        assert_eq!(bench.names("emb"), [".partial"]);
    }
    let ended = bench.pipe(
        "- --model ./model --out emb -q --force",
        stream().as_bytes(),
    );
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert_eq!(bench.matrix("emb/mean.layer2.npy")[[7, 5]], 1e30);
}
