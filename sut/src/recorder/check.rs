//! Checks every endpoint before anything depends on it, and reports why one has no metrics.

use vllm_metrics::{EndpointCheck, EndpointConfig, Error, check_endpoint};

/// The result of one endpoint, with its URL as given.
pub(super) type Probed = (String, Result<EndpointCheck, Error>);

/// Number of endpoints checked at once: a slow endpoint delays few others, and a thousand endpoints cause no
/// burst.
const AT_ONCE: usize = 16;

/// Checks every endpoint.
///
/// Must not be called on a runtime's thread.
pub(crate) fn probe(endpoints: &[EndpointConfig]) -> std::io::Result<Vec<Probed>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let mut looked = Vec::with_capacity(endpoints.len());
        for some in endpoints.chunks(AT_ONCE) {
            let asked: Vec<_> = some
                .iter()
                .map(|endpoint| tokio::spawn(check_endpoint(endpoint.clone())))
                .collect();
            for (endpoint, answer) in some.iter().zip(asked) {
                let answer = answer.await.unwrap_or_else(|panic| {
                    Err(Error::Panicked {
                        thread: "endpoint check",
                        message: panic.to_string(),
                    })
                });
                looked.push((endpoint.url.clone(), answer));
            }
        }
        looked
    }))
}

/// Most endpoints of a kind that the console lists; the rest are counted.
pub(super) const LISTED_ENDPOINTS: usize = 8;

/// The results as sentences; an error for an endpoint without metrics. Of many endpoints, most are only counted.
pub(crate) fn describe_all(probed: &[Probed]) -> Vec<Result<String, String>> {
    let mut lines = Vec::new();
    let (mut with, mut without) = (0, 0);
    for line in probed.iter().map(describe) {
        let count = if line.is_ok() { &mut with } else { &mut without };
        *count += 1;
        if *count <= LISTED_ENDPOINTS {
            lines.push(line);
        }
    }
    if with > LISTED_ENDPOINTS {
        lines.push(Ok(format!("{} more endpoints answer", with - LISTED_ENDPOINTS)));
    }
    if without > LISTED_ENDPOINTS {
        lines.push(Err(format!("{} more endpoints", without - LISTED_ENDPOINTS)));
    }
    lines
}

/// One result as a sentence; an error for an endpoint without metrics.
pub(crate) fn describe((_, answer): &Probed) -> Result<String, String> {
    match answer {
        Ok(found) => {
            let mut text = format!(
                "{}: {} samples of {} metrics in {} bytes, {:.1} ms",
                found.endpoint_url,
                found.samples,
                found.names.len(),
                found.body_bytes,
                found.took.as_secs_f64() * 1e3
            );
            if found.bad_lines > 0 {
                text += &format!("; {} lines could not be read", found.bad_lines);
            }
            Ok(text)
        }
        Err(error) => Err(error.to_string()),
    }
}
