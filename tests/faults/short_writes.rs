//! A file system that takes a few bytes at a time, with interruptions.

use crate::case::*;
use std::process::Command;

/// Writes at most seven bytes of a regular file, and fails with EINTR every fifth time.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long calls;

static int interrupted(void) {
    if (atomic_fetch_add(&calls, 1) % 5 != 4) return 0;
    errno = EINTR;
    return 1;
}

__attribute__((destructor)) static void tell(void) {
    FILE *file = fopen(getenv("SHORT_WRITES"), "w");
    if (file) { fprintf(file, "%ld", calls); fclose(file); }
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (fd < 3) return real(fd, bytes, count);
    return interrupted() ? -1 : real(fd, bytes, count < 7 ? count : 7);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return interrupted() ? -1 : real(fd, bytes, count < 7 ? count : 7, at);
}
"#;

#[test]
fn short_and_interrupted_writes() {
    for options in [
        "- --max-tokens 40 --pool mean,bos,max --layer 0,2",
        "- --max-tokens 40 --pool mean --residues files --out-dtype f16",
    ] {
        let case = Case::new(options, &records(12));
        case.bench.write("shim.c", SHIM);
        let (source, library) = (case.bench.path("shim.c"), case.bench.path("shim.so"));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        // A C compiler is needed to build the crate.
        assert!(compiled.unwrap().success());
        let output = case
            .command(&[], "--out emb")
            .env("LD_PRELOAD", &library)
            .env("SHORT_WRITES", case.bench.path("calls"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let bytes: usize = case.whole.values().map(Vec::len).sum();
        let calls: usize = case.bench.text("calls").parse().unwrap();
        assert!(calls > bytes / 7, "{calls} calls for {bytes} bytes");
        case.assert_whole(options);
    }
}
