//! A run that is interrupted on one kind of processor and resumed on another.

use crate::case::*;
use esm_embed::ops::CpuPath;
use esm_embed::output::read_journal;
use std::fs;

#[test]
fn a_run_is_resumed_on_any_path_to_the_same_bytes() {
    for dtype in ["f32", "f16", "bf16"] {
        let options = format!("in.fasta --max-tokens 16 --layer 0,1,2 --dtype {dtype}");
        // On the default path.
        let case = Case::new(&options, &records(40));
        let all = CpuPath::ALL.into_iter();
        let paths: Vec<CpuPath> = all.filter(|path| path.is_available()).collect();
        for turn in 0..paths.len() {
            case.clear();
            let mut done = 0;
            // Each path computes a part, the default path the rest.
            for (number, path) in (0..).zip(paths.iter().cycle().skip(turn).take(paths.len())) {
                let more = format!("--out emb --resume --cpu-path {path}");
                case.starve(200 + 50 * number, &more);
                let journal = fs::read(case.bench.path("emb/.partial/journal")).unwrap();
                let now = read_journal(0, &journal).count();
                assert!(now > done, "{path} has computed nothing");
                done = now;
            }
            case.go_on(&format!("{dtype}, first on {}", paths[turn]));
        }
    }
}
