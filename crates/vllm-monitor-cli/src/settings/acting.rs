//! `[acting]`: from the file and flags to [`ActingSettings`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use monitor_acting::actuate::{Hook, KubernetesScale, Secret};
use monitor_acting::arm::Catalogue;
use monitor_acting::guard::{Limits, Mode};
use serde_json::{Map, Value};
use vllm_monitor::config::Settings;

use super::file::{ActingTable, HookTable, TargetTable};
use super::resolve::{Draft, text};
use crate::acting::{ActingSettings, ActingTarget};
use crate::probe::Endpoint;
use crate::target::TargetSpec;

/// Limits that have a key elsewhere.
const ELSEWHERE: &[(&str, &str)] = &[
    ("mode", "enable_auto_mitigation"),
    ("allow", "acting.allow"),
    ("probability", "mitigation_threshold"),
];
/// Longest run of a hook's command, in seconds.
const LIMITS: std::ops::RangeInclusive<f64> = 1.0..=600.0;

impl Draft<'_> {
    /// Resolves everything about acting. The mode is `act` only if `enable_auto_mitigation` is on.
    pub(super) fn acting(
        &mut self,
        path: &Path,
        table: ActingTable,
        core: &Settings,
        state_file: Option<&Path>,
        targets: &[TargetSpec],
        tables: &[TargetTable],
    ) -> ActingSettings {
        let catalogue = self.catalogue(table.arms_file.as_deref());
        let limits = self.limits(path, &table, core, &catalogue);
        let acts = limits.mode == Mode::Act;
        let folder = table.folder.clone().or_else(|| {
            let mut name = state_file?.file_name()?.to_owned();
            name.push("-acting");
            Some(state_file?.with_file_name(name))
        });
        if acts && folder.is_none() {
            self.problems.push(
                "acting needs a folder for its audit and its memory, so that budgets and the breaker survive a \
                 restart: set acting.folder, or keep the state with --state-file"
                    .to_owned(),
            );
        }
        let leases = || Some(self.default_state_file()?.with_file_name("leases"));
        let lease_folder = table.lease_folder.clone().or_else(leases);
        if acts && lease_folder.is_none() {
            self.problems
                .push("acting needs a folder for leases: set acting.lease_folder".to_owned());
        }
        let in_folder = |name: &str| folder.as_ref().map(|folder| folder.join(name));
        let kill_switch_file = table.kill_switch_file.clone().or_else(|| in_folder("stop"));
        let holder = table.holder.clone().unwrap_or_else(|| {
            let host = nix::unistd::gethostname().map_or_else(
                |_| "unknown-host".to_owned(),
                |name| name.to_string_lossy().into_owned(),
            );
            match &folder {
                Some(folder) => format!("{host}:{}", folder.display()),
                None => format!("{host}:{}", std::process::id()),
            }
        });
        for (key, value) in [
            ("folder", folder.as_ref()),
            (
                "audit_file",
                table.audit_file.as_ref().or(in_folder("audit.jsonl").as_ref()),
            ),
            ("lease_folder", lease_folder.as_ref()),
            ("kill_switch_file", kill_switch_file.as_ref()),
        ] {
            let value = value.map_or_else(|| "off".to_owned(), text);
            self.printed
                .push((format!("acting.{key}"), value, "file or default".to_owned()));
        }
        self.printed.push((
            "acting.holder".to_owned(),
            holder.clone(),
            "file or default".to_owned(),
        ));

        let token = {
            let file = table.lever_token_file.as_ref().map(|file| (text(file), path));
            let flag = self.flags.lever_token_file.as_ref().map(text);
            self.pick("acting.lever_token_file", flag, file, None)
                .and_then(|(file, from)| self.secret(Path::new(&file), &format!("{from}: lever_token_file")))
        };
        let hooks = self.hooks(path, &table.hooks);
        let targets = targets
            .iter()
            .map(|spec| {
                let table = tables.iter().find(|table| {
                    table.name.as_deref() == Some(spec.name.as_ref())
                        || table.name.is_none()
                            && Endpoint::parse(&table.url, None)
                                .is_ok_and(|endpoint| endpoint.url() == spec.endpoint.url())
                });
                let target = self.acting_target(spec, table, token.as_deref(), &hooks);
                (Arc::clone(&spec.name), target)
            })
            .collect();
        ActingSettings {
            limits,
            catalogue,
            holder: holder.into(),
            learning: core.features.enable_learning,
            folder,
            audit: table.audit_file,
            lease_folder,
            kill_switch_file,
            horizon_secs: core.parameters.alarm.horizon_secs,
            targets,
        }
    }

    fn catalogue(&mut self, file: Option<&Path>) -> Catalogue {
        let from = file.map_or_else(|| "built in".to_owned(), text);
        self.printed
            .push(("acting.arms_file".to_owned(), from, "file or default".to_owned()));
        let Some(file) = file else {
            return Catalogue::built_in();
        };
        let read = std::fs::read_to_string(file)
            .map_err(|e| format!("acting.arms_file: {}: {e}", file.display()))
            .and_then(|content| Catalogue::parse(&text(file), &content).map_err(|e| e.to_string()));
        read.unwrap_or_else(|problem| {
            self.problems.push(problem);
            Catalogue::built_in()
        })
    }

    fn limits(&mut self, path: &Path, table: &ActingTable, core: &Settings, catalogue: &Catalogue) -> Limits {
        let mut changed: Map<String, Value> = table.limits.clone();
        for (key, other) in ELSEWHERE {
            if changed.remove(*key).is_some() {
                self.problems.push(format!(
                    "{}: acting.limits.{key}: set {other} instead",
                    path.display()
                ));
            }
        }
        let read = serde_json::from_value::<Limits>(Value::Object(changed));
        let mut limits = read.unwrap_or_else(|e| {
            self.problems
                .push(format!("{}: acting.limits: {e}", path.display()));
            Limits::default()
        });
        if core.features.enable_auto_mitigation {
            limits.mode = Mode::Act;
        }
        limits.probability = core.features.mitigation_threshold;
        let known: BTreeSet<Arc<str>> = catalogue.arms.iter().map(|arm| Arc::clone(&arm.name)).collect();
        for name in table.allow.iter().chain(&self.flags.allow_actions) {
            if known.contains(name.as_str()) {
                limits.allow.insert(name.as_str().into());
            } else {
                let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
                self.problems.push(format!(
                    "acting.allow: there is no action `{name}`; there are {}",
                    known.join(", ")
                ));
            }
        }
        self.problems.extend(
            limits
                .problems()
                .into_iter()
                .map(|problem| format!("acting.limits: {problem}")),
        );
        let mode = match limits.mode {
            Mode::Observe => "observe",
            Mode::Act => "act",
        };
        self.printed.push((
            "acting.mode".to_owned(),
            mode.to_owned(),
            "enable_auto_mitigation".to_owned(),
        ));
        self.printed.push((
            "acting.allow".to_owned(),
            format!("{:?}", limits.allow),
            "file and flags together".to_owned(),
        ));
        let Ok(Value::Object(all)) = serde_json::to_value(&limits) else {
            return limits;
        };
        for (key, value) in all {
            if ELSEWHERE.iter().any(|(known, _)| *known == key) {
                continue;
            }
            let from = if table.limits.contains_key(&key) {
                format!("file {}", path.display())
            } else {
                "default".to_owned()
            };
            self.printed
                .push((format!("acting.limits.{key}"), value.to_string(), from));
        }
        limits
    }

    fn acting_target(
        &mut self,
        spec: &TargetSpec,
        table: Option<&TargetTable>,
        token: Option<&str>,
        hooks: &BTreeMap<String, Hook>,
    ) -> ActingTarget {
        let own = table.and_then(|table| table.lever_token_file.clone());
        let token = match own {
            Some(file) => self.secret(&file, &format!("target {}: lever_token_file", spec.name)),
            None => token.map(str::to_owned),
        };
        let kind = table.and_then(|table| table.kind.clone());
        ActingTarget {
            url: Arc::clone(spec.endpoint.url()),
            kind: kind
                .unwrap_or_else(|| if spec.gpus { "gpu" } else { "cpu" }.to_owned())
                .into(),
            excluded: table.and_then(|table| table.act) == Some(false),
            restart_owner: table.and_then(|table| table.restart_owner.clone()),
            api_key: spec.endpoint.key().map(Secret::new),
            token: token.map(Secret::new),
            restart_command: table.map_or_else(Vec::new, |table| table.restart_command.clone()),
            restart: None,
            hooks: hooks.clone(),
            confirmed: table.map_or_else(BTreeSet::new, |table| {
                table.confirmed.iter().map(|name| name.as_str().into()).collect()
            }),
        }
    }

    fn hooks(&mut self, path: &Path, tables: &BTreeMap<String, HookTable>) -> BTreeMap<String, Hook> {
        let mut hooks = BTreeMap::new();
        for (name, table) in tables {
            let what = format!("{}: acting.hooks.{name}", path.display());
            let mut token = |file: &Option<PathBuf>| {
                let file = file.as_ref()?;
                self.secret(file, &format!("{what}: token_file")).map(Secret::new)
            };
            let hook = match table {
                HookTable::Webhook { url, token_file } => Hook::Webhook {
                    url: url.clone(),
                    token: token(token_file),
                },
                HookTable::Command { command, limit_secs } => {
                    let Some((program, arguments)) = command.split_first() else {
                        self.problems.push(format!("{what}: the command is empty"));
                        continue;
                    };
                    if !LIMITS.contains(limit_secs) {
                        self.problems.push(format!(
                            "{what}: limit_secs = {limit_secs}: {} to {} is possible",
                            LIMITS.start(),
                            LIMITS.end()
                        ));
                        continue;
                    }
                    Hook::Command {
                        program: program.clone(),
                        arguments: arguments.to_vec(),
                        limit: Duration::from_secs_f64(*limit_secs),
                    }
                }
                HookTable::Kubernetes {
                    api,
                    token_file,
                    resource,
                    namespace,
                    name,
                    least,
                    most,
                } => Hook::Kubernetes(KubernetesScale {
                    api: api.clone(),
                    token: token(token_file),
                    resource: resource.clone(),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    least: *least,
                    most: *most,
                }),
            };
            hooks.insert(name.clone(), hook);
        }
        hooks
    }
}
