//! One POST per alert, with the record as it stands in the event log.

use std::sync::Arc;

use alert_delivery::Post;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use vllm_monitor::Decision;

use crate::hub::Record;

pub(super) async fn deliver(post: Post, mut records: Receiver<Arc<Record>>) {
    loop {
        match records.recv().await {
            Ok(record) if matches!(record.decision, Decision::Alert(_)) => post.send(&*record).await,
            Ok(_) => {}
            Err(RecvError::Lagged(lost)) => post.lost(lost),
            Err(RecvError::Closed) => return,
        }
    }
}
