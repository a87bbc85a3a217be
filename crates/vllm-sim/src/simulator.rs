//! The public interface of a simulated server: an address, scripted faults, a stop. A supervisor thread
//! manages its lives: one, unless a fault kills or restarts it.

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
use crate::instance::{Instance, bind};
use crate::threads::spawn;

/// Longest delay before a stop is noticed.
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
    /// [`Error::Config`] for an invalid value, [`Error::Listen`] for an address that cannot be bound,
    /// [`Error::Start`] if the system cannot create a thread.
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
        let life = Instance::start(
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

    /// `http://address:port`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fake driver library through which its GPUs are read; `None` unless [`SimConfig::gpu_dir`] asked for it.
    pub fn nvml_library(&self) -> Option<&Path> {
        self.gpus.as_ref().map(Gpus::library)
    }

    /// Freezes every engine (true) or lets it continue (false). While frozen, requests enter but no tokens
    /// leave, `/health` still answers 200, gauges keep their last values.
    pub fn set_hung(&self, hung: bool) {
        self.control.hang_by_hand(hung);
    }

    /// Activates a rule. Its times count from the start of the simulator.
    pub fn add_fault(&self, rule: FaultRule) {
        self.faults.add(rule);
        self.control.look_again();
    }

    /// Removes all rules. Their effects so far remain.
    pub fn clear_faults(&self) {
        self.faults.clear();
        self.control.look_again();
    }

    /// Each rule with its number of hits.
    pub fn fault_hits(&self) -> Vec<(FaultRule, u64)> {
        self.faults.hits()
    }

    /// Stops serving: closes connections and joins threads. Returns when the last thread has ended.
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

/// Data for starting another life of the server.
struct Watch {
    config: SimConfig,
    faults: Arc<Faults>,
    control: Arc<Control>,
    engines: Engines,
}

impl Watch {
    /// The supervisor's thread.
    fn over(self, life: Instance) {
        let mut life = Some(life);
        // When the front end ends after its engines have died.
        let mut dying: Option<Instant> = None;
        loop {
            // In this order: requests made after reading the orders wake the next wait.
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

    /// Waits, and starts again at the same address; `None` if stopped meanwhile or if no thread can be
    /// created. If the address is in use, it waits until it is free.
    fn next_life(&self, away: Duration) -> Option<Instance> {
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

    fn life_on(&self, listener: TcpListener) -> Option<Instance> {
        let (faults, control) = (Arc::clone(&self.faults), Arc::clone(&self.control));
        Instance::start(self.config.clone(), listener, faults, control, &self.engines)
            .inspect_err(|error| tracing::error!(%error, "the simulated server stays away"))
            .ok()
    }
}
