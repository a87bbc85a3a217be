//! File formats of a run, with their names in options and extensions.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// File format of a run. Every format reads back as the same [`RunData`](run_model::RunData) and converts to
/// any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StoreFormat {
    /// Compressed columns: `.parquet`. About a fifth of a byte per sample. Needs the cargo feature `parquet`.
    #[default]
    Parquet,
    /// One array of objects: `.json`.
    Json,
    /// One header line, then one line per row: `.csv` (RFC 4180).
    Csv,
    /// Tables in one database file: `.db`. Needs the cargo feature `sqlite`.
    Sqlite,
    /// Prometheus text with a timestamp on every sample: `.prom`. The other tables are separate CSV files.
    PrometheusText,
}

impl StoreFormat {
    /// Formats that this build can write and read.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "parquet")]
        Self::Parquet,
        Self::Json,
        Self::Csv,
        #[cfg(feature = "sqlite")]
        Self::Sqlite,
        Self::PrometheusText,
    ];

    /// The name used in options: `parquet`, `json`, `csv`, `sqlite`, `prom`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Sqlite => "sqlite",
            Self::PrometheusText => "prom",
        }
    }

    /// Extension of the samples file, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Sqlite => "db",
            Self::PrometheusText => "prom",
        }
    }

    /// Returns the format of a file's extension; `None` for any other extension.
    pub fn from_path(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "parquet" => Self::Parquet,
            "json" => Self::Json,
            "csv" => Self::Csv,
            "db" | "sqlite" => Self::Sqlite,
            "prom" => Self::PrometheusText,
            _ => return None,
        })
    }
}

impl fmt::Display for StoreFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of a format; the message lists the existing ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown store format `{0}`: use parquet, json, csv, sqlite or prom")]
pub struct UnknownFormat(pub String);

impl FromStr for StoreFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "parquet" => Self::Parquet,
            "json" => Self::Json,
            "csv" => Self::Csv,
            "sqlite" | "db" => Self::Sqlite,
            "prometheus-file" | "prom" => Self::PrometheusText,
            other => return Err(UnknownFormat(other.to_owned())),
        })
    }
}
