//! The object store behind a URL, and the upload of one file.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use url::Url;

use super::UploadConfig;
use run_model::ShownUrl;
use run_model::{Error, Result};

/// Files up to this size are uploaded in one request, larger ones in pieces of this size, to bound memory.
const PIECE: usize = 16 << 20;

/// Destination of the files.
#[derive(Debug)]
pub(super) struct Target {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
}

/// Why an attempt failed, and whether another one could succeed.
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) again: bool,
}

impl Target {
    pub(super) fn open(config: &UploadConfig) -> Result<Self> {
        let bad = |why: &dyn std::fmt::Display| {
            Error::config(format!("upload to {}: {why}", ShownUrl::from_text(&config.url)))
        };
        let url = Url::parse(&config.url).map_err(|error| bad(&error))?;
        let prefix = Key::from_url_path(url.path()).map_err(|error| bad(&error))?;
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "s3" | "s3a" => {
                let bucket = url
                    .host_str()
                    .ok_or_else(|| bad(&"write it as s3://bucket/prefix"))?;
                // Attempts are repeated and counted here, not in the object store client.
                let once = RetryConfig {
                    max_retries: 0,
                    ..RetryConfig::default()
                };
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(once)
                    .with_client_options(ClientOptions::new().with_timeout(config.timeout));
                for (key, value) in &config.options {
                    let key = key
                        .to_ascii_lowercase()
                        .parse()
                        .map_err(|_| bad(&format!("`{key}` is not an option of S3")))?;
                    builder = builder.with_config(key, value);
                }
                Arc::new(builder.build().map_err(|error| bad(&error))?)
            }
            "file" => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| bad(&"write it as file:///folder"))?;
                std::fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
                let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| bad(&error))?;
                return Ok(Self {
                    store: Arc::new(store),
                    prefix: Key::default(),
                });
            }
            other => return Err(bad(&format!("the scheme {other} is not s3 or file"))),
        };
        Ok(Self { store, prefix })
    }

    /// Uploads one file atomically: readers never see a partial file. Returns its size.
    pub(super) async fn put(&self, path: &Path) -> Result<u64, Refusal> {
        // Retrying does not help with an unreadable file.
        let unreadable = |error: std::io::Error| Refusal {
            why: error.to_string(),
            again: false,
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| Refusal {
                why: "its name cannot be written".to_owned(),
                again: false,
            })?;
        let key = self.prefix.clone().join(name);
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut piece = || {
            let mut bytes = Vec::with_capacity(PIECE.min(usize::try_from(length).unwrap_or(PIECE)));
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut bytes);
            read.map(|_| Bytes::from(bytes)).map_err(unreadable)
        };
        if length <= PIECE as u64 {
            let payload = PutPayload::from_bytes(piece()?);
            self.store
                .put(&key, payload)
                .await
                .map_err(|error| refused(&error))?;
            return Ok(length);
        }
        let mut upload = self
            .store
            .put_multipart(&key)
            .await
            .map_err(|error| refused(&error))?;
        let sent = async {
            loop {
                let bytes = piece()?;
                if bytes.is_empty() {
                    break;
                }
                let part = upload.put_part(PutPayload::from_bytes(bytes));
                part.await.map_err(|error| refused(&error))?;
            }
            upload.complete().await.map_err(|error| refused(&error))
        };
        let sent = sent.await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "an upload in pieces could not be taken back");
        }
        sent.map(|_| length)
    }
}

fn refused(error: &object_store::Error) -> Refusal {
    use object_store::Error as E;
    let again = !matches!(
        error,
        E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::InvalidPath { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::UnknownConfigurationKey { .. }
            // The bucket.
            | E::NotFound { .. }
    );
    Refusal {
        why: run_model::error::with_causes(error),
        again,
    }
}
