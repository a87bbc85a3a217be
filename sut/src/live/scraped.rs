//! A server that is scraped for the screen only: nothing is written.

use std::time::{Duration, Instant};

use run_terminal::{Source, Status, Stop};
use vllm_metrics::store::{Store, StoreFiles};
use vllm_metrics::view::LiveView;
use vllm_metrics::{EndpointConfig, Manifest, Record, Session, Subscription};

use crate::console;

/// A session without files.
pub(crate) struct Scraped {
    /// Ends with it.
    _session: Session,
    subscription: Subscription,
    title: String,
    started: Instant,
}

impl Scraped {
    /// Begins to scrape an endpoint.
    ///
    /// # Errors
    /// If the session cannot be started.
    pub(crate) fn start(endpoint: EndpointConfig, interval: Duration) -> vllm_metrics::Result<Self> {
        let title = vllm_metrics::ShownUrl::from_text(&endpoint.url)
            .as_str()
            .to_owned();
        let session = Session::builder()
            .endpoint(endpoint)
            .interval(interval)
            .store(Box::new(NoSeries))
            .raw_only()
            .start()?;
        Ok(Self {
            subscription: super::subscribe(&session),
            _session: session,
            title,
            started: Instant::now(),
        })
    }
}

impl Source for Scraped {
    fn advance(&mut self, view: &mut LiveView) -> Status {
        view.apply_all(&self.subscription.try_take());
        Status {
            title: self.title.clone(),
            facts: vec!["nothing is written: sut collect records".to_owned()],
            elapsed: Some(self.started.elapsed()),
            missed: super::missed(&self.subscription),
            log: console::held(),
            ..Status::default()
        }
    }

    fn stop(&mut self, _: Stop) {}
}

/// Keeps nothing.
struct NoSeries;

impl Store for NoSeries {
    fn write(&mut self, _: Record) -> vllm_metrics::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> vllm_metrics::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Manifest) -> vllm_metrics::Result<StoreFiles> {
        Ok(StoreFiles::default())
    }
}
