//! systemd's notification protocol: one datagram per message to the socket named by `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use vllm_monitor::lifecycle::State;

use crate::hub::Hub;
use crate::serve::{is_active, live};

/// When the service counts as started, and what keeps its watchdog quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The monitor is the service: it is up at once, and alive while it makes progress.
    Monitor,
    /// The server is the service: it is up when it takes requests, and alive unless it is in state ERROR, so that
    /// `WatchdogSec=` restarts one whose engine hangs.
    Server,
}

/// Tells systemd how the service is.
#[derive(Debug)]
pub struct Systemd {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// From the variables that systemd sets; `None` if it did not start this process or wants no notifications.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let path = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok()?,
            None => SocketAddr::from_pathname(&path).ok()?,
        };
        let is_for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = variable("WATCHDOG_USEC")
            .filter(|_| is_for_us)
            .and_then(|text| text.parse().ok())
            .map(Duration::from_micros);
        Some(Self {
            socket: UnixDatagram::unbound().ok()?,
            address,
            watchdog,
        })
    }

    fn say(&self, text: &str) {
        // systemd is gone or does not listen: nothing can be done about it here.
        let _unheard = self.socket.send_to_addr(text.as_bytes(), &self.address);
    }

    /// Follows a hub until it is dropped: `READY=1` once, `STATUS=` with the state, `WATCHDOG=1` while it is alive.
    pub async fn follow(self, hub: Arc<Hub>, interval: Duration, watch: Watch) {
        let pause = self.watchdog.map_or(Duration::from_secs(1), |every| {
            (every / 3).clamp(Duration::from_millis(50), Duration::from_secs(1))
        });
        let mut is_ready = false;
        let mut told = String::new();
        loop {
            let (is_up, is_alive) = match watch {
                Watch::Monitor => (true, is_active(&hub, interval)),
                Watch::Server => (
                    hub.read(|state, _| state.targets().any(|(_, target)| target.state().is_up())),
                    live(&hub, interval, None).is_well == Some(true),
                ),
            };
            if is_up && !is_ready {
                is_ready = true;
                self.say("READY=1");
            }
            if is_alive && self.watchdog.is_some() {
                self.say("WATCHDOG=1");
            }
            let status = status(&hub);
            if status != told {
                self.say(&format!("STATUS={status}"));
                told = status;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

fn status(hub: &Hub) -> String {
    hub.read(|state, views| {
        let states: Vec<State> = views
            .keys()
            .filter_map(|name| state.target(name).map(vllm_monitor::TargetState::state))
            .collect();
        match states[..] {
            [only] => only.to_string(),
            _ => State::ALL
                .into_iter()
                .filter_map(|wanted| {
                    let count = states.iter().filter(|state| **state == wanted).count();
                    (count > 0).then(|| format!("{count} {wanted}"))
                })
                .collect::<Vec<String>>()
                .join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_the_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).expect("bound");
        let systemd = Systemd::from_environment(|name| match name {
            "NOTIFY_SOCKET" => Some(path.display().to_string()),
            "WATCHDOG_USEC" => Some("3000000".to_owned()),
            _ => None,
        })
        .expect("it is asked for");
        assert_eq!(systemd.watchdog, Some(Duration::from_secs(3)));
        systemd.say("READY=1");
        let mut bytes = [0; 64];
        let read = receiver.recv(&mut bytes).expect("a message");
        assert_eq!(&bytes[..read], b"READY=1");
        assert!(Systemd::from_environment(|_| None).is_none());
    }
}
