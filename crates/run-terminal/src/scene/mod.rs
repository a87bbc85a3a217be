//! Draws a snapshot.
//!
//! Everything but the graphs is lines of text. A narrow terminal stacks all parts, a wide one has two columns; what
//! does not fit is left out from the least important part on.

mod graphs;
mod text;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::Snapshot;

/// Width from which there are two columns.
const WIDE: u16 = 150;
/// Space between two columns.
const GAP: u16 = 2;

/// Colours and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SceneStyle {
    /// Colours are used; without them, bold and words remain.
    pub colour: bool,
    /// Only ASCII.
    pub ascii: bool,
}

impl SceneStyle {
    /// No colours if `NO_COLOR` is set and not empty; ASCII unless the locale is UTF-8.
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL")
            .or(set("LC_CTYPE"))
            .or(set("LANG"))
            .unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            colour: set("NO_COLOR").is_none(),
            ascii: !(locale.contains("utf-8") || locale.contains("utf8")),
        }
    }

    fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let colour = |colour| if self.colour { style.fg(colour) } else { style };
        match tone {
            Tone::Plain => style,
            Tone::Bold => style.add_modifier(Modifier::BOLD),
            Tone::Dim => colour(Color::DarkGray),
            Tone::Good => colour(Color::Green),
            Tone::Warn => colour(Color::Yellow),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Accent => colour(Color::Cyan),
        }
    }

    fn span<'a>(self, tone: Tone, text: impl Into<String>) -> Span<'a> {
        Span::styled(text.into(), self.style(tone))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Bold,
    Dim,
    Good,
    Warn,
    Bad,
    Accent,
}

/// What lies over the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlay {
    None,
    Help,
    Question,
}

/// Draws a snapshot over the whole frame.
///
/// ```
/// use ratatui::{Terminal, backend::TestBackend};
/// use run_terminal::{SceneStyle, Snapshot, draw};
///
/// let mut terminal = Terminal::new(TestBackend::new(80, 24))?;
/// let look = SceneStyle { colour: false, ascii: true };
/// terminal.draw(|frame| draw(frame, &Snapshot::default(), look))?;
/// # Ok::<(), std::convert::Infallible>(())
/// ```
pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, look: SceneStyle) {
    draw_with(frame, snapshot, look, Overlay::None, false);
}

pub(crate) fn draw_with(
    frame: &mut Frame<'_>,
    snapshot: &Snapshot,
    look: SceneStyle,
    overlay: Overlay,
    paused: bool,
) {
    let area = frame.area();
    if area.width == 0 || area.height == 0 {
        return;
    }
    let header = text::header(snapshot, look, area.width);
    let (top, rest) = split(area, u16::try_from(header.len()).unwrap_or(u16::MAX));
    frame.render_widget(Paragraph::new(header), top);
    if rest.height > 0 {
        let (body, bottom) = split(rest, rest.height - 1);
        if area.width >= WIDE {
            columns(frame, body, snapshot, look);
        } else {
            stack(frame, body, snapshot, look);
        }
        frame.render_widget(Paragraph::new(text::footer(snapshot, look, paused)), bottom);
    }
    if overlay != Overlay::None {
        let lines = text::overlay(overlay, look);
        let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 4;
        let height = lines.len() as u16 + 2;
        let over = centred(area, width, height);
        frame.render_widget(Clear, over);
        let block = if look.ascii {
            Block::bordered().border_set(ratatui::symbols::border::Set {
                top_left: "+",
                top_right: "+",
                bottom_left: "+",
                bottom_right: "+",
                vertical_left: "|",
                vertical_right: "|",
                horizontal_top: "-",
                horizontal_bottom: "-",
            })
        } else {
            Block::bordered()
        };
        frame.render_widget(Paragraph::new(lines).block(block), over);
    }
}

/// One column: figures, then graphs, GPUs, servers, events.
fn stack(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, look: SceneStyle) {
    let mut room = usize::from(area.height);
    let mut take = |wanted: usize| {
        let taken = wanted.min(room);
        room -= taken;
        taken
    };
    let figures = text::figures(snapshot, look, area.width);
    let (mut gpus, mut servers) = (
        text::gpus(snapshot, look, area.width),
        text::servers(snapshot, look, area.width),
    );
    let figure_rows = take(figures.len());
    // A heading and the two newest events.
    let mut event_rows = take(3);
    let mut graph_rows = take(graphs::COUNT);
    let gpu_rows = take(gpus.len().min(3));
    let server_rows = take(servers.len().min(5));
    // What is left makes the graphs taller, then shows more events.
    for _ in 0..3 {
        let taken = take(graphs::COUNT);
        if graph_rows < graphs::COUNT || taken < graphs::COUNT {
            event_rows += taken;
            break;
        }
        graph_rows += taken;
    }
    event_rows += take(usize::MAX);
    shorten(&mut gpus, gpu_rows, look, "GPUs");
    shorten(&mut servers, server_rows, look, "servers");
    let mut lines = figures;
    lines.truncate(figure_rows);
    lines.extend(gpus);
    lines.extend(servers);
    let (above, below) = split(area, lines.len() as u16);
    frame.render_widget(Paragraph::new(lines), above);
    let (graph_area, event_area) = split(below, graph_rows as u16);
    graphs::draw(frame, graph_area, snapshot, look);
    let events = text::events(snapshot, look, event_rows, area.width);
    frame.render_widget(Paragraph::new(events), event_area);
}

/// Two columns: figures, GPUs, servers and log; graphs and events.
fn columns(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, look: SceneStyle) {
    let width = (area.width - GAP) / 2;
    let left = Rect { width, ..area };
    let right = Rect {
        x: area.x + width + GAP,
        width: area.width - width - GAP,
        ..area
    };
    let height = usize::from(area.height);
    let mut lines = text::figures(snapshot, look, width);
    let blank = |lines: &mut Vec<Line<'_>>| {
        if lines.len() < height {
            lines.push(Line::default());
        }
    };
    for (mut part, name) in [
        (text::gpus(snapshot, look, width), "GPUs"),
        (text::servers(snapshot, look, width), "servers"),
    ] {
        if part.is_empty() {
            continue;
        }
        blank(&mut lines);
        // Room for the log stays.
        let room = (height * 2 / 3).saturating_sub(lines.len()).max(2);
        shorten(&mut part, room, look, name);
        lines.extend(part);
    }
    blank(&mut lines);
    lines.extend(text::log(
        snapshot,
        look,
        height.saturating_sub(lines.len()),
        width,
    ));
    frame.render_widget(Paragraph::new(lines), left);
    let graph_rows = (height * 2 / 3) / graphs::COUNT * graphs::COUNT;
    let (graph_area, event_area) = split(right, graph_rows as u16);
    graphs::draw(frame, graph_area, snapshot, look);
    let events = text::events(snapshot, look, usize::from(event_area.height), right.width);
    frame.render_widget(Paragraph::new(events), event_area);
}

/// Keeps `room` lines; the last one counts what is left out.
fn shorten(lines: &mut Vec<Line<'_>>, room: usize, look: SceneStyle, what: &str) {
    if lines.len() <= room {
        return;
    }
    let left_out = lines.len() - room + 1;
    lines.truncate(room);
    if let Some(last) = lines.last_mut() {
        *last = Line::from(look.span(Tone::Dim, format!("  and {left_out} more {what}")));
    }
}

/// The first `rows` rows, and the rest.
fn split(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    let above = Rect { height: rows, ..area };
    let below = Rect {
        y: area.y + rows,
        height: area.height - rows,
        ..area
    };
    (above, below)
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}
