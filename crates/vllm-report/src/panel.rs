//! One panel: title, legend with figures, axes, phases, gaps and lines, drawn through plotters.

use std::convert::Infallible;

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, EmptyElement, Rectangle, Text};
use plotters::series::{AreaSeries, DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color as _, RGBColor};

use crate::axis::{self, Quantity, ValueAxis};
use crate::canvas::Canvas;
use crate::coords::{TimeRange, ValueRange};
use crate::downsample;
use crate::font;
use crate::frame::{Frame, Phase};
use crate::scene::Weight;
use crate::style;

/// A part of the page.
pub(crate) type Area<'a> = DrawingArea<Canvas<'a>, Shift>;
/// What drawing yields.
pub(crate) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<Infallible>>;

type Chart<'a, 'b> = ChartContext<'a, Canvas<'b>, Cartesian2d<TimeRange, ValueRange>>;

/// How one series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A line.
    Line,
    /// A line with its area filled down to zero.
    Area,
    /// A thin, pale line that stands behind a mean.
    Background,
}

/// One series of a panel, in base units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Legend.
    pub(crate) name: String,
    /// Colour.
    pub(crate) color: RGBColor,
    /// Look.
    pub(crate) look: Look,
    /// Times, ascending.
    pub(crate) times: Vec<i64>,
    /// Values.
    pub(crate) values: Vec<f64>,
    /// Samples further apart than this are not connected.
    pub(crate) longest_step_ns: i64,
    /// The figure of the whole run where it is not the mean of the values: a quantile over all observations.
    pub(crate) whole: Option<f64>,
}

impl Line {
    fn max(&self) -> Option<f64> {
        self.values
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .reduce(f64::max)
    }

    fn min(&self) -> Option<f64> {
        self.values
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .reduce(f64::min)
    }

    fn mean(&self) -> Option<f64> {
        let finite: Vec<f64> = self.values.iter().copied().filter(|v| v.is_finite()).collect();
        (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
    }
}

/// What a panel shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Panel {
    /// Title.
    pub(crate) title: String,
    /// What its value axis measures.
    pub(crate) quantity: Quantity,
    /// Its series; the first is drawn last, on top.
    pub(crate) lines: Vec<Line>,
    /// End of the value axis where it is known beforehand (1.0 for a ratio).
    pub(crate) fixed_max: Option<f64>,
    /// What stands in the panel when there is nothing to draw.
    pub(crate) absent: String,
}

/// How a panel is put on the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// Pixels per logical unit.
    pub(crate) scale: f32,
    /// Write the names of the phases.
    pub(crate) phase_names: bool,
}

impl Place {
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
const HEAD: f32 = 44.0;
const FOOT: f32 = 22.0;

/// Draws the panel into its area.
pub(crate) fn draw(area: &Area<'_>, panel: &Panel, frame: &Frame, place: Place) -> Drawn {
    let max = panel.lines.iter().filter_map(Line::max).fold(f64::NAN, f64::max);
    let min = panel.lines.iter().filter_map(Line::min).fold(f64::NAN, f64::min);
    let absent = max.is_nan();
    let (factor, unit) = panel
        .quantity
        .shown(panel.fixed_max.unwrap_or(if absent { 1.0 } else { max }));
    title(area, &panel.title, &unit, place)?;
    legend(area, panel, factor, place)?;

    let top = panel
        .fixed_max
        .map_or(max, |fixed| if absent { fixed } else { fixed.max(max) });
    // Nothing but zeros: one tick says it.
    let ticks = if top == 0.0 { 1 } else { 4 };
    let mut values = axis::value_axis((min * factor).min(0.0), top * factor, ticks);
    if absent {
        values.ticks.clear();
    }
    let (_, body) = area.split_vertically(place.px(HEAD));
    let (wide, _) = body.dim_in_pixel();
    let mut chart = ChartBuilder::on(&body)
        .y_label_area_size(place.px(LEFT))
        .x_label_area_size(place.px(FOOT))
        .build_cartesian_2d(
            TimeRange::of(frame, (wide as f32 / place.scale / 62.0) as usize),
            ValueRange(values.clone()),
        )?;
    phase_bands(&mut chart, frame, &values)?;
    mesh(&mut chart, place)?;
    gaps(&mut chart, frame, &values, place)?;
    phase_edges(&mut chart, frame, &values, place)?;
    if absent {
        return say_absent(&chart, &panel.absent, place);
    }
    for line in panel.lines.iter().rev() {
        draw_line(&mut chart, line, frame, &values, factor, place)?;
    }
    Ok(())
}

fn title(area: &Area<'_>, title: &str, unit: &str, place: Place) -> Drawn {
    let text = if unit.is_empty() {
        title.to_owned()
    } else {
        format!("{title}, {unit}")
    };
    let size = TITLE * place.scale;
    let text = font::fit(&text, size, Weight::Medium, area.dim_in_pixel().0 as f32);
    let style = style::text(size, style::INK, Weight::Medium, HPos::Left, VPos::Center);
    area.draw(&Text::new(text, (0, place.px(TITLE * 0.65)), style))
}

fn legend(area: &Area<'_>, panel: &Panel, factor: f64, place: Place) -> Drawn {
    let size = LEGEND * place.scale;
    let label = |color, weight| style::text(size, color, weight, HPos::Left, VPos::Center);
    let right = area.dim_in_pixel().0 as f32;
    let y = place.px(TITLE + 12.5);
    let (swatch, gap) = (place.px(9.0), place.px(5.0));
    let mut x = 0;
    for (shown, line) in panel.lines.iter().enumerate() {
        let figures = figures(line, factor);
        let name_width = match line.name.as_str() {
            "" => 0,
            name => font::width(name, size, Weight::Medium).ceil() as i32 + gap,
        };
        let whole = swatch + gap + name_width + font::width(&figures, size, Weight::Regular).ceil() as i32;
        let rest = panel.lines.len() - shown;
        let more = if rest > 1 { place.px(70.0) } else { 0 };
        if (x + whole + more) as f32 > right && shown > 0 {
            return area.draw(&Text::new(
                format!("and {rest} more"),
                (x, y),
                label(style::FAINT, Weight::Regular),
            ));
        }
        let half = swatch / 2;
        area.draw(&Rectangle::new(
            [(x, y - half), (x + swatch, y - half + swatch)],
            line.color.filled(),
        ))?;
        x += swatch + gap;
        area.draw(&Text::new(
            line.name.clone(),
            (x, y),
            label(style::INK, Weight::Medium),
        ))?;
        area.draw(&Text::new(
            figures,
            (x + name_width, y),
            label(style::MUTED, Weight::Regular),
        ))?;
        x += whole - swatch - gap + place.px(18.0);
    }
    Ok(())
}

fn figures(line: &Line, factor: f64) -> String {
    let short = |value: f64| axis::short(value * factor);
    match (line.mean(), line.max(), line.whole) {
        (_, Some(max), Some(whole)) => format!("run {} · max {}", short(whole), short(max)),
        (Some(mean), Some(max), None) => format!("mean {} · max {}", short(mean), short(max)),
        _ => "no data".to_owned(),
    }
}

fn named(frame: &Frame) -> Vec<&Phase> {
    frame.phases.iter().filter(|p| !p.name.is_empty()).collect()
}

fn phase_bands(chart: &mut Chart<'_, '_>, frame: &Frame, values: &ValueAxis) -> Drawn {
    let bands = named(frame).into_iter().step_by(2);
    chart.draw_series(bands.map(|p| {
        Rectangle::new(
            [(p.start_ns, values.max), (p.end_ns, values.min)],
            style::PHASE.filled(),
        )
    }))?;
    Ok(())
}

fn phase_edges(chart: &mut Chart<'_, '_>, frame: &Frame, values: &ValueAxis, place: Place) -> Drawn {
    let phases = named(frame);
    for phase in phases.iter().filter(|p| p.start_ns > frame.start_ns) {
        let edge = [(phase.start_ns, values.max), (phase.start_ns, values.min)];
        let dash = place.px(3.0);
        chart.draw_series(DashedLineSeries::new(
            edge,
            dash,
            dash,
            style::PHASE_EDGE.stroke_width(place.stroke(0.7)),
        ))?;
    }
    if !place.phase_names {
        return Ok(());
    }
    let size = TICK * place.scale;
    let plot = chart.plotting_area().dim_in_pixel().0 as f32;
    let room =
        |p: &Phase| plot * (p.end_ns - p.start_ns) as f32 / frame.duration_ns() as f32 - 6.0 * place.scale;
    let names = phases.iter().filter_map(|p| {
        let name = font::fit(&p.name, size, Weight::Regular, room(p));
        // One letter and an ellipsis name nothing.
        (name.chars().count() > 2).then(|| {
            let style = style::text(size, style::FAINT, Weight::Regular, HPos::Left, VPos::Center);
            EmptyElement::at((p.start_ns, values.max))
                + Text::new(name, (place.px(4.0), place.px(8.0)), style)
        })
    });
    chart.draw_series(names)?;
    Ok(())
}

fn mesh(chart: &mut Chart<'_, '_>, place: Place) -> Drawn {
    let label = style::text(
        TICK * place.scale,
        style::MUTED,
        Weight::Regular,
        HPos::Left,
        VPos::Center,
    );
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(style::GRID.stroke_width(place.stroke(0.7)))
        .axis_style(style::AXIS.stroke_width(place.stroke(0.7)))
        .set_tick_mark_size(LabelAreaPosition::Left, place.px(3.5))
        .set_tick_mark_size(LabelAreaPosition::Bottom, place.px(3.5))
        .label_style(label)
        .draw()
}

/// Above the grid, below the lines.
fn gaps(chart: &mut Chart<'_, '_>, frame: &Frame, values: &ValueAxis, place: Place) -> Drawn {
    let size = TICK * place.scale;
    let text = "no data";
    let room = font::width(text, size, Weight::Regular) + 8.0 * place.scale;
    let plot = chart.plotting_area().dim_in_pixel().0 as f32;
    for &(from, to) in &frame.gaps {
        chart.draw_series([Rectangle::new(
            [(from, values.max), (to, values.min)],
            style::GAP.filled(),
        )])?;
        if plot * (to - from) as f32 / frame.duration_ns() as f32 > room {
            let middle = (from + (to - from) / 2, f64::midpoint(values.min, values.max));
            let style = style::text(size, style::FAINT, Weight::Regular, HPos::Center, VPos::Center);
            chart.draw_series([Text::new(text, middle, style)])?;
        }
    }
    Ok(())
}

fn say_absent(chart: &Chart<'_, '_>, why: &str, place: Place) -> Drawn {
    let plot = chart.plotting_area().strip_coord_spec();
    let (w, h) = plot.dim_in_pixel();
    let size = if w as f32 / place.scale > 800.0 {
        15.0
    } else {
        12.0
    } * place.scale;
    let lines = wrap(why, size, w as f32 * 0.8);
    let step = size * 1.5;
    let mut y = h as f32 / 2.0 - step * (lines.len() as f32 - 1.0) / 2.0;
    for line in lines {
        let style = style::text(size, style::MUTED, Weight::Regular, HPos::Center, VPos::Center);
        plot.draw(&Text::new(line, ((w / 2) as i32, y as i32), style))?;
        y += step;
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

fn draw_line(
    chart: &mut Chart<'_, '_>,
    line: &Line,
    frame: &Frame,
    values: &ValueAxis,
    factor: f64,
    place: Place,
) -> Drawn {
    let (alpha, units) = match line.look {
        Look::Background => (0.43, style::THIN_LINE),
        Look::Line | Look::Area => (1.0, style::LINE),
    };
    let width = place.stroke(units);
    let ink = line.color.mix(alpha);
    let column_ns = frame.duration_ns() / i64::from(chart.plotting_area().dim_in_pixel().0.max(1));
    for segment in segments(line) {
        let samples: Vec<_> = segment
            .map(|i| (line.times[i], line.values[i] * factor))
            .collect();
        if let [only] = samples[..] {
            // Nothing to connect it with: a sample that stands alone is a dot.
            chart.draw_series([Circle::new(only, width, ink.filled())])?;
            continue;
        }
        let samples = downsample::columns(&samples, column_ns);
        if line.look == Look::Area {
            let base = values.min.max(0.0);
            chart.draw_series(AreaSeries::new(
                samples.iter().copied(),
                base,
                line.color.mix(0.15),
            ))?;
        }
        chart.draw_series(LineSeries::new(samples, ink.stroke_width(width)))?;
    }
    Ok(())
}

/// Index ranges of samples that may be connected: finite and not further apart than the line allows.
fn segments(line: &Line) -> Vec<std::ops::Range<usize>> {
    let mut out: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, value) in line.values.iter().enumerate() {
        if !value.is_finite() {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.end == i && line.times[i] - line.times[i - 1] <= line.longest_step_ns => {
                last.end = i + 1;
            }
            _ => out.push(i..i + 1),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(times: &[i64], values: &[f64]) -> Line {
        Line {
            name: "x".into(),
            color: style::BLUE,
            look: Look::Line,
            times: times.to_vec(),
            values: values.to_vec(),
            longest_step_ns: 25,
            whole: None,
        }
    }

    #[test]
    fn no_line_crosses_a_gap_or_a_value_that_is_none() {
        let segments = segments(&line(
            &[0, 10, 20, 60, 70, 80],
            &[1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0],
        ));
        assert_eq!(segments, [0..3, 3..4, 5..6]);
    }

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
