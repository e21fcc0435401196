//! FASTA: the reader against two others, and one defined outcome for every malformed file.

mod bad_records;
mod bounds;
mod compressed;
mod files;
mod odd_but_valid;
mod other_formats;
mod readers;
mod support;
