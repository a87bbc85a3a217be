//! A server that sends exactly the bytes scripted by a test, on its own port.
#![allow(dead_code, reason = "every test file uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "a test helper fails its test")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One thing the server does after it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Closes gracefully (FIN). Without it the connection is kept for the next request.
    Close,
    /// Breaks the connection (RST).
    Break,
    /// Sends nothing more until the client disconnects.
    Stall,
}

/// Received data: each request's head and body.
pub(crate) type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(crate) struct Scripted {
    pub(crate) url: String,
    pub(crate) seen: Seen,
    pub(crate) connections: Arc<Mutex<usize>>,
}

/// Starts a server that answers with `script(path, number of earlier requests)`.
pub(crate) async fn serve(script: impl Fn(&str, usize) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Seen = Arc::default();
    let connections = Arc::new(Mutex::new(0));
    let (script, seen_by, counted) = (Arc::new(script), Arc::clone(&seen), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            tokio::spawn(talk(stream, Arc::clone(&script), Arc::clone(&seen_by)));
        }
    });
    Scripted {
        url,
        seen,
        connections,
    }
}

async fn talk(mut stream: TcpStream, script: Arc<impl Fn(&str, usize) -> Vec<Step>>, seen: Seen) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut buffer).await {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push((head, body));
            seen.len() - 1
        };
        for step in script(&path, before) {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                    stream.flush().await.unwrap();
                    // Makes the reader receive this piece separately.
                    tokio::task::yield_now().await;
                }
                Step::Close => return,
                Step::Break => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
                Step::Stall => {
                    let mut rest = [0; 64];
                    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
                    return;
                }
            }
        }
    }
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..at].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|l| {
                    l.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse::<usize>()
                        .ok()
                })
                .unwrap_or(0);
            if buffer.len() >= at + 4 + length {
                let body = buffer[at + 4..at + 4 + length].to_vec();
                buffer.drain(..at + 4 + length);
                return Some((head, body));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

/// A head that begins a chunked event stream.
pub(crate) fn stream_head() -> Step {
    send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    )
}

/// Bytes as one chunk of a chunked body.
pub(crate) fn piece(text: impl AsRef<[u8]>) -> Step {
    let text = text.as_ref();
    let mut bytes = format!("{:x}\r\n", text.len()).into_bytes();
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(b"\r\n");
    Step::Send(bytes)
}

/// The end of a chunked body.
pub(crate) fn end() -> Step {
    send("0\r\n\r\n")
}

/// A whole answer with a length.
pub(crate) fn answer(status: &str, kind: &str, body: &str) -> Vec<Step> {
    vec![send(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

/// One event with the given ids, as vLLM writes it.
pub(crate) fn tokens(ids: &[i32], finish: &str) -> String {
    let ids = serde_json::to_string(ids).unwrap();
    let finish = if finish.is_empty() {
        "null".to_owned()
    } else {
        format!("\"{finish}\"")
    };
    format!(
        "data: {{\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":\
         [{{\"index\":0,\"text\":\" x\",\"logprobs\":null,\"finish_reason\":{finish},\"stop_reason\":null,\
         \"token_ids\":{ids}}}]}}\n\n"
    )
}

/// The last event before the end mark.
pub(crate) fn usage(completion_tokens: usize) -> String {
    format!(
        "data: {{\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[],\
         \"usage\":{{\"prompt_tokens\":3,\"total_tokens\":{},\"completion_tokens\":{completion_tokens}}},\
         \"metrics\":{{\"time_to_first_token_ms\":12.5,\"generation_time_ms\":3.0,\"queue_time_ms\":0.25}}}}\n\n",
        3 + completion_tokens
    )
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";
