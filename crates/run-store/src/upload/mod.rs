//! Uploading a run's finished files to an object store: S3 and what speaks its protocol, or a folder.
//!
//! A run never waits for it: files go through a queue to a thread of its own, which tries again with growing pauses.
//! Only files that will not change any more are uploaded: parts when they are closed ([`UploadingStore`]), everything
//! else when the run has ended. What could not be uploaded is counted and named, and stays where it is.
//!
//! ```no_run
//! use run_store::upload::{Upload, UploadConfig};
//!
//! // Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT, …
//! let upload = Upload::start(UploadConfig::new("s3://bucket/runs/today"))?;
//! // … the run …
//! upload.files(["metrics_output/vllm_metrics_20260101_000000.parquet".into()]);
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

/// Where to upload to, and how hard to try.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadConfig {
    /// `s3://bucket/prefix`, or `file:///folder`.
    pub url: String,
    /// Settings of the store that win over the environment's, by the names of its variables (`aws_endpoint`,
    /// `aws_allow_http`, …). Never printed.
    pub options: BTreeMap<String, String>,
    /// Attempts before a file is given up.
    pub attempts: u32,
    /// Pause before the second attempt; doubled before each further one, up to half a minute.
    pub first_pause: Duration,
    /// Limit of one request: a file of up to 16 MiB, or one such piece of a larger one.
    pub timeout: Duration,
    /// How long [`Upload::settle`] waits.
    pub drain: Duration,
}

impl UploadConfig {
    /// Five attempts, half a minute a request, two minutes at the end.
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

/// What became of the files so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadStats {
    /// Files that the store took.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Files that were given up, and why.
    pub failed: Vec<(PathBuf, String)>,
    /// Files still waiting when it was looked at.
    pub waiting: Vec<PathBuf>,
}

impl UploadStats {
    /// What a reader of the run must know; empty when everything arrived.
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

/// The thread that uploads, and the queue before it. Clones share both; the thread ends when the last one is dropped
/// and the queue is empty.
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
    /// Checks the configuration and starts the thread. Touches no network yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL or an option that cannot be used, [`Error::Start`] without a thread.
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

    /// Queues a file that will not change any more; a second time does nothing. Its name in the store is the prefix and
    /// its own name. Never waits.
    pub fn file(&self, path: impl Into<PathBuf>) {
        let path = path.into();
        let mut state = self.shared.lock();
        if state.known.insert(path.clone()) {
            state.stats.waiting.push(path.clone());
            drop(state);
            if let Err(lost) = self.queue.send(path) {
                // Only a thread that panicked is gone while a handle exists.
                self.shared
                    .settled(lost.0, Err("the uploading thread is gone".to_owned()));
            }
        }
    }

    /// Queues several.
    pub fn files(&self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) {
        for path in paths {
            self.file(path);
        }
    }

    /// Waits until nothing is left to do, but no longer than [`UploadConfig::drain`], and tells what became of it all.
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

    /// What became of the files so far.
    pub fn stats(&self) -> UploadStats {
        self.shared.lock().stats.clone()
    }
}

impl Shared {
    /// A file is done with: uploaded with its size, or given up.
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
