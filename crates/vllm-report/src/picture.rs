//! Panels on a page: headline, facts, the mark of simulated data, and where each panel lies.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::axis;
use crate::font;
use crate::panel::{self, Panel, Place};
use crate::query::View;
use crate::scene::{Anchor, Rect, Scene, Weight};
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

const HEADER: f32 = 66.0;
const FOOTER: f32 = 22.0;
const BETWEEN: (f32, f32) = (34.0, 20.0);

impl Picture {
    /// Lays the page out.
    pub(crate) fn scene(&self, view: &View<'_>, dpi: f32) -> Scene {
        let mut scene = Scene::new(self.width, self.height, &self.title);
        self.header(&mut scene, view);
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns).max(1);
        let room = Rect {
            x: MARGIN,
            y: MARGIN + HEADER,
            w: self.width - 2.0 * MARGIN,
            h: self.height - 2.0 * MARGIN - HEADER - FOOTER,
        };
        let w = (room.w - BETWEEN.0 * (columns - 1) as f32) / columns as f32;
        let h = (room.h - BETWEEN.1 * (rows - 1) as f32) / rows as f32;
        let pixel = self.width / (self.inches * dpi);
        for (i, panel) in self.panels.iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let rect = Rect {
                x: room.x + (w + BETWEEN.0) * column as f32,
                y: room.y + (h + BETWEEN.1) * row as f32,
                w,
                h,
            };
            let place = Place {
                time_labels: true,
                phase_names: row == 0,
            };
            panel::draw(&mut scene, rect, panel, &view.frame, place, pixel);
        }
        self.footer(&mut scene, view);
        scene
    }

    fn header(&self, scene: &mut Scene, view: &View<'_>) {
        let mut right = self.width - MARGIN;
        if view.simulated {
            let text = "SIMULATED DATA";
            let width = font::width(text, 14.0, Weight::Medium) + 24.0;
            let rect = Rect {
                x: right - width,
                y: MARGIN - 6.0,
                w: width,
                h: 28.0,
            };
            scene.round_rect(rect, 6.0, style::SIMULATED_GROUND);
            scene.text(
                (rect.x + width / 2.0, rect.y + 19.0),
                text,
                style::text(14.0, style::SIMULATED, Weight::Medium, Anchor::Middle),
            );
            right = rect.x - 16.0;
        }
        let limit = right - MARGIN;
        scene.text(
            (MARGIN, MARGIN + 15.0),
            font::fit(&self.title, 22.0, Weight::Medium, limit),
            style::text(22.0, style::INK, Weight::Medium, Anchor::Start),
        );
        let width = self.width - 2.0 * MARGIN;
        scene.text(
            (MARGIN, MARGIN + 38.0),
            font::fit(&facts(view), 13.0, Weight::Regular, width),
            style::text(13.0, style::MUTED, Weight::Regular, Anchor::Start),
        );
    }

    fn footer(&self, scene: &mut Scene, view: &View<'_>) {
        let unit = axis::time_axis(view.frame.duration_ns(), 8).unit;
        let mut text = format!("Time axis: {unit} since {}", utc(view.frame.start_ns));
        for note in &self.notes {
            text.push_str(" · ");
            text.push_str(note);
        }
        scene.text(
            (MARGIN, self.height - MARGIN),
            font::fit(&text, 11.5, Weight::Regular, self.width - 2.0 * MARGIN),
            style::text(11.5, style::FAINT, Weight::Regular, Anchor::Start),
        );
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
    let scrapes: usize = view
        .frame
        .cadences
        .iter()
        .filter(|c| !c.endpoint_url.is_empty())
        .map(|c| c.timestamps_ns.len())
        .sum();
    match view.frame.scrape_interval_ns() {
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
