//! Panels on a page: headline, facts, the mark of simulated data, and where each panel lies.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use crate::axis;
use crate::canvas::Canvas;
use crate::error::{Error, Result};
use crate::font;
use crate::panel::{self, Area, Drawn, Panel, Place};
use crate::query::View;
use crate::scene::{Scene, Weight};
use crate::style::{self, MARGIN};

/// A page before it is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Headline.
    pub(crate) title: String,
    /// Panels, row by row.
    pub(crate) panels: Vec<Panel>,
    /// Panels beside each other.
    pub(crate) columns: usize,
    /// Width in logical units.
    pub(crate) width: f32,
    /// Height in logical units.
    pub(crate) height: f32,
    /// Width on paper in inches, which together with the resolution gives the pixels.
    pub(crate) inches: f32,
    /// What a reader must know about how the figures were made.
    pub(crate) notes: Vec<String>,
}

// Sizes in logical units.
const HEADER: f32 = 66.0;
const FOOTER: f32 = 26.0;
const BETWEEN: (f32, f32) = (34.0, 20.0);

impl Picture {
    /// Draws the page at `dpi` pixels per inch.
    pub(crate) fn scene(&self, view: &View<'_>, dpi: f32) -> Result<Scene> {
        let scale = self.inches * dpi / self.width;
        let (width, height) = ((self.width * scale).round(), (self.height * scale).round());
        let fits = |v: f32| (1.0..=30_000.0).contains(&v);
        if !fits(width) || !fits(height) {
            return Err(Error::Size {
                width: width.max(0.0) as u64,
                height: height.max(0.0) as u64,
            });
        }
        let (width, height) = (width as u32, height as u32);
        let mut scene = Scene {
            width,
            height,
            title: self.title.clone(),
            shapes: Vec::new(),
        };
        self.draw(&Canvas::on(&mut scene).into_drawing_area(), view, scale)
            .map_err(|_| Error::Layout { width, height })?;
        Ok(scene)
    }

    fn draw(&self, page: &Area<'_>, view: &View<'_>, scale: f32) -> Drawn {
        let px = |units: f32| (units * scale).round() as i32;
        let margin = px(MARGIN);
        let page = page.margin(margin, margin, margin, margin);
        let (header, rest) = page.split_vertically(px(HEADER));
        let (body, footer) = rest.split_vertically(rest.dim_in_pixel().1 as i32 - px(FOOTER));
        self.header(&header, view, scale)?;
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns).max(1);
        let (across, down) = (px(BETWEEN.0), px(BETWEEN.1));
        // Room between cells comes from each cell but those at the edge, so that the cells are equally large.
        let body = body.margin(0, -down, 0, -across);
        for (i, (cell, panel)) in body
            .split_evenly((rows, columns))
            .iter()
            .zip(&self.panels)
            .enumerate()
        {
            let place = Place {
                scale,
                phase_names: i / columns == 0,
            };
            panel::draw(&cell.margin(0, down, 0, across), panel, &view.frame, place)?;
        }
        self.footer(&footer, view, scale)
    }

    fn header(&self, area: &Area<'_>, view: &View<'_>, scale: f32) -> Drawn {
        let px = |units: f32| (units * scale).round() as i32;
        let wide = area.dim_in_pixel().0 as i32;
        let mut room = wide;
        if view.simulated {
            let text = "SIMULATED DATA";
            let size = 14.0 * scale;
            let left = wide - font::width(text, size, Weight::Medium) as i32 - px(24.0);
            area.draw(&Rectangle::new(
                [(left, px(-4.0)), (wide, px(24.0))],
                style::SIMULATED_GROUND.filled(),
            ))?;
            let style = style::text(size, style::SIMULATED, Weight::Medium, HPos::Center, VPos::Center);
            area.draw(&Text::new(text, (i32::midpoint(left, wide), px(10.0)), style))?;
            room = left - px(16.0);
        }
        let line = |text: &str, size: f32, color, weight, y: f32, room: i32| {
            let text = font::fit(text, size * scale, weight, room as f32);
            area.draw(&Text::new(
                text,
                (0, px(y)),
                style::text(size * scale, color, weight, HPos::Left, VPos::Center),
            ))
        };
        line(&self.title, 22.0, style::INK, Weight::Medium, 8.0, room)?;
        line(&facts(view), 13.0, style::MUTED, Weight::Regular, 33.0, wide)
    }

    fn footer(&self, area: &Area<'_>, view: &View<'_>, scale: f32) -> Drawn {
        let unit = axis::time_axis(view.frame.duration_ns(), 8).unit;
        let mut text = format!("Time axis: {unit} since {}", utc(view.frame.start_ns));
        for note in &self.notes {
            text.push_str(" · ");
            text.push_str(note);
        }
        let size = 11.5 * scale;
        let (wide, high) = area.dim_in_pixel();
        let text = font::fit(&text, size, Weight::Regular, wide as f32);
        let style = style::text(size, style::FAINT, Weight::Regular, HPos::Left, VPos::Bottom);
        area.draw(&Text::new(text, (0, high as i32), style))
    }
}

/// One line of facts: what ran, when, for how long, how it was sampled, what is missing.
fn facts(view: &View<'_>) -> String {
    let facts = &view.run.manifest.facts;
    let mut parts: Vec<String> = ["model", "scenario", "server_version"]
        .iter()
        .filter_map(|key| facts.get(*key).filter(|v| !v.is_empty()))
        .cloned()
        .collect();
    parts.push(utc(view.frame.start_ns));
    parts.push(axis::duration(view.frame.duration_ns()));
    // One scrape brings series of several sources; it is one scrape all the same.
    let mut per_endpoint: BTreeMap<&str, usize> = BTreeMap::new();
    for cadence in view.frame.cadences.iter().filter(|c| !c.endpoint_url.is_empty()) {
        let most = per_endpoint.entry(&cadence.endpoint_url).or_default();
        *most = cadence.timestamps_ns.len().max(*most);
    }
    let scrapes: usize = per_endpoint.values().sum();
    match view.frame.told_interval_ns() {
        Some(interval) => parts.push(format!("{scrapes} scrapes every {}", axis::duration(interval))),
        None => parts.push(format!("{scrapes} scrapes")),
    }
    match view.frame.gaps.len() {
        0 => {}
        1 => parts.push("1 gap".into()),
        n => parts.push(format!("{n} gaps")),
    }
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
