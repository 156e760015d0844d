//! One chart: lines over numbers or names, each with its name at its end, as SVG that can be read on
//! light and on dark ground.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (860, 460);
const MARGIN_TOP: u32 = 56;
/// For the names of the lines.
const MARGIN_RIGHT: u32 = 190;
const LABEL_HEIGHT: i32 = 17;
/// Enough for as many names as there are engines.
const MOST_STEPS: usize = 1000;
const FONT: &str = "system-ui, sans-serif";

/// Both are exchanged on dark ground; the colours of lines can be seen on either.
const INK: RGBColor = RGBColor(0x57, 0x60, 0x6A);
const GRID: RGBColor = RGBColor(0xD8, 0xDE, 0xE4);
const STYLE: &str = "<style>@media (prefers-color-scheme: dark) {\
    text[fill=\"#57606A\"] {fill: #ADBAC7} [stroke=\"#D8DEE4\"] {stroke: #373E47}}</style>";

/// How numbers become places on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In proportion, from zero.
    Linear,
    /// By their logarithms.
    Log,
}

impl Scale {
    fn place(self, number: f64) -> f64 {
        match self {
            Scale::Linear => number,
            Scale::Log => number.log10(),
        }
    }
}

/// One line.
#[derive(Debug)]
pub struct Line {
    /// What stands at its end.
    pub name: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Whether it is drawn as the one that all of this is about.
    pub is_strong: bool,
    /// Whether it is no engine.
    pub is_dashed: bool,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// An axis.
#[derive(Debug)]
pub struct Axis {
    /// What it counts.
    pub name: String,
    /// How.
    pub scale: Scale,
    /// Where something stands at it, and what.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis from the first to the last of its ticks and of some numbers.
    fn over(&self, numbers: impl Iterator<Item = f64>) -> Places {
        let ticks: Vec<(f64, String)> =
            self.ticks.iter().map(|(at, label)| (self.scale.place(*at), label.clone())).collect();
        let places = numbers.map(|number| self.scale.place(number));
        let places = places.chain(ticks.iter().map(|(at, _)| *at));
        let ends = |(low, high): (f64, f64), at: f64| (low.min(at), high.max(at));
        let (low, high) = places.fold((f64::MAX, f64::MIN), ends);
        Places { low, high, ticks }
    }
}

/// An axis for the library, which draws numbers in proportion and has its own mind about ticks.
struct Places {
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Ranged for Places {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (place - self.low) / (self.high - self.low).max(f64::MIN_POSITIVE);
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Places {
    fn format_ext(&self, place: &f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| at == place);
        tick.map_or(String::new(), |(_, label)| label.clone())
    }
}

/// A chart.
#[derive(Debug)]
pub struct Chart {
    /// What stands above it.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From below.
    pub y: Axis,
    /// What it shows. The last one is drawn on top.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The chart as SVG.
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("a string takes everything");
        let end_of_tag = svg.find('>').expect("a tag") + 1;
        svg.insert_str(end_of_tag, STYLE);
        svg
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let title = (FONT, 19).into_font().style(FontStyle::Bold).color(&INK);
        root.draw(&Text::new(self.title.as_str(), (18, 16), title))?;
        let area = root.margin(MARGIN_TOP, 12, 12, MARGIN_RIGHT);
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(46)
            .y_label_area_size(72)
            .build_cartesian_2d(
                self.x.over(points().map(|(x, _)| *x)),
                self.y.over(points().map(|(_, y)| *y)),
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_desc(&self.x.name)
            .y_desc(&self.y.name)
            .label_style((FONT, 14).into_font().color(&INK))
            .axis_desc_style((FONT, 14).into_font().color(&INK))
            .draw()?;
        let mut ends = Vec::new();
        for line in &self.lines {
            let place = |(x, y): &(f64, f64)| (self.x.scale.place(*x), self.y.scale.place(*y));
            let places: Vec<(f64, f64)> = line.points.iter().map(place).collect();
            let style = line.colour.stroke_width(if line.is_strong { 4 } else { 2 });
            match line.is_dashed {
                true => {
                    chart.draw_series(DashedLineSeries::new(places.clone(), 6, 5, style))?;
                }
                false => {
                    chart.draw_series(LineSeries::new(places.clone(), style))?;
                }
            }
            // Dots tell what was measured from what lies between; of many they would make a band.
            if places.len() < 20 {
                let size = if line.is_strong { 5 } else { 3 };
                let dot = |place| Circle::new(place, size, line.colour.filled());
                chart.draw_series(places.iter().copied().map(dot))?;
            }
            if let Some(last) = places.last() {
                ends.push((chart.backend_coord(last), line));
            }
        }
        for ((x, y), line) in apart(ends) {
            let size = if line.is_strong { 16 } else { 14 };
            let style = if line.is_strong { FontStyle::Bold } else { FontStyle::Normal };
            let font = (FONT, size).into_font().style(style).color(&line.colour);
            let text =
                Text::new(line.name.as_str(), (x, y), font.pos(Pos::new(HPos::Left, VPos::Center)));
            root.draw(&text)?;
        }
        root.present()?;
        Ok(())
    }
}

/// Puts the names of lines at the right edge, each at the height of its end, but for those that would
/// lie on another: these go up and down by as much until none does.
fn apart(mut ends: Vec<((i32, i32), &Line)>) -> Vec<((i32, i32), &Line)> {
    ends.sort_by_key(|((_, y), _)| *y);
    ends.iter_mut().for_each(|((x, _), _)| *x = (SIZE.0 - MARGIN_RIGHT) as i32 + 10);
    for _ in 0..MOST_STEPS {
        for i in 1..ends.len() {
            let missing = LABEL_HEIGHT - (ends[i].0.1 - ends[i - 1].0.1);
            if missing > 0 {
                ends[i - 1].0.1 -= missing / 2;
                ends[i].0.1 += missing - missing / 2;
            }
        }
    }
    ends
}
