//! Who may read a small HTTP server.
//!
//! A web page can point a name of its own at any address, and so make a browser send requests to a server on
//! loopback. A server that checks [`is_known_host`] does not answer them.

use std::net::IpAddr;

/// Whether a `Host` header names this server: an address, `localhost`, or one of `names`. An address always does,
/// since only a name can be made to point elsewhere.
///
/// ```
/// assert!(http_guard::is_known_host("127.0.0.1:8080", &[]));
/// assert!(!http_guard::is_known_host("evil.example:8080", &[]));
/// ```
pub fn is_known_host(host: &str, names: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
pub fn is_same_secret(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    let (a, b) = (a.as_ref(), b.as_ref());
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_and_addresses_are_not() {
        let names = ["monitor.example".to_owned()];
        for host in [
            "127.0.0.1:9464",
            "[::1]:9464",
            "10.1.2.3",
            "localhost",
            "LocalHost:1",
            "Monitor.example:80",
        ] {
            assert!(is_known_host(host, &names), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9464",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_known_host(host, &names), "{host}");
        }
    }

    #[test]
    fn secrets_are_compared_as_a_whole() {
        assert!(is_same_secret("abc", "abc"));
        for other in ["", "ab", "abd", "abcd", "Abc"] {
            assert!(!is_same_secret("abc", other), "{other}");
        }
    }
}
