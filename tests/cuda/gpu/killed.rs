//! `kill -9` while a GPU computes, and resuming.

use crate::bench::{expand, sequence};
use crate::command::*;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let bench = tested_bench();
    let text: String = (0..120)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 10 + 7 * (i as usize % 20))))
        .collect();
    bench.write("in.fasta", text);
    let options = "in.fasta --model $MODEL --device cuda --max-tokens 400 --layer 1,2";
    embed(&bench, &[], &format!("{options} --out whole"));
    let mut killed = 0;
    // As soon as there is a journal, and later.
    for later in [0, 20, 100] {
        let line = format!("run {options} --out emb --resume -q");
        // Like `command`, but as a child process that can be killed.
        let like = command(&bench, &[], &line);
        let mut child = Command::new(like.get_program())
            .current_dir(bench.path(""))
            .env_clear()
            .envs(
                like.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .args(line.split_whitespace().map(expand))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let journal = bench.path("emb/.partial/journal");
        while !journal.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(later));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
    }
    assert!(killed > 0, "nothing was killed");
    embed(&bench, &[], &format!("{options} --out emb --resume"));
    assert!(bench.tree("emb") == bench.tree("whole"));
}
