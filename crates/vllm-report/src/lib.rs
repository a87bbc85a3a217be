//! One stored run as pictures and a statistical summary.
//!
//! [`render`] writes the output files at the end of a run; [`plot`] draws any metrics by name. Everything
//! starts from an [`Analysis`] of a run in memory; where and in which format it was stored does not matter
//! here.
//!
//! ```no_run
//! # fn run() -> vllm_metrics::RunData { unimplemented!() }
//! use vllm_metrics::view::Analysis;
//! use vllm_report::{RenderOptions, render};
//!
//! let rendered = render(&Analysis::owning(run()), "metrics_output".as_ref(), &RenderOptions::default())?;
//! println!("{}", rendered.overview.display());
//! # Ok::<(), vllm_report::Error>(())
//! ```

mod axis;
mod canvas;
mod chart;
mod coords;
mod downsample;
mod draw;
mod error;
mod failures;
mod font;
mod frame;
mod moments;
mod outcome;
mod panel;
mod picture;
mod query;
mod raster;
mod scene;
mod stats;
mod style;
mod summary;
mod svg;

use std::path::{Path, PathBuf};

use vllm_metrics::RunData;
use vllm_metrics::derive::goodput::Limits;
use vllm_metrics::view::Analysis;

pub use axis::Clock;
pub use chart::metric::{Distribution, Layout, Lines};
pub use error::{Error, Result};
pub use outcome::Outcome;
pub use stats::{PERCENTILES, Stats};
pub use style::Theme;
pub use summary::SCHEMA as SUMMARY_SCHEMA;

use chart::metric::Choice;
use picture::{Picture, PictureStyle};
use query::View;

/// Options for pictures and summary of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Prefix of the headline of every picture, for example the name of a system.
    pub title: Option<String>,
    /// Pixels per inch; the standard pictures are 12 inches wide. Default 300.
    pub dpi: f32,
    /// Also write each picture as SVG next to its PNG. Default no.
    pub svg: bool,
    /// Colours. Default [`Theme::Light`].
    pub theme: Theme,
    /// What the time axes count. Default [`Clock::Elapsed`].
    pub clock: Clock,
    /// Mark every warning and error of the record, not only losses and restarts. Default no.
    pub events: bool,
    /// Draw a bar for each batch of requests. Default no.
    pub batches: bool,
    /// Limits on latency for the goodput in the summary. Default: those in the run's facts, if any.
    pub goodput: Option<Limits>,
    /// A summary that has been computed already. Default: it is computed.
    pub summary: Option<serde_json::Value>,
    /// How the run ended. Default: as stored in the record.
    pub outcome: Option<Outcome>,
    /// The file that the run was read from, to be named in the summary.
    pub input: Option<PathBuf>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            title: None,
            dpi: 300.0,
            svg: false,
            theme: Theme::Light,
            clock: Clock::Elapsed,
            events: false,
            batches: false,
            goodput: None,
            summary: None,
            outcome: None,
            input: None,
        }
    }
}

impl RenderOptions {
    fn look(&self) -> PictureStyle {
        PictureStyle {
            theme: self.theme,
            clock: self.clock,
            outcome: self.outcome.clone(),
            events: self.events,
            batches: self.batches,
        }
    }
}

/// Paths of the written files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// `visualizations/gpu_utilization_<stamp>.png`.
    pub gpu: PathBuf,
    /// `visualizations/requests_running_<stamp>.png`.
    pub requests: PathBuf,
    /// `visualizations/performance_overview_<stamp>.png`.
    pub overview: PathBuf,
    /// `visualizations/metrics_summary_<stamp>.json`.
    pub summary: PathBuf,
    /// SVG files, if requested.
    pub svgs: Vec<PathBuf>,
}

/// Writes the three pictures and the summary of a run under `out_dir/visualizations`.
///
/// If a run lacks the data of a picture, the picture is still written, with the missing data and the reason
/// in words.
pub fn render(run: &Analysis<'_>, out_dir: &Path, options: &RenderOptions) -> Result<Rendered> {
    let folder = out_dir.join("visualizations");
    std::fs::create_dir_all(&folder).map_err(|source| Error::Write {
        path: folder.clone(),
        source,
    })?;
    let view = View::of(run);
    let stamp = stamp(run.run());
    let file = |name: &str, ending: &str| folder.join(format!("{name}_{stamp}.{ending}"));
    let rendered = Rendered {
        gpu: file("gpu_utilization", "png"),
        requests: file("requests_running", "png"),
        overview: file("performance_overview", "png"),
        summary: file("metrics_summary", "json"),
        svgs: Vec::new(),
    };
    // Each picture is drawn on its own thread, since drawing takes most of the time.
    let svgs = std::thread::scope(|scope| {
        let tasks: [(&Path, Compose); 3] = [
            (&rendered.overview, chart::overview::picture),
            (&rendered.requests, chart::requests::picture),
            (&rendered.gpu, chart::gpu::picture),
        ];
        let view = &view;
        let threads: Vec<_> = tasks
            .into_iter()
            .map(|(path, picture)| scope.spawn(move || write_picture(view, picture(view), path, options)))
            .collect();
        let summary = match &options.summary {
            Some(made) => write_json(made, &rendered.summary),
            None => write_json(&summary::of(view, options), &rendered.summary),
        };
        let svgs: Result<Vec<Option<PathBuf>>> = threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        summary.and(svgs)
    })?;
    Ok(Rendered {
        svgs: svgs.into_iter().flatten().collect(),
        ..rendered
    })
}

/// Selects the content of a picture.
type Compose = fn(&View<'_>) -> Picture;

/// Options for a picture of freely chosen metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotOptions {
    /// Headline instead of the metric's name.
    pub title: Option<String>,
    /// Width and height in inches; default 12 by the height that the panels need.
    pub size_inches: Option<(f32, f32)>,
    /// Pixels per inch. Default 300.
    pub dpi: f32,
    /// Colours.
    pub theme: Theme,
    /// What the time axis counts.
    pub clock: Clock,
    /// One panel per metric, or all in one.
    pub layout: Layout,
    /// Which lines a metric with several series is drawn as.
    pub lines: Lines,
    /// How histograms are drawn.
    pub distribution: Distribution,
    /// Only series with all of these label values.
    pub labels: Vec<(String, String)>,
    /// Mark every warning and error of the record, not only losses and restarts. Default no.
    pub events: bool,
    /// Draw a bar for each batch of requests. Default no.
    pub batches: bool,
    /// How the run ended. Default: as stored in the record.
    pub outcome: Option<Outcome>,
}

impl Default for PlotOptions {
    fn default() -> Self {
        Self {
            title: None,
            size_inches: None,
            dpi: 300.0,
            theme: Theme::Light,
            clock: Clock::Elapsed,
            layout: Layout::Grid,
            lines: Lines::Each,
            distribution: Distribution::Quantiles,
            labels: Vec::new(),
            events: false,
            batches: false,
            outcome: None,
        }
    }
}

/// Draws metrics by name into one file: gauges as they are, counters as rates, histogram families as quantile bands or
/// heat maps. A path that ends in `.svg` becomes SVG, any other PNG.
///
/// ```no_run
/// # fn run() -> vllm_metrics::RunData { unimplemented!() }
/// use vllm_metrics::view::Analysis;
/// use vllm_report::{Distribution, PlotOptions, Theme, plot};
///
/// let options = PlotOptions {
///     distribution: Distribution::Heatmap,
///     theme: Theme::Dark,
///     ..PlotOptions::default()
/// };
/// let run = Analysis::owning(run());
/// plot(&run, &["vllm:time_to_first_token_seconds"], "ttft.svg".as_ref(), &options)?;
/// # Ok::<(), vllm_report::Error>(())
/// ```
///
/// # Errors
/// [`Error::UnknownMetric`] if the run lacks a metric, with the nearest names that it has;
/// [`Error::NotCombined`] and [`Error::NotOverlaid`] if the metrics cannot be drawn as requested.
pub fn plot(run: &Analysis<'_>, names: &[&str], path: &Path, options: &PlotOptions) -> Result<()> {
    let view = View::of(run);
    let choice = Choice {
        lines: options.lines.clone(),
        layout: options.layout,
        distribution: options.distribution,
        labels: options.labels.clone(),
    };
    let mut picture = chart::metric::picture(&view, names, &choice)?;
    if let Some(title) = &options.title {
        picture.title.clone_from(title);
    }
    if let Some((width, height)) = options.size_inches {
        picture.width = width * 100.0;
        picture.height = Some(height * 100.0);
        picture.inches = width;
    }
    let look = PictureStyle {
        theme: options.theme,
        clock: options.clock,
        outcome: options.outcome.clone(),
        events: options.events,
        batches: options.batches,
    };
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg")) {
        return write_svg(&view, &picture, path, &look);
    }
    write_png(&view, &picture, path, options.dpi, &look)
}

/// Names that [`plot`] accepts for this run, sorted.
pub fn metric_names(run: &Analysis<'_>) -> Vec<String> {
    chart::metric::names(&View::of(run))
}

/// The summary of a run, as written by [`render`] by default.
pub fn summarize(run: &Analysis<'_>) -> serde_json::Value {
    summary::of(&View::of(run), &RenderOptions::default())
}

/// Writes the summary of a run to `path` atomically.
///
/// # Errors
/// [`Error::Write`] if the file cannot be written.
pub fn write_summary(run: &Analysis<'_>, path: &Path, options: &RenderOptions) -> Result<()> {
    write_json(&summary::of(&View::of(run), options), path)
}

/// The run's stamp; if it has none, one made from its start time.
fn stamp(run: &RunData) -> String {
    if run.manifest.stamp.is_empty() {
        picture::stamp(frame::Frame::of(run).start_ns)
    } else {
        run.manifest.stamp.clone()
    }
}

fn write_picture(
    view: &View<'_>,
    mut picture: Picture,
    path: &Path,
    options: &RenderOptions,
) -> Result<Option<PathBuf>> {
    if let Some(title) = &options.title {
        picture.title = format!("{title} · {}", picture.title);
    }
    let look = options.look();
    write_png(view, &picture, path, options.dpi, &look)?;
    if !options.svg {
        return Ok(None);
    }
    let svg_path = path.with_extension("svg");
    write_svg(view, &picture, &svg_path, &look)?;
    Ok(Some(svg_path))
}

fn write_png(view: &View<'_>, picture: &Picture, path: &Path, dpi: f32, look: &PictureStyle) -> Result<()> {
    let image = raster::draw(&picture.scene(view, dpi, look)?)?;
    write_file(path, &raster::encode_png(&image, dpi, path)?)
}

/// Points are on a grid of tenths of a logical unit: finer than visible when zoomed, and short to write.
const SVG_GRID: f32 = 10.0;

fn write_svg(view: &View<'_>, picture: &Picture, path: &Path, look: &PictureStyle) -> Result<()> {
    let scene = picture.scene(view, picture.width / picture.inches * SVG_GRID, look)?;
    write_file(path, svg::write(&scene, 1.0 / SVG_GRID).as_bytes())
}

fn write_json(value: &serde_json::Value, path: &Path) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })?;
    text.push(b'\n');
    write_file(path, &text)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_file::write(path, bytes).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;

/// Runs the Rust snippet of `docs/integration.md` as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/integration.md")]
struct IntegrationPage;
