//! The flagship's mapping, written by hand with `apache-avro` and `serde`: what the loop without guarantees runs.
//!
//! Datum to struct and struct to JSON, which is the fastest way that these libraries have. Before anything is measured,
//! the driver compares what this makes with what the consumer's mapping makes.

use anyhow::Context as _;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The event, as far as it is used. `apache-avro` wants the names of the schema.
#[derive(Debug, Deserialize)]
#[serde(rename = "deal_stage_changed")]
pub struct DealStageChanged {
    deal: Deal,
    account: Account,
    lines: Vec<DealLine>,
    changed_at: i64,
}

#[derive(Debug, Deserialize)]
struct Deal {
    id: String,
    title: String,
    stage: Stage,
    /// `apache-avro` cannot pass by an enum that nobody reads.
    #[serde(rename = "previous_stage")]
    _previous_stage: Option<Stage>,
    amount: Decimal,
    currency: Currency,
    closed_at: Option<i64>,
    description: Option<String>,
    owner_id: String,
}

#[derive(Debug, Deserialize)]
struct Account {
    id: String,
    name: String,
    #[serde(rename = "language")]
    _language: Language,
}

#[derive(Debug, Deserialize)]
struct DealLine {
    sku: String,
    description: Option<String>,
    quantity: i32,
    unit_price: Decimal,
    billing: Billing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename = "DealStage", rename_all = "SCREAMING_SNAKE_CASE")]
enum Stage {
    Open,
    Qualified,
    Proposal,
    Negotiation,
    ClosedWon,
    ClosedLost,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Language {
    De,
    En,
    Fr,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Currency {
    Eur,
    Usd,
    Gbp,
    Chf,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename = "BillingCycle", rename_all = "UPPERCASE")]
enum Billing {
    Once,
    Monthly,
    Yearly,
}

/// The request's body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NewProject<'e> {
    external_id: &'e str,
    name: String,
    customer: Customer<'e>,
    status: &'static str,
    currency: Currency,
    budget: f64,
    start_date: String,
    manager_id: &'e str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'e str>,
    reference: String,
    lines: Vec<Line<'e>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Customer<'e> {
    external_id: &'e str,
    name: &'e str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'e> {
    sku: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'e str>,
    quantity: i32,
    unit_price: f64,
    cycle: &'static str,
}

/// The response, as far as it is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Project {
    id: String,
    number: String,
    status: String,
    budget: f64,
    start_date: String,
    created_at: String,
}

/// The event that follows.
#[derive(Debug, Serialize)]
#[serde(rename = "project_created")]
struct ProjectCreated<'e> {
    project_id: String,
    number: String,
    deal_id: &'e str,
    account_id: &'e str,
    status: ProjectStatus,
    budget: Decimal,
    starts_on: i32,
    created_at: i64,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum ProjectStatus {
    Draft,
    Planned,
    Active,
    Done,
    Cancelled,
}

/// Reads and writes what the two schemas describe.
pub struct ByHand<'s> {
    reader: GenericDatumReader<'s>,
    writer: GenericDatumWriter<'s>,
    berlin: TimeZone,
}

impl<'s> ByHand<'s> {
    /// Prepares all that need not be done for each record.
    pub fn new(event: &'s Schema, follow_up: &'s Schema) -> anyhow::Result<Self> {
        Ok(Self {
            reader: GenericDatumReader::builder(event).build()?,
            writer: GenericDatumWriter::builder(follow_up).build()?,
            berlin: TimeZone::get("Europe/Berlin").context("no time zone Europe/Berlin")?,
        })
    }

    /// Reads an event.
    pub fn read(&self, mut datum: &[u8]) -> anyhow::Result<DealStageChanged> {
        Ok(self.reader.read_deser(&mut datum)?)
    }

    /// The body of the request.
    pub fn body(&self, event: &DealStageChanged) -> anyhow::Result<Vec<u8>> {
        let (deal, account) = (&event.deal, &event.account);
        let budget = decimal(&deal.amount)?;
        let at = Timestamp::from_millisecond(deal.closed_at.unwrap_or(event.changed_at))?;
        let project = NewProject {
            external_id: &deal.id,
            name: format!("{} – {}", truncated(&account.name, 38), truncated(&deal.title, 38)),
            customer: Customer { external_id: &account.id, name: truncated(&account.name, 120) },
            status: "planned",
            currency: deal.currency,
            budget,
            start_date: self.berlin.to_datetime(at).date().to_string(),
            manager_id: &deal.owner_id,
            priority: if budget >= 50_000.0 { 1 } else { 3 },
            note: deal.description.as_deref().map(|text| truncated(text, 500)),
            reference: format!("{} / {}", deal.id, account.id),
            lines: event.lines.iter().map(line).collect::<anyhow::Result<_>>()?,
        };
        Ok(serde_json::to_vec(&project)?)
    }

    /// The datum of the event that follows.
    pub fn follow_up(&self, event: &DealStageChanged, response: &[u8]) -> anyhow::Result<Vec<u8>> {
        let project: Project = serde_json::from_slice(response)?;
        #[allow(clippy::cast_possible_truncation, reason = "a decimal of twelve digits")]
        let cents = (project.budget * 100.0).round() as i64;
        let created = ProjectCreated {
            project_id: project.id,
            number: project.number,
            deal_id: &event.deal.id,
            account_id: &event.account.id,
            status: status(&project.status)?,
            budget: Decimal::from(cents.to_be_bytes()),
            starts_on: project.start_date.parse::<Date>()?.since(Date::constant(1970, 1, 1))?.get_days(),
            created_at: project.created_at.parse::<Timestamp>()?.as_millisecond(),
        };
        Ok(self.writer.write_ser_to_vec(&created)?)
    }
}

impl DealStageChanged {
    /// Whether the deal is won.
    pub fn is_won(&self) -> bool {
        self.deal.stage == Stage::ClosedWon
    }

    /// The deal's id.
    pub fn deal_id(&self) -> &str {
        &self.deal.id
    }
}

fn line(line: &DealLine) -> anyhow::Result<Line<'_>> {
    Ok(Line {
        sku: truncated(&line.sku, 40),
        text: line.description.as_deref().map(|text| truncated(text, 200)),
        quantity: line.quantity,
        unit_price: decimal(&line.unit_price)?,
        cycle: match line.billing {
            Billing::Once => "one_time",
            Billing::Monthly => "month",
            Billing::Yearly => "year",
        },
    })
}

fn status(text: &str) -> anyhow::Result<ProjectStatus> {
    Ok(match text {
        "draft" => ProjectStatus::Draft,
        "planned" => ProjectStatus::Planned,
        "active" => ProjectStatus::Active,
        "done" => ProjectStatus::Done,
        "cancelled" => ProjectStatus::Cancelled,
        other => anyhow::bail!("no status {other}"),
    })
}

/// The number of a decimal of scale 2.
fn decimal(decimal: &Decimal) -> anyhow::Result<f64> {
    let bytes = Vec::<u8>::try_from(decimal)?;
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let unscaled = bytes.iter().fold(if negative { -1_i64 } else { 0 }, |n, byte| n << 8 | i64::from(*byte));
    #[allow(clippy::cast_precision_loss, reason = "twelve digits")]
    Ok(unscaled as f64 / 100.0)
}

fn truncated(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}
