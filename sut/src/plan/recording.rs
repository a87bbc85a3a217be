//! The resolved recording flags, checked and passed to a session builder.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use vllm_metrics::derive::CustomMetric;
use vllm_metrics::derive::goodput::{LIMITS_FACT, Limits};
use vllm_metrics::store::StoreFormat;
use vllm_metrics::store::send::{Delivery, PushgatewayConfig, RemoteWriteConfig};
use vllm_metrics::{
    EndpointConfig, Error, SelectionConfig, SessionBuilder, SessionConfig, ShownUrl, StoreOptions,
};

use super::alerts::{AlertPlan, Recording};
use super::words::{self, parse_size};
use crate::cli::{Receiver, ReceiverSpec, RecordingArgs};
use crate::exit::Fail;

/// Default value of the label `job`.
const JOB: &str = "sut";

/// Additional recording options and receivers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RecordingPlan {
    /// Endpoints in addition to the server's own.
    pub(crate) endpoints: Vec<EndpointConfig>,
    /// Selection of metrics, for endpoints without their own.
    pub(crate) select: SelectionConfig,
    /// Parts of the files, and how many to keep.
    pub(crate) store: StoreOptions,
    /// The Pushgateway.
    pub(crate) pushgateway: Option<Receiver>,
    /// The remote write receiver.
    pub(crate) remote_write: Option<Receiver>,
    /// Address of the recorder's own page.
    pub(crate) serve: Option<SocketAddr>,
    /// Record an event for every scrape.
    pub(crate) debug: bool,
    /// Custom metrics.
    pub(crate) custom: Vec<CustomMetric>,
    /// Latency limits, as written.
    pub(crate) goodput: Option<String>,
    /// Alert rules and where alerts go.
    pub(crate) alerts: Option<AlertPlan>,
}

impl RecordingPlan {
    /// Resolves the flags; adds problems to `wrong`.
    pub(crate) fn resolve(
        args: &RecordingArgs,
        format: StoreFormat,
        interval: Duration,
        wrong: &mut Vec<String>,
    ) -> Self {
        let select = SelectionConfig {
            include: args.metrics_include.clone(),
            exclude: args.metrics_exclude.clone(),
        };
        for problem in problems(select.resolve().map(drop)) {
            wrong.push(problem.replacen("select.", "--metrics-", 1));
        }
        let endpoints: Vec<EndpointConfig> =
            args.metrics_endpoint.iter().map(|spec| spec.0.clone()).collect();
        check_endpoints(&endpoints, interval, wrong);
        let goodput = args.goodput.as_ref().map(|limits| limits.join(" "));
        if let Some(limits) = &goodput
            && let Err(error) = limits.parse::<Limits>()
        {
            wrong.push(format!("--goodput {limits}: {error}"));
        }
        let serve = args.metrics_serve.as_ref().and_then(|text| {
            let address = text.parse();
            if address.is_err() {
                wrong.push(format!(
                    "--metrics-serve {text}: must be an address and a port, like 127.0.0.1:9464 or [::1]:9464"
                ));
            }
            address.ok()
        });
        let job = args.metrics_job.as_deref();
        if job.is_some() && args.metrics_pushgateway.is_none() && args.metrics_remote_write.is_none() {
            wrong.push(
                "--metrics-job names what is sent: give --metrics-pushgateway or --metrics-remote-write"
                    .into(),
            );
        }
        let receiver = |flag, spec: &Option<ReceiverSpec>, wrong: &mut Vec<String>| {
            spec.as_ref().map(|spec| receiver(flag, &spec.0, job, wrong))
        };
        let alerts = AlertPlan::resolve(args, interval, &endpoints, wrong);
        Self {
            endpoints,
            select,
            store: store(args, format, wrong),
            pushgateway: receiver("--metrics-pushgateway", &args.metrics_pushgateway, wrong),
            remote_write: receiver("--metrics-remote-write", &args.metrics_remote_write, wrong),
            serve,
            debug: args.metrics_debug,
            custom: args.metrics_custom.iter().map(|spec| spec.0.clone()).collect(),
            goodput,
            alerts,
        }
    }

    /// Starts a session with this plan and its alerts, and logs the addresses of its pages.
    pub(crate) fn start(&self, builder: SessionBuilder) -> Result<Recording, Fail> {
        let session = self.apply(builder).start().map_err(|error| match self.serve {
            Some(address) if matches!(&error, Error::Start { what, .. } if what.contains("endpoint")) => {
                Fail::usage(anyhow!(error).context(format!("--metrics-serve {address}")))
            }
            _ => Fail::usage(error),
        })?;
        if let Some(address) = session.metrics_address() {
            tracing::info!(
                "serving the recorder's own metrics at http://{address}/metrics, the newest scraped ones at \
                 http://{address}/federate"
            );
        }
        let alerts = self
            .alerts
            .as_ref()
            .map(|plan| plan.start(&session))
            .transpose()?;
        Ok(Recording { session, alerts })
    }

    fn apply(&self, mut builder: SessionBuilder) -> SessionBuilder {
        builder = builder
            .select(self.select.clone())
            .store_options(self.store.clone())
            .debug(self.debug);
        for endpoint in &self.endpoints {
            builder = builder.endpoint(endpoint.clone());
        }
        for metric in &self.custom {
            builder = builder.custom_metric(metric.clone());
        }
        if let Some(limits) = &self.goodput {
            builder = builder.fact(LIMITS_FACT, limits);
        }
        if let Some(address) = self.serve {
            builder = builder.serve(address);
        }
        if let Some(receiver) = &self.pushgateway {
            let mut config = PushgatewayConfig::new(&receiver.url, job(receiver));
            config.instance = receiver.labels.get("instance").cloned().unwrap_or_default();
            config.delivery = delivery(receiver);
            builder = builder.pushgateway(config);
        }
        if let Some(receiver) = &self.remote_write {
            let mut config = RemoteWriteConfig::new(&receiver.url, job(receiver));
            config.labels.clone_from(&receiver.labels);
            config.delivery = delivery(receiver);
            builder = builder.remote_write(config);
        }
        builder
    }
}

fn job(receiver: &Receiver) -> &str {
    receiver.job.as_deref().unwrap_or(JOB)
}

fn delivery(receiver: &Receiver) -> Delivery {
    let mut delivery = Delivery::default();
    if let Some(value) = &receiver.authorization {
        delivery
            .headers
            .push(("authorization".into(), value.expose().to_owned()));
    }
    if let Some(timeout) = receiver
        .timeout
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
    {
        delivery.timeout = timeout;
    }
    delivery
}

fn receiver(flag: &str, receiver: &Receiver, named: Option<&str>, wrong: &mut Vec<String>) -> Receiver {
    wrong.extend(words::url_problem(flag, &receiver.url));
    if let Some(secs) = receiver.timeout
        && !Duration::try_from_secs_f64(secs).is_ok_and(|timeout| !timeout.is_zero())
    {
        wrong.push(format!(
            "{flag}: timeout = {secs}: must be a number of seconds above 0"
        ));
    }
    if flag.ends_with("pushgateway")
        && let Some(label) = receiver.labels.keys().find(|label| *label != "instance")
    {
        wrong.push(format!(
            "{flag}: labels: {label}: a gateway groups by job and instance; only instance can be given"
        ));
    }
    let job = receiver.job.clone().or_else(|| named.map(str::to_owned));
    if job.as_deref() == Some("") {
        wrong.push(format!("{flag}: the job's name is empty"));
    }
    Receiver {
        job,
        ..receiver.clone()
    }
}

fn check_endpoints(endpoints: &[EndpointConfig], interval: Duration, wrong: &mut Vec<String>) {
    let checked = SessionConfig {
        endpoints: endpoints.to_vec(),
        interval_secs: Some(interval.as_secs_f64()),
        ..SessionConfig::default()
    }
    .check();
    for problem in problems(checked) {
        // `endpoints[1].url: …` is rewritten in terms of the flag.
        let place = problem
            .strip_prefix("endpoints[")
            .and_then(|rest| rest.split_once("]."))
            .and_then(|(index, rest)| Some((endpoints.get(index.parse::<usize>().ok()?)?, rest)));
        wrong.push(match place {
            Some((endpoint, rest)) => format!(
                "--metrics-endpoint {}: {rest}",
                ShownUrl::from_text(&endpoint.url)
            ),
            None => format!("--metrics-endpoint: {problem}"),
        });
    }
}

fn problems(checked: Result<(), Error>) -> Vec<String> {
    match checked {
        Ok(()) => Vec::new(),
        Err(Error::Config { problems }) => problems,
        Err(other) => vec![other.to_string()],
    }
}

fn store(args: &RecordingArgs, format: StoreFormat, wrong: &mut Vec<String>) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.keep_parts = args.metrics_keep_parts;
    options.rotate_age = words::duration(
        "--metrics-rotate-every",
        args.metrics_rotate_every.as_ref(),
        wrong,
    );
    options.keep_age = words::duration("--metrics-keep-for", args.metrics_keep_for.as_ref(), wrong);
    options.rotate_bytes = args.metrics_rotate_size.as_ref().and_then(|text| {
        parse_size(text)
            .map_err(|why| wrong.push(format!("--metrics-rotate-size {text}: {why}")))
            .ok()
    });
    if format == StoreFormat::Sqlite && options != StoreOptions::default() {
        wrong.push(
            "a SQLite file is not split into parts: leave out --metrics-rotate-… and --metrics-keep-…, or choose \
             another format"
                .into(),
        );
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &RecordingArgs, format: StoreFormat) -> Result<RecordingPlan, String> {
        let mut wrong = Vec::new();
        let plan = RecordingPlan::resolve(args, format, Duration::from_secs(1), &mut wrong);
        if wrong.is_empty() {
            Ok(plan)
        } else {
            Err(wrong.join("\n"))
        }
    }

    #[test]
    fn every_problem_is_told_in_the_words_of_its_flag() {
        let args = RecordingArgs {
            metrics_endpoint: vec![
                "http://a:1,x=1".parse().unwrap(),
                "gopher://b,0bad=1".parse().unwrap(),
            ],
            metrics_include: vec!["re:(".into()],
            goodput: Some(vec!["ttft:fast".into()]),
            metrics_rotate_size: Some("5 pounds".into()),
            metrics_keep_for: Some(crate::cli::TimeText("soon".into())),
            metrics_serve: Some("9464".into()),
            metrics_remote_write: Some("prometheus:9090".parse().unwrap()),
            ..RecordingArgs::default()
        };
        let told = resolve(&args, StoreFormat::Sqlite).unwrap_err();
        for part in [
            "--metrics-endpoint gopher://b: url",
            "--metrics-endpoint gopher://b: labels",
            "--metrics-include",
            "--goodput ttft:fast",
            "--metrics-rotate-size 5 pounds",
            "--metrics-keep-for soon",
            "--metrics-serve 9464",
            "--metrics-remote-write \"prometheus:9090\"",
        ] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
        assert!(!told.contains("http://a:1"), "nothing is wrong with it:\n{told}");
    }

    #[test]
    fn sqlite_has_no_parts() {
        let args = RecordingArgs {
            metrics_keep_parts: Some(3),
            ..RecordingArgs::default()
        };
        assert!(
            resolve(&args, StoreFormat::Sqlite)
                .unwrap_err()
                .contains("SQLite")
        );
        assert_eq!(
            resolve(&args, StoreFormat::Csv).unwrap().store.keep_parts,
            Some(3)
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64MB"), Ok(64_000_000));
        assert_eq!(parse_size("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_size("512"), Ok(512));
        assert!(parse_size("-1MB").is_err() && parse_size("MB").is_err() && parse_size("1x").is_err());
    }

    #[test]
    fn labels_stand_behind_the_url() {
        let spec: crate::cli::EndpointSpec = "http://h:1/metrics,node=a,rack=b=c".parse().unwrap();
        assert_eq!(spec.0.url, "http://h:1/metrics");
        assert_eq!(spec.0.labels["rack"], "b=c");
        assert!("http://h,plain".parse::<crate::cli::EndpointSpec>().is_err());
    }
}
