//! What this machine grants: port, disks, limits, cgroup, shared memory, and who else restarts servers.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use vllm_metrics::host::listening_process;

use super::PlannedServer;
use crate::preflight::{
    ArgumentTable, CgroupFacts, DiskFacts, LimitFacts, Owner, PortFacts, SharedMemoryFacts,
};

/// The port that the arguments name. `None` if the host that they name is not known.
pub(super) fn port(arguments: &[String]) -> Option<PortFacts> {
    let parsed = ArgumentTable::for_version(None).parse(arguments);
    let port = parsed.port();
    let host = parsed.value("--host").unwrap_or("0.0.0.0");
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    // Each by itself: one that is free must not hide one that is held. An address that this machine does not have is
    // another problem than a held port.
    let is_held = |address: &SocketAddr| {
        TcpListener::bind(address).is_err_and(|error| error.kind() != ErrorKind::AddrNotAvailable)
    };
    let is_free = !addresses.is_empty() && !addresses.iter().any(is_held);
    let holder = (!is_free)
        .then(|| listening_process(None, port).ok())
        .flatten()
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        });
    Some(PortFacts {
        port,
        is_free,
        holder,
    })
}

/// A folder that will be written to, or the nearest one above it that is there.
pub(super) fn disk(purpose: &str, path: &Path, needed_bytes: f64) -> DiskFacts {
    let there = path
        .ancestors()
        .find(|above| above.exists())
        .unwrap_or(Path::new("/"));
    let free_bytes = statvfs(there).map_or(0.0, |stat| {
        stat.blocks_available() as f64 * stat.fragment_size() as f64
    });
    DiskFacts {
        purpose: purpose.to_owned(),
        path: path.display().to_string(),
        free_bytes,
        needed_bytes,
        exists: path.is_dir(),
        // A file above the folder keeps it from being made.
        is_writable: there.is_dir() && access(there, AccessFlags::W_OK).is_ok(),
    }
}

pub(super) fn limits() -> Option<LimitFacts> {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let locked_bytes = getrlimit(Resource::RLIMIT_MEMLOCK)
        .ok()
        .map(|(soft, _)| soft)
        .filter(|soft| *soft != nix::libc::RLIM_INFINITY);
    Some(LimitFacts {
        open_files,
        locked_bytes,
    })
}

/// The tightest limits of this process's cgroup and those above it.
pub(super) fn cgroup(root: &Path) -> Option<CgroupFacts> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    // Version 2 has one line, `0::/path`.
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = root.join("sys/fs/cgroup");
    let mut facts = CgroupFacts {
        memory_limit_bytes: None,
        memory_used_bytes: 0.0,
        cpu_cores: None,
    };
    let least = |a: Option<f64>, b: f64| Some(a.map_or(b, |a| a.min(b)));
    let mut folder = mount.join(path.trim_start_matches('/'));
    let mut is_any = false;
    loop {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        if let Some(limit) = read("memory.max").and_then(|text| text.trim().parse::<f64>().ok())
            && facts.memory_limit_bytes.is_none_or(|known| limit < known)
        {
            facts.memory_limit_bytes = Some(limit);
            // What counts against this limit is what this group uses.
            facts.memory_used_bytes = read("memory.current")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0.0);
        }
        if let Some(text) = read("cpu.max") {
            let mut words = text.split_whitespace().map(str::parse::<f64>);
            if let (Some(Ok(quota)), Some(Ok(period))) = (words.next(), words.next())
                && period > 0.0
            {
                facts.cpu_cores = least(facts.cpu_cores, quota / period);
            }
        }
        is_any |= folder.join("cgroup.controllers").exists();
        if folder == mount || !folder.pop() || !folder.starts_with(&mount) {
            break;
        }
    }
    is_any.then_some(facts)
}

pub(super) fn shared_memory(root: &Path) -> Option<SharedMemoryFacts> {
    let stat = statvfs(&root.join("dev/shm")).ok()?;
    let unit = stat.fragment_size() as f64;
    Some(SharedMemoryFacts {
        total_bytes: stat.blocks() as f64 * unit,
        free_bytes: stat.blocks_available() as f64 * unit,
    })
}

pub(super) fn available_memory(root: &Path) -> Option<f64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

/// Supervisors that would restart the server.
pub(super) fn owners(server: &PlannedServer) -> Vec<Owner> {
    let mut owners = Vec::new();
    if server.variable("KUBERNETES_SERVICE_HOST").is_some() {
        owners.push(Owner {
            kind: "kubernetes".to_owned(),
            policy: "restartPolicy of the pod".to_owned(),
        });
    }
    if server.variable("INVOCATION_ID").is_some()
        && let Some(unit) = unit_of(&server.root)
    {
        owners.push(Owner {
            kind: "systemd".to_owned(),
            policy: restart_policy(&unit),
        });
    }
    if server
        .arguments
        .iter()
        .any(|word| word.starts_with("--data-parallel-supervisor"))
    {
        owners.push(Owner {
            kind: "data-parallel supervisor".to_owned(),
            policy: "restarts its engines".to_owned(),
        });
    }
    owners
}

/// The service whose cgroup this process is in.
fn unit_of(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = text.lines().next()?.rsplit(':').next()?;
    path.split('/')
        .rev()
        .find(|part| part.ends_with(".service"))
        .map(str::to_owned)
}

fn restart_policy(unit: &str) -> String {
    let shown = Command::new("systemctl")
        .args(["show", "--property=Restart", "--value", unit])
        .output();
    match shown {
        Ok(output) if output.status.success() => {
            format!(
                "{unit}: Restart={}",
                String::from_utf8_lossy(&output.stdout).trim()
            )
        }
        _ => format!("{unit}: Restart= could not be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_busy_if_one_of_its_addresses_is() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = held.local_addr().unwrap().port().to_string();
        let arguments = |host: &str| ["m", "--host", host, "--port", &number].map(str::to_owned);
        assert!(!port(&arguments("localhost")).unwrap().is_free);
    }

    #[test]
    fn the_tightest_limit_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let group = root.path().join("sys/fs/cgroup/a/b");
        fs::create_dir_all(&group).expect("made");
        fs::create_dir_all(root.path().join("proc/self")).expect("made");
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text).expect("written");
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/cgroup.controllers", "cpu memory");
        write("sys/fs/cgroup/a/memory.max", "4000\n");
        write("sys/fs/cgroup/a/memory.current", "1000\n");
        write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        let facts = cgroup(root.path()).expect("it is there");
        assert_eq!(facts.memory_limit_bytes, Some(4000.0));
        assert_eq!((facts.memory_used_bytes, facts.cpu_cores), (1000.0, Some(1.5)));
        assert_eq!(cgroup(Path::new("/no/such/root")), None);
    }

    #[test]
    fn the_port_is_read_as_vllm_reads_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let held = listener.local_addr().expect("its address").port();
        // The last value counts, and an equals sign or a blank may stand before it.
        let line = ["m", "--port", "1", "--host=127.0.0.1", &format!("--port={held}")].map(str::to_owned);
        let facts = port(&line).expect("an address");
        assert_eq!((facts.port, facts.is_free), (held, false));
    }

    #[test]
    fn a_folder_that_is_not_there_has_the_room_of_the_one_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk("test", &folder.path().join("not/there"), 1.0);
        assert!(!disk.exists && disk.is_writable && disk.free_bytes > 0.0);
    }
}
