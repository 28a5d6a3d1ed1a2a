//! The pictures of the results: bars with their spread, and an outage second by second.

use crate::measure::Spread;
use crate::results::{BesideReplay, Cost, Latency, Outage, Possible, Results};
use crate::svg::{Anchor, Svg};

const WIDTH: f64 = 760.0;
/// What is left free around.
const MARGIN: f64 = 20.0;
/// Where title and legend end.
const HEAD: f64 = 80.0;
/// Where bars begin, and where they end: left of it their names, right of it their numbers.
const LEFT: f64 = 210.0;
const RIGHT: f64 = WIDTH - 168.0;
/// What the scale below takes.
const FOOT: f64 = 40.0;
const BAR: f64 = 15.0;
const BAR_GAP: f64 = 4.0;
const GROUP_GAP: f64 = 18.0;
/// How high the outage's curve is.
const CURVE: f64 = 180.0;

/// A picture, and the name of its file.
#[derive(Debug)]
pub struct Figure {
    /// The file's name.
    pub file: &'static str,
    /// What it shows, in a sentence.
    pub told: String,
    /// The picture.
    pub svg: String,
}

/// Whose bar it is.
#[derive(Debug, Clone, Copy)]
enum Side {
    Ours,
    Raw,
}

struct Bar {
    side: Side,
    spread: Spread,
    digits: usize,
}

/// Bars about the same thing.
struct Group {
    name: String,
    bars: Vec<Bar>,
}

/// Bars that share a scale.
struct Bars {
    file: &'static str,
    title: String,
    told: String,
    /// What must be reached, and how that is said.
    goal: Option<(f64, &'static str)>,
    groups: Vec<Group>,
}

/// All pictures for which there are results.
pub fn all(results: &Results) -> Vec<Figure> {
    let outage = results.outage.as_ref().and_then(outage);
    let latency = results.latency.as_ref().and_then(|latency| of_latency(latency, results.beside_replay.as_ref()));
    [cost(&results.cost), shares(results), outage, latency].into_iter().flatten().collect()
}

fn cost(costs: &[Cost]) -> Option<Figure> {
    let group = |cost: &Cost| Group {
        name: format!("{} ({:.2}×)", cost.workload, cost.ratio.median),
        bars: pair(cost.cpu_us_per_record, cost.raw_cpu_us_per_record, 1),
    };
    bars(Bars {
        file: "cost.svg",
        title: "CPU time for a record, µs (less is better)".to_owned(),
        told: "CPU time for a record: the consumer beside a loop of the same libraries that guarantees nothing"
            .to_owned(),
        goal: None,
        groups: costs.iter().map(group).collect(),
    })
}

fn shares(results: &Results) -> Option<Figure> {
    let mut groups = Vec::new();
    if let Some(Possible { latency_ms, at, .. }) = &results.possible {
        groups.extend(at.iter().map(|at| Group {
            name: format!("{latency_ms} ms, {} in flight", at.in_flight),
            bars: pair(at.share, at.raw_share, 3),
        }));
    }
    groups.extend(results.trouble.iter().map(|trouble| Group {
        name: trouble.workload.clone(),
        bars: vec![Bar { side: Side::Ours, spread: trouble.share, digits: 3 }],
    }));
    bars(Bars {
        file: "trouble.svg",
        title: "Rate, as a share of in flight ÷ latency, or of the run without trouble".to_owned(),
        told: "How much of the rate is left where calls take their time, or some of them are in trouble".to_owned(),
        goal: Some((0.95, "goal 0.95")),
        groups,
    })
}

fn of_latency(latency: &Latency, beside: Option<&BesideReplay>) -> Option<Figure> {
    let Latency { per_second, p50_ms, p99_ms, raw_p50_ms, raw_p99_ms, .. } = latency;
    let group = |name: &str, ours, raw| Group { name: name.to_owned(), bars: pair(ours, raw, 1) };
    let mut groups = vec![group("half of the events", *p50_ms, *raw_p50_ms), group("99 of 100", *p99_ms, *raw_p99_ms)];
    groups.extend(beside.map(|beside| Group {
        name: "99 of 100 beside a replay".to_owned(),
        bars: vec![Bar { side: Side::Ours, spread: beside.p99_ms, digits: 1 }],
    }));
    bars(Bars {
        file: "latency.svg",
        title: format!("From publication to arrival at {per_second} events a second, ms"),
        told: "How long an event takes from its publication to its system".to_owned(),
        goal: None,
        groups,
    })
}

fn pair(ours: Spread, raw: Spread, digits: usize) -> Vec<Bar> {
    vec![Bar { side: Side::Ours, spread: ours, digits }, Bar { side: Side::Raw, spread: raw, digits }]
}

/// Draws bars one below the other; nothing where there are none.
fn bars(bars: Bars) -> Option<Figure> {
    let Bars { file, title, told, goal, groups } = bars;
    let count = groups.iter().map(|group| group.bars.len()).sum::<usize>();
    let most = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.spread.most).reduce(f64::max)?;
    let most = goal.map_or(most, |(goal, _)| most.max(goal));
    #[allow(clippy::cast_precision_loss, reason = "few bars")]
    let height_of_bars = count as f64 * (BAR + BAR_GAP) + groups.len() as f64 * GROUP_GAP;
    let bottom = HEAD + height_of_bars;
    let mut svg = Svg::new(WIDTH, bottom + FOOT);
    let scale = Scale::to(most, (LEFT, RIGHT));
    head(&mut svg, &title, groups.iter().any(|group| group.bars.len() > 1));
    for tick in scale.ticks() {
        svg.line("grid", (scale.at(tick), HEAD), (scale.at(tick), bottom));
        svg.text("faint", Anchor::Middle, (scale.at(tick), bottom + 18.0), &scale.label(tick));
    }
    let mut y = HEAD + GROUP_GAP / 2.0;
    for group in &groups {
        svg.text("ink", Anchor::End, (LEFT - 10.0, y + BAR - 3.0), &group.name);
        for bar in &group.bars {
            draw_bar(&mut svg, &scale, y, bar);
            y += BAR + BAR_GAP;
        }
        y += GROUP_GAP;
    }
    if let Some((goal, said)) = goal {
        svg.line("goal-line", (scale.at(goal), HEAD), (scale.at(goal), bottom));
        svg.text("goal", Anchor::Middle, (scale.at(goal), HEAD - 6.0), said);
    }
    Some(Figure { file, svg: svg.finish(&told), told })
}

fn draw_bar(svg: &mut Svg, scale: &Scale, y: f64, Bar { side, spread, digits }: &Bar) {
    let class = match side {
        Side::Ours => "ours",
        Side::Raw => "raw",
    };
    svg.rect(class, (LEFT, y), (scale.at(spread.median) - LEFT, BAR));
    let (least, most, middle) = (scale.at(spread.least), scale.at(spread.most), y + BAR / 2.0);
    svg.line("spread", (least, middle), (most, middle));
    for end in [least, most] {
        svg.line("spread", (end, middle - 4.0), (end, middle + 4.0));
    }
    let Spread { least, median, most } = spread;
    let said = format!("{median:.digits$} ({least:.digits$}–{most:.digits$})");
    svg.text("ink", Anchor::Start, (RIGHT + 12.0, y + BAR - 3.0), &said);
}

/// Title and legend.
fn head(svg: &mut Svg, title: &str, both_sides: bool) {
    svg.text("title", Anchor::Start, (MARGIN, 28.0), title);
    let mut x = MARGIN;
    let sides = [("ours", "consumer", 100.0), ("raw", "raw loop, no guarantees", 190.0)];
    for (class, name, width) in sides.into_iter().take(if both_sides { 2 } else { 1 }) {
        svg.rect(class, (x, 40.0), (11.0, 11.0));
        svg.text("faint", Anchor::Start, (x + 16.0, 50.0), name);
        x += width;
    }
    svg.text("faint", Anchor::Start, (x, 50.0), "median; least and most of the rounds");
}

/// Attempts in each second, before, in and after an outage.
fn outage(outage: &Outage) -> Option<Figure> {
    let Outage { attempts_each_second, down_s, up_s, .. } = outage;
    let most = f64::from(*attempts_each_second.iter().max()?);
    #[allow(clippy::cast_precision_loss, reason = "seconds")]
    let seconds = attempts_each_second.len() as f64;
    let bottom = HEAD + CURVE;
    let mut svg = Svg::new(WIDTH, bottom + FOOT);
    let (time, rate) = (Scale::until(seconds, (80.0, WIDTH - MARGIN)), Scale::to(most, (bottom, HEAD)));
    svg.text("title", Anchor::Start, (MARGIN, 28.0), "Calls a second, while the system fails for everybody");
    svg.rect("shade", (time.at(*down_s), HEAD), (time.at(*up_s) - time.at(*down_s), CURVE));
    svg.text("faint", Anchor::Middle, (time.at((down_s + up_s) / 2.0), HEAD - 6.0), "every call is answered with 503");
    for tick in rate.ticks() {
        svg.line("grid", (80.0, rate.at(tick)), (WIDTH - MARGIN, rate.at(tick)));
        svg.text("faint", Anchor::End, (72.0, rate.at(tick) + 4.0), &rate.label(tick));
    }
    for tick in time.ticks() {
        svg.text("faint", Anchor::Middle, (time.at(tick), bottom + 18.0), &format!("{} s", time.label(tick)));
    }
    // A step for each second.
    let steps = attempts_each_second.iter().zip(0..).flat_map(|(count, second)| {
        let y = rate.at(f64::from(*count));
        [(time.at(f64::from(second)), y), (time.at(f64::from(second + 1)), y)]
    });
    svg.curve("curve", steps);
    let told = "Calls a second before, in and after an outage".to_owned();
    Some(Figure { file: "outage.svg", svg: svg.finish(&told), told })
}

/// From numbers to places.
struct Scale {
    most: f64,
    step: f64,
    ends: (f64, f64),
}

impl Scale {
    /// From nought to a round number that is not below this.
    fn to(most: f64, ends: (f64, f64)) -> Self {
        let step = step(most);
        Self { most: (most / step).ceil() * step, step, ends }
    }

    /// From nought to just this.
    fn until(most: f64, ends: (f64, f64)) -> Self {
        Self { most, step: step(most), ends }
    }

    fn at(&self, number: f64) -> f64 {
        let (from, to) = self.ends;
        from + (to - from) * number / self.most
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let (step, most) = (self.step, self.most);
        (0..).map(f64::from).map(move |n| n * step).take_while(move |tick| *tick <= most + step / 1_000.0)
    }

    fn label(&self, tick: f64) -> String {
        if self.step < 1.0 { format!("{tick:.1}") } else { format!("{tick:.0}") }
    }
}

/// The distance of ticks: 1, 2 or 5 of some power of ten, so that there are at most eight.
fn step(most: f64) -> f64 {
    const TICKS_MAX: f64 = 8.0;
    let power = 10_f64.powf((most / TICKS_MAX).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| most / step <= TICKS_MAX).unwrap_or(most)
}
