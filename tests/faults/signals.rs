//! Signals: finished work is saved, the exit status names the signal, and the run can be resumed.

use crate::bench::*;
use crate::case::*;
use crate::common::{fixture, load, rows_of};
use esm_embed::cancel::Cancel;
use esm_embed::embedder::{Computed, Sequence};
use esm_embed::ops::CpuPath;
use esm_embed::product::Product;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

fn send(child: &Child, signal: &str) {
    crate::bench::kill(child, signal);
}

/// Waits for the end; only a hanging run takes this long.
fn wait(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "hangs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The tests may run under nohup, which ignores SIGHUP.
const HANGUP: [&str; 2] = ["env", "--default-signal=HUP"];

/// The stream stalls when the signal comes.
#[test]
fn each_signal_ends_a_stalled_stream_with_its_code() {
    let case = Case::new("- --pool mean,bos --max-tokens 16", &records(40));
    for (signal, code) in [("TERM", 143), ("INT", 130), ("USR1", 138), ("HUP", 129)] {
        case.clear();
        let mut stalled = case.stall_in(&HANGUP, "--out emb", 20);
        send(&stalled.child, signal);
        assert_eq!(wait(&mut stalled.child).code(), Some(code), "{signal}");
        let mut text = String::new();
        stalled
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(
            text,
            format!(
                "error: stopped by SIG{signal}; everything finished so far is kept in \
                 emb/.partial\n  hint: use --resume to continue\n"
            )
        );
        assert_eq!(case.bench.names("emb"), [".partial"]);
        case.go_on(signal);
    }
}

/// A record that takes minutes is abandoned. A second signal waits for nothing.
#[test]
fn a_long_record_is_abandoned_and_a_second_signal_ends_at_once() {
    let text = format!(">a\nMKT\n>b\nGAV\n>long\n{}\n", sequence(1, 150_000));
    let bench = Bench::new();
    bench.write("in.fasta", &text);
    let line = "in.fasta --out emb --model $MODEL --deterministic --threads 1 --cpu-path portable \
                --residues none --progress none";
    for (signals, code) in [(&["TERM"][..], 143), (&["INT", "USR1"], 138)] {
        let _ = std::fs::remove_dir_all(bench.path("emb"));
        let words = line.split_whitespace().map(expand);
        let mut child = Command::new(env!("CARGO_BIN_EXE_esm-embed"))
            .arg("run")
            .args(words)
            .current_dir(bench.path("."))
            .env_clear()
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let journal = bench.path("emb/.partial/journal");
        while std::fs::read(&journal).unwrap_or_default().len() < 48 {
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for signal in signals {
            send(&child, signal);
            // The first is acknowledged before it takes effect.
            if *signal == signals[0] {
                let message = "stopping: saving finished work (Ctrl-C again to quit now)";
                assert!(lines.any(|line| line.unwrap() == message));
            }
        }
        assert_eq!(wait(&mut child).code(), Some(code));
        assert_eq!(bench.names("emb"), [".partial"]);
        let slots = std::fs::read(&journal).unwrap();
        assert_eq!(esm_embed::output::read_journal(0, &slots).count(), 2);
    }
    // The two short records were kept, even if another signal comes before any work.
    let short = format!("{line} --resume");
    let mut command = bench.command();
    command
        .arg("run")
        .args(short.split_whitespace().map(expand));
    let refused = bench.run(&short.replace("--cpu-path portable", "--cpu-path portable --layer 1"));
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("--layer was 2 and is 1"),
        "{}",
        refused.err
    );
}

/// Between two blocks of the model, not only between two batches.
#[test]
fn a_batch_is_abandoned_before_its_first_block() {
    let embedder = load(&fixture("esm2_hd16"), CpuPath::detect());
    let request = rows_of([0, 1, 2]);
    let (tokens, windows) = ([0, 20, 15, 2], [0..1, 1..2]);
    for windows in [&[][..], &windows] {
        let batch = [Sequence {
            tokens: &tokens,
            windows,
        }];
        let layers = |cancel: &Cancel| {
            let mut layers = Vec::new();
            let mut out = |computed: Computed<'_>| {
                if let Product::Residues { layer } = computed.product {
                    layers.push(layer);
                }
                cancel.cancel();
                ControlFlow::Continue(())
            };
            let done = embedder.embed(&batch, &request, cancel, &mut out);
            (layers, done.map_err(|error| error.to_string()))
        };
        let cancel = Cancel::default();
        let (first, done) = layers(&cancel);
        if windows.is_empty() {
            // Cancelled while layer 0 was handed over.
            assert_eq!((first, done), (vec![0], Err("cancelled".to_owned())));
        } else {
            // Windows are handed over once all of them are finished.
            assert_eq!((first, done), (vec![0, 1, 2], Ok(())));
        }
        let (_, done) = layers(&cancel);
        assert_eq!(done, Err("cancelled".to_owned()));
    }
}

/// A run under nohup keeps ignoring SIGHUP.
#[test]
fn an_ignored_sighup_stays_ignored() {
    let case = Case::new("- --max-tokens 16", &records(40));
    let wrapper = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let mut stalled = case.stall_in(&wrapper, "--out emb", 20);
    send(&stalled.child, "HUP");
    stalled.close();
    assert!(wait(&mut stalled.child).success());
    case.assert_whole("hangup");
}

/// A named pipe without a writer, or with one that stalls: progress is reported and signals work.
#[test]
fn a_named_pipe_that_stalls() {
    let text = records(40);
    let case = Case::bare("pipe --max-tokens 16", &text);
    let pipe = case.bench.path("pipe");
    make_pipe(&pipe);
    let message = "error: stopped by SIGTERM; everything finished so far is kept in \
                emb/.partial\n  hint: use --resume to continue\n";

    let mut child = case.command(&[], "--out emb --resume").spawn().unwrap();
    let journal = case.bench.path("emb/.partial/journal");
    while !exists(&journal) {
        std::thread::sleep(Duration::from_millis(5));
    }
    send(&child, "TERM");
    assert_eq!(wait(&mut child).code(), Some(143));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), message);

    let more = "--out emb --resume --progress json";
    let mut child = case.command(&[], more).spawn().unwrap();
    let mut writer = std::fs::File::options().write(true).open(&pipe).unwrap();
    std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    // Two progress lines after the last one caused by a record.
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut last, mut same) = (String::new(), 0);
    for line in lines.map_while(Result::ok) {
        let Some(rest) = line.strip_prefix("{\"event\":\"progress\",") else {
            continue;
        };
        let records = rest.split(',').next().unwrap_or_default().to_owned();
        same = if records == last { same + 1 } else { 0 };
        last = records;
        if same == 2 && last != "\"records\":0" {
            break;
        }
    }
    assert_eq!(same, 2, "{last}");
    send(&child, "TERM");
    assert_eq!(wait(&mut child).code(), Some(143));
    assert_eq!(case.bench.names("emb"), [".partial"]);
    drop(writer);

    for folder in ["emb --resume", "whole"] {
        let mut child = case
            .command(&[], &format!("--out {folder}"))
            .spawn()
            .unwrap();
        std::fs::write(&pipe, &text).unwrap();
        assert!(wait(&mut child).success());
    }
    assert!(case.bench.tree("emb") == case.bench.tree("whole"));
}

/// A closed reader of the messages does not end the run.
#[test]
fn closed_pipes_do_not_end_a_run() {
    let case = Case::new("- --max-tokens 16", &records(40));
    let mut stalled = case.stall("--out emb --progress json", 20);
    drop(stalled.child.stderr.take());
    drop(stalled.child.stdout.take());
    stalled.close();
    assert!(wait(&mut stalled.child).success());
    case.assert_whole("closed pipes");
}
