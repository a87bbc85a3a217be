//! The content of a panel: lines, bands, heat maps, or the reason why there is none.

use plotters::element::{Circle, Polygon, Rectangle, Text};
use plotters::series::{AreaSeries, LineSeries};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Chart, Drawn, LEGEND, Place, TITLE, wrap};
use crate::axis::{self, ValueAxis};
use crate::downsample;
use crate::frame::Frame;
use crate::panel::{Heat, Line, LineStyle};
use crate::query::Curve;
use crate::scene::Weight;
use crate::style;

pub(super) fn line(
    chart: &mut Chart<'_, '_>,
    line: &Line,
    frame: &Frame,
    values: &ValueAxis,
    factor: f64,
    place: Place<'_>,
) -> Drawn {
    let color = place.palette.color(line.ink);
    let (alpha, units) = match line.look {
        LineStyle::Background => (0.5, style::THIN_LINE),
        _ => (1.0, style::LINE),
    };
    let width = place.stroke(units);
    let ink = color.mix(alpha);
    let column_ns = frame.duration_ns() / i64::from(chart.plotting_area().dim_in_pixel().0.max(1));
    for segment in segments(&line.curve) {
        let sample = |i: usize| (line.curve.times[i], line.curve.values[i] * factor);
        if let LineStyle::Band(lower) = &line.look {
            let back = segment
                .clone()
                .rev()
                .map(|i| (line.curve.times[i], lower[i] * factor));
            let corners: Vec<_> = segment.map(sample).chain(back).collect();
            chart.draw_series([Polygon::new(corners, color.mix(0.2))])?;
            continue;
        }
        let samples: Vec<_> = segment.map(sample).collect();
        if let [only] = samples[..] {
            // An isolated sample cannot be connected, so it is drawn as a dot.
            chart.draw_series([Circle::new(only, width, ink.filled())])?;
            continue;
        }
        let samples = downsample::columns(&samples, column_ns);
        if line.look == LineStyle::Area {
            let base = values.min.max(0.0);
            chart.draw_series(AreaSeries::new(samples.iter().copied(), base, color.mix(0.15)))?;
        }
        chart.draw_series(LineSeries::new(samples, ink.stroke_width(width)))?;
    }
    Ok(())
}

/// Index ranges of samples that may be connected: finite and not further apart than the curve allows.
fn segments(curve: &Curve) -> Vec<std::ops::Range<usize>> {
    let mut out: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, value) in curve.values.iter().enumerate() {
        if !value.is_finite() {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.end == i && curve.times[i] - curve.times[i - 1] <= curve.longest_step_ns => {
                last.end = i + 1;
            }
            _ => out.push(i..i + 1),
        }
    }
    out
}

/// More observations make a darker cell; by the square root, so that small counts are visible next to large
/// ones.
pub(super) fn heat(chart: &mut Chart<'_, '_>, heat: &Heat, place: Place<'_>) -> Drawn {
    let most = most(heat);
    let cells = heat.columns.iter().flat_map(|(from, to, counts)| {
        counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0.0)
            .map(move |(row, count)| (*from, *to, row as f64, count))
    });
    chart.draw_series(cells.map(|(from, to, row, count)| {
        let alpha = 0.12 + 0.88 * (count / most).sqrt();
        Rectangle::new(
            [(from, row + 1.0), (to, row)],
            place.palette.heat.mix(alpha).filled(),
        )
    }))?;
    Ok(())
}

fn most(heat: &Heat) -> f64 {
    let counts = heat
        .columns
        .iter()
        .flat_map(|(.., counts)| counts.iter().copied());
    counts.fold(0.0, f64::max).max(1e-9)
}

pub(super) fn heat_legend(area: &Area<'_>, heat: &Heat, place: Place<'_>) -> Drawn {
    let size = LEGEND * place.scale;
    let style = style::text(
        size,
        place.palette.muted,
        Weight::Regular,
        HPos::Left,
        VPos::Center,
    );
    let text = if heat.columns.is_empty() {
        String::new()
    } else {
        format!("darkest: {} observations in one cell", axis::short(most(heat)))
    };
    area.draw(&Text::new(text, (0, place.px(TITLE + 12.5)), style))
}

pub(super) fn say_absent(chart: &Chart<'_, '_>, why: &str, place: Place<'_>) -> Drawn {
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
        let style = style::text(
            size,
            place.palette.muted,
            Weight::Regular,
            HPos::Center,
            VPos::Center,
        );
        plot.draw(&Text::new(line, ((w / 2) as i32, y as i32), style))?;
        y += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Figures;

    #[test]
    fn no_line_crosses_a_gap_or_a_value_that_is_none() {
        let curve = Curve {
            times: vec![0, 10, 20, 60, 70, 80],
            values: vec![1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0],
            longest_step_ns: 25,
            figures: Figures::default(),
        };
        assert_eq!(segments(&curve), [0..3, 3..4, 5..6]);
    }
}
