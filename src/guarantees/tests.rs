//! The page of guarantees names tests that exist.

use std::path::Path;

#[test]
fn every_promise_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("src/guarantees.rs")).unwrap();
    let mut promises = 0;
    let mut named = 0;
    let mut tests_of_promise = usize::MAX;
    for line in page.lines() {
        if line.starts_with("//! - ") {
            assert!(
                tests_of_promise > 0,
                "a promise before this one names no test: {line}"
            );
            promises += 1;
            tests_of_promise = 0;
        }
        for name in line
            .split('`')
            .filter(|part| part.starts_with("tests/") && part.contains("::"))
        {
            let (file, function) = name.split_once("::").unwrap();
            let text = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(
                text.contains(&format!("fn {function}(")),
                "{name} is not there"
            );
            tests_of_promise = tests_of_promise.saturating_add(1);
            named += 1;
        }
    }
    assert!(tests_of_promise > 0);
    assert!(
        promises >= 25 && named >= promises,
        "{promises} promises, {named} tests"
    );
}
