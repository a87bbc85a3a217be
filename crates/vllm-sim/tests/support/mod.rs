//! A blocking HTTP client of a hundred lines: the tests look at bytes as they are on the wire.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use vllm_sim::{ControlToken, EngineConfig, OutputLength, SimConfig, Simulator};

/// The control token of [`start`].
pub(crate) const TOKEN: &str = "open sesame";
/// No test waits longer for one byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// A small, fast server; `change` adjusts it.
pub(crate) fn start(change: impl FnOnce(&mut SimConfig)) -> Simulator {
    let mut config = SimConfig {
        model: "m".to_owned(),
        dev_mode: true,
        control_token: Some(ControlToken::new(TOKEN)),
        engine: EngineConfig {
            output_length: OutputLength::Fixed(12),
            ..EngineConfig::instant()
        },
        ..SimConfig::default()
    };
    change(&mut config);
    Simulator::start(config).unwrap()
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// True if the connection ended before the body did.
    pub(crate) cut: bool,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of each event; the last event must be `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events: Vec<&str> = self
            .text()
            .split("\n\n")
            .filter(|e| !e.is_empty())
            .map(|e| e.strip_prefix("data: ").unwrap())
            .collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        events
            .into_iter()
            .map(|e| serde_json::from_str(e).unwrap())
            .collect()
    }
}

/// A connection with a request on its way.
pub(crate) struct Call {
    pub(crate) reader: BufReader<TcpStream>,
}

pub(crate) fn send(
    sim: &Simulator,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<Call> {
    let mut socket = TcpStream::connect(sim.address())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    socket.write_all(text.as_bytes())?;
    Ok(Call {
        reader: BufReader::new(socket),
    })
}

impl Call {
    pub(crate) fn head(&mut self) -> std::io::Result<(u16, BTreeMap<String, String>)> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or(std::io::ErrorKind::InvalidData)?;
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
                None => return Ok((status, headers)),
            };
        }
    }

    /// One chunk of a chunked body; empty at its end.
    pub(crate) fn chunk(&mut self) -> std::io::Result<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let length =
            usize::from_str_radix(line.trim_end(), 16).map_err(|_| std::io::ErrorKind::UnexpectedEof)?;
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(length);
        Ok(chunk)
    }

    pub(crate) fn finish(mut self) -> std::io::Result<Reply> {
        let (status, headers) = self.head()?;
        let (mut body, mut cut) = (Vec::new(), false);
        if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
            loop {
                match self.chunk() {
                    Ok(chunk) if chunk.is_empty() => break,
                    Ok(chunk) => body.extend_from_slice(&chunk),
                    Err(_) => {
                        cut = true;
                        break;
                    }
                }
            }
        } else {
            let length: usize = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
            cut = self.reader.read_to_end(&mut body).is_err() || body.len() != length;
        }
        Ok(Reply {
            status,
            headers,
            body,
            cut,
        })
    }
}

pub(crate) fn get(sim: &Simulator, path: &str) -> Reply {
    send(sim, "GET", path, "", "").unwrap().finish().unwrap()
}

pub(crate) fn post(sim: &Simulator, path: &str, body: &str) -> Reply {
    send(sim, "POST", path, "", body).unwrap().finish().unwrap()
}

/// A request to one of the routes that need the control token.
pub(crate) fn control(sim: &Simulator, method: &str, path: &str, body: &str) -> Reply {
    let token = format!("X-Monitor-Token: {TOKEN}\r\n");
    send(sim, method, path, &token, body).unwrap().finish().unwrap()
}

/// Samples of the page by name and labels as written.
pub(crate) fn metrics(sim: &Simulator) -> BTreeMap<String, f64> {
    let page = get(sim, "/metrics");
    assert_eq!(page.status, 200);
    page.text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The series of a family without further labels, engine 0.
pub(crate) fn metric(page: &BTreeMap<String, f64>, name: &str) -> f64 {
    page[&format!("{name}{{engine=\"0\",model_name=\"m\"}}")]
}

/// Looks again until `done` says so; panics when it never does.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::yield_now();
    }
}
