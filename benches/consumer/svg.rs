//! Draws pictures as text. A picture has its own paper, light or dark as the reader's system is, so that it can be read on
//! any page.

use std::fmt::Write as _;

/// Colours by what they are for, in light and dark. Blue and orange are told apart by all who see colours differently.
const STYLE: &str = "\
svg { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; \
--paper: #ffffff; --ink: #1f2328; --faint: #59636e; --grid: #d8dee4; --ours: #0b63c4; --raw: #c2690c; --goal: #1a7f37; --shade: #f3e3e1 } \
@media (prefers-color-scheme: dark) { svg { \
--paper: #0d1117; --ink: #e6edf3; --faint: #9aa4af; --grid: #30363d; --ours: #58a6ff; --raw: #e8a254; --goal: #56d364; --shade: #3a1f20 } } \
.paper { fill: var(--paper); stroke: var(--grid) } .ink { fill: var(--ink) } .faint { fill: var(--faint) } \
.title { fill: var(--ink); font-size: 15px; font-weight: 600 } .grid { stroke: var(--grid) } \
.ours { fill: var(--ours) } .raw { fill: var(--raw) } .shade { fill: var(--shade) } .goal { fill: var(--goal) } \
.spread { stroke: var(--ink); stroke-width: 1.5 } .goal-line { stroke: var(--goal); stroke-width: 2; stroke-dasharray: 5 4 } \
.curve { fill: none; stroke: var(--ours); stroke-width: 2 }";

/// Which end of a text is at its place.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A picture that is being drawn. Places are from the upper left, in pixels.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// Paper of this size.
    pub fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { width, height, body: String::new() };
        svg.push(format_args!(
            r#"<rect class="paper" x="0.5" y="0.5" width="{}" height="{}" rx="6"/>"#,
            width - 1.0,
            height - 1.0
        ));
        svg
    }

    /// A filled rectangle, from its upper left corner.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    /// A line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// A line through all these.
    pub fn curve(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let points: Vec<String> = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(r#"<polyline class="{class}" points="{}"/>"#, points.join(" ")));
    }

    /// A text on its base line.
    pub fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.push(format_args!(r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#));
    }

    /// The picture; `told` is what it shows, for who does not see it.
    pub fn finish(self, told: &str) -> String {
        let Self { width, height, body } = self;
        let told = escaped(told);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<title>{told}</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.body, "{element}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
