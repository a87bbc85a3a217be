//! The axes of a panel: range and unit for its values, and the grid.

use plotters::chart::LabelAreaPosition;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Chart, Drawn, Place, TICK};
use crate::axis::{self, ValueAxis};
use crate::panel::{Heat, Line, Panel};
use crate::scene::Weight;
use crate::style;

/// The axis is extended to a limit up to this many times the largest value; higher limits appear only in the
/// legend.
const LIMIT_WORTH: f64 = 2.5;

/// Axis, factor from base unit to shown unit, and that unit.
pub(super) fn of_lines(panel: &Panel, lines: &[Line]) -> (ValueAxis, f64, String) {
    let max = lines.iter().filter_map(Line::max).fold(f64::NAN, f64::max);
    let min = lines.iter().filter_map(Line::min).fold(f64::NAN, f64::min);
    let absent = max.is_nan();
    let near = panel.limits.iter().map(|limit| limit.value);
    let near = near
        .filter(|limit| *limit <= max * LIMIT_WORTH)
        .fold(max, f64::max);
    let (factor, unit) = panel
        .quantity
        .shown(panel.fixed_max.unwrap_or(if absent { 1.0 } else { near }));
    let top = panel
        .fixed_max
        .map_or(near, |fixed| if absent { fixed } else { fixed.max(near) });
    // Only zeros: one tick is enough.
    let ticks = if top == 0.0 { 1 } else { 4 };
    let mut values = axis::value_axis((min * factor).min(0.0), top * factor, ticks);
    if absent {
        values.ticks.clear();
    }
    (values, factor, unit)
}

/// Rows of a heat map have equal heights regardless of their bounds; the ticks are some of the bounds.
pub(super) fn of_heat(panel: &Panel, heat: &Heat) -> (ValueAxis, f64, String) {
    let rows = heat.bounds.len();
    let (factor, unit) = panel
        .quantity
        .shown(heat.bounds.get(rows / 2).copied().unwrap_or(1.0));
    let every = rows.div_ceil(6).max(1);
    let values = ValueAxis {
        min: 0.0,
        max: rows.max(1) as f64,
        ticks: (1..=rows)
            .filter(|row| row % every == 0)
            .map(|row| row as f64)
            .collect(),
        step: 1.0,
        names: heat
            .bounds
            .iter()
            .map(|bound| axis::short(bound * factor))
            .collect(),
    };
    (values, factor, unit)
}

pub(super) fn mesh(chart: &mut Chart<'_, '_>, place: Place<'_>) -> Drawn {
    let palette = place.palette;
    let label = style::text(
        TICK * place.scale,
        palette.muted,
        Weight::Regular,
        HPos::Left,
        VPos::Center,
    );
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(palette.grid.stroke_width(place.stroke(0.7)))
        .axis_style(palette.axis.stroke_width(place.stroke(0.7)))
        .set_tick_mark_size(LabelAreaPosition::Left, place.px(3.5))
        .set_tick_mark_size(LabelAreaPosition::Bottom, place.px(3.5))
        .label_style(label)
        .draw()
}
