//! Marks on every panel: phases, gaps, limits, batches and moments.

use plotters::element::{Rectangle, Text};
use plotters::series::DashedLineSeries;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Chart, Drawn, LEFT, Place, STRIP, TICK, span};
use crate::axis::ValueAxis;
use crate::font;
use crate::frame::{Frame, Phase};
use crate::panel::Panel;
use crate::scene::Weight;
use crate::style;

fn named(frame: &Frame) -> Vec<&Phase> {
    frame.phases.iter().filter(|p| !p.name.is_empty()).collect()
}

pub(super) fn phase_bands(
    chart: &mut Chart<'_, '_>,
    frame: &Frame,
    values: &ValueAxis,
    place: Place<'_>,
) -> Drawn {
    let bands = named(frame).into_iter().step_by(2);
    chart.draw_series(bands.map(|p| {
        Rectangle::new(
            [(p.start_ns, values.max), (p.end_ns, values.min)],
            place.palette.phase.filled(),
        )
    }))?;
    Ok(())
}

pub(super) fn phase_edges(
    chart: &mut Chart<'_, '_>,
    frame: &Frame,
    values: &ValueAxis,
    place: Place<'_>,
) -> Drawn {
    for phase in named(frame).iter().filter(|p| p.start_ns > frame.start_ns) {
        dashed_upright(chart, phase.start_ns, values, place.palette.phase_edge, place)?;
    }
    Ok(())
}

fn dashed_upright(
    chart: &mut Chart<'_, '_>,
    at_ns: i64,
    values: &ValueAxis,
    color: plotters::style::RGBColor,
    place: Place<'_>,
) -> Drawn {
    let dash = place.px(3.0);
    let style = color.stroke_width(place.stroke(0.7));
    chart.draw_series(DashedLineSeries::new(
        [(at_ns, values.max), (at_ns, values.min)],
        dash,
        dash,
        style,
    ))?;
    Ok(())
}

/// Spans without data, with the reason where there is room. Above the grid, below the lines.
pub(super) fn gaps(
    chart: &mut Chart<'_, '_>,
    frame: &Frame,
    spans: &[(i64, i64)],
    text: &str,
    values: &ValueAxis,
    place: Place<'_>,
) -> Drawn {
    let size = TICK * place.scale;
    let room = font::width(text, size, Weight::Regular) + 8.0 * place.scale;
    let plot = chart.plotting_area().dim_in_pixel().0 as f32;
    for &(from, to) in spans {
        chart.draw_series([Rectangle::new(
            [(from, values.max), (to, values.min)],
            place.palette.gap.filled(),
        )])?;
        if plot * (to - from) as f32 / frame.duration_ns() as f32 > room {
            let middle = (from + (to - from) / 2, f64::midpoint(values.min, values.max));
            let style = style::text(
                size,
                place.palette.muted,
                Weight::Regular,
                HPos::Center,
                VPos::Center,
            );
            chart.draw_series([Text::new(text.to_owned(), middle, style)])?;
        }
    }
    Ok(())
}

/// Limits within the axis, as dashed lines; the legend names them.
pub(super) fn limits(
    chart: &mut Chart<'_, '_>,
    panel: &Panel,
    frame: &Frame,
    values: &ValueAxis,
    factor: f64,
    place: Place<'_>,
) -> Drawn {
    let dash = place.px(5.0);
    let within = panel.limits.iter().map(|limit| limit.value * factor);
    for value in within.filter(|value| *value <= values.max) {
        chart.draw_series(DashedLineSeries::new(
            [(frame.start_ns, value), (frame.end_ns, value)],
            dash,
            dash,
            place.palette.bad.stroke_width(place.stroke(1.0)),
        ))?;
    }
    Ok(())
}

/// Height of the strip of batches, as a share of the panel.
const BATCH_STRIP: f64 = 0.03;

/// A strip at the bottom with a bar for each batch, from its issue to its last answer.
pub(super) fn batches(
    chart: &mut Chart<'_, '_>,
    frame: &Frame,
    values: &ValueAxis,
    place: Place<'_>,
) -> Drawn {
    let (low, high) = span(values);
    let top = low + (high - low) * BATCH_STRIP;
    let shown = place.batches.iter().filter(|(from, _)| *from <= frame.end_ns);
    chart.draw_series(shown.enumerate().map(|(i, (from, to))| {
        let alpha = if i % 2 == 0 { 0.75 } else { 0.4 };
        Rectangle::new(
            [(*from, top), ((*to).min(frame.end_ns), low)],
            place.palette.muted.mix(alpha).filled(),
        )
    }))?;
    Ok(())
}

/// Lines at the moments that the notes explain.
pub(super) fn upright(
    chart: &mut Chart<'_, '_>,
    frame: &Frame,
    values: &ValueAxis,
    place: Place<'_>,
) -> Drawn {
    for mark in place
        .marks
        .iter()
        .filter(|m| (frame.start_ns..=frame.end_ns).contains(&m.at_ns))
    {
        dashed_upright(chart, mark.at_ns, values, place.palette.bad, place)?;
    }
    Ok(())
}

/// Names of phases and letters of marks, in a separate strip so that no line runs through them.
pub(super) fn names(strip: &Area<'_>, frame: &Frame, place: Place<'_>) -> Drawn {
    let size = TICK * place.scale;
    let left = place.px(LEFT) as f32;
    let plot = strip.dim_in_pixel().0 as f32 - left;
    let x = |t: i64| left + plot * (t - frame.start_ns) as f32 / frame.duration_ns() as f32;
    let y = place.px(STRIP / 2.0);
    let mut edges: Vec<f32> = Vec::new();
    let mut free = f32::NEG_INFINITY;
    for mark in place.marks {
        let wide = font::width(&mark.letter, size, Weight::Medium);
        let at = x(mark.at_ns) - wide / 2.0;
        if at < free || !(frame.start_ns..=frame.end_ns).contains(&mark.at_ns) {
            continue;
        }
        free = at + wide + 3.0 * place.scale;
        edges.push(at);
        let style = style::text(size, place.palette.bad, Weight::Medium, HPos::Left, VPos::Center);
        strip.draw(&Text::new(mark.letter.clone(), (at as i32, y), style))?;
    }
    for phase in named(frame) {
        let from = x(phase.start_ns) + 4.0 * place.scale;
        let before_mark = edges
            .iter()
            .copied()
            .filter(|edge| *edge >= from)
            .fold(f32::INFINITY, f32::min);
        let on_mark = edges.iter().any(|edge| (edge - from).abs() < 10.0 * place.scale);
        let room = (x(phase.end_ns).min(before_mark) - from - 3.0 * place.scale).max(0.0);
        let name = font::fit(&phase.name, size, Weight::Regular, room);
        // Skip names that would be shortened to one letter and an ellipsis.
        if name.chars().count() > 2 && !on_mark {
            let style = style::text(
                size,
                place.palette.muted,
                Weight::Regular,
                HPos::Left,
                VPos::Center,
            );
            strip.draw(&Text::new(name, (from as i32, y), style))?;
        }
    }
    Ok(())
}
