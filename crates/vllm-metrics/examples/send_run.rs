//! Sends a recorded run to a Prometheus remote write receiver, or its last values to a Pushgateway.
//!
//! ```text
//! cargo run -p vllm-metrics --example send_run -- RUN remote-write http://localhost:9090/api/v1/write
//! cargo run -p vllm-metrics --example send_run -- RUN pushgateway http://localhost:9091
//! ```
#![allow(clippy::print_stdout, reason = "the result of an example")]

use std::error::Error;

use vllm_metrics::read_run;
use vllm_metrics::store::send::{PushgatewayConfig, PushgatewayStore, RemoteWriteConfig, RemoteWriteStore};
use vllm_metrics::store::{Store, replay};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, protocol, url] = arguments.as_slice() else {
        return Err("usage: send_run RUN remote-write|pushgateway URL".into());
    };
    let run = read_run(path)?;
    let (mut store, monitor): (Box<dyn Store>, _) = match protocol.as_str() {
        "remote-write" => {
            let (store, monitor) = RemoteWriteStore::start(RemoteWriteConfig::new(url, "vllm"))?;
            (Box::new(store), monitor)
        }
        "pushgateway" => {
            let (store, monitor) = PushgatewayStore::start(&PushgatewayConfig::new(url, "vllm"))?;
            (Box::new(store), monitor)
        }
        other => return Err(format!("unknown protocol `{other}`: use remote-write or pushgateway").into()),
    };
    replay(&run, store.as_mut())?;
    store.finish(&run.manifest)?;
    println!("{:#?}", monitor.stats());
    Ok(())
}
