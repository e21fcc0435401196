//! The output folder through the library: what it refuses, leaves behind and reports.

mod existing;
mod inspected;
mod pieces;
mod support;
mod written;
