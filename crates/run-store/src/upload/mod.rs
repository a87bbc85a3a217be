//! Uploads a run's finished files to an object store: S3, a compatible service, or a folder.
//!
//! A run never waits for an upload: files are queued for a separate thread, which retries with growing
//! pauses. Only files that no longer change are uploaded: parts when they are closed ([`UploadingStore`]),
//! everything else at the end of the run. Files that could not be uploaded are reported and stay on disk.
//!
//! ```no_run
//! use run_store::upload::{Upload, UploadConfig};
//!
//! // Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT, …
//! let upload = Upload::start(UploadConfig::new("s3://bucket/runs/today"))?;
//! // … the run …
//! upload.files(["metrics_output/vllm_metrics_20260101_000000.parquet"]);
//! println!("{:?}", upload.settle());
//! # Ok::<(), run_model::Error>(())
//! ```

mod parts;
mod target;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

pub use parts::UploadingStore;

use self::target::{Refusal, Target};
use run_model::ShownUrl;
use run_model::{Error, Result};

/// Upload settings.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadConfig {
    /// `s3://bucket/prefix`, or `file:///folder`.
    pub url: String,
    /// Settings of the object store, which override the environment, under the names of its variables
    /// (`aws_endpoint`, `aws_allow_http`, …). Never printed.
    pub options: BTreeMap<String, String>,
    /// Number of attempts before a file is given up.
    pub attempts: u32,
    /// Pause before the second attempt; doubled before each further one, up to 30 seconds.
    pub first_pause: Duration,
    /// Timeout of one request: a file of up to 16 MiB, or one such piece of a larger one.
    pub timeout: Duration,
    /// Maximum time that [`Upload::settle`] waits.
    pub drain: Duration,
}

impl UploadConfig {
    /// Five attempts, 30 seconds per request, two minutes at the end.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            options: BTreeMap::new(),
            attempts: 5,
            first_pause: Duration::from_millis(200),
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(120),
        }
    }
}

impl fmt::Debug for UploadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("UploadConfig")
            .field("url", &ShownUrl::from_text(&self.url))
            .field("options", &options)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Upload statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadStats {
    /// Uploaded files.
    pub files: u64,
    /// Their total size.
    pub bytes: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Files that were given up, and why.
    pub failed: Vec<(PathBuf, String)>,
    /// Files still waiting when the statistics were taken.
    pub waiting: Vec<PathBuf>,
}

impl UploadStats {
    /// Problems that a reader of the run must know; empty if everything was uploaded.
    pub fn problems(&self) -> Vec<String> {
        let failed = self
            .failed
            .iter()
            .map(|(path, why)| format!("{} was not uploaded: {why}", path.display()));
        let waiting = self
            .waiting
            .iter()
            .map(|path| format!("{} was not uploaded in time", path.display()));
        failed.chain(waiting).collect()
    }
}

/// The uploading thread and its queue. Clones share both; the thread ends when the last clone is dropped and
/// the queue is empty.
#[derive(Debug, Clone)]
pub struct Upload {
    queue: Sender<PathBuf>,
    shared: Arc<Shared>,
    drain: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stats: UploadStats,
    known: HashSet<PathBuf>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Checks the configuration and starts the thread. Does not access the network yet.
    ///
    /// # Errors
    /// [`Error::Config`] for an invalid URL or option, [`Error::Start`] if no thread could be started.
    pub fn start(config: UploadConfig) -> Result<Self> {
        let target = Target::open(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Start {
                what: "the uploading runtime",
                source,
            })?;
        let (queue, files) = unbounded();
        let shared = Arc::new(Shared::default());
        let drain = config.drain;
        let worker = Worker {
            target,
            config,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("metrics-upload".into())
            .spawn(move || worker.run(&runtime, &files))
            .map_err(|source| Error::Start {
                what: "the uploading thread",
                source,
            })?;
        Ok(Self { queue, shared, drain })
    }

    /// Queues a file that no longer changes; queueing it again has no effect. Its name in the object store is
    /// the prefix followed by its file name. Never blocks.
    pub fn file(&self, path: impl Into<PathBuf>) {
        let path = path.into();
        let mut state = self.shared.lock();
        if state.known.insert(path.clone()) {
            state.stats.waiting.push(path.clone());
            drop(state);
            if let Err(lost) = self.queue.send(path) {
                // While a handle exists, the thread is gone only if it panicked.
                self.shared
                    .settled(lost.0, Err("the uploading thread is gone".to_owned()));
            }
        }
    }

    /// Queues several files.
    pub fn files(&self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) {
        for path in paths {
            self.file(path);
        }
    }

    /// Waits until all files are done, at most [`UploadConfig::drain`], and returns the statistics.
    pub fn settle(&self) -> UploadStats {
        let deadline = Instant::now() + self.drain;
        let mut state = self.shared.lock();
        while !state.stats.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .shared
                .moved
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.stats.clone()
    }

    /// Returns the statistics so far.
    pub fn stats(&self) -> UploadStats {
        self.shared.lock().stats.clone()
    }
}

impl Shared {
    /// Marks a file as done: uploaded with its size, or given up.
    fn settled(&self, path: PathBuf, result: Result<u64, String>) {
        let mut state = self.lock();
        state.stats.waiting.retain(|waiting| *waiting != path);
        match result {
            Ok(bytes) => {
                state.stats.files += 1;
                state.stats.bytes += bytes;
            }
            Err(why) => state.stats.failed.push((path, why)),
        }
        drop(state);
        self.moved.notify_all();
    }
}

struct Worker {
    target: Target,
    config: UploadConfig,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(&self, runtime: &tokio::runtime::Runtime, files: &Receiver<PathBuf>) {
        while let Ok(path) = files.recv() {
            let result = runtime.block_on(self.deliver(&path));
            if let Err(why) = &result {
                tracing::warn!(path = %path.display(), why, "a file was not uploaded");
            }
            self.shared.settled(path, result);
        }
    }

    async fn deliver(&self, path: &Path) -> Result<u64, String> {
        let mut pause = self.config.first_pause;
        let mut attempt = 1;
        loop {
            match self.target.put(path).await {
                Ok(bytes) => return Ok(bytes),
                Err(Refusal { why, again }) if !again || attempt >= self.config.attempts => {
                    return Err(format!("{why} (attempt {attempt})"));
                }
                Err(Refusal { why, .. }) => {
                    tracing::debug!(path = %path.display(), attempt, why, "an upload failed and is tried again");
                }
            }
            self.shared.lock().stats.retries += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
            attempt += 1;
        }
    }
}
