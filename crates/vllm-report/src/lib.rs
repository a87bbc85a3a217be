//! One stored run as pictures and a statistical summary.
//!
//! [`render`] writes what a run ends with; [`plot`] draws any metrics by name. Everything starts from a
//! [`RunData`] in memory: where it was stored, and in which format, is not this library's
//! business.
//!
//! ```no_run
//! # fn run() -> vllm_metrics::RunData { unimplemented!() }
//! let rendered = vllm_report::render(&run(), "metrics_output".as_ref(), &vllm_report::RenderOptions::default())?;
//! println!("{}", rendered.overview.display());
//! # Ok::<(), vllm_report::Error>(())
//! ```

mod axis;
mod canvas;
mod chart;
mod coords;
mod downsample;
mod error;
mod font;
mod frame;
mod own_cost;
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

pub use error::{Error, Result};
pub use stats::{PERCENTILES, Stats};
pub use summary::SCHEMA as SUMMARY_SCHEMA;

use picture::Picture;
use query::View;

/// How pictures are made.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Stands before the headline of every picture, for example the name of a system.
    pub title: Option<String>,
    /// Pixels per inch; the standard pictures are 12 inches wide. Default 300.
    pub dpi: f32,
    /// Also write each picture as SVG beside its PNG. Default no.
    pub svg: bool,
    /// Limits on latency for the goodput in the summary. Default: what the run's facts tell, if anything.
    pub goodput: Option<Limits>,
    /// The summary to write, where it was made already. Default: it is made.
    pub summary: Option<serde_json::Value>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            title: None,
            dpi: 300.0,
            svg: false,
            goodput: None,
            summary: None,
        }
    }
}

/// Where everything is.
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
    /// SVG files, if they were asked for.
    pub svgs: Vec<PathBuf>,
}

/// Writes the three pictures and the summary of a run under `out_dir/visualizations`.
///
/// A run that lacks what a picture shows still gets the picture: it says in words what is missing and why.
pub fn render(run: &RunData, out_dir: &Path, options: &RenderOptions) -> Result<Rendered> {
    let folder = out_dir.join("visualizations");
    std::fs::create_dir_all(&folder).map_err(|source| Error::Write {
        path: folder.clone(),
        source,
    })?;
    let view = View::of(run);
    let stamp = stamp(run);
    let file = |name: &str, ending: &str| folder.join(format!("{name}_{stamp}.{ending}"));
    let rendered = Rendered {
        gpu: file("gpu_utilization", "png"),
        requests: file("requests_running", "png"),
        overview: file("performance_overview", "png"),
        summary: file("metrics_summary", "json"),
        svgs: Vec::new(),
    };
    // Each picture is drawn on its own thread: drawing is what takes the time.
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
            None => write_json(&summary::of(view, options.goodput.as_ref()), &rendered.summary),
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

/// Decides what a picture shows.
type Compose = fn(&View<'_>) -> Picture;

/// What a picture of freely chosen metrics looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotOptions {
    /// Headline instead of the metric's name.
    pub title: Option<String>,
    /// Width and height in inches; default 12 by what the panels need.
    pub size_inches: Option<(f32, f32)>,
    /// Pixels per inch. Default 300.
    pub dpi: f32,
}

impl Default for PlotOptions {
    fn default() -> Self {
        Self {
            title: None,
            size_inches: None,
            dpi: 300.0,
        }
    }
}

/// Draws metrics by name into one file, a panel each: gauges as they are, counters as rates, histogram families as
/// quantiles. A path that ends in `.svg` becomes SVG, any other PNG.
///
/// # Errors
/// [`Error::UnknownMetric`] names what the run does not hold and the nearest names that it does.
pub fn plot(run: &RunData, names: &[&str], path: &Path, options: &PlotOptions) -> Result<()> {
    let view = View::of(run);
    let mut picture = chart::metric::picture(&view, names)?;
    if let Some(title) = &options.title {
        picture.title.clone_from(title);
    }
    if let Some((width, height)) = options.size_inches {
        picture.width = width * 100.0;
        picture.height = height * 100.0;
        picture.inches = width;
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg")) {
        return write_svg(&view, &picture, path);
    }
    write_png(&view, &picture, path, options.dpi)
}

/// Names that [`plot`] takes for this run, sorted.
pub fn metric_names(run: &RunData) -> Vec<String> {
    chart::metric::names(&View::of(run))
}

/// The summary of a run, as [`render`] writes it.
pub fn summarize(run: &RunData) -> serde_json::Value {
    summary::of(&View::of(run), None)
}

/// The run's stamp, or one made of its start for a run that has none.
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
    write_png(view, &picture, path, options.dpi)?;
    if !options.svg {
        return Ok(None);
    }
    let svg_path = path.with_extension("svg");
    write_svg(view, &picture, &svg_path)?;
    Ok(Some(svg_path))
}

fn write_png(view: &View<'_>, picture: &Picture, path: &Path, dpi: f32) -> Result<()> {
    let image = raster::draw(&picture.scene(view, dpi)?)?;
    write_file(path, &raster::encode_png(&image, dpi, path)?)
}

/// Points lie on a grid of tenths of a logical unit: finer than anybody zooms, and short to write.
const SVG_GRID: f32 = 10.0;

fn write_svg(view: &View<'_>, picture: &Picture, path: &Path) -> Result<()> {
    let scene = picture.scene(view, picture.width / picture.inches * SVG_GRID)?;
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

/// Written beside its place and moved there whole: a file that exists is never half a file.
fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes).map_err(fail)?;
    std::fs::rename(&part, path).map_err(fail)
}

#[cfg(test)]
mod tests;

/// The Rust snippet of `docs/integration.md` is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/integration.md")]
struct IntegrationPage;
