//! Finds the process that listens on a TCP port, to identify a server that was already running.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::tree::process_tree_in;

/// Programs that forward connections: their CPU and GPUs are not those of the server, which may be in a
/// container or on another machine.
const FORWARDERS: &[&str] = &[
    "caddy",
    "conmon",
    "docker-proxy",
    "envoy",
    "gvproxy",
    "haproxy",
    "kube-proxy",
    "kubectl",
    "nginx",
    "pasta",
    "rootlessport",
    "slirp4netns",
    "socat",
    "ssh",
    "sshd",
    "traefik",
];

/// Why the process of a port is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerUnavailable {
    /// This host's network namespace has no such socket.
    #[error("nothing on this host listens on port {0}")]
    NotListening(u16),
    /// The socket exists, but no process that we may inspect holds it.
    #[error("the process that listens on port {0} is another user's or another container's")]
    Hidden(u16),
    /// The process only forwards connections.
    #[error("port {port} is held by {name} (pid {pid}), which passes connections on to a server elsewhere")]
    Forwarder {
        /// The port.
        port: u16,
        /// The process.
        pid: u32,
        /// Its command.
        name: String,
    },
    /// Unrelated processes share the port.
    #[error("port {port} is shared by unrelated processes: {pids:?}")]
    Several {
        /// The port.
        port: u16,
        /// The processes, ascending.
        pids: Vec<u32>,
    },
}

/// Returns the first process of the server that listens on `port`: if several hold the socket (a vLLM with
/// several API servers), the one from which the others descend. With an address, only sockets that accept
/// connections to it count.
///
/// # Errors
/// [`ListenerUnavailable`] with the reason.
pub fn listening_process(address: Option<IpAddr>, port: u16) -> Result<u32, ListenerUnavailable> {
    listening_process_in(Path::new("/proc"), address, port)
}

fn listening_process_in(proc: &Path, address: Option<IpAddr>, port: u16) -> Result<u32, ListenerUnavailable> {
    let sockets = listening_sockets(proc, address, port);
    if sockets.is_empty() {
        return Err(ListenerUnavailable::NotListening(port));
    }
    let holders = holders_of(proc, &sockets);
    let mut roots: Vec<u32> = holders
        .iter()
        .copied()
        .filter(|&pid| {
            let descends_from = |&other: &u32| other != pid && process_tree_in(proc, other).contains(&pid);
            !holders.iter().any(descends_from)
        })
        .collect();
    roots.sort_unstable();
    let pid = match roots[..] {
        [] => return Err(ListenerUnavailable::Hidden(port)),
        [pid] => pid,
        _ => return Err(ListenerUnavailable::Several { port, pids: roots }),
    };
    let name = fs::read_to_string(proc.join(format!("{pid}/comm"))).unwrap_or_default();
    let name = name.trim();
    if FORWARDERS.contains(&name) {
        return Err(ListenerUnavailable::Forwarder {
            port,
            pid,
            name: name.to_owned(),
        });
    }
    Ok(pid)
}

/// Inodes of sockets that listen on the port: those bound to this address, otherwise those bound to any.
fn listening_sockets(proc: &Path, wanted: Option<IpAddr>, port: u16) -> HashSet<u64> {
    let mut exact = HashSet::new();
    let mut any = HashSet::new();
    for file in ["net/tcp", "net/tcp6"] {
        // A host without IPv6 does not have the second file.
        let text = fs::read_to_string(proc.join(file)).unwrap_or_default();
        for (local, inode) in text.lines().filter_map(|line| listening(line, port)) {
            match wanted {
                Some(wanted) if local == wanted => exact.insert(inode),
                // The unspecified IPv6 address accepts IPv4 connections too.
                Some(wanted) => {
                    let takes = local.is_unspecified() && (local.is_ipv6() || wanted.is_ipv4());
                    takes && any.insert(inode)
                }
                None => any.insert(inode),
            };
        }
    }
    if exact.is_empty() { any } else { exact }
}

/// Local address and inode in a line of `/proc/net/tcp`, if it is a socket that listens on `port`.
fn listening(line: &str, port: u16) -> Option<(IpAddr, u64)> {
    const LISTEN: &str = "0A";
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, local_port) = words.get(1)?.split_once(':')?;
    if *words.get(3)? != LISTEN || u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    Some((address_of(address)?, words.get(9)?.parse().ok()?))
}

/// The kernel prints an address as 32-bit words in native byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Processes that have one of the sockets open. Those of other users cannot be inspected and are not found.
fn holders_of(proc: &Path, sockets: &HashSet<u64>) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let Ok(files) = fs::read_dir(proc.join(format!("{pid}/fd"))) else {
            return false;
        };
        files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| {
                let inode = target
                    .to_str()
                    .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
                inode.is_some_and(|inode| sockets.contains(&inode))
            })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    /// A fake `/proc`: sockets as (local address, state, inode), processes as (pid, parent, command, inode).
    fn proc_of(sockets: &[(&str, &str, u64)], processes: &[(u32, u32, &str, u64)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut tcp = HEAD.to_owned();
        for (local, state, inode) in sockets {
            tcp += &format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0 100 0 0 10 0\n"
            );
        }
        fs::create_dir_all(root.join("net")).unwrap();
        fs::write(root.join("net/tcp"), tcp).unwrap();
        for (pid, parent, command, inode) in processes {
            let own = root.join(pid.to_string());
            fs::create_dir_all(own.join("fd")).unwrap();
            fs::write(own.join("stat"), format!("{pid} ({command}) S {parent} 1 1 0")).unwrap();
            fs::write(own.join("comm"), format!("{command}\n")).unwrap();
            std::os::unix::fs::symlink("/dev/null", own.join("fd/0")).unwrap();
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), own.join("fd/3")).unwrap();
        }
        dir
    }

    fn loopback() -> Option<IpAddr> {
        Some(Ipv4Addr::LOCALHOST.into())
    }

    /// As printed by the kernel of this machine.
    fn hex(address: [u8; 4], port: u16) -> String {
        format!("{:08X}:{port:04X}", u32::from_ne_bytes(address))
    }

    #[test]
    fn our_own_socket_is_found_in_the_real_proc() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listening_process(loopback(), port), Ok(std::process::id()));
        assert_eq!(listening_process(None, port), Ok(std::process::id()));
        drop(listener);
        assert_eq!(
            listening_process(loopback(), port),
            Err(ListenerUnavailable::NotListening(port))
        );
    }

    #[test]
    fn a_connection_is_no_listener_and_another_address_is_another_server() {
        let proc = proc_of(
            &[
                (&hex([127, 0, 0, 1], 8000), "01", 11),
                (&hex([10, 0, 0, 1], 8000), "0A", 12),
            ],
            &[(7, 1, "python", 12), (8, 1, "client", 11)],
        );
        let find = |address| listening_process_in(proc.path(), address, 8000);
        assert_eq!(find(loopback()), Err(ListenerUnavailable::NotListening(8000)));
        assert_eq!(find(Some([10, 0, 0, 1].into())), Ok(7));
        assert_eq!(find(None), Ok(7));
    }

    #[test]
    fn the_first_of_a_family_is_the_server_and_strangers_are_told() {
        let sockets = [(&*hex([0, 0, 0, 0], 8000), "0A", 12)];
        let family = proc_of(
            &sockets,
            &[(7, 1, "vllm", 12), (9, 7, "vllm", 12), (8, 9, "vllm", 12)],
        );
        assert_eq!(listening_process_in(family.path(), loopback(), 8000), Ok(7));
        let strangers = proc_of(&sockets, &[(9, 1, "a", 12), (7, 1, "b", 12)]);
        assert_eq!(
            listening_process_in(strangers.path(), loopback(), 8000),
            Err(ListenerUnavailable::Several {
                port: 8000,
                pids: vec![7, 9]
            })
        );
    }

    #[test]
    fn a_process_that_is_hidden_or_passes_connections_on_is_not_the_server() {
        let sockets = [(&*hex([0, 0, 0, 0], 8000), "0A", 12)];
        let hidden = proc_of(&sockets, &[(7, 1, "vllm", 13)]);
        assert_eq!(
            listening_process_in(hidden.path(), loopback(), 8000),
            Err(ListenerUnavailable::Hidden(8000))
        );
        let proxy = proc_of(&sockets, &[(7, 1, "docker-proxy", 12)]);
        let error = listening_process_in(proxy.path(), loopback(), 8000).unwrap_err();
        assert!(error.to_string().contains("docker-proxy (pid 7)"), "{error}");
    }

    #[test]
    fn an_address_bound_to_everything_takes_both_kinds() {
        let any = address_of("00000000000000000000000000000000").unwrap();
        assert!(any.is_ipv6() && any.is_unspecified());
        let mapped = format!("{:08X}", u32::from_ne_bytes([0, 0, 0xff, 0xff]));
        let local = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        assert_eq!(
            address_of(&format!("0000000000000000{mapped}{local}")),
            Some(Ipv4Addr::LOCALHOST.into())
        );
    }
}
