//! Our parser against VictoriaMetrics' Go parser, run alternately on the same page.
//!
//! The peer is built from `benches/peers/victoriametrics` against the Go library packaged by Debian. It
//! splits a page into names, tags, values and timestamps, but ignores `# TYPE` lines and does not check
//! names. The time of our parser includes both.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::Figure;
use crate::exposition::{line_split, ours, page};
use crate::timing::{median, rate};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/victoriametrics");
const PACKAGES: &str = "golang-go golang-github-victoriametrics-victoriametrics-dev \
    golang-github-victoriametrics-metrics-dev golang-github-victoriametrics-metricsql-dev \
    golang-github-valyala-fastjson-dev golang-github-valyala-fastrand-dev golang-github-valyala-histogram-dev";
const TURNS: usize = 15;
const SLICE: Duration = Duration::from_millis(100);

/// `exposition_parse_vs_victoriametrics_ratio`.
pub fn figures() -> Vec<Figure> {
    let (value, context) = match measure() {
        Ok((value, context)) => (Some(value), context),
        Err(error) => (
            None,
            format!("{error:#}; it needs the Debian packages {PACKAGES}"),
        ),
    };
    vec![Figure {
        name: "exposition_parse_vs_victoriametrics_ratio",
        value,
        unit: "ratio",
        context,
    }]
}

fn measure() -> Result<(f64, String)> {
    let page = page();
    let folder = tempfile::tempdir().context("no folder for the peer")?;
    let page_file = folder.path().join("page.txt");
    std::fs::write(&page_file, &page).context("the page for the peer could not be written")?;
    let mut peer = Peer::start(&build(folder.path())?, &page_file)?;

    let (samples, _) = ours(&page);
    ensure!(
        peer.samples == samples,
        "the peer reads {} samples of the page, we read {samples}",
        peer.samples
    );

    let mut ours_rates = Vec::new();
    let mut peer_rates = Vec::new();
    let mut split_rates = Vec::new();
    for turn in 0..=TURNS {
        let ours = rate(page.len(), SLICE, &mut || {
            black_box(ours(black_box(&page)));
        });
        let peer = peer.rate(SLICE)?;
        let split = rate(page.len(), SLICE, &mut || {
            black_box(line_split(black_box(&page)));
        });
        // The first turn warms up.
        if turn > 0 {
            ours_rates.push(ours);
            peer_rates.push(peer);
            split_rates.push(split);
        }
    }
    peer.stop()?;

    let (ours, peer, split) = (median(ours_rates), median(peer_rates), median(split_rates));
    let context = format!(
        "complete parse {ours:.0} MB/s over VictoriaMetrics' Go parser {peer:.0} MB/s (names, tags, values; no kinds, \
         names not checked), bare line split and float parse {split:.0} MB/s, all per CPU second, in turns; aim 1.5; \
         vLLM 0.32 page, {} bytes, {samples} samples",
        page.len()
    );
    Ok((ours / peer, context))
}

/// Builds the peer into `folder` and returns the program's path.
fn build(folder: &Path) -> Result<std::path::PathBuf> {
    let program = folder.join("victoriametrics-parse");
    // Where Debian installs Go libraries, for builds without modules.
    let gopath = std::env::var_os("GOPATH").unwrap_or_else(|| "/usr/share/gocode".into());
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(SOURCE)
        .env("GO111MODULE", "off")
        .env("GOPATH", gopath)
        .output()
        .context("go could not be run")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "go could not build the peer: {}",
            stderr.lines().next().unwrap_or("without saying why")
        );
    }
    Ok(program)
}

/// The running peer. It is sent the duration of a measurement and replies with its rate.
struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// How many samples it reads from the page.
    samples: usize,
}

impl Peer {
    fn start(program: &Path, page_file: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(page_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the peer could not be started")?;
        let requests = child.stdin.take().context("the peer has no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("the peer has no standard output")?);
        let mut peer = Self {
            child,
            requests,
            answers,
            samples: 0,
        };
        let greeting = peer.answer()?;
        let Some((samples, "0")) = greeting.split_once(' ') else {
            bail!("the peer refuses lines: {greeting}")
        };
        peer.samples = samples.parse().context("the peer's count of samples")?;
        Ok(peer)
    }

    /// Its rate in MB/s of CPU time, measured over about `slice` of CPU time.
    fn rate(&mut self, slice: Duration) -> Result<f64> {
        writeln!(self.requests, "{}", slice.as_millis()).context("the peer takes no more requests")?;
        self.answer()?.parse().context("the peer's rate")
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .context("the peer answers no more")?;
        Ok(line.trim().to_owned())
    }

    fn stop(self) -> Result<()> {
        let Self {
            mut child, requests, ..
        } = self;
        // It exits at the end of its input.
        drop(requests);
        ensure!(child.wait()?.success(), "the peer ended with an error");
        Ok(())
    }
}
