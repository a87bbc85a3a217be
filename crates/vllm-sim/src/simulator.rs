//! A simulated server as its user sees it: an address, scripted faults, an end. A thread of its own watches over the
//! lives it has: one, unless a fault kills or restarts it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::SimConfig;
use crate::control::Control;
use crate::driver::Engines;
use crate::error::{Error, Result};
use crate::faults::{Fault, FaultRule, Faults};
use crate::gpus::Gpus;
use crate::life::{Life, bind};
use crate::threads::spawn;

/// Longest pause in which a stop is not noticed.
const RETRY: Duration = Duration::from_millis(20);

/// A simulated server on its own threads. Dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    faults: Arc<Faults>,
    control: Arc<Control>,
    supervisor: Option<JoinHandle<()>>,
    gpus: Option<Gpus>,
}

impl Simulator {
    /// Binds the address and starts serving. Connections are accepted when this returns.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that cannot be served, [`Error::Listen`] for an address that cannot be had,
    /// [`Error::Start`] when the system grants no thread.
    pub fn start(config: SimConfig) -> Result<Self> {
        config.validate()?;
        let listener = bind(config.listen)?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: config.listen,
            source,
        })?;
        let faults = Arc::new(Faults::new(config.engine.seed, config.faults.clone()));
        let control = Arc::new(Control::default());
        let engines = Engines::default();
        let gpus = match &config.gpu_dir {
            Some(dir) => {
                let engines = Arc::clone(&engines);
                Some(Gpus::start(dir, config.replicas, &config.engine, engines)?)
            }
            None => None,
        };
        let life = Life::start(
            config.clone(),
            listener,
            Arc::clone(&faults),
            Arc::clone(&control),
            &engines,
        )?;
        let watch = Watch {
            config: SimConfig {
                listen: address,
                ..config
            },
            faults,
            control,
            engines,
        };
        let (faults, control) = (Arc::clone(&watch.faults), Arc::clone(&watch.control));
        let supervisor = Some(spawn("sim-supervisor".to_owned(), move || watch.over(life))?);
        Ok(Self {
            address,
            faults,
            control,
            supervisor,
            gpus,
        })
    }

    /// `http://address:port`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fake driver library through which its GPUs are read; `None` unless [`SimConfig::gpu_dir`] asked for it.
    pub fn nvml_library(&self) -> Option<&Path> {
        self.gpus.as_ref().map(Gpus::library)
    }

    /// Freezes every engine (true) or lets it go on (false): requests enter and nothing comes out, `/health` still
    /// says 200, gauges keep their last values.
    pub fn set_hung(&self, hung: bool) {
        self.control.hang_by_hand(hung);
    }

    /// Puts a rule in force. Its times count from the start of the simulator.
    pub fn add_fault(&self, rule: FaultRule) {
        self.faults.add(rule);
        self.control.look_again();
    }

    /// Takes all rules out of force. What they have done already is done.
    pub fn clear_faults(&self) {
        self.faults.clear();
        self.control.look_again();
    }

    /// Each rule and how often it has struck.
    pub fn fault_hits(&self) -> Vec<(FaultRule, u64)> {
        self.faults.hits()
    }

    /// Stops serving: connections are cut, threads are joined. Returns when the last has ended.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.control.stop();
        if let Some(supervisor) = self.supervisor.take()
            && supervisor.join().is_err()
        {
            tracing::error!("the simulator's supervisor panicked");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// What the supervisor needs to give a server another life.
struct Watch {
    config: SimConfig,
    faults: Arc<Faults>,
    control: Arc<Control>,
    engines: Engines,
}

impl Watch {
    /// The supervisor's thread.
    fn over(self, life: Life) {
        let mut life = Some(life);
        // When the front end follows its dead engines.
        let mut dying: Option<Instant> = None;
        loop {
            // In this order: what is said after the orders are read is news for the next look.
            let orders = self.control.orders();
            let timed = self.faults.timed();
            if orders.stop {
                return;
            }
            if let Some(alive) = &life {
                alive.set_hung(timed.hang || orders.hang);
                alive.set_slow(timed.slow_percent);
                alive.set_refuse(timed.refuse);
            }
            let end = match dying.filter(|at| *at <= Instant::now()) {
                Some(_) => Some(Fault::Die),
                None => timed.end.or(orders.end),
            };
            match (end, &life) {
                (None, _) | (_, None) => {}
                (Some(Fault::EngineDeath { lasts }), Some(alive)) => {
                    tracing::info!("the simulated engines die");
                    alive.kill_engines();
                    dying = Some(Instant::now() + lasts);
                }
                (Some(Fault::Restart { away }), _) => {
                    tracing::info!(?away, "the simulated server restarts");
                    drop(life.take());
                    life = self.next_life(away);
                    dying = None;
                    continue;
                }
                (Some(_), _) => {
                    tracing::info!("the simulated server dies");
                    drop(life.take());
                    dying = None;
                }
            }
            let death = dying.map(|at| at.saturating_duration_since(Instant::now()));
            self.control
                .wait([timed.next, orders.next, death].into_iter().flatten().min());
        }
    }

    /// Waits, and starts again at the same address; `None` when stopped meanwhile or when no thread is to be had. An
    /// address that somebody else has is waited for.
    fn next_life(&self, away: Duration) -> Option<Life> {
        let back = Instant::now() + away;
        let mut told = false;
        loop {
            if self.control.stopping() {
                return None;
            }
            let left = back.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left.min(RETRY));
                continue;
            }
            match bind(self.config.listen) {
                Ok(listener) => return self.life_on(listener),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the simulated server waits for its address");
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn life_on(&self, listener: TcpListener) -> Option<Life> {
        let (faults, control) = (Arc::clone(&self.faults), Arc::clone(&self.control));
        Life::start(self.config.clone(), listener, faults, control, &self.engines)
            .inspect_err(|error| tracing::error!(%error, "the simulated server stays away"))
            .ok()
    }
}
