//! Names of a run's files: built from its stamp when writing, and found from any one of them when reading.

use std::fs;
use std::path::{Path, PathBuf};

use super::format::StoreFormat;
use run_model::{Error, Result};

/// First part of the samples file's name.
pub(crate) const SAMPLES: &str = "vllm_metrics";

/// Folder, stamp and format of one run, which determine all file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunFiles {
    pub(crate) dir: PathBuf,
    pub(crate) stamp: String,
    /// Text between stamp and extension: empty for raw files, `_processed` for derived ones.
    pub(crate) suffix: String,
    pub(crate) format: StoreFormat,
    /// The file, if another program wrote it: it is the whole run.
    pub(crate) foreign: Option<PathBuf>,
}

impl RunFiles {
    pub(crate) fn new(dir: &Path, stamp: &str, format: StoreFormat) -> Self {
        Self {
            dir: dir.to_path_buf(),
            stamp: stamp.to_owned(),
            suffix: String::new(),
            format,
            foreign: None,
        }
    }

    /// A file that another program wrote, if its format is one that can be read.
    fn foreign(path: &Path) -> Option<Self> {
        let format = StoreFormat::from_path(path).filter(|format| *format != StoreFormat::Parquet)?;
        path.is_file().then(|| Self {
            foreign: Some(path.to_path_buf()),
            ..Self::new(parent(path), "", format)
        })
    }

    /// The samples file, or the one SQLite file.
    pub(crate) fn samples(&self) -> PathBuf {
        self.path(SAMPLES, self.format.extension())
    }

    /// File of `requests`, `batches`, `steps`, `engine_requests` or `events`.
    pub(crate) fn table(&self, table: &str) -> PathBuf {
        if self.format == StoreFormat::Sqlite {
            return self.samples();
        }
        let extension = match self.format {
            // Not just `csv`: the same run may also exist as CSV in this folder.
            StoreFormat::PrometheusText => "prom.csv",
            other => other.extension(),
        };
        self.path(table, extension)
    }

    fn path(&self, prefix: &str, extension: &str) -> PathBuf {
        self.dir
            .join(format!("{prefix}_{}{}.{extension}", self.stamp, self.suffix))
    }
}

/// `base.ext` → `base.part0003.ext`.
pub(crate) fn part_path(path: &Path, part: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}.part{part:04}.{extension}"))
}

/// Returns the existing parts of `path`, by number.
pub(crate) fn existing_parts(path: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let dir = parent(path);
    let mut parts = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(parts),
        other => other.map_err(Error::io("list", dir))?,
    };
    for entry in entries {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        let Some(number) = name
            .to_str()
            .and_then(|name| {
                name.strip_prefix(&stem)?
                    .strip_prefix(".part")?
                    .strip_suffix(&extension)?
                    .strip_suffix('.')
            })
            .and_then(|digits| digits.parse().ok())
        else {
            continue;
        };
        parts.push((number, dir.join(name)));
    }
    parts.sort();
    Ok(parts)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// The components of a file name.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    prefix: String,
    stamp: String,
    suffix: String,
    extension: String,
}

fn parse(name: &str) -> Option<Parsed> {
    let prefix = [
        SAMPLES,
        "requests",
        "batches",
        "steps",
        "engine_requests",
        "events",
    ]
    .into_iter()
    .find(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('_'))
    })?;
    let rest = &name[prefix.len() + 1..];
    let (base, extension) = rest.rsplit_once('.')?;
    let base = base.split_once(".part").map_or(base, |(base, _)| base);
    let (base, extension) = if base.ends_with(".prom") {
        (base.trim_end_matches(".prom"), "prom.csv")
    } else {
        (base, extension)
    };
    // The stamp is two groups of digits; the rest is the suffix.
    let stamp_len = 15;
    let stamp = base.get(..stamp_len)?;
    is_stamp(stamp).then(|| Parsed {
        prefix: prefix.to_owned(),
        stamp: stamp.to_owned(),
        suffix: base[stamp_len..].to_owned(),
        extension: extension.to_owned(),
    })
}

/// True for `YYYYMMDD_HHMMSS`.
pub(crate) fn is_stamp(text: &str) -> bool {
    text.len() == 15
        && text.bytes().enumerate().all(|(at, byte)| {
            if at == 8 {
                byte == b'_'
            } else {
                byte.is_ascii_digit()
            }
        })
}

/// Finds the run that `path` belongs to: any of its files, its folder (the newest run in it), or folder plus
/// stamp. Also returns notes about the choice.
pub(crate) fn locate(path: &Path) -> Result<(RunFiles, Vec<String>)> {
    if path.is_dir() {
        return newest_in(path);
    }
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if let Some(samples) = name.strip_suffix(".manifest") {
        return locate(&path.with_file_name(samples));
    }
    if is_stamp(name) && !path.exists() {
        return of_stamp(parent(path), name).map(|files| (files, Vec::new()));
    }
    let Some(parsed) = parse(name) else {
        if let Some(files) = RunFiles::foreign(path) {
            return Ok((files, Vec::new()));
        }
        return Err(Error::Format {
            path: path.to_path_buf(),
            format: "run file",
            reason:
                "its name is not vllm_metrics_, requests_, batches_, steps_, engine_requests_ or events_ with a stamp \
                 YYYYMMDD_HHMMSS; \
                     give it its original name or name the folder"
                    .into(),
        });
    };
    let format = if parsed.prefix == SAMPLES {
        StoreFormat::from_path(path)
    } else {
        // A table's file: its extension determines the format of the samples in the same folder.
        match parsed.extension.as_str() {
            "parquet" => Some(StoreFormat::Parquet),
            "json" => Some(StoreFormat::Json),
            "csv" => Some(StoreFormat::Csv),
            "prom.csv" => Some(StoreFormat::PrometheusText),
            _ => None,
        }
    };
    let Some(format) = format else {
        return Err(Error::Format {
            path: path.to_path_buf(),
            format: "run file",
            reason: format!("unknown extension `{}`", parsed.extension),
        });
    };
    let mut files = RunFiles::new(parent(path), &parsed.stamp, format);
    files.suffix = parsed.suffix;
    Ok((files, Vec::new()))
}

const BY_PREFERENCE: &[StoreFormat] = &[
    StoreFormat::Parquet,
    StoreFormat::Sqlite,
    StoreFormat::Json,
    StoreFormat::Csv,
    StoreFormat::PrometheusText,
];

fn of_stamp(dir: &Path, stamp: &str) -> Result<RunFiles> {
    for &format in BY_PREFERENCE {
        let files = RunFiles::new(dir, stamp, format);
        if files.samples().exists() || !existing_parts(&files.samples())?.is_empty() {
            return Ok(files);
        }
    }
    Err(Error::Format {
        path: dir.to_path_buf(),
        format: "run folder",
        reason: format!("it holds no vllm_metrics_{stamp} file in any format"),
    })
}

fn newest_in(dir: &Path) -> Result<(RunFiles, Vec<String>)> {
    let mut stamps = std::collections::BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        if let Some(parsed) = name.to_str().and_then(parse) {
            let known = StoreFormat::from_path(Path::new(&name)).is_some();
            if parsed.prefix == SAMPLES && parsed.suffix.is_empty() && known {
                stamps.insert(parsed.stamp);
            }
        }
    }
    let Some(newest) = stamps.last() else {
        return Err(Error::Format {
            path: dir.to_path_buf(),
            format: "run folder",
            reason: "it holds no vllm_metrics_<stamp> file in any format".into(),
        });
    };
    let mut notes = Vec::new();
    if stamps.len() > 1 {
        notes.push(format!(
            "the folder holds {} runs; this is the newest, {newest}",
            stamps.len()
        ));
    }
    Ok((of_stamp(dir, newest)?, notes))
}
