//! A plugin's description of itself.

use rhai::{Dynamic, Map};

/// The map that a plugin's `manifest()` returns. Every key is optional; any other key is an error. The plugin's name
/// is that of its file.
///
/// ```rhai
/// fn manifest() {
///     #{
///         version: "1.2",
///         description: "KV use of the fullest member",
///         schema: 1,                  // of the snapshot; another one is refused
///         requires: ["other"],        // plugins that must be active; they run first
///         conflicts: ["old"],         // plugins that must not be active
///         needs: ["gpu"],             // capabilities of the host
///         priority: 50,               // lower runs earlier; 100 by default
///         enabled: true,
///         settings: #{ limit: 0.9 },  // seen as s.settings
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its version, for people.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// The schema of snapshots that it was written for.
    pub schema: u32,
    /// Plugins that must be active.
    pub requires: Vec<String>,
    /// Plugins that must not be active.
    pub conflicts: Vec<String>,
    /// Capabilities that the host must have.
    pub needs: Vec<String>,
    /// Lower runs earlier.
    pub priority: i64,
    /// Whether it runs.
    pub enabled: bool,
    /// Settings, seen by its functions as `s.settings`.
    pub settings: Map,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            version: "0".into(),
            description: String::new(),
            schema: crate::SNAPSHOT_SCHEMA,
            requires: Vec::new(),
            conflicts: Vec::new(),
            needs: Vec::new(),
            priority: 100,
            enabled: true,
            settings: Map::new(),
        }
    }
}

/// Most names in a list of a manifest.
const MOST_NAMES: usize = 50;

impl Manifest {
    pub(crate) fn from_dynamic(value: Dynamic) -> Result<Self, String> {
        let map = value
            .try_cast::<Map>()
            .ok_or_else(|| "manifest() returns a map".to_owned())?;
        let mut manifest = Self::default();
        for (key, value) in map {
            let wrong = |what: &str| format!("{key} is {what}");
            match key.as_str() {
                "version" => manifest.version = value.into_string().map_err(|_| wrong("a text"))?,
                "description" => {
                    manifest.description = value.into_string().map_err(|_| wrong("a text"))?;
                }
                "schema" => {
                    manifest.schema = value
                        .as_int()
                        .ok()
                        .and_then(|n| u32::try_from(n).ok())
                        .ok_or_else(|| wrong("a number"))?;
                }
                "requires" => manifest.requires = names(value).ok_or_else(|| wrong("an array of names"))?,
                "conflicts" => manifest.conflicts = names(value).ok_or_else(|| wrong("an array of names"))?,
                "needs" => manifest.needs = names(value).ok_or_else(|| wrong("an array of names"))?,
                "priority" => manifest.priority = value.as_int().map_err(|_| wrong("a number"))?,
                "enabled" => manifest.enabled = value.as_bool().map_err(|_| wrong("true or false"))?,
                "settings" => manifest.settings = value.try_cast::<Map>().ok_or_else(|| wrong("a map"))?,
                _ => {
                    return Err(format!(
                        "{key} is not a key; keys are version, description, schema, requires, conflicts, needs, priority, \
                         enabled and settings"
                    ));
                }
            }
        }
        if manifest.schema != crate::SNAPSHOT_SCHEMA {
            return Err(format!(
                "it was written for snapshots of schema {}, and these have schema {}",
                manifest.schema,
                crate::SNAPSHOT_SCHEMA
            ));
        }
        Ok(manifest)
    }
}

fn names(value: Dynamic) -> Option<Vec<String>> {
    let array = value.into_array().ok()?;
    if array.len() > MOST_NAMES {
        return None;
    }
    array.into_iter().map(|item| item.into_string().ok()).collect()
}
