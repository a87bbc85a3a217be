//! Draws one panel with plotters: title, legend with figures, axes, phases, gaps, marks and content.

mod axes;
mod body;
mod marks;

use std::convert::Infallible;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use crate::axis::{self, Clock, ValueAxis};
use crate::canvas::Canvas;
use crate::coords::{TimeRange, ValueRange};
use crate::font;
use crate::frame::Frame;
use crate::panel::{Body, Line, Panel};
use crate::scene::Weight;
use crate::style::{self, Palette};

/// A part of the page.
pub(crate) type Area<'a> = DrawingArea<Canvas<'a>, Shift>;
/// Result of drawing.
pub(crate) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<Infallible>>;

type Chart<'a, 'b> = ChartContext<'a, Canvas<'b>, Cartesian2d<TimeRange, ValueRange>>;

/// An event at one moment, shown as a vertical line with a letter that the notes explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When.
    pub(crate) at_ns: i64,
    /// `a`, `b`, …
    pub(crate) letter: String,
}

/// How a panel is put on the page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Pixels per logical unit.
    pub(crate) scale: f32,
    /// Write the names of the phases and the letters of the marks.
    pub(crate) names: bool,
    /// Colours.
    pub(crate) palette: &'static Palette,
    /// What the time axis counts.
    pub(crate) clock: Clock,
    /// Marked events.
    pub(crate) marks: &'a [Mark],
    /// Start and end of each batch; empty if they are not drawn.
    pub(crate) batches: &'a [(i64, i64)],
}

impl Place<'_> {
    /// Logical units in whole pixels, at least one.
    fn px(&self, units: f32) -> i32 {
        ((units * self.scale).round() as i32).max(1)
    }

    fn stroke(&self, units: f32) -> u32 {
        self.px(units).unsigned_abs()
    }
}

// Sizes in logical units.
const TITLE: f32 = 14.0;
const LEGEND: f32 = 11.5;
const TICK: f32 = 10.5;
const LEFT: f32 = 46.0;
/// Title and legend.
const HEAD: f32 = 36.0;
/// Names of phases and letters of marks.
const STRIP: f32 = 14.0;
const FOOT: f32 = 22.0;

/// Draws the panel into its area.
pub(crate) fn panel(area: &Area<'_>, panel: &Panel, frame: &Frame, place: Place<'_>) -> Drawn {
    let (values, factor, unit) = match &panel.body {
        Body::Lines(lines) => axes::of_lines(panel, lines),
        Body::Heat(heat) => axes::of_heat(panel, heat),
    };
    title(area, &panel.title, &unit, place)?;
    match &panel.body {
        Body::Lines(lines) => legend(area, panel, lines, factor, place)?,
        Body::Heat(heat) => body::heat_legend(area, heat, place)?,
    }
    let (_, rest) = area.split_vertically(place.px(HEAD));
    let (strip, body) = rest.split_vertically(place.px(STRIP));
    let (wide, _) = body.dim_in_pixel();
    let mut chart = ChartBuilder::on(&body)
        .y_label_area_size(place.px(LEFT))
        .x_label_area_size(place.px(FOOT))
        .build_cartesian_2d(
            TimeRange::of(frame, place.clock, (wide as f32 / place.scale / 62.0) as usize),
            ValueRange(values.clone()),
        )?;
    marks::phase_bands(&mut chart, frame, &values, place)?;
    axes::mesh(&mut chart, place)?;
    if panel.is_empty() {
        return body::say_absent(&chart, &panel.absent, place);
    }
    if panel.scraped {
        marks::gaps(&mut chart, frame, &frame.gaps, "no data", &values, place)?;
    }
    if let Some(read) = &panel.read {
        marks::gaps(
            &mut chart,
            frame,
            &read.missing(frame),
            "no reading",
            &values,
            place,
        )?;
    }
    marks::phase_edges(&mut chart, frame, &values, place)?;
    match &panel.body {
        Body::Lines(lines) => {
            for line in lines.iter().rev() {
                body::line(&mut chart, line, frame, &values, factor, place)?;
            }
        }
        Body::Heat(heat) => body::heat(&mut chart, heat, place)?,
    }
    marks::limits(&mut chart, panel, frame, &values, factor, place)?;
    marks::batches(&mut chart, frame, &values, place)?;
    marks::upright(&mut chart, frame, &values, place)?;
    if place.names {
        marks::names(&strip, frame, place)?;
    }
    Ok(())
}

fn title(area: &Area<'_>, title: &str, unit: &str, place: Place<'_>) -> Drawn {
    let text = if unit.is_empty() {
        title.to_owned()
    } else {
        format!("{title}, {unit}")
    };
    let size = TITLE * place.scale;
    let text = font::fit(&text, size, Weight::Medium, area.dim_in_pixel().0 as f32);
    let style = style::text(size, place.palette.ink, Weight::Medium, HPos::Left, VPos::Center);
    area.draw(&Text::new(text, (0, place.px(TITLE * 0.65)), style))
}

/// Swatch, name and figures of each line, as many as fit.
fn legend(area: &Area<'_>, panel: &Panel, lines: &[Line], factor: f64, place: Place<'_>) -> Drawn {
    let size = LEGEND * place.scale;
    let label = |color, weight| style::text(size, color, weight, HPos::Left, VPos::Center);
    let wide = |text: &str, weight| font::width(text, size, weight).ceil() as i32;
    let right = area.dim_in_pixel().0 as f32;
    let y = place.px(TITLE + 12.5);
    let (swatch, gap) = (place.px(9.0), place.px(5.0));
    let palette = place.palette;
    // Limits outside the axis are listed here.
    let beyond: Vec<String> = panel
        .limits
        .iter()
        .map(|limit| format!("{} {}", limit.name, axis::short(limit.value * factor)))
        .collect();
    let mut x = 0;
    for (shown, line) in lines.iter().enumerate() {
        let figures = line.figures(factor);
        let name_width = match line.name.as_str() {
            "" => 0,
            name => wide(name, Weight::Medium) + gap,
        };
        let whole = swatch + gap + name_width + wide(&figures, Weight::Regular);
        let rest = lines.len() - shown;
        let more = if rest > 1 { place.px(70.0) } else { 0 };
        if (x + whole + more) as f32 > right && shown > 0 {
            let text = format!("and {rest} more");
            return area.draw(&Text::new(text, (x, y), label(palette.faint, Weight::Regular)));
        }
        let half = swatch / 2;
        area.draw(&Rectangle::new(
            [(x, y - half), (x + swatch, y - half + swatch)],
            palette.color(line.ink).filled(),
        ))?;
        x += swatch + gap;
        area.draw(&Text::new(
            line.name.clone(),
            (x, y),
            label(palette.ink, Weight::Medium),
        ))?;
        let room = right - (x + name_width) as f32;
        let figures = font::fit(&figures, size, Weight::Regular, room);
        area.draw(&Text::new(
            figures,
            (x + name_width, y),
            label(palette.muted, Weight::Regular),
        ))?;
        x += whole - swatch - gap + place.px(18.0);
    }
    for text in beyond {
        if (x + wide(&text, Weight::Regular)) as f32 <= right {
            area.draw(&Text::new(
                text.clone(),
                (x, y),
                label(palette.bad, Weight::Regular),
            ))?;
            x += wide(&text, Weight::Regular) + place.px(18.0);
        }
    }
    Ok(())
}

/// Text broken at spaces into lines no wider than `limit`.
pub(crate) fn wrap(text: &str, size: f32, limit: f32) -> Vec<String> {
    let wide = |text: &str| font::width(text, size, Weight::Regular);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if wide(line) + wide(word) + size * 0.3 < limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Bottom and top of the axis.
fn span(values: &ValueAxis) -> (f64, f64) {
    (values.min, values.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_wrapped() {
        let lines = wrap("one two three four five six seven eight nine ten", 12.0, 90.0);
        assert!(
            lines.len() > 2
                && lines
                    .iter()
                    .all(|l| font::width(l, 12.0, Weight::Regular) <= 90.0)
        );
    }
}
