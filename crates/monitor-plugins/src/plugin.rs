//! One version of one plugin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rhai::{AST, Dynamic, Map};

use crate::error::{Error, Result};
use crate::output::{self, Finding, Message, Veto, is_name};
use crate::sandbox::Sandbox;
use crate::{Limits, Manifest};

/// The roles of a plugin, given by the functions that it defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Derives signals.
    Derive,
    /// Finds failures.
    Detect,
    /// Forbids actions.
    Rule,
    /// Writes messages.
    Notify,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Derive, Self::Detect, Self::Rule, Self::Notify];

    /// Names of its function; the first that exists is used.
    pub fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Derive => &["derive", "execute"],
            Self::Detect => &["detect"],
            Self::Rule => &["rule"],
            Self::Notify => &["notify"],
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.functions()[0])
    }
}

/// A compiled script with the state that it keeps between calls.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) manifest: Manifest,
    pub(crate) roles: BTreeMap<Role, &'static str>,
    ast: AST,
    sandbox: Arc<Sandbox>,
    this: Mutex<Dynamic>,
    returned: usize,
}

impl Plugin {
    pub(crate) fn compile(
        file: &Path,
        source: &str,
        sandbox: &Arc<Sandbox>,
        limits: &Limits,
    ) -> Result<Self> {
        let display = file.display().to_string();
        let script = |problem: String| Error::Script {
            file: display.clone(),
            problem,
        };
        let name = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if !is_name(name) {
            return Err(script(
                "the file's name is letters, digits and _, and .rhai".into(),
            ));
        }
        if source.len() > limits.source_bytes {
            return Err(script(format!(
                "it has {} bytes; the limit is {}",
                source.len(),
                limits.source_bytes
            )));
        }
        let ast = sandbox.compile(source).map_err(script)?;
        let functions = Sandbox::functions(&ast);
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            for function in role.functions() {
                match functions.iter().find(|(name, _)| name == function) {
                    Some((_, 1)) => {
                        roles.entry(role).or_insert(*function);
                    }
                    Some((_, n)) => return Err(script(format!("{function} takes one parameter, not {n}"))),
                    None => {}
                }
            }
        }
        if roles.is_empty() {
            return Err(script(
                "it defines none of derive(s), execute(s), detect(s), rule(s) and notify(e)".into(),
            ));
        }
        let manifest = if functions.iter().any(|(name, n)| name == "manifest" && *n == 0) {
            let wrong = |problem| Error::Manifest {
                file: display.clone(),
                problem,
            };
            let value = sandbox
                .call(&ast, "manifest", &mut Dynamic::from(Map::new()), ())
                .map_err(wrong)?;
            Manifest::from_dynamic(value).map_err(wrong)?
        } else {
            Manifest::default()
        };
        Ok(Self {
            name: name.to_owned(),
            manifest,
            roles,
            ast,
            sandbox: Arc::clone(sandbox),
            this: Mutex::new(Dynamic::from(Map::new())),
            returned: limits.returned,
        })
    }

    fn this(&self) -> MutexGuard<'_, Dynamic> {
        self.this.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the state of another version.
    pub(crate) fn inherit(&self, before: &Self) {
        let kept = before.this().clone();
        *self.this() = kept;
    }

    pub(crate) fn forget(&self) {
        *self.this() = Dynamic::from(Map::new());
    }

    fn call(&self, role: Role, argument: &Dynamic) -> std::result::Result<Option<Dynamic>, String> {
        let Some(function) = self.roles.get(&role) else {
            return Ok(None);
        };
        let mut argument = argument.clone();
        if let Some(mut map) = argument.write_lock::<Map>()
            && !self.manifest.settings.is_empty()
        {
            map.insert("settings".into(), self.manifest.settings.clone().into());
        }
        let mut this = self.this();
        self.sandbox
            .call(&self.ast, function, &mut this, (argument,))
            .map(Some)
    }

    pub(crate) fn derive(&self, snapshot: &Dynamic) -> std::result::Result<BTreeMap<String, f64>, String> {
        match self.call(Role::Derive, snapshot)? {
            Some(value) => output::numbers(value, self.returned),
            None => Ok(BTreeMap::new()),
        }
    }

    pub(crate) fn detect(&self, snapshot: &Dynamic) -> std::result::Result<Vec<Finding>, String> {
        match self.call(Role::Detect, snapshot)? {
            Some(value) => output::findings(&self.name, value, self.returned),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn rule(&self, snapshot: &Dynamic) -> std::result::Result<Option<Veto>, String> {
        match self.call(Role::Rule, snapshot)? {
            Some(value) => output::veto(&self.name, value),
            None => Ok(None),
        }
    }

    pub(crate) fn notify(&self, event: &Dynamic) -> std::result::Result<Option<Message>, String> {
        match self.call(Role::Notify, event)? {
            Some(value) => output::message(&self.name, value),
            None => Ok(None),
        }
    }

    /// Runs over recorded snapshots and one sample event, then discards the resulting state.
    pub(crate) fn dry_run<'a>(
        &self,
        recorded: impl Iterator<Item = &'a Dynamic>,
        limits: &Limits,
    ) -> std::result::Result<usize, String> {
        let started = Instant::now();
        let mut ran = 0;
        let run = || {
            for snapshot in recorded {
                if started.elapsed() > limits.dry_run {
                    return Err(format!(
                        "{ran} snapshots took longer than {}: it is too slow",
                        duration_text::Shown(limits.dry_run)
                    ));
                }
                self.derive(snapshot)?;
                self.detect(snapshot)?;
                self.rule(snapshot)?;
                ran += 1;
            }
            self.notify(&sample_event())?;
            Ok(())
        };
        let result = run();
        self.forget();
        result.map(|()| ran)
    }
}

/// An alert as `notify` sees it.
pub(crate) fn sample_event() -> Dynamic {
    let mut map = Map::new();
    for (key, value) in [
        ("target", "http://127.0.0.1:8000"),
        ("change", "raised"),
        ("kind", "predicted"),
        ("failure_type", "kv_preemption"),
        ("text", "kv_preemption is expected with probability 90 %"),
    ] {
        map.insert(key.into(), value.into());
    }
    map.insert("probability".into(), 0.9.into());
    Dynamic::from(map)
}
