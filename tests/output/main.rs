//! The output folder through the library: what it refuses, leaves behind and reports.

mod existing;
mod inspected;
mod large_file;
mod support;
mod written;
