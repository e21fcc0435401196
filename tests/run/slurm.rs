//! `template slurm` from end to end: the script itself, with stand-ins for the commands of SLURM that run each
//! job at once.

use crate::bench::*;
use crate::shards::{INPUTS, assert_same, bench};
use crate::tools;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// Runs a job, task by task, and each task again as long as it is requeued. A job that has to succeed first is
/// the one before.
const SBATCH: &str = r#"#!/usr/bin/env bash
echo "$*" >>"$FAKE/calls"
array= step= after=
while [[ $1 == --* ]]; do
    case $1 in
    --export=*) step=${1##*=} ;;
    --array=*) array=${1#--array=1-} array=${array%%%*} ;;
    --dependency=*) after=${1#--dependency=} ;;
    esac
    shift
done
number=$(($(cat "$FAKE/number" 2>/dev/null || echo 100) + 1))
echo "$number" >"$FAKE/number"
echo "$number;cluster"
case $after in afterok:*) [ -e "$FAKE/ok-${after#*:}" ] || exit 0 ;; esac
export ESM_EMBED_STEP=$step SLURM_ARRAY_JOB_ID=$number SLURM_CPUS_PER_TASK=1
for task in $(seq "${array:-1}"); do
    export SLURM_ARRAY_TASK_ID=$task SLURM_RESTART_COUNT=0
    if [ -n "$array" ] && [ "$task" = 4 ] && [ ! -e "$FAKE/held" ]; then
        # What was started before saves its work for another moment.
        mkdir -p emb.shards/4-of-4/.partial
        flock emb.shards/4-of-4/.partial/lock sleep 2 >/dev/null 2>&1 &
        while flock -n emb.shards/4-of-4/.partial/lock true; do sleep 0.05; done
        touch "$FAKE/held"
    fi
    while
        rm -f "$FAKE/requeued"
        bash "$@" >>"$FAKE/$step-$task.log" 2>&1 && touch "$FAKE/ok-$number"
        [ -e "$FAKE/requeued" ]
    do
        SLURM_RESTART_COUNT=$((SLURM_RESTART_COUNT + 1))
    done
done
exit 0
"#;

/// Task 1 fails at its first start, task 2 is stopped before its time limit, and task 3 preempted.
const SRUN: &str = r#"#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
codes=(0 1 138 143 0)
if [ ! -e "$FAKE/started-$SLURM_ARRAY_TASK_ID" ]; then
    touch "$FAKE/started-$SLURM_ARRAY_TASK_ID"
    [ "${codes[SLURM_ARRAY_TASK_ID]}" = 0 ] || exit "${codes[SLURM_ARRAY_TASK_ID]}"
fi
exec "$@"
"#;

/// Does not answer about task 2.
const SQUEUE: &str = r#"#!/usr/bin/env bash
[[ $* != *_2\ * ]] || exit 1
echo RUNNING
"#;

/// Refuses the first request, as a controller does that has too many. Otherwise it ends the script.
const SCONTROL: &str = r#"#!/usr/bin/env bash
[ "$1" = requeue ] || exit 2
if [ ! -e "$FAKE/refused" ]; then
    touch "$FAKE/refused"
    exit 1
fi
touch "$FAKE/requeued"
kill -KILL $PPID
"#;

fn submit(bench: &Bench) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    let words = "embed.sh emb a.fasta b.fasta.gz --on-invalid skip --residues none -q --model";
    Command::new("bash")
        .args(words.split(' '))
        .arg(expand("$MODEL"))
        .current_dir(bench.home())
        .env_clear()
        .env("PATH", format!("{}:{path}", bench.path("fake").display()))
        .env("FAKE", bench.path("fake"))
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("ESM_EMBED", bench.command().get_program())
        .env("HF_HOME", bench.path("hf"))
        .env("HF_HUB_OFFLINE", "1")
        .env("LOGS", "logs")
        .env("SHARDS", "4")
        .env("WAIT", "1")
        .output()
        .unwrap()
}

#[test]
fn the_script_plans_embeds_shows_the_status_and_merges() {
    if !tools::has(&["bash", "flock"]) {
        return;
    }
    let bench = bench();
    std::fs::create_dir(bench.path("fake")).unwrap();
    for (name, text) in [
        ("sbatch", SBATCH),
        ("srun", SRUN),
        ("squeue", SQUEUE),
        ("scontrol", SCONTROL),
    ] {
        let name = format!("fake/{name}");
        bench.write(&name, text);
        let rights = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bench.path(&name), rights).unwrap();
    }
    bench.write("embed.sh", bench.call("template slurm").out);
    let whole = format!("{INPUTS} --on-invalid skip --residues none -q --model $MODEL --out whole");
    assert_eq!(bench.run(&whole).code, 3);

    let submitted = submit(&bench);
    let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    assert_eq!(said(&submitted.stdout), "shards: job 102, merge: job 103\n");
    let status = said(&submitted.stderr);
    assert!(
        status.ends_with(" status --plan emb.shards/plan-of-4\n"),
        "{status}"
    );
    let calls = bench.text("fake/calls");
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 3);
    assert!(calls[0].contains("STEP=plan "), "{}", calls[0]);
    for words in ["STEP=shard ", "--array=1-4%4 ", "--dependency=afterok:101 "] {
        assert!(calls[1].contains(words), "{}", calls[1]);
    }
    assert!(
        calls[2].contains("--dependency=afterany:102 "),
        "{}",
        calls[2]
    );
    // Task 1 failed: the last job says so, and does not merge.
    let merge = bench.text("fake/merge-1.log");
    assert!(merge.contains("4 shards: 3 done, 1 missing\n"), "{merge}");
    assert!(merge.contains("not done and not running: 1\n"), "{merge}");
    assert!(!exists(&bench.path("emb/run.json")));
    for (task, line) in [
        (2, "stopped before the time limit; queued again\n"),
        (3, "preempted; queued again\n"),
        (4, "emb.shards/4-of-4: another task holds it; waiting\n"),
    ] {
        let log = bench.text(&format!("fake/shard-{task}.log"));
        assert!(log.contains(line), "{log}");
    }
    // Submitted again, only what is left is done.
    let plan = bench.bytes("emb.shards/plan-of-4/plan.json");
    assert!(submit(&bench).status.success());
    assert!(bench.bytes("emb.shards/plan-of-4/plan.json") == plan);
    let merge = bench.text("fake/merge-1.log");
    assert!(merge.contains("4 shards: 4 done\n"), "{merge}");
    assert_same(&bench.tree("whole"), &bench.tree("emb"), "merged");
}
