use std::fmt::Write;

/// Lines over a common axis, as SVG: the same bytes for the same numbers.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::simulate::Chart;
///
/// let svg = Chart::new("demand", "hours", "requests a second")
///     .line("seen", vec![(0.0, 40.0), (12.0, 160.0), (24.0, 40.0)])
///     .to_svg();
/// assert!(svg.starts_with("<svg"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    title: String,
    across: String,
    up: String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
    is_log: bool,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Told apart with any sight: Okabe and Ito, "Color universal design", 2008.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555",
];
/// The least that a logarithmic axis shows.
const LEAST: f64 = 1e-4;

impl Chart {
    /// A chart without lines: its title, and what stands on both axes.
    #[must_use]
    pub fn new(title: impl Into<String>, across: impl Into<String>, up: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            across: across.into(),
            up: up.into(),
            lines: Vec::new(),
            is_log: false,
        }
    }

    /// With a logarithmic axis upwards.
    #[must_use]
    pub const fn log(mut self) -> Self {
        self.is_log = true;
        self
    }

    /// With a line.
    #[must_use]
    pub fn line(mut self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        self.lines.push((name.into(), points));
        self
    }

    fn height(&self, value: f64) -> f64 {
        if self.is_log {
            value.max(LEAST).log10()
        } else {
            value
        }
    }

    /// The picture.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let all = || {
            self.lines
                .iter()
                .flat_map(|(_, points)| points)
                .filter(finite)
        };
        let ends = |values: &mut dyn Iterator<Item = f64>, with: f64| {
            values.fold((with, with), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let first = all().next().map_or(0.0, |point| point.0);
        let (x0, x1) = ends(&mut all().map(|point| point.0), first);
        let ground = if self.is_log { LEAST.log10() } else { 0.0 };
        let (y0, y1) = ends(&mut all().map(|point| self.height(point.1)), ground);
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let across = |x: f64| LEFT + (x - x0) / (x1 - x0).max(1e-9) * wide;
        let up = |y: f64| TOP + high - (y - y0) / (y1 - y0).max(1e-9) * high;

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
            let words = escaped(words);
            // Writing to a string does not fail.
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
            );
        };
        text(LEFT, 16.0, "start", &self.title);
        text(LEFT + wide / 2.0, HEIGHT - 6.0, "middle", &self.across);
        text(LEFT + wide, 16.0, "end", &self.up);
        for fifth in 0..=4 {
            let share = f64::from(fifth) / 4.0;
            let (x, y) = (x0 + share * (x1 - x0), y0 + share * (y1 - y0));
            text(across(x), HEIGHT - 24.0, "middle", &shown(x));
            let value = if self.is_log { 10.0_f64.powf(y) } else { y };
            text(LEFT - 6.0, up(y) + 4.0, "end", &shown(value));
        }
        for (place, (name, _)) in (0_u8..).zip(&self.lines) {
            text(
                LEFT + wide + 26.0,
                TOP + 12.0 + 16.0 * f64::from(place),
                "start",
                name,
            );
        }
        for (place, ((_, points), colour)) in
            (0_u8..).zip(self.lines.iter().zip(COLOURS.iter().cycle()))
        {
            let y = TOP + 8.0 + 16.0 * f64::from(place);
            let x = LEFT + wide + 6.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {y:.1}h16\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
            let mut path = String::new();
            for (x, y) in points.iter().filter(finite) {
                let pen = if path.is_empty() { 'M' } else { 'L' };
                let (x, y) = (across(*x), up(self.height(*y)));
                let _ = write!(path, "{pen}{x:.1} {y:.1}");
            }
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>"
            );
        }
        let (x, y) = (LEFT, TOP + high);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP:.1}V{y:.1}h{wide:.1}\" fill=\"none\" stroke=\"#000\"/>"
        );
        svg.push_str("</svg>\n");
        svg
    }
}

fn shown(value: f64) -> String {
    if value.abs() >= 10.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 || value == 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.4}")
    }
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
