//! `sut doctor`: finds out step by step why there are no metrics.

use vllm_client::{Client, ClientConfig, PrefixCaching};
use vllm_metrics::EndpointConfig;

use anyhow::Context;

use crate::cli::DoctorArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::words::without_credentials;
use crate::recorder::probe_endpoints;

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Fail> {
    let base = args.url.trim_end_matches('/');
    let base = base
        .strip_suffix("/metrics")
        .unwrap_or(base)
        .trim_end_matches("/v1");
    let page = format!("{base}/metrics");
    let line = |mark: &str, what: &str| print(&format!("{mark:<4} {}\n", without_credentials(what)));
    let show = |ok: bool, what: &str| line(if ok { "ok" } else { "FAIL" }, what);
    let probed = probe_endpoints(&[EndpointConfig::new(&page)]).context("cannot ask the endpoint")?;
    let metrics = probed.into_iter().next().map(|(_, answer)| answer);
    let found = match metrics {
        Some(Ok(found)) => {
            show(
                true,
                &format!(
                    "{page} answers: {} samples of {} metrics in {:.1} ms",
                    found.samples,
                    found.names.len(),
                    found.took.as_secs_f64() * 1e3
                ),
            );
            Some(found)
        }
        Some(Err(error)) => {
            show(false, &error.to_string());
            None
        }
        None => None,
    };
    let client = Client::new(ClientConfig::new(base)).map_err(Fail::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let version = runtime.block_on(client.version());
    match &version {
        Ok(version) => show(true, &format!("{base}/version: vLLM {version}")),
        Err(error) => show(false, &format!("{base}/version: {error}")),
    }
    let advice = match (&found, &version) {
        (None, Err(_)) => Some(
            "nothing answers there: check host and port, and that the server has finished loading its model",
        ),
        (None, Ok(_)) => Some(
            "the server answers and its metrics page does not: a proxy may hide /metrics; give the page's own address \
             with --metrics-url",
        ),
        (Some(found), _) if found.names.iter().any(|name| name.starts_with("vllm:")) => None,
        (Some(found), _) if found.names.iter().any(|name| name.starts_with("sglang:")) => {
            Some("this is an SGLang server: it is recorded under its own names")
        }
        (Some(_), Ok(_)) => Some(
            "a vLLM server without vllm: metrics: it was started with --disable-log-stats; start it without that flag",
        ),
        (Some(_), Err(_)) => {
            Some("a metrics page without vllm: names: it belongs to another program, so check the port")
        }
    };
    if let Some(found) = &found {
        match found.bad_lines {
            0 => show(true, "every line of the page was read"),
            bad => line("note", &format!("{bad} lines of the page could not be read")),
        }
        let caching = runtime.block_on(client.prefix_caching());
        if matches!(caching, Ok(PrefixCaching::On)) {
            line(
                "note",
                "prefix caching is on; MLPerf does not allow it: serve with --no-enable-prefix-caching",
            );
        }
    }
    match advice {
        None => {
            print("nothing is in the way of recording this server\n");
            Ok(Exit::Valid)
        }
        Some(advice) => {
            print(&format!("To fix: {advice}\n"));
            Ok(if found.is_some() {
                Exit::NotValid
            } else {
                Exit::Unreachable
            })
        }
    }
}
