//! The text of a report: one block for each problem, like a compiler's.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Report, Span, Style, escape_control, floor_char_boundary};

/// Longest line, in bytes, that is given to the renderer as it is; of a longer
/// one it gets a window. The renderer cuts lines to its width by itself, but
/// reads all of them first: a hundred problems in a line of a megabyte would
/// take seconds.
const LINE_WHOLE: usize = 4_096;

/// Characters shown before and after the place in a line that is cut.
const WINDOW: usize = 50;

pub(super) fn render(report: &Report, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let mut blocks: Vec<String> = report
        .problems
        .iter()
        .map(|problem| renderer.render(&groups(report, problem)))
        .collect();
    if report.more > 0 {
        let title = format!(
            "and {} more problems in `{}`",
            report.more,
            clean(&report.name)
        );
        blocks.push(renderer.render(&[Group::with_title(Level::ERROR.primary_title(title))]));
    }
    blocks.join("\n\n") + "\n"
}

fn groups<'r>(report: &'r Report, problem: &'r super::Problem) -> Vec<Group<'r>> {
    let title = Level::ERROR.primary_title(clean(&problem.message));
    let label = problem.expected.as_deref().map(clean);
    let mut main = excerpt(report, Group::with_title(title), problem.span, label);
    if let Some(hint) = &problem.hint {
        main = main.element(Level::HELP.message(clean(hint)));
    }
    let others = problem.related.iter().map(|related| {
        let title = Level::NOTE.secondary_title(clean(&related.message));
        excerpt(report, Group::with_title(title), related.span, None)
    });
    std::iter::once(main).chain(others).collect()
}

/// Adds the line under a span, and what is to be said about it.
fn excerpt<'r>(
    report: &'r Report,
    group: Group<'r>,
    span: Span,
    label: Option<String>,
) -> Group<'r> {
    let line = Line::at(&report.source, span.start());
    let path = clean(&report.name);
    let start = floor_char_boundary(&report.source, span.start()).clamp(line.start, line.end);
    let end = floor_char_boundary(&report.source, span.end()).clamp(start, line.end);
    let end = start + trimmed_length(report.source.get(start..end).unwrap_or_default());
    let annotation = |range| AnnotationKind::Primary.span(range).label(label);
    if line.text.len() <= LINE_WHOLE {
        let range = start - line.start..end - line.start;
        let snippet = Snippet::source(line.text)
            .line_start(line.number)
            .path(path)
            .annotation(annotation(range));
        return group.element(snippet);
    }
    let (window, range) = window(&report.source, &line, start, end);
    let origin = Origin::path(path)
        .line(line.number)
        .char_column(line.column_of(start));
    let snippet = Snippet::source(window)
        .line_start(line.number)
        .annotation(annotation(range));
    group.element(origin).element(snippet)
}

/// The part of a long line around a place, with `…` where it was cut, and the
/// place in that part.
fn window(
    source: &str,
    line: &Line<'_>,
    start: usize,
    end: usize,
) -> (String, std::ops::Range<usize>) {
    let before: Vec<char> = source
        .get(line.start..start)
        .unwrap_or_default()
        .chars()
        .rev()
        .take(WINDOW)
        .collect();
    let place: String = source
        .get(start..end)
        .unwrap_or_default()
        .chars()
        .take(WINDOW)
        .collect();
    let after = source
        .get(start + place.len()..line.end)
        .unwrap_or_default();
    let mut text = String::from("…");
    text.extend(before.iter().rev());
    let at = text.len();
    text.push_str(&place);
    text.extend(after.chars().take(WINDOW));
    text.push('…');
    (text, at..at + place.len())
}

/// One line of a document, without its break. Breaks are `\n`, `\r\n` and `\r`,
/// as in YAML.
pub(super) struct Line<'s> {
    /// From 1.
    pub(super) number: usize,
    text: &'s str,
    start: usize,
    end: usize,
}

impl<'s> Line<'s> {
    /// The line that an offset is on. The end of a document that ends with a
    /// line break is on the line before it: there is nothing to show after it.
    pub(super) fn at(source: &'s str, offset: usize) -> Self {
        let mut offset = floor_char_boundary(source, offset);
        if offset == source.len() && offset > 0 {
            let shown = source.trim_end_matches(['\n', '\r']);
            offset = if shown.len() == source.len() {
                offset
            } else {
                shown.len()
            };
        }
        let (head, tail) = source.split_at(offset);
        let start = head.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let end = tail
            .find(['\n', '\r'])
            .map_or(source.len(), |at| offset + at);
        // An offset between `\r` and `\n` is on the line that they end.
        let start = start.min(end);
        Self {
            number: 1 + breaks(source.get(..start).unwrap_or_default()),
            text: source.get(start..end).unwrap_or_default(),
            start,
            end,
        }
    }

    /// The column of an offset on this line, from 1, in characters.
    pub(super) fn column_of(&self, offset: usize) -> usize {
        let within = floor_char_boundary(self.text, offset.saturating_sub(self.start));
        1 + self
            .text
            .get(..within)
            .map_or(0, |head| head.chars().count())
    }
}

fn breaks(text: &str) -> usize {
    let bytes = text.as_bytes();
    let feeds = bytes.iter().filter(|byte| **byte == b'\n').count();
    let lone_returns = bytes
        .iter()
        .zip(bytes.iter().skip(1).chain(std::iter::once(&b' ')))
        .filter(|(byte, next)| **byte == b'\r' && **next != b'\n')
        .count();
    feeds + lone_returns
}

fn trimmed_length(text: &str) -> usize {
    text.trim_end().len()
}

/// A text without control characters, as a terminal may show it. Line breaks
/// stay: messages of several lines are ours.
fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let breaks = (c == '\n').then_some(c);
            let other = (c != '\n').then(|| escape_control(c));
            breaks.into_iter().chain(other.into_iter().flatten())
        })
        .collect()
}
