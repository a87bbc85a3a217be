//! A server behind `https`, with a certificate of our own authority. Needs the feature `tls`, and python3 (which
//! building LoadGen needs as well) to serve.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;
use vllm_client::{Client, ClientConfig, StreamError};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vllm-metrics/tests/data/tls");

/// Answers every request with a stream of two tokens.
const SERVER: &str = r#"
import http.server, ssl, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        for token, reason in ((7, b"null"), (8, b'"length"')):
            body += b'data: {"id":"c","choices":[{"index":0,"text":"x","finish_reason":%s,"token_ids":[%d]}]}\n\n' % (reason, token)
        body += b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/server.pem", sys.argv[1] + "/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

#[tokio::test]
async fn a_stream_comes_through_tls_from_a_server_that_is_trusted_and_from_no_other() {
    let mut child = Command::new("python3")
        .args(["-c", SERVER, DATA])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let url = format!("https://127.0.0.1:{}", port.trim());
    let trusting = ClientConfig {
        ca_pem: Some(std::fs::read(format!("{DATA}/ca.pem")).unwrap()),
        ..ClientConfig::new(&url)
    };
    let body = Bytes::from_static(b"{}");
    let answer = Client::new(trusting)
        .unwrap()
        .complete(body.clone(), |_| ())
        .await;
    let stranger = Client::new(ClientConfig::new(&url))
        .unwrap()
        .complete(body, |_| ())
        .await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.unwrap().token_ids, [7, 8]);
    let error = stranger.unwrap_err();
    assert!(
        matches!(error, StreamError::Refused { .. }) && error.to_string().contains("certificate"),
        "{error}"
    );
}
