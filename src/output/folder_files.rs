//! Names of the files that do not depend on what is embedded.

/// Name of the file whose presence means that a run is complete.
pub const RUN_JSON: &str = "run.json";
/// Name of the table of records.
pub const INDEX_TSV: &str = "index.tsv";
/// Name of the table of skipped records.
pub const SKIPPED_TSV: &str = "skipped.tsv";
/// Name of the table with the position of each record of a shard in the whole input.
pub const SHARD_TSV: &str = "shard.tsv";
/// Name of the working folder of an unfinished run.
pub const PARTIAL: &str = ".partial";
/// Name of the list of identifiers.
pub const IDS_NPY: &str = "ids.npy";
/// Name of the table with the shard of each row of a linked folder.
pub const LINKS_NPY: &str = "links.npy";
