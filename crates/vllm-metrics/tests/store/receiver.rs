//! A local receiver that keeps what it is sent and answers with the given statuses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A received request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

/// Answers with `statuses` in turn, then always with 200. Returns its base URL and the received requests.
pub(crate) fn start(statuses: Vec<u16>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    // Ends with the test process, since the listener is never closed.
    thread::spawn(move || {
        let mut statuses = statuses.into_iter();
        for stream in listener.incoming() {
            let request = answer(stream.unwrap(), statuses.next().unwrap_or(200));
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

pub(crate) fn next(requests: &Receiver<Request>) -> Request {
    requests.recv_timeout(Duration::from_secs(30)).unwrap()
}

fn answer(mut stream: TcpStream, status: u16) -> Request {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the request ended within its headers");
        bytes.extend_from_slice(&chunk[..n]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = bytes[end..].to_vec();
    while body.len() < length {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the request ended within its body");
        body.extend_from_slice(&chunk[..n]);
    }
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
    stream.write_all(answer.as_bytes()).unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    Request {
        line: line.to_owned(),
        headers: headers.to_owned(),
        body,
    }
}
