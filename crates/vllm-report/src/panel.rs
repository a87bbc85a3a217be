//! One panel: title, legend with figures, axes, phases, gaps and lines.

use crate::axis::{self, Quantity, ValueAxis};
use crate::downsample;
use crate::font;
use crate::frame::Frame;
use crate::scene::{Anchor, Color, Point, Rect, Scene, Weight};
use crate::style;

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
    pub(crate) color: Color,
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

/// What of a panel depends on its place in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Write the labels of the time axis.
    pub(crate) time_labels: bool,
    /// Write the names of the phases.
    pub(crate) phase_names: bool,
}

const TITLE: f32 = 14.0;
const LEGEND: f32 = 11.5;
const TICK: f32 = 10.5;
const LEFT: f32 = 46.0;
const HEAD: f32 = 44.0;
const FOOT: f32 = 20.0;

/// Draws the panel into `rect`. `pixel` is the size of a pixel in logical units, for downsampling.
pub(crate) fn draw(scene: &mut Scene, rect: Rect, panel: &Panel, frame: &Frame, place: Place, pixel: f32) {
    let plot = Rect {
        x: rect.x + LEFT,
        y: rect.y + HEAD,
        w: rect.w - LEFT,
        h: rect.h - HEAD - FOOT,
    };
    let max = panel.lines.iter().filter_map(Line::max).fold(f64::NAN, f64::max);
    let min = panel.lines.iter().filter_map(Line::min).fold(f64::NAN, f64::min);
    let (factor, unit) =
        panel
            .quantity
            .shown(panel.fixed_max.unwrap_or(if max.is_nan() { 1.0 } else { max }));
    let title = scene_title(&panel.title, &unit);
    scene.text(
        (rect.x, rect.y + TITLE),
        font::fit(&title, TITLE, Weight::Medium, rect.w),
        style::text(TITLE, style::INK, Weight::Medium, Anchor::Start),
    );
    let top = panel
        .fixed_max
        .map_or(max, |fixed| if max.is_nan() { fixed } else { fixed.max(max) });
    // Nothing but zeros: one tick says it.
    let ticks = if top == 0.0 { 1 } else { 4 };
    let axis = axis::value_axis((min * factor).min(0.0), top * factor, ticks);
    background(scene, plot, frame, place);
    if max.is_nan() {
        scene.line(
            vec![(plot.x, plot.bottom()), (plot.right(), plot.bottom())],
            style::AXIS,
            1.0,
            None,
        );
        gaps(scene, plot, frame);
        absent(scene, plot, &panel.absent);
        time_axis(scene, plot, frame, place);
        return;
    }
    value_grid(scene, plot, &axis);
    gaps(scene, plot, frame);
    time_axis(scene, plot, frame, place);
    legend(scene, rect, panel, factor);
    for line in panel.lines.iter().rev() {
        draw_line(scene, plot, line, frame, &axis, factor, pixel);
    }
}

fn scene_title(title: &str, unit: &str) -> String {
    if unit.is_empty() {
        title.to_owned()
    } else {
        format!("{title}, {unit}")
    }
}

fn x_of(plot: Rect, frame: &Frame, t: i64) -> f32 {
    let share = (t - frame.start_ns) as f64 / frame.duration_ns() as f64;
    plot.x + (share.clamp(0.0, 1.0) as f32) * plot.w
}

fn background(scene: &mut Scene, plot: Rect, frame: &Frame, place: Place) {
    let named: Vec<_> = frame.phases.iter().filter(|p| !p.name.is_empty()).collect();
    for (i, phase) in named.iter().enumerate() {
        let (left, right) = (x_of(plot, frame, phase.start_ns), x_of(plot, frame, phase.end_ns));
        if i % 2 == 0 {
            scene.rect(
                Rect {
                    x: left,
                    y: plot.y,
                    w: right - left,
                    h: plot.h,
                },
                style::PHASE,
            );
        }
    }
    for (i, phase) in named.iter().enumerate() {
        let (left, right) = (x_of(plot, frame, phase.start_ns), x_of(plot, frame, phase.end_ns));
        if i > 0 || left > plot.x + 1.0 {
            scene.line(
                vec![(left, plot.y), (left, plot.bottom())],
                style::PHASE_EDGE,
                0.8,
                Some([3.0, 3.0]),
            );
        }
        let name = font::fit(&phase.name, TICK, Weight::Regular, right - left - 6.0);
        if place.phase_names && name.chars().count() > 2 {
            scene.text(
                (left + 4.0, plot.y + TICK + 1.0),
                name,
                style::text(TICK, style::FAINT, Weight::Regular, Anchor::Start),
            );
        }
    }
}

/// Above the grid, below the lines.
fn gaps(scene: &mut Scene, plot: Rect, frame: &Frame) {
    for &(from, to) in &frame.gaps {
        let (left, right) = (x_of(plot, frame, from), x_of(plot, frame, to));
        scene.rect(
            Rect {
                x: left,
                y: plot.y,
                w: (right - left).max(1.0),
                h: plot.h,
            },
            style::GAP,
        );
        let text = "no data";
        let room = font::width(text, TICK, Weight::Regular) + 8.0;
        if right - left > room {
            scene.text(
                ((left + right) / 2.0, plot.y + plot.h / 2.0 + TICK / 3.0),
                text,
                style::text(TICK, style::FAINT, Weight::Regular, Anchor::Middle),
            );
        }
    }
}

fn value_grid(scene: &mut Scene, plot: Rect, axis: &ValueAxis) {
    for &tick in &axis.ticks {
        let y = y_of(plot, axis, tick);
        let color = if tick == axis.min {
            style::AXIS
        } else {
            style::GRID
        };
        scene.rect(
            Rect {
                x: plot.x,
                y,
                w: plot.w,
                h: 0.7,
            },
            color,
        );
        scene.text(
            (plot.x - 7.0, y + TICK * 0.35),
            axis::tick_label(tick, axis.step, axis.max),
            style::text(TICK, style::MUTED, Weight::Regular, Anchor::End),
        );
    }
}

fn y_of(plot: Rect, axis: &ValueAxis, shown: f64) -> f32 {
    let share = ((shown - axis.min) / (axis.max - axis.min)).clamp(0.0, 1.0);
    plot.bottom() - share as f32 * plot.h
}

fn time_axis(scene: &mut Scene, plot: Rect, frame: &Frame, place: Place) {
    let axis = axis::time_axis(frame.duration_ns(), (plot.w / 62.0) as usize);
    for &tick in &axis.ticks {
        let x = x_of(plot, frame, frame.start_ns + tick);
        scene.rect(
            Rect {
                x,
                y: plot.bottom(),
                w: 0.7,
                h: 4.0,
            },
            style::AXIS,
        );
        if place.time_labels {
            scene.text(
                (x, plot.bottom() + 4.0 + TICK + 1.0),
                axis.label(tick),
                style::text(TICK, style::MUTED, Weight::Regular, Anchor::Middle),
            );
        }
    }
}

fn absent(scene: &mut Scene, plot: Rect, why: &str) {
    let size = if plot.w > 800.0 { 15.0 } else { 12.0 };
    let lines = wrap(why, size, plot.w * 0.8);
    let height = size * 1.5;
    let mut y = plot.y + plot.h / 2.0 - height * (lines.len() as f32 - 1.0) / 2.0 + size * 0.35;
    for line in lines {
        scene.text(
            (plot.x + plot.w / 2.0, y),
            line,
            style::text(size, style::MUTED, Weight::Regular, Anchor::Middle),
        );
        y += height;
    }
}

/// Text broken at spaces into lines no wider than `limit`.
pub(crate) fn wrap(text: &str, size: f32, limit: f32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if font::width(line, size, Weight::Regular)
                    + font::width(word, size, Weight::Regular)
                    + size * 0.3
                    < limit =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn legend(scene: &mut Scene, rect: Rect, panel: &Panel, factor: f64) {
    let y = rect.y + TITLE + 17.0;
    let mut x = rect.x + 1.0;
    for (shown, line) in panel.lines.iter().enumerate() {
        let figures = match (line.mean(), line.max()) {
            (_, Some(max)) if line.whole.is_some() => {
                let whole = line.whole.unwrap_or(max);
                format!(
                    "run {} · max {}",
                    axis::short(whole * factor),
                    axis::short(max * factor)
                )
            }
            (Some(mean), Some(max)) => {
                format!(
                    "mean {} · max {}",
                    axis::short(mean * factor),
                    axis::short(max * factor)
                )
            }
            _ => "no data".to_owned(),
        };
        let name_width = font::width(&line.name, LEGEND, Weight::Medium);
        let between = if line.name.is_empty() { 0.0 } else { 6.0 };
        let figures_width = font::width(&figures, LEGEND, Weight::Regular);
        let whole = 14.0 + name_width + between + figures_width;
        let rest = panel.lines.len() - shown;
        let more = if rest > 1 { 70.0 } else { 0.0 };
        if x + whole + more > rect.right() && shown > 0 {
            scene.text(
                (x, y),
                format!("and {rest} more"),
                style::text(LEGEND, style::FAINT, Weight::Regular, Anchor::Start),
            );
            return;
        }
        scene.round_rect(
            Rect {
                x,
                y: y - 8.5,
                w: 9.0,
                h: 9.0,
            },
            2.0,
            line.color,
        );
        scene.text(
            (x + 14.0, y),
            line.name.clone(),
            style::text(LEGEND, style::INK, Weight::Medium, Anchor::Start),
        );
        scene.text(
            (x + 14.0 + name_width + between, y),
            figures,
            style::text(LEGEND, style::MUTED, Weight::Regular, Anchor::Start),
        );
        x += whole + 18.0;
    }
}

fn draw_line(
    scene: &mut Scene,
    plot: Rect,
    line: &Line,
    frame: &Frame,
    axis: &ValueAxis,
    factor: f64,
    pixel: f32,
) {
    let (color, width) = match line.look {
        Look::Background => (line.color.with_alpha(110), 1.0),
        Look::Line | Look::Area => (line.color, style::LINE),
    };
    for segment in segments(line) {
        let points: Vec<Point> = segment
            .map(|i| {
                (
                    x_of(plot, frame, line.times[i]),
                    y_of(plot, axis, line.values[i] * factor),
                )
            })
            .collect();
        if let [only] = points[..] {
            // Nothing to connect it with: a sample that stands alone is a dot.
            scene.dot(only, width * 0.9, color);
            continue;
        }
        let points = downsample::columns(&points, pixel);
        if line.look == Look::Area {
            let base = y_of(plot, axis, 0.0);
            let mut corners = points.clone();
            corners.push((points[points.len() - 1].0, base));
            corners.push((points[0].0, base));
            scene.area(corners, line.color.with_alpha(38));
        }
        scene.line(points, color, width, None);
    }
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
