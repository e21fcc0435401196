//! Whether a file is the one that was published.

use std::path::Path;

use super::error::HubError;
use super::published::mismatch;
use crate::checkpoint::check_whole;
use crate::sha256::sha256_file;

const FROM_THE_HUB: &str = "the hub";
const FROM_THE_PUBLICATION: &str = "the digest published for this revision";
const REMOVED: &str = "the file has been removed from the cache: run the same command again\nhint: if \
                       this repeats, a proxy or mirror changes files on the way: use another network \
                       or HF_ENDPOINT";

/// What a file must have.
pub(super) struct Checks<'a> {
    pub(super) name: &'a str,
    /// The file and its repository, for errors.
    pub(super) file: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<&'a str>,
    pub(super) published: Option<(&'static str, Option<u64>)>,
}

impl Checks<'_> {
    /// Reads the file to its end; its SHA-256, or in what it differs from the published file.
    pub(super) fn run(&self, path: &Path) -> Result<Result<String, HubError>, HubError> {
        let (found, bytes) = sha256_file(path).map_err(HubError::io("read", path))?;
        let sha256 = self.sha256.unwrap_or(&found);
        let by_hub = mismatch((sha256, self.size), (&found, bytes)).map(|m| (FROM_THE_HUB, m));
        let by_publication = self.published.and_then(|published| {
            mismatch(published, (&found, bytes)).map(|m| (FROM_THE_PUBLICATION, m))
        });
        if let Some((source_of_truth, (expected, found))) = by_publication.or(by_hub) {
            return Ok(Err(HubError::Digest {
                file: self.file.clone(),
                source_of_truth,
                expected,
                found,
                consequence: REMOVED,
            }));
        }
        // A digest that matches proves more than a look at the ends.
        if self.sha256.is_none()
            && let Err(error) = check_whole(path, self.name)
        {
            return Ok(Err(HubError::Content {
                file: self.file.clone(),
                what: error.found(),
                consequence: REMOVED,
            }));
        }
        Ok(Ok(found))
    }
}
