//! The driver and cuBLASLt: which ones are used, and what is reported about missing ones.

use crate::bench::{Bench, Ended, messages};
use crate::command::*;
use crate::stand_in;
use std::fs;
use std::path::Path;

const OPTIONS: &str = "run in.fasta --model $MODEL --layer 2 --pool mean --residues none";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAY\n>b\nWWKL\n");
    bench
}

/// With these libraries and no other variables.
fn with(bench: &Bench, path: &str, driver: &str, line: &str) -> Ended {
    run(
        bench,
        &[("LD_LIBRARY_PATH", path), ("STAND_IN_DRIVER", driver)],
        line,
    )
}

/// Whether this machine has its own copy of the library, which would be found.
fn is_installed(name: &str) -> bool {
    [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/usr/local/nvidia/lib64",
        "/usr/local/cuda/lib64",
    ]
    .iter()
    .any(|folder| Path::new(folder).join(name).exists())
}

/// A shared library of this C text.
fn make(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    let source = folder.join("source.c");
    fs::write(&source, text).unwrap();
    stand_in::compile(|c| {
        c.args(["-x", "c", "-shared", "-fPIC"])
            .arg(format!("-Wl,-soname,{name}"));
        c.arg(source).arg("-o").arg(folder.join(name))
    });
}

/// `--device cuda` is an error with the reason; `auto` computes on the CPU and gives the same reason.
fn assert_refused(bench: &Bench, path: &str, driver: &str, why: &str) {
    let ended = with(
        bench,
        path,
        driver,
        &format!("{OPTIONS} --device cuda --out emb -q"),
    );
    assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
    assert!(ended.err.contains(why), "{why}: {}", ended.err);
    assert_eq!(messages(&ended.err), 1, "{}", ended.err);
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    let ended = with(bench, path, driver, &format!("{OPTIONS} --out auto"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let said = format!("no GPU is used: {why}");
    assert!(ended.err.contains(&said), "{said}: {}", ended.err);
    assert_eq!(bench.recorded("auto", "/resolved/device"), "cpu");
    let ended = with(bench, path, driver, "doctor");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains(why), "{why}: {}", ended.out);
    fs::remove_dir_all(bench.path("auto")).unwrap();
}

/// A driver for CUDA 12 gets cuBLASLt 12, one for CUDA 13 the newest available.
#[test]
fn the_cublaslt_that_fits_the_driver_is_chosen() {
    let bench = bench();
    let both = format!(
        "{}:{}",
        stand_in::library_path("12"),
        stand_in::library_path("13")
    );
    let only_12 = stand_in::library_path("12");
    for (number, (path, driver, version)) in [
        (&both, "12000", 120_400),
        (&both, "12020", 120_400),
        (&both, "12090", 120_400),
        (&both, "13000", 130_400),
        (&only_12, "13000", 120_400),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("o{number}");
        let line = format!("{OPTIONS} --device cuda --out {out} -q");
        let ended = with(&bench, path, driver, &line);
        assert_eq!((ended.code, &*ended.err), (0, ""), "{driver}");
        assert_eq!(bench.recorded(&out, "/resolved/cuda/cublaslt"), version);
        assert_eq!(
            bench.recorded(&out, "/resolved/cuda/cards/0/image"),
            "sm_90"
        );
        assert!(bench.tree(&out)["mean.layer2.npy"] == bench.tree("o0")["mean.layer2.npy"]);
    }
}

#[test]
fn cublaslt_is_found_where_pip_puts_it() {
    let bench = bench();
    let packages = bench.path("venv/lib/python3.12/site-packages/nvidia/cublas/lib");
    fs::create_dir_all(&packages).unwrap();
    fs::create_dir_all(bench.path("venv/bin")).unwrap();
    fs::write(bench.path("venv/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
    fs::write(bench.path("venv/bin/python3"), "").unwrap();
    let library = "libcublasLt.so.12";
    let from = stand_in::folder().join("12").join(library);
    fs::copy(from, packages.join(library)).unwrap();
    let driver = stand_in::folder().to_str().unwrap();
    let bin = bench.path("venv/bin");
    let variables = [
        ("LD_LIBRARY_PATH", driver),
        ("STAND_IN_DRIVER", "12020"),
        ("PATH", bin.to_str().unwrap()),
    ];
    let line = format!("{OPTIONS} --device cuda --out emb -q");
    let ended = run(&bench, &variables, &line);
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let path = bench.recorded("emb", "/resolved/cuda/cublaslt_path");
    assert_eq!(path, packages.join(library).to_str().unwrap());
}

#[test]
fn missing_libraries_are_named_with_a_remedy() {
    let bench = bench();
    if !is_installed("libcuda.so.1") {
        let missing = "no NVIDIA driver is installed (libcuda.so.1 is missing)";
        assert_refused(&bench, "", "13000", missing);
    }
}

/// Without cuBLASLt, or with one that is damaged, the GPU is used with the program's own matrix products,
/// and the run says so. Only TF32 is refused.
#[test]
fn without_cublaslt_own_products_are_used() {
    if ["libcublasLt.so.12", "libcublasLt.so.13"]
        .iter()
        .any(|name| is_installed(name))
    {
        return;
    }
    let bench = bench();
    let driver = stand_in::folder().to_str().unwrap().to_owned();
    let damaged = bench.path("libs");
    make(&damaged, "libcublasLt.so.13", "int nothing;");
    let damaged = format!("{}:{driver}", damaged.display());
    for (number, (path, version, why)) in [
        (
            &driver,
            "12020",
            "cuBLASLt is missing: libcublasLt.so.12 was not found (searched: ",
        ),
        (
            &damaged,
            "13000",
            "libcublasLt.so.13 has no function cublasLtGetVersion",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let run = |line: &str| {
            let variables = [
                ("LD_LIBRARY_PATH", path.as_str()),
                ("STAND_IN_DRIVER", version),
                ("STAND_IN_MULTIPROCESSORS", "8"),
                ("STAND_IN_PRODUCTS", "even"),
            ];
            run(&bench, &variables, line)
        };
        for device in ["--device cuda", ""] {
            let out = format!("o{number}{}", device.len());
            let ended = run(&format!("{OPTIONS} {device} --out {out}"));
            assert_eq!(ended.code, 0, "{}", ended.err);
            assert!(
                ended
                    .err
                    .contains("the program's own matrix products are used: ")
                    && ended.err.contains(why),
                "{}",
                ended.err
            );
            assert_eq!(bench.recorded(&out, "/resolved/device"), "cuda (Stand-in)");
            let cuda = bench.recorded(&out, "/resolved/cuda");
            assert_eq!(cuda["cublaslt"], serde_json::Value::Null);
            assert_eq!(cuda["same_bits_in_any_batch"], true);
            let taken = cuda["cards"][0]["algorithms"].as_object().unwrap().clone();
            assert_eq!(taken.len(), 4);
            assert!(taken.values().all(|name| name == "esm-embed"), "{taken:?}");
        }
        let ended = run("doctor");
        assert!(
            ended
                .out
                .contains("none; the program's own matrix products are used: "),
            "{}",
            ended.out
        );
        assert!(ended.out.contains(why), "{}", ended.out);
        let ended = run(&format!("{OPTIONS} --device cuda --dtype tf32 --out no -q"));
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        assert!(ended.err.contains("TF32 needs cuBLASLt ("), "{}", ended.err);
        assert!(ended.err.contains("use --dtype f32"), "{}", ended.err);
    }
    assert!(bench.tree("o00")["mean.layer2.npy"] == bench.tree("o10")["mean.layer2.npy"]);
    // What is missing is named with a remedy.
    let variables = [
        ("LD_LIBRARY_PATH", driver.as_str()),
        ("STAND_IN_DRIVER", "13000"),
    ];
    let ended = self::run(&bench, &variables, "doctor");
    for words in [
        "cuBLASLt is missing: libcublasLt.so.13 or libcublasLt.so.12 was not found",
        &driver,
        "run `pip install nvidia-cublas` in the Python on PATH",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
}

#[test]
fn a_driver_that_is_too_old_is_named_with_the_required_version() {
    let bench = bench();
    let path = stand_in::library_path("12");
    let why = "the NVIDIA driver is too old: it supports CUDA up to 11.8, and CUDA 12.0 is needed";
    assert_refused(&bench, &path, "11080", why);
}

/// Damaged libraries give an error, not a panic.
#[test]
fn damaged_libraries() {
    let bench = bench();
    let folder = bench.path("libs");
    let path = format!("{}:{}", folder.display(), stand_in::library_path("13"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("libcuda.so.1"), "text").unwrap();
    let why = "the NVIDIA driver cannot be loaded (";
    assert_refused(&bench, &path, "13000", why);
    let lacking =
        "int cuDriverGetVersion(int *v) { *v = 13000; return 0; } int cuInit(int f) { return f; }";
    make(&folder, "libcuda.so.1", lacking);
    std::os::unix::fs::symlink("libcuda.so.1", folder.join("libcuda.so")).unwrap();
    let why = "libcuda.so.1 has no function cuCtxGetCurrent: it is damaged or not NVIDIA's";
    assert_refused(&bench, &path, "13000", why);
    // The toolkit's folder `stubs` has only the other name.
    fs::remove_file(folder.join("libcuda.so.1")).unwrap();
    fs::remove_file(folder.join("libcuda.so")).unwrap();
    make(&folder, "libcuda.so", lacking);
    let why = "a folder of LD_LIBRARY_PATH holds a libcuda.so that is not the driver's";
    assert_refused(&bench, &path, "13000", why);
    fs::remove_file(folder.join("libcuda.so")).unwrap();
    let library = folder.join("libcublasLt.so.13");
    // One that cannot be opened is skipped.
    fs::write(&library, "text").unwrap();
    let ended = with(
        &bench,
        &path,
        "13000",
        &format!("{OPTIONS} --device cuda --out emb -q"),
    );
    assert_eq!((ended.code, &*ended.err), (0, ""));
}

/// Settings of NVIDIA's libraries that change numbers are refused.
#[test]
fn variables_that_change_numbers_are_refused() {
    let bench = bench();
    for (name, value) in [
        ("NVIDIA_TF32_OVERRIDE", "1"),
        ("CUBLAS_EMULATE_SINGLE_PRECISION", "1"),
        ("CUBLAS_EMULATION_STRATEGY", "eager"),
    ] {
        let line = format!("{OPTIONS} --device cuda --out emb -q");
        let ended = run(&bench, &[(name, value)], &line);
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        let why = format!("{name} is set, which changes the numbers of matrix products");
        assert!(ended.err.contains(&why), "{}", ended.err);
    }
}
