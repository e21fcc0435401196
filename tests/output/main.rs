//! The output folder through the library: what it refuses, leaves behind and reports.

mod folder;
mod pieces;
