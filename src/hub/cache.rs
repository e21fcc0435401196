//! The Hugging Face cache: `models--org--name/{blobs,refs,snapshots/COMMIT/file -> ../../blobs/ETAG}`.
//!
//! Paths and refs are hf-hub's. The files are those that Python's `huggingface_hub` writes, so each
//! program finds what the other one downloaded.

use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::error::HubError;

/// Shortest start of a commit hash that is accepted, as in git.
const SHORTEST_HASH: usize = 4;

/// One repository in the cache at one revision.
pub(super) struct CachedRepo {
    cache: CacheRepo,
    folder: PathBuf,
    locks: PathBuf,
    revision: String,
}

impl CachedRepo {
    /// The repository `organisation/name` at a branch, tag or commit.
    pub(super) fn new(cache: &Path, repo: &str, revision: &str) -> Self {
        let repo = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        let folder_name = repo.folder_name();
        CachedRepo {
            folder: cache.join(&folder_name),
            locks: cache.join(".locks").join(folder_name),
            cache: Cache::new(cache.to_path_buf()).repo(repo),
            revision: revision.to_owned(),
        }
    }

    /// `models--organisation--name`.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit of this revision when it was last downloaded, or the only commit in the cache whose
    /// hash starts with it.
    pub(super) fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let by_name = std::fs::read_to_string(self.folder.join("refs").join(&self.revision));
        if let Ok(commit) = by_name {
            let commit = commit.trim();
            return is_safe_name(commit).then(|| commit.to_owned());
        }
        let mut found = self.starting_with_revision();
        match (found.pop(), found.is_empty()) {
            (Some(commit), true) => Some(commit),
            _ => None,
        }
    }

    /// Cached commits whose hash starts with the revision, if that can be the start of a hash.
    fn starting_with_revision(&self) -> Vec<String> {
        let is_start = (SHORTEST_HASH..40).contains(&self.revision.len())
            && self.revision.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_start {
            return Vec::new();
        }
        let start = self.revision.to_ascii_lowercase();
        let mut commits = self.commits();
        commits.retain(|commit| commit.starts_with(&start));
        commits
    }

    /// The commits in the cache, sorted; their files may be incomplete.
    pub(super) fn commits(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("snapshots")) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut commits: Vec<String> = names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| is_safe_name(name))
            .collect();
        commits.sort_unstable();
        commits
    }

    /// Why there is no commit for this revision.
    pub(super) fn without_commit(&self) -> String {
        let revision = &self.revision;
        let several = self.starting_with_revision();
        if several.len() > 1 {
            return format!(
                "several commits there start with `{revision}`: {}",
                several.join(", ")
            );
        }
        let held = match self.commits().as_slice() {
            [] => String::new(),
            [one] => format!("; the cache holds commit {one}, which `revision` can name"),
            several => format!(
                "; the cache holds the commits {}, which `revision` can name",
                several.join(", ")
            ),
        };
        format!("revision `{revision}` was never downloaded{held}")
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.pointer_path(commit)
    }

    /// The file of the content with this ETag.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The file whose lock is needed to write a blob.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Records that the revision is this commit, after all of its files are complete.
    pub(super) fn write_ref(&self, commit: &str) -> Result<(), HubError> {
        if is_commit(&self.revision) || self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        self.cache.create_ref(commit).map_err(HubError::io(
            "write",
            &self.folder.join("refs").join(&self.revision),
        ))
    }

    /// Makes `snapshots/COMMIT/file` a link to a blob and returns its path.
    ///
    /// If the file system has no links, the blob itself is moved there, as the Python tools do.
    pub(super) fn link(&self, etag: &str, commit: &str, file: &str) -> Result<PathBuf, HubError> {
        let pointer = self.snapshot(commit).join(file);
        let folder = pointer.parent().unwrap_or(&pointer).to_path_buf();
        let blob = self.blob(etag);
        let is_linked = match (pointer.canonicalize(), blob.canonicalize()) {
            (Ok(pointer), Ok(blob)) => pointer == blob,
            _ => false,
        };
        if is_linked {
            return Ok(pointer);
        }
        std::fs::create_dir_all(&folder).map_err(HubError::io("create", &folder))?;
        let name = file.rsplit('/').next().unwrap_or(file);
        let new = folder.join(format!(".{name}.{}", std::process::id()));
        // From the folder of the file, which may be below that of the commit.
        let up = "../".repeat(2 + file.matches('/').count());
        let target = Path::new(&up).join("blobs").join(etag);
        let _ = std::fs::remove_file(&new);
        let linked = match std::os::unix::fs::symlink(target, &new) {
            Ok(()) => std::fs::rename(&new, &pointer),
            Err(error) if has_no_links(&error) => std::fs::rename(&blob, &pointer),
            Err(error) => Err(error),
        };
        linked.map_err(HubError::io("write", &pointer))?;
        Ok(pointer)
    }
}

fn has_no_links(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::PERM, Errno::NOTSUP, Errno::NOSYS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether the revision is a full commit hash, which never moves.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40
        && revision
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a commit or ETag from the hub can be the name of a file.
pub(super) fn is_safe_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Checks the name of a branch, tag or commit: it becomes part of a path and of an address.
pub(super) fn checked_revision(revision: &str) -> Result<(), HubError> {
    let why = if revision.is_empty() {
        "it is empty"
    } else if revision.len() > 255 {
        "it is longer than 255 characters"
    } else if !revision
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"~^:?*[\\#%\"<>|".contains(&b))
    {
        "it holds a space or a character that no revision has"
    } else if revision
        .split('/')
        .any(|part| part.is_empty() || part.starts_with('.'))
    {
        "one of its parts is empty or starts with a dot"
    } else {
        return Ok(());
    };
    Err(HubError::Revision {
        revision: crate::printable::name(revision),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_layout_is_that_of_the_python_tools() {
        let repo = CachedRepo::new(Path::new("/c"), "facebook/esm", "main");
        assert_eq!(repo.folder(), Path::new("/c/models--facebook--esm"));
        assert_eq!(
            repo.snapshot(COMMIT),
            Path::new("/c/models--facebook--esm/snapshots").join(COMMIT)
        );
        assert_eq!(
            repo.blob("e"),
            Path::new("/c/models--facebook--esm/blobs/e")
        );
        assert_eq!(
            repo.lock("e"),
            Path::new("/c/.locks/models--facebook--esm/e.lock")
        );
    }

    #[test]
    fn a_ref_leads_to_a_commit() {
        let cache = tempfile::tempdir().unwrap();
        let branch = CachedRepo::new(cache.path(), "o/n", "refs/pr/1");
        assert_eq!(branch.commit(), None);
        branch.write_ref(COMMIT).unwrap();
        assert_eq!(branch.commit().as_deref(), Some(COMMIT));
        let file = branch.folder().join("refs/refs/pr/1");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), COMMIT);
        for damage in ["", "../../x", "a/b"] {
            std::fs::write(&file, damage).unwrap();
            assert_eq!(branch.commit(), None, "{damage}");
        }
        let commit = CachedRepo::new(cache.path(), "o/n", COMMIT);
        assert_eq!(commit.commit().as_deref(), Some(COMMIT));
    }

    #[test]
    fn without_refs_the_commits_are_named_and_found_by_their_first_digits() {
        let cache = tempfile::tempdir().unwrap();
        let at = |revision| CachedRepo::new(cache.path(), "o/n", revision);
        let says = "revision `main` was never downloaded";
        assert_eq!(at("main").without_commit(), says);
        let other = "0123aaaa89abcdef0123456789abcdef01234567";
        std::fs::create_dir_all(at("main").snapshot(COMMIT)).unwrap();
        assert_eq!(
            at("main").without_commit(),
            format!("{says}; the cache holds commit {COMMIT}, which `revision` can name")
        );
        std::fs::create_dir_all(at("main").snapshot(other)).unwrap();
        assert_eq!(at("main").commit(), None);
        assert_eq!(
            at("main").without_commit(),
            format!(
                "{says}; the cache holds the commits {COMMIT}, {other}, which `revision` can name"
            )
        );
        for short in ["01234", "0123456", "0123456789ABC"] {
            assert_eq!(at(short).commit().as_deref(), Some(COMMIT), "{short}");
        }
        assert_eq!(at("0123a").commit().as_deref(), Some(other));
        for none in ["0123", "012", "abcdef0", "01234x"] {
            assert_eq!(at(none).commit(), None, "{none}");
        }
        assert_eq!(
            at("0123").without_commit(),
            format!("several commits there start with `0123`: {COMMIT}, {other}")
        );
    }

    #[test]
    fn links_point_to_blobs_and_replace_damaged_ones() {
        let cache = tempfile::tempdir().unwrap();
        let repo = CachedRepo::new(cache.path(), "o/n", "main");
        std::fs::create_dir_all(repo.blob("e").parent().unwrap()).unwrap();
        std::fs::write(repo.blob("e"), "content").unwrap();
        std::fs::create_dir_all(repo.snapshot(COMMIT)).unwrap();
        let pointer = repo.snapshot(COMMIT).join("config.json");
        std::os::unix::fs::symlink("../../blobs/gone", &pointer).unwrap();
        for _ in 0..2 {
            assert_eq!(repo.link("e", COMMIT, "config.json").unwrap(), pointer);
            assert_eq!(pointer.read_link().unwrap(), Path::new("../../blobs/e"));
        }
        assert_eq!(std::fs::read(&pointer).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(repo.snapshot(COMMIT)).unwrap().count(), 1);
    }

    #[test]
    fn revisions_stay_in_their_folder() {
        for good in ["main", "v1.0", "refs/pr/7", COMMIT, "a-b_c+d"] {
            checked_revision(good).unwrap();
        }
        for bad in [
            "", "..", "../x", "a//b", "/a", "a/", "a b", "a?b", "a%2e", "é", "a\nb",
        ] {
            assert!(
                matches!(checked_revision(bad), Err(HubError::Revision { .. })),
                "{bad}"
            );
        }
        assert!(is_safe_name(COMMIT) && is_safe_name("abc-1"));
        for bad in ["", "..", ".x", "a/b", "/a", "W/\"a\"", &"a".repeat(129)] {
            assert!(!is_safe_name(bad), "{bad}");
        }
    }
}
