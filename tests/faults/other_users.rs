//! Files of another user in the output folder: neither followed nor touched, and an obstacle only if
//! the run needs their name.

use crate::bench::*;
use crate::case::*;
use crate::tools;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// An arbitrary user.
const NOBODY: u32 = 65534;

/// Another user's folder with a file, closed to everyone else.
fn closed(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("theirs"), "theirs").unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
}

/// Runs as a user without access to the closed folders: `nobody` if the tests run as root.
fn run(bench: &Bench, more: &str) -> Ended {
    let line = format!("run in.fasta --model ./model -q --threads 1 --out emb {more}");
    call(bench, &line)
}

/// The same for any command.
fn call(bench: &Bench, line: &str) -> Ended {
    let program = bench.path("esm-embed");
    let mut words = vec![program.to_str().unwrap().to_owned()];
    words.extend(line.split_whitespace().map(str::to_owned));
    if rustix::process::geteuid().is_root() {
        let user = format!("--reuid={NOBODY}");
        let group = format!("--regid={NOBODY}");
        let before = ["setpriv", &user, &group, "--clear-groups"];
        words.splice(0..0, before.map(str::to_owned));
    }
    let output = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(bench.path("."))
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Gives the folder to the user that runs the program.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Checks that the closed folder is untouched, and opens it so that it can be removed.
fn assert_theirs(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    let names: Vec<_> = fs::read_dir(path).unwrap().flatten().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(fs::read_to_string(path.join("theirs")).unwrap(), "theirs");
}

/// Copies the program to where the other user can run it.
fn copy_program(bench: &Bench) {
    fs::set_permissions(bench.path("."), Permissions::from_mode(0o755)).unwrap();
    // By another process: programs that other tests start in the meantime would keep a file of this
    // process open for writing, and a program that is open for writing cannot be run.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_esm-embed"))
        .arg(bench.path("esm-embed"))
        .status()
        .unwrap();
    assert!(copied.success());
}

#[test]
fn the_status_of_a_folder_that_cannot_be_read_is_an_error() {
    if rustix::process::geteuid().is_root() && !tools::has(&["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    copy_program(&bench);
    let folder = bench.path("s1");
    for (mode, what) in [
        (0o000, "s1/run.json: Permission denied (os error 13)"),
        (0o444, "s1/run.json: Permission denied (os error 13)"),
        (0o111, "s1: cannot be read: Permission denied (os error 13)"),
    ] {
        closed(&folder);
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let ended = call(&bench, "status s1");
        assert_eq!((ended.code, &*ended.err), (1, ""), "{mode:o}");
        let line = ended.out.lines().next().unwrap_or_default();
        assert!(
            line.contains("s1  failed ") && line.ends_with(what),
            "{mode:o}: {line}"
        );
        assert_theirs(&folder);
    }
}

#[test]
fn files_owned_by_another_user() {
    if rustix::process::geteuid().is_root() && !tools::has(&["setpriv"]) {
        return;
    }
    let case = Case::new("in.fasta", &records(20));
    let bench = &case.bench;
    copy_program(bench);
    let (emb, partial) = (bench.path("emb"), bench.path("emb/.partial"));

    // A folder of theirs, and one of ours with a working folder of theirs.
    for theirs in [&emb, &partial] {
        case.clear();
        fs::create_dir_all(&emb).unwrap();
        give(&emb);
        closed(theirs);
        for more in ["", "--resume", "--force"] {
            let ended = run(bench, more);
            assert_eq!((ended.code, &*ended.out), (1, ""), "{more}: {}", ended.err);
            assert!(
                ended.err.contains(" emb") && ended.err.contains("Permission denied (os error 13)"),
                "{more}: {}",
                ended.err
            );
            assert_eq!(messages(&ended.err), 1, "{}", ended.err);
        }
        assert_theirs(theirs);
        if theirs == &partial {
            fs::remove_dir_all(&partial).unwrap();
        }
    }

    // Their files under other names stay.
    case.clear();
    fs::create_dir_all(&emb).unwrap();
    give(&emb);
    let names = ["emb/.tmp4711", "emb/mean.layer2.npy.tmp", "emb/.nfs0001"];
    names.iter().for_each(|name| closed(&bench.path(name)));
    let ended = run(bench, "");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    for name in names {
        assert_theirs(&bench.path(name));
        fs::remove_dir_all(bench.path(name)).unwrap();
    }
    case.assert_whole("beside files of others");

    // One of their files in the working folder of an interrupted run.
    case.clear();
    fs::create_dir_all(&emb).unwrap();
    give(&emb);
    let limit = run_limited(bench);
    assert_eq!(limit.code, 1, "{}", limit.err);
    let theirs = bench.path("emb/.partial/tmp");
    closed(&theirs);
    let ended = run(bench, "--resume");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: removing emb/.partial/tmp: Permission denied (os error 13); finished output is \
             untouched, and the work so far stays in .partial\n  \
             hint: choose a folder that you may write to with --out\n"
        )
    );
    assert_theirs(&theirs);
    fs::remove_dir_all(&theirs).unwrap();
    let ended = run(bench, "--resume");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    case.assert_whole("without the folder of others in its working folder");
}

/// A run that fails in the middle of its work.
fn run_limited(bench: &Bench) -> Ended {
    let plain = bench.path("esm-embed");
    let hidden = bench.path("esm-embed.real");
    fs::rename(&plain, &hidden).unwrap();
    fs::write(
        &plain,
        format!(
            "#!/bin/sh\nulimit -f 192\nexec {} \"$@\"\n",
            hidden.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&plain, Permissions::from_mode(0o755)).unwrap();
    let ended = run(bench, "--max-tokens 16");
    fs::rename(&hidden, &plain).unwrap();
    ended
}
