//! Panels on a page: headline with the verdict, facts, the mark of simulated data, panel layout, and notes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use crate::axis::{self, Clock};
use crate::canvas::Canvas;
use crate::draw::{self, Area, Drawn, Mark, Place};
use crate::error::{Error, Result};
use crate::font;
use crate::moments;
use crate::outcome::Outcome;
use crate::panel::Panel;
use crate::query::View;
use crate::scene::{Color, Scene, Weight};
use crate::style::{self, MARGIN, Palette, Theme};

/// A page before it is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Headline.
    pub(crate) title: String,
    /// Panels, row by row.
    pub(crate) panels: Vec<Panel>,
    /// Panels next to each other.
    pub(crate) columns: usize,
    /// Width in logical units.
    pub(crate) width: f32,
    /// Height of a row of panels in logical units.
    pub(crate) row: f32,
    /// Height of the page in logical units, if it does not follow from the rows.
    pub(crate) height: Option<f32>,
    /// Width on paper in inches, which with the resolution gives the pixels.
    pub(crate) inches: f32,
    /// Notes on how the figures were made and what is not drawn.
    pub(crate) notes: Vec<String>,
}

/// Options for drawing a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct PictureStyle {
    /// Colours.
    pub(crate) theme: Theme,
    /// What the time axis counts.
    pub(crate) clock: Clock,
    /// How the run ended, if known to the caller.
    pub(crate) outcome: Option<Outcome>,
    /// Draw all warnings and errors of the record, not only losses.
    pub(crate) events: bool,
    /// Draw batches.
    pub(crate) batches: bool,
}

// Sizes in logical units.
const HEADER: f32 = 78.0;
const NOTE: f32 = 11.5;
const NOTE_STEP: f32 = 16.0;
const BETWEEN: (f32, f32) = (34.0, 20.0);
/// Largest number of notes.
const NOTES: usize = 14;

impl Picture {
    /// Removes panels that show nothing or only zeros, and lists them in the notes. At least one panel is
    /// kept.
    pub(crate) fn without_empty_panels(mut self) -> Self {
        let (kept, rest): (Vec<Panel>, Vec<Panel>) = std::mem::take(&mut self.panels)
            .into_iter()
            .partition(|panel| !panel.is_empty() && !panel.is_zero());
        let mut why: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for panel in &rest {
            let reason = if panel.is_zero() {
                "zero throughout"
            } else {
                &panel.absent
            };
            why.entry(reason).or_default().push(&panel.title);
        }
        let said = why
            .into_iter()
            .map(|(reason, titles)| format!("Not drawn: {} ({reason})", titles.join(", ")));
        self.notes.extend(said);
        self.panels = kept;
        if self.panels.is_empty() {
            // A panel of zeros is kept rather than an empty one.
            let first = rest.iter().find(|panel| panel.is_zero()).or(rest.first());
            self.panels.extend(first.cloned());
        }
        self.columns = self.columns.clamp(1, self.panels.len().max(1));
        self
    }

    /// Draws the page at `dpi` pixels per inch.
    pub(crate) fn scene(&self, view: &View<'_>, dpi: f32, look: &PictureStyle) -> Result<Scene> {
        let (marks, explained) = moments::of(view, look.events);
        let page = Page {
            picture: self,
            view,
            look,
            palette: look.theme.palette(),
            scale: self.inches * dpi / self.width,
            marks,
            notes: self.note_lines(view, look, explained),
            batches: batches(view, look),
        };
        let rows = self.panels.len().div_ceil(self.columns.max(1)).max(1) as f32;
        let height = self.height.unwrap_or(
            2.0 * MARGIN + HEADER + rows * self.row + page.notes.len() as f32 * NOTE_STEP + NOTE_STEP / 2.0,
        );
        let (width, height) = ((self.width * page.scale).round(), (height * page.scale).round());
        let fits = |v: f32| (1.0..=30_000.0).contains(&v);
        if !fits(width) || !fits(height) {
            return Err(Error::Size {
                width: width.max(0.0) as u64,
                height: height.max(0.0) as u64,
            });
        }
        let (width, height) = (width as u32, height as u32);
        let RGBColor(r, g, b) = page.palette.ground;
        let mut scene = Scene {
            width,
            height,
            ground: Color { r, g, b, a: 255 },
            title: self.title.clone(),
            shapes: Vec::new(),
        };
        page.draw(&Canvas::on(&mut scene).into_drawing_area())
            .map_err(|_| Error::Layout { width, height })?;
        Ok(scene)
    }

    /// The notes broken into lines.
    fn note_lines(&self, view: &View<'_>, look: &PictureStyle, explained: Vec<String>) -> Vec<String> {
        let axis = match look.clock {
            Clock::Utc => "Time axis: time of day (UTC)".to_owned(),
            Clock::Elapsed => {
                let unit = axis::time_axis(Clock::Elapsed, 0, view.frame.duration_ns(), 8).unit;
                format!("Time axis: {unit} since {}", utc(view.frame.start_ns))
            }
        };
        let mut first = vec![axis];
        first.extend(self.notes.iter().filter(|n| !n.starts_with("Not drawn")).cloned());
        let not_drawn = self.notes.iter().filter(|n| n.starts_with("Not drawn")).cloned();
        let mut lines: Vec<String> = std::iter::once(first.join(" · "))
            .chain(explained)
            .chain(not_drawn)
            .flat_map(|note| draw::wrap(&note, NOTE, self.width - 2.0 * MARGIN))
            .collect();
        if lines.len() > NOTES {
            let rest = lines.len() - NOTES + 1;
            lines.truncate(NOTES - 1);
            lines.push(format!("and {rest} more lines, which are in the summary"));
        }
        lines
    }
}

/// Start and end of each batch, if batches are drawn.
fn batches(view: &View<'_>, look: &PictureStyle) -> Vec<(i64, i64)> {
    if !look.batches {
        return Vec::new();
    }
    let rows = view.run.batches.iter();
    rows.map(|batch| (batch.issued_ns, batch.done_ns.unwrap_or(view.frame.end_ns)))
        .collect()
}

/// A page with everything on it.
struct Page<'a> {
    picture: &'a Picture,
    view: &'a View<'a>,
    look: &'a PictureStyle,
    palette: &'static Palette,
    scale: f32,
    marks: Vec<Mark>,
    notes: Vec<String>,
    batches: Vec<(i64, i64)>,
}

impl Page<'_> {
    fn px(&self, units: f32) -> i32 {
        (units * self.scale).round() as i32
    }

    fn draw(&self, page: &Area<'_>) -> Drawn {
        let margin = self.px(MARGIN);
        let page = page.margin(margin, margin, margin, margin);
        let (header, rest) = page.split_vertically(self.px(HEADER));
        let foot = self.px(self.notes.len() as f32 * NOTE_STEP + NOTE_STEP / 2.0);
        let (body, footer) = rest.split_vertically(rest.dim_in_pixel().1 as i32 - foot);
        self.header(&header)?;
        let panels = &self.picture.panels;
        let columns = self.picture.columns.clamp(1, panels.len().max(1));
        let rows = panels.len().div_ceil(columns).max(1);
        let (across, down) = (self.px(BETWEEN.0), self.px(BETWEEN.1));
        // Space between cells is taken from every cell but the last, so that the cells are equally large.
        let body = body.margin(0, 0, 0, -across);
        for (i, (cell, panel)) in body.split_evenly((rows, columns)).iter().zip(panels).enumerate() {
            let place = Place {
                scale: self.scale,
                names: i / columns == 0,
                palette: self.palette,
                clock: self.look.clock,
                marks: &self.marks,
                batches: &self.batches,
            };
            draw::panel(&cell.margin(0, down, 0, across), panel, &self.view.frame, place)?;
        }
        self.footer(&footer)
    }

    fn header(&self, area: &Area<'_>) -> Drawn {
        let wide = area.dim_in_pixel().0 as i32;
        let mut room = wide;
        if self.view.simulated {
            let text = "SIMULATED DATA";
            let left = wide - self.badge_width(text);
            self.badge(
                area,
                text,
                left,
                self.palette.simulated,
                self.palette.simulated_ground,
            )?;
            room = left - self.px(16.0);
        }
        let outcome = Outcome::of(self.view, self.look.outcome.as_ref());
        let badge = outcome
            .as_ref()
            .map_or(0, |o| self.badge_width(&o.word) + self.px(14.0));
        let size = 22.0 * self.scale;
        let title = font::fit(&self.picture.title, size, Weight::Medium, (room - badge) as f32);
        let title_end = font::width(&title, size, Weight::Medium).ceil() as i32;
        let style = style::text(size, self.palette.ink, Weight::Medium, HPos::Left, VPos::Center);
        area.draw(&Text::new(title, (0, self.px(8.0)), style))?;
        if let Some(outcome) = &outcome {
            let color = if outcome.is_good() {
                self.palette.good
            } else {
                self.palette.bad
            };
            self.badge(
                area,
                &outcome.word,
                title_end + self.px(14.0),
                self.palette.ground,
                color,
            )?;
        }
        let line = |text: &str, y: f32| {
            let size = 13.0 * self.scale;
            let text = font::fit(text, size, Weight::Regular, wide as f32);
            let style = style::text(
                size,
                self.palette.muted,
                Weight::Regular,
                HPos::Left,
                VPos::Center,
            );
            area.draw(&Text::new(text, (0, self.px(y)), style))
        };
        line(&what_ran(self.view), 34.0)?;
        line(&when(self.view, outcome.as_ref()), 53.0)
    }

    fn badge_width(&self, text: &str) -> i32 {
        font::width(text, 14.0 * self.scale, Weight::Medium) as i32 + self.px(20.0)
    }

    fn badge(&self, area: &Area<'_>, text: &str, left: i32, ink: RGBColor, ground: RGBColor) -> Drawn {
        let right = left + self.badge_width(text);
        let corners = [(left, self.px(-4.0)), (right, self.px(21.0))];
        area.draw(&Rectangle::new(corners, ground.filled()))?;
        let style = style::text(14.0 * self.scale, ink, Weight::Medium, HPos::Center, VPos::Center);
        area.draw(&Text::new(
            text.to_owned(),
            (i32::midpoint(left, right), self.px(8.5)),
            style,
        ))
    }

    fn footer(&self, area: &Area<'_>) -> Drawn {
        let size = NOTE * self.scale;
        let wide = area.dim_in_pixel().0 as f32;
        for (i, note) in self.notes.iter().enumerate() {
            let y = self.px(NOTE_STEP * (i as f32 + 1.0));
            let text = font::fit(note, size, Weight::Regular, wide);
            let style = style::text(
                size,
                self.palette.muted,
                Weight::Regular,
                HPos::Left,
                VPos::Center,
            );
            area.draw(&Text::new(text, (0, y), style))?;
        }
        Ok(())
    }
}

/// Largest number of servers listed by address.
const LISTED_SERVERS: usize = 4;

/// Model, scenario, server and its addresses.
fn what_ran(view: &View<'_>) -> String {
    let facts = &view.run.manifest.facts;
    let fact = |key: &str| facts.get(key).filter(|v| !v.is_empty()).cloned();
    let mut parts: Vec<String> = Vec::new();
    parts.extend(fact("model").or_else(|| model_of_series(view)));
    parts.extend(fact("scenario"));
    parts.extend(fact("server_version").map(|v| format!("vLLM {}", v.replace("+simulated", ""))));
    let hosts = view.hosts();
    match hosts.len() {
        0 => {}
        n if n <= LISTED_SERVERS => parts.push(hosts.join(", ")),
        n => parts.push(format!(
            "{} and {} more servers",
            hosts[..LISTED_SERVERS].join(", "),
            n - LISTED_SERVERS
        )),
    }
    parts.join("  ·  ")
}

/// The model name from the server's own labels.
fn model_of_series(view: &View<'_>) -> Option<String> {
    let mut names: Vec<String> = view
        .run
        .series
        .iter()
        .filter(|s| s.def.labels.contains("\"model_name\""))
        .take(500)
        .filter_map(|s| vllm_metrics::derive::labels::parse(&s.def.labels).remove("model_name"))
        .collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.join(", "))
}

/// When, for how long, how it was sampled, what is missing, and the reason for the result.
fn when(view: &View<'_>, outcome: Option<&Outcome>) -> String {
    let mut parts = vec![utc(view.frame.start_ns), axis::duration(view.frame.duration_ns())];
    // One scrape brings series of several sources but counts once.
    let mut per_endpoint: BTreeMap<&str, usize> = BTreeMap::new();
    for cadence in view.frame.cadences.iter().filter(|c| !c.endpoint_url.is_empty()) {
        let most = per_endpoint.entry(&cadence.endpoint_url).or_default();
        *most = cadence.timestamps_ns.len().max(*most);
    }
    let scrapes: usize = per_endpoint.values().sum();
    match view.frame.told_interval_ns() {
        Some(interval) => parts.push(format!(
            "scraped every {}, {scrapes} answered",
            axis::duration(interval)
        )),
        None => parts.push(format!("{scrapes} scrapes answered")),
    }
    match view.frame.gaps.len() {
        0 => {}
        1 => parts.push("1 gap".into()),
        n => parts.push(format!("{n} gaps")),
    }
    parts.extend(outcome.and_then(|o| o.reason.clone()));
    parts.join("  ·  ")
}

/// A time as `2026-11-21 14:02:11 UTC`.
pub(crate) fn utc(nanos: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(time) => time
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%d %H:%M:%S UTC")
            .to_string(),
        Err(_) => format!("{nanos} ns"),
    }
}

/// A time as `YYYYMMDD_HHMMSS` (UTC), as in file names.
pub(crate) fn stamp(nanos: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime("%Y%m%d_%H%M%S").to_string(),
        Err(_) => nanos.to_string(),
    }
}
