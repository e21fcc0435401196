//! A Hub on loopback: a repository's files as the public Hub serves them, with faults on demand.
//!
//! Small files are redirected within the Hub, weights to a second server, as the Hub does to its
//! storage. Every request is recorded.

#![allow(dead_code)]

pub mod bench;

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

/// What goes wrong with the content of one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status and no content.
    Status(u16),
    /// Only this many bytes, then the connection closes.
    Cut(usize),
    /// The same, without a Content-Length.
    CutWithoutLength(usize),
    /// This bit of the content is inverted.
    Flip(usize),
    /// A login page, with status 200.
    Page,
    /// The whole content, whatever range was requested.
    WholeFile,
    /// Silence until the client disconnects.
    Silence,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
    pub on_storage: bool,
}

#[derive(Default)]
struct State {
    repo: String,
    commit: String,
    revisions: Vec<String>,
    files: HashMap<String, Vec<u8>>,
    /// The repositories of files that are not in `repo`.
    others: HashMap<String, String>,
    linked_etags: HashMap<String, String>,
    /// Statuses that answer requests for a file's metadata, in turn.
    refusals: HashMap<String, VecDeque<(u16, &'static str)>>,
    faults: HashMap<String, VecDeque<Fault>>,
    required_token: Option<String>,
    /// After a request for the first, the branch is at the second.
    moves: VecDeque<(String, String)>,
    requests: Vec<Request>,
    /// Whether it lists the repository's files.
    lists: bool,
}

/// The Hub; it ends with the test process.
pub struct HubServer {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// sha256 in hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

impl HubServer {
    /// Serves one repository with these files as `main` and as [`COMMIT`].
    pub fn start(repo: &str, files: &[(&str, &[u8])]) -> Self {
        let state = Arc::new(Mutex::new(State {
            repo: repo.to_owned(),
            commit: COMMIT.to_owned(),
            revisions: vec!["main".to_owned()],
            files: files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
                .collect(),
            ..State::default()
        }));
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage_endpoint = format!("http://{}", storage.local_addr().unwrap());
        serve(storage, Arc::clone(&state), None);
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        serve(hub, Arc::clone(&state), Some(storage_endpoint));
        HubServer { endpoint, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Another content, at another commit.
    pub fn publish(&self, commit: &str, file: &str, content: &[u8]) {
        let mut state = self.state();
        commit.clone_into(&mut state.commit);
        state.files.insert(file.to_owned(), content.to_vec());
    }

    /// Another repository, at the same commit; its files have names that the first has not.
    pub fn also(&self, repo: &str, files: &[(&str, &[u8])]) {
        let mut state = self.state();
        for (name, content) in files {
            let before = state.files.insert((*name).to_owned(), content.to_vec());
            assert!(before.is_none(), "{name}");
            state.others.insert((*name).to_owned(), repo.to_owned());
        }
    }

    /// From now on it lists the repository's files.
    pub fn list(&self) {
        self.state().lists = true;
    }

    /// Serves the present commit under this branch or tag too.
    pub fn tag(&self, revision: &str) {
        self.state().revisions.push(revision.to_owned());
    }

    pub fn set_commit(&self, commit: &str) {
        commit.clone_into(&mut self.state().commit);
    }

    /// The branch moves to each commit in turn, right after a request for the file.
    pub fn move_after(&self, file: &str, commits: &[&str]) {
        self.state().moves = commits
            .iter()
            .map(|commit| (file.to_owned(), (*commit).to_owned()))
            .collect();
    }

    pub fn require_token(&self, token: &str) {
        self.state().required_token = Some(token.to_owned());
    }

    /// Sends this ETag instead of the file's sha256.
    pub fn announce_etag(&self, file: &str, etag: &str) {
        self.state()
            .linked_etags
            .insert(file.to_owned(), etag.to_owned());
    }

    /// The next requests for the file's content fail like this, one by one.
    pub fn fail_content(&self, file: &str, faults: &[Fault]) {
        self.state()
            .faults
            .insert(file.to_owned(), faults.iter().cloned().collect());
    }

    /// The next requests for the file's metadata are answered with a status and an `X-Error-Code`.
    pub fn refuse(&self, file: &str, statuses: &[(u16, &'static str)]) {
        self.state()
            .refusals
            .insert(file.to_owned(), statuses.iter().copied().collect());
    }

    /// Takes the requests so far.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }
}

/// Answers connections in threads: as the Hub if given the storage's address, else as the storage.
fn serve(listener: TcpListener, state: Arc<Mutex<State>>, storage: Option<String>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            let storage = storage.clone();
            std::thread::spawn(move || answer(stream, &state, storage.as_deref()));
        }
    });
}

fn read_request(stream: &TcpStream, on_storage: bool) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut request = Request {
        path: first.split(' ').nth(1)?.to_owned(),
        range: None,
        token: None,
        on_storage,
    };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value),
            "authorization" => request.token = Some(value),
            _ => {}
        }
    }
    Some(request)
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, storage: Option<&str>) {
    let Some(request) = read_request(&stream, storage.is_none()) else {
        return;
    };
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    if storage.is_some() && state.lists && request.path.starts_with("/api/models/") {
        let names = state.files.keys();
        let siblings: Vec<String> = names
            .map(|name| format!(r#"{{"rfilename":"{name}"}}"#))
            .collect();
        let json = format!(r#"{{"siblings":[{}]}}"#, siblings.join(","));
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
            json.len()
        );
        return;
    }
    // Names of files may hold slashes.
    let is_asked = |file: &&String| request.path.ends_with(&format!("/{file}"));
    let nested = state
        .files
        .keys()
        .filter(is_asked)
        .max_by_key(|file| file.len());
    let last = || request.path.rsplit('/').next().unwrap().to_owned();
    let file = nested.cloned().unwrap_or_else(last);
    if let Some(storage) = storage
        && !request.path.starts_with("/api/resolve-cache/")
    {
        let head = state.resolve(&request, &file, storage);
        let _ = write!(
            stream,
            "HTTP/1.1 {head}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return;
    }
    let content = state.files.get(&file).cloned().unwrap_or_default();
    let fault = state.faults.get_mut(&file).and_then(VecDeque::pop_front);
    let own = match storage {
        Some(_) => format!(
            "X-Repo-Commit: {}\r\nETag: \"{}\"\r\n",
            state.commit,
            state.etag(&file)
        ),
        None => "ETag: \"an-etag-of-the-storage\"\r\n".to_owned(),
    };
    drop(state);
    send(&mut stream, &request, content, &own, fault);
}

impl State {
    /// 40 digits for small files, as the hub's git object names are, and sha256 for weights.
    fn etag(&self, file: &str) -> String {
        let digest = sha256(&self.files[file]);
        match self.linked_etags.get(file) {
            Some(etag) => etag.clone(),
            None if is_large(file) => digest,
            None => digest[..40].to_owned(),
        }
    }

    /// The hub's answer to `/{repo}/resolve/{revision}/{file}`, from the status to the last header.
    fn resolve(&mut self, request: &Request, file: &str, storage: &str) -> String {
        if let Some((status, code)) = self.refusals.get_mut(file).and_then(VecDeque::pop_front) {
            return format!("{status} Refused\r\nX-Error-Code: {code}\r\n");
        }
        let asked = request
            .path
            .split_once("/resolve/")
            .and_then(|(repo, rest)| {
                let repo = repo.trim_start_matches('/');
                let is_known = repo == self.repo || self.others.values().any(|other| other == repo);
                is_known.then_some((repo, rest.split_once('/')?.0))
            });
        let Some((repo, revision)) = asked else {
            return "404 Not Found\r\nX-Error-Code: RepoNotFound\r\n".to_owned();
        };
        let is_here = self.others.get(file).unwrap_or(&self.repo) == repo;
        let token = self.required_token.as_ref().map(|t| format!("Bearer {t}"));
        if token.is_some() && request.token != token {
            return "403 Forbidden\r\nX-Error-Code: GatedRepo\r\n\
                    X-Error-Message: Access to this model is restricted\r\n"
                .to_owned();
        }
        let revision = revision.replace("%2F", "/");
        if revision != self.commit && !self.revisions.contains(&revision) {
            return "404 Not Found\r\nX-Error-Code: RevisionNotFound\r\n".to_owned();
        }
        let Some(content) = self.files.get(file).filter(|_| is_here) else {
            return "404 Not Found\r\nX-Error-Code: EntryNotFound\r\n".to_owned();
        };
        let etag = self.etag(file);
        let commit = self.commit.clone();
        if self.moves.front().is_some_and(|(after, _)| after == file)
            && let Some((_, next)) = self.moves.pop_front()
        {
            self.commit = next;
        }
        if is_large(file) {
            format!(
                "302 Found\r\nX-Repo-Commit: {commit}\r\nX-Linked-Size: {}\r\n\
                 X-Linked-ETag: \"{etag}\"\r\nLocation: {storage}/signed/{file}\r\n",
                content.len()
            )
        } else {
            format!(
                "307 Temporary Redirect\r\nX-Repo-Commit: {commit}\r\n\
                 Location: /api/resolve-cache/models/{file}\r\n"
            )
        }
    }
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".bin")
}

fn send(
    stream: &mut TcpStream,
    request: &Request,
    mut content: Vec<u8>,
    own: &str,
    fault: Option<Fault>,
) {
    let whole = content.len();
    let mut start = request
        .range
        .as_deref()
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut with_length = true;
    let mut sent = whole;
    match fault {
        Some(Fault::Status(status)) => {
            let _ = write!(
                stream,
                "HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n\r\n"
            );
            return;
        }
        Some(Fault::Silence) => {
            let _ = std::io::Read::read(stream, &mut [0]);
            return;
        }
        Some(Fault::Cut(bytes)) => sent = bytes,
        Some(Fault::CutWithoutLength(bytes)) => {
            sent = bytes;
            with_length = false;
        }
        Some(Fault::Flip(bit)) => content[bit / 8] ^= 1 << (bit % 8),
        Some(Fault::Page) => {
            content = b"<!DOCTYPE html><title>Please sign in</title>".to_vec();
            start = 0;
            sent = content.len();
        }
        Some(Fault::WholeFile) => start = 0,
        None => {}
    }
    if start > content.len() || (start == content.len() && start > 0) {
        let _ = write!(
            stream,
            "HTTP/1.1 416 Range\r\nContent-Range: bytes */{whole}\r\nContent-Length: 0\r\n\r\n"
        );
        return;
    }
    let mut head = if start > 0 {
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{whole}\r\n",
            whole - 1
        )
    } else {
        "HTTP/1.1 200 OK\r\n".to_owned()
    };
    head.push_str(own);
    if with_length {
        head.push_str(&format!("Content-Length: {}\r\n", content.len() - start));
    }
    head.push_str("Connection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&content[start..sent.max(start).min(content.len())]);
}
