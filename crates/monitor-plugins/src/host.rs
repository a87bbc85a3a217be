//! Runs the plugins of a folder, and replaces them at run time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rhai::{Dynamic, Engine, Map};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::order::arrange;
use crate::output::{Fault, Finding, Message, Veto};
use crate::plugin::{Plugin, Role};
use crate::sandbox::Sandbox;
use crate::{Limits, Manifest};

/// Settings of a host.
#[derive(Debug, Clone, Default)]
pub struct HostConfig {
    /// What plugins may use.
    pub limits: Limits,
    /// Capabilities of the host, for `needs` of manifests.
    pub capabilities: BTreeSet<String>,
    /// A file that was written more recently than this is left to a later reload, since it may be incomplete: editors
    /// that do not rename write a file in several steps. The version before stays in use meanwhile.
    pub settle: Duration,
    /// Registers additional functions for scripts. They are not limited by the caps: keep them short and
    /// pure.
    pub extend: Option<fn(&mut Engine)>,
}

/// State of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Active,
    /// It does not run: it is disabled, or something that it requires is missing.
    Inactive(String),
    /// Its file is invalid and no earlier version ran.
    Rejected(String),
    /// It failed repeatedly.
    Quarantined(String),
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Inactive(why) => write!(f, "inactive: {why}"),
            Self::Rejected(why) => write!(f, "rejected: {why}"),
            Self::Quarantined(why) => write!(f, "quarantined: {why}"),
        }
    }
}

/// One plugin, for lists.
#[derive(Debug, Clone)]
pub struct ListedPlugin {
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: Status,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its manifest, if there is a usable version.
    pub manifest: Option<Manifest>,
    /// Why the file's current contents are not in use, if an older version runs instead.
    pub pending: Option<String>,
    /// Calls so far.
    pub calls: u64,
    /// Faults so far.
    pub faults: u64,
    /// Its longest tick so far.
    pub slowest: Duration,
}

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The plugin.
    pub plugin: String,
    /// What happened, in words.
    pub what: String,
    /// Whether the file's contents are in use now.
    pub accepted: bool,
    /// From reading the file to its first possible use.
    pub took: Duration,
}

/// The results of one snapshot.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tick {
    /// Derived signals, named `plugin.name`.
    pub derived: BTreeMap<String, f64>,
    /// Failures found.
    pub findings: Vec<Finding>,
    /// Actions that must not be used.
    pub vetoes: Vec<Veto>,
    /// Calls that failed.
    pub faults: Vec<Fault>,
}

/// Counters of one plugin.
#[derive(Debug, Clone, Default)]
struct Count {
    in_a_row: u32,
    faults: u64,
    calls: u64,
    slowest: Duration,
    quarantined: Option<String>,
}

/// The running plugins, in order. Replaced as a whole.
#[derive(Debug, Default)]
struct Active {
    order: Vec<Arc<Plugin>>,
}

/// Data about the folder's files.
#[derive(Debug, Default)]
struct Files {
    /// Source of the newest contents that were read, valid or not.
    seen: BTreeMap<String, Arc<str>>,
    /// Newest usable version of each.
    good: BTreeMap<String, Arc<Plugin>>,
    /// The previous version.
    before: BTreeMap<String, Arc<Plugin>>,
    /// Why the newest contents are not in use.
    pending: BTreeMap<String, String>,
    /// Why usable plugins do not run.
    refused: BTreeMap<String, String>,
}

/// Runs plugins. All methods take `&self`: one thread may tick while another reloads.
///
/// ```
/// use monitor_plugins::{Host, HostConfig};
///
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::write(folder.path().join("queue.rhai"), r#"
///     fn derive(s) { #{ per_running: s.waiting / s.running } }
///     fn detect(s) {
///         if s.derived["queue.per_running"] > 2.0 {
///             #{ failure: "long_queue", evidence: `${s.waiting} wait` }
///         }
///     }
/// "#).unwrap();
/// let host = Host::new(folder.path(), HostConfig::default());
/// host.reload();
/// let tick = host.tick(&serde_json::json!({ "waiting": 50.0, "running": 10.0 }));
/// assert_eq!(tick.derived["queue.per_running"], 5.0);
/// assert_eq!(tick.findings[0].failure, "long_queue");
/// ```
#[derive(Debug)]
pub struct Host {
    folder: PathBuf,
    config: HostConfig,
    sandbox: Arc<Sandbox>,
    active: Mutex<Arc<Active>>,
    files: Mutex<Files>,
    counts: Mutex<BTreeMap<String, Count>>,
    recorded: Mutex<VecDeque<Dynamic>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// A host for the plugins of a folder. Nothing is read before [`Host::reload`].
    pub fn new(folder: impl Into<PathBuf>, config: HostConfig) -> Self {
        let sandbox = Arc::new(Sandbox::new(&config.limits, config.extend));
        Self {
            folder: folder.into(),
            config,
            sandbox,
            active: Mutex::default(),
            files: Mutex::default(),
            counts: Mutex::default(),
            recorded: Mutex::default(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps a snapshot for dry runs. [`Host::tick`] does this itself.
    pub fn record(&self, snapshot: &impl Serialize) {
        if let Some(snapshot) = as_map(snapshot) {
            self.keep(snapshot);
        }
    }

    fn keep(&self, snapshot: Dynamic) {
        let mut recorded = lock(&self.recorded);
        recorded.push_back(snapshot);
        while recorded.len() > self.config.limits.recorded {
            recorded.pop_front();
        }
    }

    /// Passes a snapshot to all active plugins. A fault affects only that plugin.
    pub fn tick(&self, snapshot: &impl Serialize) -> Tick {
        let mut tick = Tick::default();
        let active = Arc::clone(&lock(&self.active));
        let Some(mut snapshot) = as_map(snapshot) else {
            return tick;
        };
        let mut failed: BTreeSet<&str> = BTreeSet::new();
        for plugin in &active.order {
            let started = Instant::now();
            match plugin.derive(&snapshot) {
                Ok(numbers) => {
                    if numbers.is_empty() {
                        continue;
                    }
                    let mut derived = Map::new();
                    for (name, value) in numbers {
                        let name = format!("{}.{name}", plugin.name);
                        derived.insert(name.as_str().into(), value.into());
                        tick.derived.insert(name, value);
                    }
                    merge_derived(&mut snapshot, derived);
                }
                Err(problem) => {
                    failed.insert(&plugin.name);
                    tick.faults.push(self.fault(plugin, Role::Derive, problem));
                }
            }
            self.took(plugin, started.elapsed());
        }
        for plugin in &active.order {
            if failed.contains(plugin.name.as_str()) {
                continue;
            }
            let started = Instant::now();
            let result = plugin
                .detect(&snapshot)
                .map_err(|problem| (Role::Detect, problem))
                .and_then(|found| {
                    let veto = plugin.rule(&snapshot).map_err(|problem| (Role::Rule, problem))?;
                    Ok((found, veto))
                });
            match result {
                Ok((found, veto)) => {
                    tick.findings.extend(found);
                    tick.vetoes.extend(veto);
                    self.succeeded(plugin);
                }
                Err((role, problem)) => tick.faults.push(self.fault(plugin, role, problem)),
            }
            self.took(plugin, started.elapsed());
        }
        self.after_faults(&tick.faults);
        self.keep(snapshot);
        tick
    }

    /// Passes an alert to the plugins that write messages.
    pub fn notify(&self, event: &impl Serialize) -> (Vec<Message>, Vec<Fault>) {
        let active = Arc::clone(&lock(&self.active));
        let (mut messages, mut faults) = (Vec::new(), Vec::new());
        let Some(event) = as_map(event) else {
            return (messages, faults);
        };
        for plugin in &active.order {
            match plugin.notify(&event) {
                Ok(message) => messages.extend(message),
                Err(problem) => faults.push(self.fault(plugin, Role::Notify, problem)),
            }
        }
        self.after_faults(&faults);
        (messages, faults)
    }

    /// Removes quarantined plugins. A concurrent reload does it at its end; a tick does not wait for it.
    fn after_faults(&self, faults: &[Fault]) {
        if faults.iter().any(|fault| fault.quarantined)
            && let Ok(mut files) = self.files.try_lock()
        {
            self.rearrange(&mut files);
        }
    }

    fn took(&self, plugin: &Plugin, elapsed: Duration) {
        let mut counts = lock(&self.counts);
        let count = counts.entry(plugin.name.clone()).or_default();
        count.calls += 1;
        count.slowest = count.slowest.max(elapsed);
    }

    fn succeeded(&self, plugin: &Plugin) {
        if let Some(count) = lock(&self.counts).get_mut(&plugin.name) {
            count.in_a_row = 0;
        }
    }

    fn fault(&self, plugin: &Plugin, role: Role, problem: String) -> Fault {
        let function = plugin.roles.get(&role).copied().unwrap_or_default().to_owned();
        let mut counts = lock(&self.counts);
        let count = counts.entry(plugin.name.clone()).or_default();
        count.faults += 1;
        count.in_a_row += 1;
        let quarantined = count.in_a_row >= self.config.limits.faults;
        if quarantined {
            count.quarantined = Some(format!("{function} failed {} times: {problem}", count.in_a_row));
        }
        Fault {
            plugin: plugin.name.clone(),
            function,
            problem,
            quarantined,
        }
    }

    /// Reads the folder: new, changed and removed files take effect. A changed file that is invalid or fails
    /// its dry run leaves the previous version in use. Returns what changed. A folder that cannot be read is
    /// an error, and nothing changes.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read.
    pub fn try_reload(&self) -> Result<Vec<Change>> {
        let sources = self.sources()?;
        let mut files = lock(&self.files);
        let mut changes = Vec::new();
        let gone: Vec<String> = files
            .seen
            .keys()
            .filter(|name| !sources.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            files.seen.remove(&name);
            files.good.remove(&name);
            files.before.remove(&name);
            files.pending.remove(&name);
            lock(&self.counts).remove(&name);
            changes.push(Change {
                plugin: name,
                what: "removed".into(),
                accepted: true,
                took: Duration::ZERO,
            });
        }
        for (name, (path, source)) in sources {
            let started = Instant::now();
            let source = match source {
                Source::Unsettled => continue,
                Source::Text(source) => source,
                Source::Unreadable(problem) => Arc::from(format!("\0{problem}")),
            };
            if files.seen.get(&name) == Some(&source) {
                continue;
            }
            files.seen.insert(name.clone(), Arc::clone(&source));
            let what = self.take(&mut files, &name, &path, &source);
            // The replacement itself: from here on ticks use the new order.
            self.rearrange(&mut files);
            changes.push(Change {
                accepted: what.is_ok(),
                what: what.unwrap_or_else(|problem| problem),
                plugin: name,
                took: started.elapsed(),
            });
        }
        if !changes.is_empty() {
            self.rearrange(&mut files);
        }
        Ok(changes)
    }

    /// Like [`Host::try_reload`]; an unreadable folder counts as one rejected change.
    pub fn reload(&self) -> Vec<Change> {
        self.try_reload().unwrap_or_else(|error| {
            vec![Change {
                plugin: String::new(),
                what: error.to_string(),
                accepted: false,
                took: Duration::ZERO,
            }]
        })
    }

    /// Accepts new contents of a file, or returns why not.
    fn take(
        &self,
        files: &mut Files,
        name: &str,
        path: &Path,
        source: &Arc<str>,
    ) -> std::result::Result<String, String> {
        let compiled = match source.strip_prefix('\0') {
            Some(problem) => Err(problem.to_owned()),
            None => {
                Plugin::compile(path, source, &self.sandbox, &self.config.limits).map_err(|e| e.to_string())
            }
        };
        let checked = compiled.and_then(|plugin| {
            let recorded: Vec<Dynamic> = lock(&self.recorded).iter().cloned().collect();
            let ran = plugin
                .dry_run(recorded.iter(), &self.config.limits)
                .map_err(|problem| format!("{}: its dry run failed: {problem}", path.display()))?;
            Ok((plugin, ran))
        });
        match checked {
            Ok((plugin, ran)) => {
                files.pending.remove(name);
                let verb = match files.good.remove(name) {
                    Some(before) => {
                        plugin.inherit(&before);
                        files.before.insert(name.to_owned(), before);
                        "changed"
                    }
                    None => "added",
                };
                if let Some(count) = lock(&self.counts).get_mut(name) {
                    // An edited file is tried again.
                    count.quarantined = None;
                    count.in_a_row = 0;
                }
                files.good.insert(name.to_owned(), Arc::new(plugin));
                Ok(format!("{verb}, after a dry run over {ran} snapshots"))
            }
            Err(problem) => {
                files.pending.insert(name.to_owned(), problem.clone());
                Err(problem)
            }
        }
    }

    /// Selects the plugins that run. A quarantined plugin is replaced by its previous version, if there is
    /// one.
    fn rearrange(&self, files: &mut Files) {
        let quarantined: Vec<(String, String)> = lock(&self.counts)
            .iter()
            .filter_map(|(name, count)| Some((name.clone(), count.quarantined.clone()?)))
            .collect();
        let mut runnable = files.good.clone();
        for (name, why) in &quarantined {
            let Some(before) = files.before.remove(name) else {
                runnable.remove(name);
                continue;
            };
            files.pending.insert(name.clone(), why.clone());
            files.good.insert(name.clone(), Arc::clone(&before));
            runnable.insert(name.clone(), before);
            if let Some(count) = lock(&self.counts).get_mut(name) {
                count.quarantined = None;
                count.in_a_row = 0;
            }
        }
        let (order, refused) = arrange(&runnable, &self.config.capabilities);
        files.refused = refused;
        *lock(&self.active) = Arc::new(Active { order });
    }

    /// Every plugin with its status.
    pub fn list(&self) -> Vec<ListedPlugin> {
        let files = lock(&self.files);
        let counts = lock(&self.counts);
        files
            .seen
            .keys()
            .map(|name| {
                let count = counts.get(name).cloned().unwrap_or_default();
                let good = files.good.get(name);
                let pending = files.pending.get(name).cloned();
                let status = match (good, &count.quarantined, files.refused.get(name)) {
                    (None, _, _) => Status::Rejected(pending.clone().unwrap_or_default()),
                    (Some(_), Some(why), _) => Status::Quarantined(why.clone()),
                    (Some(_), None, Some(why)) => Status::Inactive(why.clone()),
                    (Some(_), None, None) => Status::Active,
                };
                ListedPlugin {
                    name: name.clone(),
                    roles: good
                        .map(|plugin| plugin.roles.keys().copied().collect())
                        .unwrap_or_default(),
                    manifest: good.map(|plugin| plugin.manifest.clone()),
                    pending: good.and(pending),
                    status,
                    calls: count.calls,
                    faults: count.faults,
                    slowest: count.slowest,
                }
            })
            .collect()
    }

    /// The files of the folder, by the name of their plugin.
    fn sources(&self) -> Result<BTreeMap<String, (PathBuf, Source)>> {
        let io = |e: std::io::Error| Error::io(&self.folder, &e);
        let mut sources = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_none_or(|extension| extension != "rhai") {
                continue;
            }
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else {
                continue;
            };
            let source = if sources.len() >= self.config.limits.plugins {
                Source::Unreadable(format!(
                    "too many plugins: the limit is {}",
                    self.config.limits.plugins
                ))
            } else {
                Source::read(&path, self.config.limits.source_bytes, self.config.settle)
            };
            sources.insert(name, (path, source));
        }
        Ok(sources)
    }
}

/// What came of reading a file.
enum Source {
    Text(Arc<str>),
    /// It was written too recently.
    Unsettled,
    Unreadable(String),
}

impl Source {
    fn read(path: &Path, most: usize, settle: Duration) -> Self {
        let read = || {
            let io = |e: std::io::Error| format!("{}: {e}", path.display());
            let meta = std::fs::metadata(path).map_err(io)?;
            if !meta.is_file() {
                return Err(format!("{}: it is not a file", path.display()));
            }
            // A time in the future comes from another clock and says nothing.
            let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age < settle) {
                return Ok(Self::Unsettled);
            }
            if meta.len() > most as u64 {
                return Err(format!(
                    "{}: it has {} bytes; the limit is {most}",
                    path.display(),
                    meta.len()
                ));
            }
            std::fs::read_to_string(path)
                .map(|text| Self::Text(text.into()))
                .map_err(io)
        };
        read().unwrap_or_else(Self::Unreadable)
    }
}

/// A value as the map that scripts see; `None` if it is no map.
fn as_map(value: &impl Serialize) -> Option<Dynamic> {
    let mut value = rhai::serde::to_dynamic(value).ok()?;
    let mut map = value.write_lock::<Map>()?;
    map.entry("derived".into()).or_insert_with(|| Map::new().into());
    drop(map);
    Some(value)
}

fn merge_derived(snapshot: &mut Dynamic, new: Map) {
    if let Some(mut map) = snapshot.write_lock::<Map>()
        && let Some(mut derived) = map.get_mut("derived").and_then(Dynamic::write_lock::<Map>)
    {
        derived.extend(new);
    }
}
