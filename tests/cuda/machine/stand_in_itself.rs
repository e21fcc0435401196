//! The stand-in notices misuse.

use crate::stand_in;
use std::process::Command;

#[test]
fn misuse_of_the_driver_ends_with_a_message() {
    let output = Command::new(stand_in::folder().join("check"))
        .env("LD_LIBRARY_PATH", stand_in::folder())
        .env("STAND_IN_CARDS", "2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
