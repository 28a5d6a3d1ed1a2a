//! What `docs/benchmarks.md` shows of the results: pictures, and a table of each figure beside its goal.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::figures;
use crate::measure::Spread;
use crate::results::{BesideReplay, Cost, Latency, Machine, Outage, Possible, Results};
use crate::workload::Workload;

/// Where results and pictures are kept, and the page that shows them.
const FOLDER: &str = "docs/benchmarks";
const RESULTS: &str = "docs/benchmarks/results.jsonl";
const PAGE: &str = "docs/benchmarks.md";

/// What lies between these is written here; the rest of the page is written by people.
const BEGIN: &str = "<!-- made by `make bench-plots`: begin -->";
const END: &str = "<!-- made by `make bench-plots`: end -->";

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// A row of the table.
struct Row {
    what: String,
    seen: String,
    /// What counts: the median.
    median: f64,
    goal: Goal,
}

/// Draws the pictures and writes the page's part again.
pub fn make() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = Results::read(&root.join(RESULTS))?;
    let mut part = told(results.machine.as_ref().context("the results do not say where they are from")?);
    for figure in figures::all(&results) {
        write(&root.join(FOLDER).join(figure.file), &figure.svg)?;
        let _ = write!(part, "![{}](benchmarks/{})\n\n", figure.told, figure.file);
    }
    part.push_str(&table(&rows(&results)));
    let page = root.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
    write(&page, &with_part(&text, &part)?)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn with_part(page: &str, part: &str) -> anyhow::Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{PAGE} has no line `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE} has no line `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", part.trim_end()))
}

fn told(machine: &Machine) -> String {
    let Machine { day, cpu, cores, memory_gib, kernel, broker, records, rounds } = machine;
    format!(
        "Measured on {day}: {cores} cores of {cpu}, {memory_gib} GiB, Linux {kernel}, {broker}; {rounds} rounds, \
         {records} records where a record's cost is counted. Median, and least and most of the rounds in brackets.\n\n"
    )
}

fn rows(results: &Results) -> Vec<Row> {
    let mut rows: Vec<Row> = results.cost.iter().flat_map(of_cost).collect();
    if let Some(ledger) = &results.ledger {
        let what = format!("ledger: CPU-µs a record, {} in a commit", ledger.entries_per_commit);
        rows.push(Row::of(what, ledger.cpu_us_per_record, 2, Goal::AtMost(1.0)));
    }
    rows.extend(results.possible.iter().flat_map(of_possible));
    for trouble in &results.trouble {
        let name = &trouble.workload;
        rows.push(Row::of(format!("{name}: rate, as a share"), trouble.share, 3, Goal::AtLeast(0.95)));
        if name.starts_with("flaky") {
            let what = format!("{name}: attempts for each record");
            rows.push(Row::of(what, trouble.attempts_per_record, 4, Goal::AtMost(1.02)));
        }
    }
    rows.extend(results.outage.iter().flat_map(of_outage));
    rows.extend(results.latency.iter().flat_map(of_latency));
    rows.extend(results.beside_replay.as_ref().map(of_beside_replay));
    if let Some(idle) = &results.idle {
        rows.push(Row::one("idle: memory, MiB".to_owned(), idle.rss_mib, 1, Goal::AtMost(32.0)));
        rows.push(Row::one("idle: share of one core".to_owned(), idle.cpu_share, 4, Goal::None));
    }
    rows
}

fn of_cost(cost: &Cost) -> Vec<Row> {
    let Cost { workload, cpu_us_per_record, raw_cpu_us_per_record, ratio, peak_rss_mib, load } = cost;
    let per_core = (workload == Workload::Replay.name()).then(|| of_core(cost));
    let cost = Row::of(format!("{workload}: CPU-µs a record"), *cpu_us_per_record, 1, Goal::None);
    let seen = format!("{}; raw {}", cost.seen, said(*raw_cpu_us_per_record, 1));
    let ratio = Row::of(format!("{workload}: ÷ raw (load {load})"), *ratio, 2, Goal::AtMost(1.0));
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = Row::one(format!("{workload}: most memory, MiB"), *peak_rss_mib as f64, 0, Goal::None);
    per_core.into_iter().chain([Row { seen, ..cost }, ratio, memory]).collect()
}

/// How many records a core gets done in a second: where no call is made, that is what there is to know.
fn of_core(Cost { workload, cpu_us_per_record, raw_cpu_us_per_record, .. }: &Cost) -> Row {
    let per_core = |us: &Spread| {
        let Spread { least, median, most } = *us;
        Spread { least: 1_000_000.0 / most, median: 1_000_000.0 / median, most: 1_000_000.0 / least }
    };
    let row = Row::of(format!("{workload}: records/s a core"), per_core(cpu_us_per_record), 0, Goal::None);
    Row { seen: format!("{}; raw {}", row.seen, said(per_core(raw_cpu_us_per_record), 0)), ..row }
}

fn of_possible(possible: &Possible) -> impl Iterator<Item = Row> {
    let Possible { latency_ms, at, .. } = possible;
    at.iter().map(move |at| {
        let what = format!("{latency_ms} ms system, {} in flight: rate × latency ÷ in flight", at.in_flight);
        let row = Row::of(what, at.share, 3, Goal::AtLeast(0.95));
        Row { seen: format!("{}; raw {}", row.seen, said(at.raw_share, 3)), ..row }
    })
}

fn of_outage(outage: &Outage) -> [Row; 3] {
    let Outage { outage_s, attempts_share, seconds_to_90_percent, rss_start_mib, rss_peak_mib, .. } = outage;
    let name = format!("outage of {outage_s} s");
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let memory = Row::one(format!("{name}: most memory, MiB"), *rss_peak_mib as f64, 0, Goal::None);
    [
        Row::one(format!("{name}: attempts in it, as a share"), *attempts_share, 4, Goal::AtMost(0.1)),
        Row::one(
            format!("{name}: seconds to 90 % of the rate"),
            seconds_to_90_percent.unwrap_or(f64::INFINITY),
            1,
            Goal::AtMost(10.0),
        ),
        Row { seen: format!("{rss_peak_mib}, and {rss_start_mib} at its start"), ..memory },
    ]
}

fn of_latency(latency: &Latency) -> [Row; 2] {
    let Latency { per_second, p50_ms, p99_ms, raw_p50_ms, raw_p99_ms, .. } = latency;
    [("p50", p50_ms, raw_p50_ms), ("p99", p99_ms, raw_p99_ms)].map(|(name, ours, raw)| {
        let row = Row::of(format!("latency at {per_second} a second: {name}, ms"), *ours, 1, Goal::None);
        Row { seen: format!("{}; raw {}", row.seen, said(*raw, 1)), ..row }
    })
}

fn of_beside_replay(beside: &BesideReplay) -> Row {
    let BesideReplay { per_second, replayed_per_second, p99_ms, alone_p99_ms, ratio, .. } = beside;
    let what = format!("{per_second} a second beside {:.0} of a replay: p99 ÷ alone", replayed_per_second.median);
    let row = Row::of(what, *ratio, 2, Goal::AtMost(1.2));
    Row { seen: format!("{}; {} ms, alone {}", row.seen, said(*p99_ms, 1), said(*alone_p99_ms, 1)), ..row }
}

impl Row {
    fn of(what: String, spread: Spread, digits: usize, goal: Goal) -> Self {
        Self { what, seen: said(spread, digits), median: spread.median, goal }
    }

    fn one(what: String, number: f64, digits: usize, goal: Goal) -> Self {
        Self { what, seen: format!("{number:.digits$}"), median: number, goal }
    }
}

fn said(Spread { least, median, most }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from("| figure | goal | seen | |\n| --- | --- | --- | --- |\n");
    for Row { what, seen, median, goal } in rows {
        let (goal, verdict) = match goal {
            Goal::None => (String::new(), ""),
            Goal::AtMost(most) => (format!("≤ {most}"), verdict(median <= most)),
            Goal::AtLeast(least) => (format!("≥ {least}"), verdict(median >= least)),
        };
        let _ = writeln!(table, "| {what} | {goal} | {seen} | {verdict} |");
    }
    table
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}
