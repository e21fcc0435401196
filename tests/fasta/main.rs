//! FASTA: the reader against two others, and one decided outcome for every malformed file.

mod malformed;
mod readers;
