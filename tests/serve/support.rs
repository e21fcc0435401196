//! A running server, and a client that does what it is told.

use crate::bench::{Bench, expand};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything takes here: a test that waits for this fails.
pub const LONG: Duration = Duration::from_secs(240);

/// A server that is killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    messages: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _bench: Bench,
}

impl Server {
    /// `serve` with the words of `line`, with a model in which `$NAME` is a fixture, on a free port;
    /// ready to answer.
    pub fn start(line: &str) -> Server {
        Server::start_with(line, &[])
    }

    /// The same with variables.
    pub fn start_with(line: &str, variables: &[(&str, &str)]) -> Server {
        let server = Server::listening(line, variables);
        let begin = Instant::now();
        while server.get("/health").status != 200 {
            assert!(begin.elapsed() < LONG, "{}", server.messages());
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// The same as soon as it listens.
    pub fn listening(line: &str, variables: &[(&str, &str)]) -> Server {
        let bench = Bench::new();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("esm-embed"));
        let model = match line.contains("--model") || line.contains("--adapter") {
            true => "",
            false => "--model $MODEL",
        };
        let listen = match line.contains("--listen") {
            true => "",
            false => "--listen 127.0.0.1:0",
        };
        let words = format!("{model} {listen} {line}");
        command
            .current_dir(bench.home())
            .env_clear()
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("HF_HOME", bench.path("hf"))
            .env("HF_HUB_OFFLINE", "1")
            .envs(variables.iter().copied())
            .arg("serve")
            .args(words.split_whitespace().map(expand))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let messages = Arc::new(Mutex::new(String::new()));
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&messages);
        let reader = std::thread::spawn(move || {
            let mut line = Vec::new();
            while err.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                kept.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let address = line.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("{line:?} {}", messages.lock().unwrap()));
        Server {
            address: address.parse().unwrap(),
            child,
            messages,
            reader: Some(reader),
            _bench: bench,
        }
    }

    /// What it has written to standard error.
    pub fn messages(&self) -> String {
        self.messages.lock().unwrap().clone()
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Posts JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_for(path, body, &[])
    }

    /// The same with more headers.
    pub fn post_for(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let all = [&[("content-type", "application/json")], headers].concat();
        self.send("POST", path, &all, body.to_string().as_bytes())
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream
            .write_all(&request(method, path, headers, body))
            .unwrap();
        Answer::read(&mut stream).unwrap()
    }

    /// A value of `/metrics`, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let values = text.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let key = key.split('{').next()?;
            (key == name).then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
    }

    /// Waits until `/metrics` has this line.
    pub fn wait_for_line(&self, line: &str) {
        let begin = Instant::now();
        let has = |text: &str| text.lines().any(|one| one == line);
        loop {
            let text = self.get("/metrics").text();
            if has(&text) {
                return;
            }
            assert!(begin.elapsed() < LONG, "{line}\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a value of `/metrics` is as wanted.
    pub fn wait_for(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let begin = Instant::now();
        while !wanted(self.metric(name)) {
            assert!(begin.elapsed() < LONG, "{name} is {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The exit status, and everything written to standard error.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begin.elapsed() < LONG, "{}", self.messages()),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.messages())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a request that closes its connection.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The bytes of a request with JSON.
pub fn json_request(path: &str, body: &Value) -> Vec<u8> {
    let headers = [("content-type", "application/json")];
    request("POST", path, &headers, body.to_string().as_bytes())
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads an answer, also in chunks.
    pub fn read(stream: &mut impl Read) -> std::io::Result<Answer> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let length = usize::from_str_radix(line.trim(), 16);
                let length = length.map_err(|_| std::io::ErrorKind::UnexpectedEof)?;
                let mut chunk = vec![0; length + 2];
                reader.read_exact(&mut chunk)?;
                answer.body.extend_from_slice(&chunk[..length]);
                if length == 0 {
                    return Ok(answer);
                }
            }
        }
        match answer.header("content-length") {
            Some(length) => {
                answer.body.resize(length.parse().unwrap(), 0);
                reader.read_exact(&mut answer.body)?;
            }
            None => {
                reader.read_to_end(&mut answer.body)?;
            }
        }
        Ok(answer)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let found = all.find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The sentence of a refusal with this status.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        let json = self.json();
        let error = match &json["error"] {
            // As OpenAI's clients show it.
            Value::Object(error) => {
                assert!(
                    error["type"].is_string() && error["code"].is_string(),
                    "{json}"
                );
                &error["message"]
            }
            error => {
                assert!(json["error_type"].is_string(), "{json}");
                error
            }
        };
        error.as_str().unwrap().to_owned()
    }
}

/// The bits of all numbers of a value, in order. Each is parsed as the 64-bit number that a client
/// reads, and rounded.
pub fn bits(value: &Value) -> Vec<u32> {
    fn add(value: &Value, all: &mut Vec<u32>) {
        match value {
            Value::Array(list) => list.iter().for_each(|one| add(one, all)),
            Value::Number(number) => all.push((number.as_f64().unwrap() as f32).to_bits()),
            other => panic!("{other}"),
        }
    }
    let mut all = Vec::new();
    add(value, &mut all);
    all
}

/// Shape and bits of a NumPy array.
pub fn npy(bytes: &[u8]) -> (Vec<u64>, Vec<u32>) {
    let (header, numbers) = bytes.split_at(esm_embed::output::HEADER_BYTES);
    let (_, shape) = esm_embed::output::parse_header(header.try_into().unwrap()).unwrap();
    let numbers = numbers.chunks_exact(4);
    let numbers = numbers.map(|four| u32::from_le_bytes(four.try_into().unwrap()));
    (shape, numbers.collect())
}

/// The arrays of an npz by their names.
pub fn npz(bytes: &[u8]) -> Vec<(String, Vec<u64>, Vec<u32>)> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let all = (0..archive.len()).map(|i| {
        let mut file = archive.by_index(i).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let (shape, numbers) = npy(&bytes);
        (file.name().unwrap().into_owned(), shape, numbers)
    });
    all.collect()
}

/// A made-up protein of this length: `seed` makes it another one.
pub fn protein(residues: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letters = b"LAGVSERTIDPKQNFYMHWC";
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        letters[(state % 20) as usize] as char
    };
    (0..residues).map(next).collect()
}
