//! A rehearsal of `benches/gpu/check.sh` on the stand-in, so that it does not fail on the machine with a
//! GPU for a reason that has nothing to do with it. Programs of NVIDIA are small scripts here.
//!
//! Stages that need torch run if `ESM_EMBED_REHEARSAL_PYTHON` names a Python that has it.

use crate::kernels::host::Kernels;
use crate::{stand_in, tools};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const NVIDIA_SMI: &str = r#"#!/bin/sh
echo "Stand-in, 580.00, 4096 MiB, 9.0"
"#;

/// Compares the options with those that check.sh gives, and runs the command.
const SANITIZER: &str = r#"#!/bin/sh
[ "$1 $3 $4 $5 $6" = "--tool --target-processes all --error-exitcode 99" ] || exit 98
shift 6
exec "$@"
"#;

/// Runs the command, and prints a table of one kernel as ncu does.
const NCU: &str = r#"#!/bin/sh
while [ "${1#*/esm-embed}" = "$1" ]; do shift; done
"$@" || exit
echo '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","gpu__time_duration.sum","dram__bytes.sum"'
echo '"","","","","","","","","","ns","byte"'
echo '"0","1","esm-embed","h","bias_gelu_f16","1","7","(128, 1, 1)","(300, 1, 1)","1,000","2,000"'
"#;

/// Names that no scope of a Python file defines.
const UNDEFINED: &str = r#"
import builtins, symtable, sys
def check(table, known):
    for child in table.get_children():
        check(child, known)
    for symbol in table.get_symbols():
        if symbol.is_referenced() and symbol.is_global() and symbol.get_name() not in known:
            sys.exit(f"{path}: {symbol.get_name()} is not defined")
for path in sys.argv[1:]:
    with open(path) as file:
        table = symtable.symtable(file.read(), path, "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    check(table, defined | set(dir(builtins)) | {"__file__"})
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A pack, and NVIDIA's programs.
struct Machine {
    home: TempDir,
}

/// How the script ended.
struct Ended {
    code: Option<i32>,
    said: String,
    /// `stage: result` of each stage.
    rows: Vec<String>,
    /// Names of the logs in the archive.
    logs: Vec<String>,
}

impl Machine {
    /// None if a tool is missing.
    fn new() -> Option<Machine> {
        if stand_in::is_real() || !tools::has(&["bash", "python3", "tar", "lscpu", "timeout"]) {
            return None;
        }
        let machine = Machine {
            home: tempfile::tempdir().unwrap(),
        };
        for folder in ["pack", "path"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        let program = assert_cmd::cargo::cargo_bin("esm-embed");
        symlink(program, machine.path("pack/esm-embed")).unwrap();
        let test = std::env::current_exe().unwrap();
        symlink(test, machine.path("pack/cuda-test")).unwrap();
        machine.program("nvidia-smi", NVIDIA_SMI);
        machine.program("compute-sanitizer", SANITIZER);
        machine.program("ncu", NCU);
        // The launcher for the CPU in the place of that for a GPU, `… -o LAUNCHER SOURCE`.
        let launcher = Kernels::Ampere.program();
        let text = format!(
            "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\ncp {} \"$1\"\n",
            launcher.display()
        );
        machine.program("nvcc", &text);
        machine.program("python", "#!/bin/sh\nexec python3 -S \"$@\"\n");
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program on the PATH.
    fn program(&self, name: &str, text: &str) {
        write_program(&self.path("path").join(name), text);
    }

    /// Runs the script with these variables of the stand-in; all stages if none is named.
    fn check(&self, variables: &[(&str, &str)], stages: &[&str]) -> Ended {
        let path = std::env::var("PATH").unwrap();
        let python = std::env::var_os("ESM_EMBED_REHEARSAL_PYTHON");
        let python = python.map_or_else(|| self.path("path/python"), PathBuf::from);
        let done = Command::new("bash")
            .arg(root().join("benches/gpu/check.sh"))
            .args([self.path("pack"), self.path("out")])
            .args(stages)
            .env("PATH", format!("{}:{path}", self.path("path").display()))
            .env("PYTHON", python)
            .env("TMPDIR", self.home.path())
            .env("SHM", self.home.path())
            .env("REHEARSAL", "1")
            .env("LD_LIBRARY_PATH", stand_in::library_path("13"))
            .env("STAND_IN_MULTIPROCESSORS", "1")
            .env("STAND_IN_ALGORITHMS", "even")
            .env_remove("CUDA_VISIBLE_DEVICES")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&done.stdout) + &text(&done.stderr);
        let summary = fs::read_to_string(self.path("out/summary.md")).unwrap_or_default();
        let rows = summary.lines().filter_map(|line| {
            let (stage, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
            let (result, _) = rest.split_once(" | ")?;
            Some(format!("{stage}: {result}"))
        });
        let listed = Command::new("tar")
            .arg("-tzf")
            .arg(self.path("out/report.tar.gz"))
            .output()
            .unwrap();
        let logs = text(&listed.stdout);
        let logs = logs.lines().filter_map(|name| name.strip_prefix("report/"));
        Ended {
            code: done.status.code(),
            said,
            rows: rows.skip(1).collect(),
            logs: logs.map(str::to_owned).collect(),
        }
    }
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_stage_runs() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let ended = machine.check(&[], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let is_python = std::env::var_os("ESM_EMBED_REHEARSAL_PYTHON").is_some();
    let of_python = match is_python {
        true => "passed",
        false => "not run: Python lacks packages",
    };
    let expected = [
        ("machine", "passed"),
        ("first", "passed"),
        ("kernels", "passed"),
        ("fixtures", "passed"),
        ("own", "passed"),
        ("check", of_python),
        ("parts", "passed"),
        ("speed", of_python),
        ("timeline", of_python),
        ("more", of_python),
        ("cpu", of_python),
    ];
    let expected = expected.map(|(stage, result)| format!("{stage}: {result}"));
    assert!(ended.rows.starts_with(&expected), "{}", ended.said);
    for (stage, result) in [
        ("machine", "passed"),
        ("parts", "passed"),
        ("cpu", of_python),
    ] {
        let is_there = ended.logs.contains(&format!("{stage}.txt"));
        assert_eq!(is_there, result == "passed", "{stage}: {:?}", ended.logs);
    }
}

/// A stage that fails is repeated under every diagnosis, and the results so far are saved.
#[test]
fn a_failing_stage_is_diagnosed() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.program(
        "nvcc",
        "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\ncp /bin/false \"$1\"\n",
    );
    for (stage, failure) in [
        ("first", "cuLaunchKernel:1:700"),
        ("fixtures", "cuInit:1:999"),
        ("own", "cuLaunchKernel:3:700"),
        ("kernels", ""),
    ] {
        let variables = [("STAND_IN_FAIL", failure)];
        let ended = machine.check(&variables, &[stage, "parts"]);
        assert_eq!(ended.code, Some(1), "{stage}: {}", ended.said);
        let names = ["", "-blocking", "-memcheck", "-racecheck"];
        let names = names.map(|repeated| format!("{stage}{repeated}"));
        for (row, name) in ended.rows.iter().zip(&names) {
            let is_failed = row.starts_with(&format!("{name}: **failed**, status "));
            assert!(is_failed && !row.ends_with("98"), "{row}");
            assert!(ended.logs.contains(&format!("{name}.txt")), "{name}");
        }
        assert_eq!(ended.rows.len(), 4, "{:?}", ended.rows);
    }
}

/// A name that matches no test is a failure, as is a stage that does not exist.
#[test]
fn nothing_is_passed_without_a_test() {
    let Some(machine) = Machine::new() else {
        return;
    };
    fs::remove_file(machine.path("pack/cuda-test")).unwrap();
    let said = "running 0 tests\\ntest result: ok. 0 passed; 0 failed; 0 ignored";
    let text = format!("#!/bin/sh\nprintf '{said}\\n'\n");
    write_program(&machine.path("pack/cuda-test"), &text);
    for stage in ["kernels", "fixtures"] {
        let ended = machine.check(&[], &[stage]);
        assert_eq!(ended.code, Some(1), "{}", ended.said);
        let first = ended.rows.first().map(String::as_str);
        assert_eq!(first, Some(&*format!("{stage}: **failed**, status 1")));
        assert!(
            ended.said.contains("no test has such a name: "),
            "{}",
            ended.said
        );
    }
    let ended = machine.check(&[], &["machine", "kernel"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(
        ended.said.contains("unknown stage: kernel"),
        "{}",
        ended.said
    );
}

/// The parts in Python, most of which need packages that this machine may lack.
#[test]
fn python_files_name_nothing_undefined() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let folder = root().join("benches/gpu");
    let files = fs::read_dir(&folder).unwrap();
    let files: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .collect();
    assert!(files.len() > 5);
    let python = |arguments: &[&Path]| {
        let done = Command::new("python3")
            .args(["-c", UNDEFINED])
            .args(arguments)
            .output()
            .unwrap();
        (
            done.status.success(),
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    let all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert_eq!(python(&all), (true, String::new()));
    let wrong = machine.path("wrong.py");
    let text = "import os\ndef f(x):\n    return [(os, x, y) for y in x], z\n";
    fs::write(&wrong, text).unwrap();
    let (is_good, said) = python(&[&wrong]);
    assert!(!is_good && said.ends_with(": z is not defined\n"), "{said}");
    let csv = machine.path("ncu.csv");
    let printed = NCU
        .lines()
        .filter_map(|line| line.strip_prefix("echo '")?.strip_suffix('\''));
    fs::write(
        &csv,
        printed.map(|line| format!("{line}\n")).collect::<String>(),
    )
    .unwrap();
    let done = Command::new("python3")
        .args([&folder.join("timeline.py"), &csv])
        .output()
        .unwrap();
    let table = String::from_utf8(done.stdout).unwrap();
    assert!(
        table.contains("| bias_gelu_f16 | (300, 1, 1) | 1 | 0.00 | 100.0% | 2 |"),
        "{table}"
    );
}
