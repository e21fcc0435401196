//! Programs that some tests need besides Rust and a C compiler.
//!
//! Without one, a test is skipped with one line on standard error. `ESM_EMBED_REQUIRE_TOOLS=1` makes
//! that a failure, so that a skipped test is not mistaken for a passed one.
#![allow(dead_code)]

use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Makes a missing tool a failure.
pub const REQUIRE: &str = "ESM_EMBED_REQUIRE_TOOLS";

/// Whether all these programs exist. If not, the calling test returns.
pub fn has(tools: &[&str]) -> bool {
    tools.iter().all(|tool| is_there(tool) || skip(tool))
}

/// Whether strace exists and may trace a program. If not, the calling test returns.
pub fn has_strace() -> bool {
    can_trace() || skip("strace")
}

/// Whether strace works: some containers have it but forbid tracing.
pub fn can_trace() -> bool {
    let mut command = Command::new("strace");
    let traced = command.args(["-qq", "-o", "/dev/null", "-e", "trace=none", "true"]);
    traced.output().is_ok_and(|output| output.status.success())
}

/// Whether file systems may be mounted in a namespace of this user.
pub fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    let mounted = command.args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    mounted.output().is_ok_and(|output| output.status.success())
}

/// Gives `run` the words before a program under strace, where one system call of each thread, the first,
/// second, … of its kind, fails or kills: `what` is `error=EIO`, `signal=SIGKILL`, ….
pub fn with_fault<T>(
    call: &str,
    what: &str,
    number: impl Display,
    run: impl FnOnce(&[&str]) -> T,
) -> T {
    let trace = format!("trace={call}");
    injecting(&["-e", &trace], call, what, number, run)
}

/// As [`with_fault`], where only calls count that have one of these paths, or a file that was opened by it.
pub fn with_fault_at<T>(
    paths: &[&str],
    call: &str,
    what: &str,
    number: impl Display,
    run: impl FnOnce(&[&str]) -> T,
) -> T {
    let filter: Vec<_> = paths.iter().flat_map(|path| ["-P", *path]).collect();
    injecting(&filter, call, what, number, run)
}

fn injecting<T>(
    filter: &[&str],
    call: &str,
    what: &str,
    number: impl Display,
    run: impl FnOnce(&[&str]) -> T,
) -> T {
    let inject = format!("inject={call}:{what}:when={number}");
    let strace: &[&str] = &["strace", "-f", "-qq", "-o", "/dev/null"];
    run(&[strace, filter, &["-e", &inject]].concat())
}

/// Reports the missing tool and returns false; fails if tools are required.
pub fn skip(tool: &str) -> bool {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    assert!(
        std::env::var_os(REQUIRE).is_none_or(|value| value.is_empty() || value == "0"),
        "{test} needs {tool}: install it, or unset {REQUIRE}"
    );
    // The print macros would write into the captured output of a passing test.
    let _ = writeln!(std::io::stderr(), "skipped {test}: {tool} is missing");
    false
}

/// Whether a program is on the PATH, or exists if its path is given.
pub fn is_there(tool: &str) -> bool {
    let is_program = |path: &Path| {
        path.metadata()
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if tool.contains('/') {
        return is_program(Path::new(tool));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_program(&folder.join(tool)))
}

/// Runs one test of this program with these variables: whether it passes, and its output.
pub fn run_test(name: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--test-threads=1"]);
    command.env_remove(REQUIRE).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs a test without its tool: it passes with one line, or fails if tools are required.
pub fn assert_skips(name: &str, variables: &[(&str, &str)], tool: &str) {
    let (passes, said) = run_test(name, variables);
    let line = format!("skipped {name}: {tool} is missing\n");
    assert!(passes && said.matches(&line).count() == 1, "{said}");

    let required = [variables, &[(REQUIRE, "1")]].concat();
    let (passes, said) = run_test(name, &required);
    let line = format!("{name} needs {tool}: install it, or unset {REQUIRE}");
    assert!(!passes && said.contains(&line), "{said}");
}
