//! Functions of dates and instants. A day leaves an instant only with a zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use tieline_schema::types::{Kind, Text};

use super::{Applied, Body, Function, Given, Misuse, Use};
use crate::calendar;
use crate::program::{Code, Fault};
use crate::value::Val;

const BEYOND: Fault = Fault::Borrowed("is beyond the years that the calendar has");

/// Functions of dates and instants.
pub(super) const TIME: &[Function] = &[
    Function {
        name: "date",
        signature: "timestamp | date(zone) → date",
        doc: "The day that it is at an instant in a time zone of the IANA database.",
        example: ("'2026-03-31T22:30:00Z' | timestamp | date(Europe/Berlin)", "2026-04-01"),
        body: Body::Plain(date),
    },
    Function {
        name: "time",
        signature: "timestamp | time(zone) → text; integer | time → timestamp",
        doc: "With a zone: what the clock on the wall shows, `HH:MM:SS`. Of an integer: the instant so many seconds after \
              the Unix epoch, as `from_unix`.",
        example: ("'2026-03-31T22:30:00Z' | timestamp | time(Europe/Berlin)", "00:30:00"),
        body: Body::Plain(time),
    },
    Function {
        name: "date_time",
        signature: "timestamp | date_time(zone) → text",
        doc: "Day and time in a zone with its offset, as RFC 3339 writes them.",
        example: ("'2026-03-31T22:30:00Z' | timestamp | date_time(Europe/Berlin)", "2026-04-01T00:30:00+02:00"),
        body: Body::Plain(date_time),
    },
    Function {
        name: "timestamp",
        signature: "text | timestamp → timestamp; date | timestamp(zone) → timestamp",
        doc: "Reads an RFC 3339 date-time; of a date, the instant at which it begins in a zone.",
        example: ("'2026-03-31T22:30:00+02:00' | timestamp", "2026-03-31T20:30:00Z"),
        body: Body::Plain(timestamp),
    },
    Function {
        name: "parse_date",
        signature: "text | parse_date('dd.MM.yyyy') → date",
        doc: "Reads a date in another format: `yyyy MM dd`, or strptime's `%Y %m %d`.",
        example: ("'31.03.2026' | parse_date('dd.MM.yyyy')", "2026-03-31"),
        body: Body::Plain(parse_date),
    },
    Function {
        name: "parse_timestamp",
        signature: "text | parse_timestamp('dd.MM.yyyy HH:mm:ss', zone) → timestamp",
        doc: "Reads a day and a time of the clock in a zone.",
        example: (
            "'31.03.2026 22:30:00' | parse_timestamp('dd.MM.yyyy HH:mm:ss', Europe/Berlin)",
            "2026-03-31T20:30:00Z",
        ),
        body: Body::Plain(parse_timestamp),
    },
    Function {
        name: "format",
        signature: "date | format('dd.MM.yyyy') → text",
        doc: "Writes a date in another format: `yyyy MM dd`, or strftime's `%Y %m %d`.",
        example: ("'2026-03-31' | parse_date('yyyy-MM-dd') | format('dd.MM.yyyy')", "31.03.2026"),
        body: Body::Plain(format),
    },
    Function {
        name: "unix",
        signature: "timestamp | unix → integer",
        doc: "Whole seconds since the Unix epoch; a fraction is dropped.",
        example: ("'1970-01-02T00:00:00.5Z' | timestamp | unix", "86400"),
        body: Body::Plain(|u| to_unix(u, 1_000_000)),
    },
    Function {
        name: "unix_ms",
        signature: "timestamp | unix_ms → integer",
        doc: "Whole milliseconds since the Unix epoch; a fraction is dropped.",
        example: ("'1970-01-01T00:00:01.5Z' | timestamp | unix_ms", "1500"),
        body: Body::Plain(|u| to_unix(u, 1_000)),
    },
    Function {
        name: "from_unix",
        signature: "integer | from_unix → timestamp",
        doc: "The instant so many seconds after the Unix epoch.",
        example: ("86400 | from_unix", "1970-01-02T00:00:00Z"),
        body: Body::Plain(|u| from_unix(u, 1_000_000)),
    },
    Function {
        name: "from_unix_ms",
        signature: "integer | from_unix_ms → timestamp",
        doc: "The instant so many milliseconds after the Unix epoch.",
        example: ("1500 | from_unix_ms", "1970-01-01T00:00:01.500Z"),
        body: Body::Plain(|u| from_unix(u, 1_000)),
    },
    Function {
        name: "plus_days",
        signature: "date | plus_days(days) → date",
        doc: "The day so many days later; earlier, where the number is negative. It can be an expression.",
        example: ("'2026-02-27' | parse_date('yyyy-MM-dd') | plus_days(2)", "2026-03-01"),
        body: Body::Plain(plus_days),
    },
];

fn wants_timestamp(u: &Use<'_>) -> Result<(), Misuse> {
    let help = match &u.input.kind {
        Kind::Timestamp => return Ok(()),
        Kind::Date => Some("a date has no zone: leave the function out, or `… | timestamp(zone)`".to_owned()),
        Kind::Text(_) => Some("read it first: `… | timestamp`".to_owned()),
        Kind::Integer { .. } => Some("read it first: `… | from_unix`".to_owned()),
        _other => None,
    };
    Err(Misuse::Input { wants: "a timestamp", help })
}

/// Code of what a clock on the wall in a zone shows.
fn on_clock(zone: TimeZone, f: impl Fn(DateTime) -> Val<'static> + Send + Sync + 'static) -> Code {
    Code::one(move |value| match value {
        Val::Timestamp(micros) => calendar::local(micros, &zone).map(&f).ok_or(BEYOND),
        other => Ok(other),
    })
}

fn date(u: &Use<'_>) -> Result<Applied, Misuse> {
    wants_timestamp(u)?;
    if u.given.is_empty() {
        return Err(Misuse::Arguments);
    }
    let code = on_clock(u.zone(0)?, |t| Val::Date(calendar::days_of(t.date())));
    Ok(Applied { kind: Kind::Date, nullable: false, code })
}

fn time(u: &Use<'_>) -> Result<Applied, Misuse> {
    if matches!(u.input.kind, Kind::Integer { .. }) && u.given.is_empty() {
        return from_unix(u, 1_000_000);
    }
    wants_timestamp(u)?;
    let code =
        on_clock(u.zone(0)?, |t| Val::Text(format!("{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second()).into()));
    let text = Text { min_length: 8, max_length: Some(8), ..Text::default() };
    Ok(Applied { kind: Kind::Text(text), nullable: false, code })
}

fn date_time(u: &Use<'_>) -> Result<Applied, Misuse> {
    wants_timestamp(u)?;
    let zone = u.zone(0)?;
    let code = Code::one(move |value| match value {
        Val::Timestamp(micros) => {
            let instant = jiff::Timestamp::from_microsecond(micros).map_err(|_| BEYOND)?;
            Ok(Val::Text(instant.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().into()))
        }
        other => Ok(other),
    });
    let format = Some("date-time".to_owned());
    let text = Text { format, min_length: 25, max_length: Some(25), ..Text::default() };
    Ok(Applied { kind: Kind::Text(text), nullable: false, code })
}

fn timestamp(u: &Use<'_>) -> Result<Applied, Misuse> {
    let code = match &u.input.kind {
        Kind::Text(_) => {
            u.none()?;
            Code::one(|value| match value {
                Val::Text(text) => calendar::parse_timestamp(&text)
                    .map(Val::Timestamp)
                    .ok_or(Fault::Borrowed("is not an RFC 3339 date-time")),
                other => Ok(other),
            })
        }
        Kind::Date => {
            let zone = u.zone(0)?;
            Code::one(move |value| match value {
                Val::Date(days) => {
                    let date = calendar::date_of(days).ok_or(BEYOND)?;
                    let start = date.to_zoned_datetime(zone.clone()).map_err(|_| BEYOND)?;
                    Ok(Val::Timestamp(start.timestamp().as_microsecond()))
                }
                other => Ok(other),
            })
        }
        Kind::Integer { .. } => {
            return Err(Misuse::Input {
                wants: "a text or a date",
                help: Some("seconds are read by `from_unix`".to_owned()),
            });
        }
        _other => return Err(u.wants("a text or a date")),
    };
    Ok(Applied { kind: Kind::Timestamp, nullable: false, code })
}

fn parse_date(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let format = strftime(&u.text()?);
    let code = Code::one(move |value| match value {
        Val::Text(text) => {
            let date =
                Date::strptime(&format, text.as_ref()).map_err(|_| Fault::Borrowed("is not a date of the format"))?;
            Ok(Val::Date(calendar::days_of(date)))
        }
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Date, nullable: false, code })
}

fn parse_timestamp(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let [Given::Constant(Val::Text(format), _), _] = u.given else { return Err(Misuse::Arguments) };
    let (format, zone) = (strftime(format), u.zone(1)?);
    let code = Code::one(move |value| match value {
        Val::Text(text) => {
            let clock = DateTime::strptime(&format, text.as_ref());
            let clock = clock.map_err(|_| Fault::Borrowed("is not a day and time of the format"))?;
            let zoned = clock.to_zoned_datetime(zone.clone()).map_err(|_| BEYOND)?;
            Ok(Val::Timestamp(zoned.timestamp().as_microsecond()))
        }
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Timestamp, nullable: false, code })
}

fn format(u: &Use<'_>) -> Result<Applied, Misuse> {
    if u.input.kind != Kind::Date {
        let help = (u.input.kind == Kind::Timestamp)
            .then(|| "in which zone? `… | date(Europe/Berlin) | format(…)`".to_owned());
        return Err(Misuse::Input { wants: "a date", help });
    }
    let format = strftime(&u.text()?);
    let code = Code::one(move |value| match value {
        Val::Date(days) => {
            let date = calendar::date_of(days).ok_or(BEYOND)?;
            let text =
                jiff::fmt::strtime::format(&format, date).map_err(|_| Fault::Borrowed("does not fit the format"))?;
            Ok(Val::Text(text.into()))
        }
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Text(Text::default()), nullable: false, code })
}

/// `dd.MM.yyyy` in strftime's letters; a text with `%` is in them already.
fn strftime(format: &str) -> String {
    const LETTERS: [(&str, &str); 7] =
        [("yyyy", "%Y"), ("yy", "%y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S")];
    if format.contains('%') {
        return format.to_owned();
    }
    LETTERS.iter().fold(format.to_owned(), |f, (letters, code)| f.replace(letters, code))
}

fn to_unix(u: &Use<'_>, unit: i64) -> Result<Applied, Misuse> {
    u.none()?;
    wants_timestamp(u)?;
    let code = Code::one(move |value| match value {
        Val::Timestamp(micros) => Ok(Val::Integer(micros.div_euclid(unit))),
        other => Ok(other),
    });
    let kind = Kind::Integer { min: i64::MIN.div_euclid(unit), max: i64::MAX.div_euclid(unit) };
    Ok(Applied { kind, nullable: false, code })
}

fn from_unix(u: &Use<'_>, unit: i64) -> Result<Applied, Misuse> {
    u.none()?;
    if !matches!(u.input.kind, Kind::Integer { .. }) {
        return Err(u.wants("an integer"));
    }
    let code = Code::one(move |value| match value {
        Val::Integer(n) => n.checked_mul(unit).map(Val::Timestamp).ok_or(BEYOND),
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Timestamp, nullable: false, code })
}

fn plus_days(u: &Use<'_>) -> Result<Applied, Misuse> {
    if u.input.kind != Kind::Date {
        let help =
            (u.input.kind == Kind::Timestamp).then(|| "make a date of it first: `… | date(Europe/Berlin)`".to_owned());
        return Err(Misuse::Input { wants: "a date", help });
    }
    let later = |days: i32, n: i64| i32::try_from(i64::from(days).saturating_add(n)).map(Val::Date).map_err(|_| BEYOND);
    let code = match u.given {
        [Given::Constant(Val::Integer(n), _)] => {
            let n = *n;
            Code::one(move |value| match value {
                Val::Date(days) => later(days, n),
                other => Ok(other),
            })
        }
        [Given::Computed(ty)] if matches!(ty.kind, Kind::Integer { .. }) => {
            Code::two(move |value, argument| match (value, argument) {
                (Val::Date(days), Val::Integer(n)) => later(days, n),
                (other, _) => Ok(other),
            })
        }
        _other => return Err(Misuse::Arguments),
    };
    Ok(Applied { kind: Kind::Date, nullable: false, code })
}
