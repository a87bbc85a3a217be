//! `https` endpoints with a certificate of a test authority. Needs the feature `tls`, and python3 (which
//! building LoadGen also needs) as the server.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use vllm_metrics::{EndpointConfig, validate_endpoint};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

/// Serves a page of one metric over TLS on a free port, which it prints.
const SERVER: &str = r#"
import http.server, ssl, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 3\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/server.pem", sys.argv[1] + "/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", SERVER, DATA])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let url = format!("https://127.0.0.1:{}/metrics", port.trim());
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn an_endpoint_is_trusted_by_its_authority_or_on_request_and_not_otherwise() {
    let server = Server::start();
    let stranger = validate_endpoint(EndpointConfig::new(&server.url))
        .unwrap_err()
        .to_string();
    assert!(stranger.contains("certificate"), "{stranger}");
    let known = EndpointConfig::new(&server.url).ca_file(format!("{DATA}/ca.pem"));
    assert_eq!(validate_endpoint(known).unwrap().samples, 1);
    let mut anyone = EndpointConfig::new(&server.url);
    anyone.insecure_skip_verify = Some(true);
    assert_eq!(validate_endpoint(anyone).unwrap().samples, 1);
}

#[test]
fn a_file_without_a_certificate_is_told_before_anything_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(
        &file,
        "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let endpoint = EndpointConfig::new("https://127.0.0.1:1").ca_file(&file);
    let error = validate_endpoint(endpoint).unwrap_err();
    assert!(matches!(error, vllm_metrics::Error::Config { .. }), "{error}");
}
