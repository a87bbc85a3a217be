//! Figures over time.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::symbols::bar;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};

use super::{SceneStyle, Tone, split};
use crate::history::Point;
use crate::{Snapshot, format};

/// How a value is written.
type Text = fn(Option<f64>) -> String;
/// Where a value is.
type Of = fn(&Point) -> Option<f64>;

const GRAPHS: [(&str, Of, Text); 5] = [
    ("tokens/s", |point| point.tokens_per_second, format::number),
    ("TTFT p99", |point| point.ttft_p99, format::time),
    ("TPOT p99", |point| point.tpot_p99, format::time),
    ("waiting", |point| point.waiting, format::whole),
    ("KV cache", |point| point.kv_cache_usage_ratio, format::percent),
];
/// Number of graphs.
pub(super) const COUNT: usize = GRAPHS.len();
/// Columns for name and newest value.
const LABEL: u16 = 20;
/// Columns for the largest value.
const MAXIMUM: u16 = 13;
/// Heights of a bar without block characters.
const ASCII: bar::Set<'_> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "=",
    five_eighths: "=",
    half: "-",
    three_eighths: "-",
    one_quarter: ".",
    one_eighth: ".",
    empty: " ",
};

/// Draws as many graphs as there are rows for, at equal heights.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, look: SceneStyle) {
    let height = (area.height / COUNT as u16).max(1);
    let mut rest = area;
    for (name, of, text) in GRAPHS {
        if rest.height == 0 {
            return;
        }
        let (row, below) = split(rest, height);
        rest = below;
        graph(frame, row, snapshot, look, name, of, text);
    }
}

fn graph(
    frame: &mut Frame<'_>,
    row: Rect,
    snapshot: &Snapshot,
    look: SceneStyle,
    name: &str,
    of: Of,
    text: Text,
) {
    let width = row.width.saturating_sub(LABEL + MAXIMUM);
    let values = snapshot.history.last(usize::from(width), of);
    let newest = values.last().copied().flatten();
    let largest = values
        .iter()
        .flatten()
        .copied()
        .filter(|v| v.is_finite())
        .reduce(f64::max);
    let label = Line::from(vec![
        look.span(Tone::Dim, format!("{name:<9}")),
        look.span(Tone::Plain, format!("{:>9}", text(newest))),
    ]);
    frame.render_widget(
        Paragraph::new(label),
        Rect {
            width: LABEL.min(row.width),
            ..row
        },
    );
    let Some(largest) = largest else { return };
    // A line of zeros is drawn as zeros, not as a full bar.
    let scale = if largest > 0.0 { 1000.0 / largest } else { 0.0 };
    let bars: Vec<Option<u64>> = values
        .iter()
        .map(|value| {
            value
                .filter(|v| v.is_finite())
                .map(|v| (v * scale).max(0.0).round() as u64)
        })
        .collect();
    let plot = Rect {
        x: row.x + LABEL.min(row.width),
        width,
        ..row
    };
    let sparkline = Sparkline::default()
        .data(bars)
        .max(1000)
        .absent_value_symbol(" ")
        .bar_set(if look.ascii { ASCII } else { bar::NINE_LEVELS })
        .style(look.style(Tone::Accent));
    frame.render_widget(sparkline, plot);
    let maximum = Rect {
        x: plot.x + width,
        width: row.width.saturating_sub(LABEL + width),
        height: 1,
        ..row
    };
    let words = look.span(Tone::Dim, format!(" max {}", text(Some(largest))));
    frame.render_widget(Paragraph::new(Line::from(words)), maximum);
}
