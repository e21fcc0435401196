//! The tests that hold the promises, here and in the README, exist.

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Whether a source file defines this test: its attributes, `#[test]` among them, right above its
/// `fn`. Text in comments does not count.
fn defines_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if is_test && line.starts_with(&function) {
            return true;
        }
        is_test = line == "#[test]" || (is_test && line.starts_with("#["));
    }
    false
}

fn assert_test_exists(file: &str, name: &str) {
    let is_there = defines_test(&read(file), name);
    assert!(is_there, "{file} has no test {name}");
}

/// Tests that a line names as `` `tests/FILE.rs::NAME` ``, `` `src/FILE.rs::NAME` `` or `` [`NAME`](tests/FILE.rs) ``.
fn tests_named_in(line: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = line.split('`').collect();
    let mut named = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        if (part.starts_with("tests/") || part.starts_with("src/"))
            && let Some((file, name)) = part.split_once("::")
        {
            named.push((file.to_owned(), name.to_owned()));
        }
        let after = parts
            .get(i + 1)
            .and_then(|next| next.strip_prefix("](tests/"));
        if let Some((file, _)) = after.and_then(|link| link.split_once(')'))
            && file.ends_with(".rs")
        {
            named.push((format!("tests/{file}"), (*part).to_owned()));
        }
    }
    named
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = read("src/guarantees.rs");
    let (mut promises, mut named, mut of_promise) = (0, 0, usize::MAX);
    for line in page.lines() {
        if line.starts_with("//! - ") {
            assert!(
                of_promise > 0,
                "the promise before this one names no test: {line}"
            );
            promises += 1;
            of_promise = 0;
        }
        for (file, name) in tests_named_in(line) {
            assert_test_exists(&file, &name);
            of_promise = of_promise.saturating_add(1);
            named += 1;
        }
    }
    assert!(of_promise > 0, "the last promise names no test");
    assert!(
        promises >= 25 && named >= promises,
        "{promises} promises, {named} tests"
    );
}

#[test]
fn the_promises_of_the_readme_link_to_tests_that_exist() {
    let page = read("README.md");
    let first_screen = page.split("\n## ").next().unwrap_or_default();
    let promises = first_screen
        .lines()
        .filter(|line| line.starts_with("- "))
        .count();
    let named: Vec<_> = first_screen.lines().flat_map(tests_named_in).collect();
    for (file, name) in &named {
        assert_test_exists(file, name);
    }
    assert_eq!((promises, named.len()), (3, 3), "{named:?}");
}

#[test]
fn a_name_in_a_comment_or_of_a_helper_is_not_a_test() {
    let source = "\
// #[test]
// fn in_a_comment() {}
fn helper() {}
#[test]
#[cfg(unix)]
fn with_two_attributes() {
    helper();
}
/// fn in_docs() is named here.
#[derive(Debug)]
struct Other;
";
    assert!(defines_test(source, "with_two_attributes"));
    for name in ["in_a_comment", "helper", "in_docs", "with_two", "missing"] {
        assert!(!defines_test(source, name), "{name}");
    }
}
