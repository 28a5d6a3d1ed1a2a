//! The JSON that people write for an event in cases, and read in the timeline.
//!
//! Avro has a JSON encoding of its own, which nobody likes to write: unions are tagged, bytes are Latin-1, dates and
//! decimals are raw numbers. This form says the same as people would. It is exact: what is encoded is decoded to the
//! same, and what does not fit its schema is refused, never rounded.
//!
//! | Avro | JSON |
//! | --- | --- |
//! | record | object; a field that is left out has the schema's default |
//! | enum | its symbol |
//! | union with null | null, or the value itself |
//! | decimal | a text such as `"125000.50"`; a number is accepted too, where JSON keeps its digits |
//! | date | `"2026-01-31"` |
//! | timestamp | RFC 3339, UTC when written, any offset when read |
//! | bytes, fixed | a text in base64 (RFC 4648, section 4) |
//! | float, double | a number; `"NaN"`, `"Infinity"` and `"-Infinity"` |
//! | all else | as in JSON |
//!
//! A date or timestamp outside of the years 0 to 9999 has no text; it stays Avro's number.
//!
//! None of this is on the hot path: the mapping reads data in its own way.

mod decode;
mod default;
mod encode;
mod instant;

use serde_json::Value;

use crate::avro::{EventSchema, Names};

/// Most values that a datum may become, each record, list, map and leaf counted; one that takes no bytes counts as 65.
///
/// Avro's lists of values of no bytes make any number of them out of five bytes. 50,000 values are at most 8 MiB of
/// JSON in memory, and far more than an event has.
pub const VALUES_MAX: usize = 50_000;

/// Why a JSON value is not an event of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct FitError {
    /// Where, as a mapping would name it: `.deal.lines[0].sku`; `.` is the event itself.
    pub path: String,
    /// What is wrong, without the value itself.
    pub problem: String,
}

/// Why bytes cannot be shown as an event of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatumError {
    /// They were not written with this schema.
    #[error("`{path}` {problem}")]
    Misfit {
        /// The field where that showed.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// They hold more than the caller wants to see.
    #[error("`{path}` goes beyond {values_max} values")]
    TooLarge {
        /// The field where that showed.
        path: String,
        /// The limit.
        values_max: usize,
    },
}

impl EventSchema {
    /// Writes the Avro datum that a JSON value stands for.
    ///
    /// # Errors
    /// The first place where it does not fit: a field that is missing and has no default, one that the schema does not
    /// have, a value of another type or out of range.
    pub fn datum_from_json(&self, value: &Value) -> Result<Vec<u8>, FitError> {
        encode::Encoder::new(Names::of(&self.avro)).encode(&self.avro, value)
    }

    /// Shows an Avro datum as JSON. `values_max` bounds what it may become; [`VALUES_MAX`] is a good one.
    ///
    /// Depth needs no bound of its own: [`EventSchema::parse`] refuses what is recursive or too deep.
    ///
    /// # Errors
    /// When the bytes were not written with this schema (too few, too many, an index or a text that cannot be), or
    /// when there is more than `values_max`.
    pub fn json_from_datum(&self, datum: &[u8], values_max: usize) -> Result<Value, DatumError> {
        decode::Decoder::new(Names::of(&self.avro), datum, values_max).decode(&self.avro)
    }
}

/// Where one is in an event, as a mapping would name it.
#[derive(Default)]
struct Path(String);

impl Path {
    /// Goes into a field; the answer takes [`Path::leave`] back.
    fn enter_field(&mut self, name: &str) -> usize {
        let before = self.0.len();
        self.0.push('.');
        self.0.push_str(name);
        before
    }

    /// Goes into an item of a list.
    fn enter_item(&mut self, index: usize) -> usize {
        let before = self.0.len();
        self.0.push_str(&format!("[{index}]"));
        before
    }

    fn leave(&mut self, before: usize) {
        self.0.truncate(before);
    }

    fn name(&self) -> String {
        if self.0.is_empty() { ".".to_owned() } else { self.0.clone() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use apache_avro::reader::datum::GenericDatumReader;
    use apache_avro::types::Value as Avro;
    use apache_avro::writer::datum::GenericDatumWriter;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Every Avro type once, and names used again.
    const DEAL: &str = r#"{
      "type": "record", "name": "crm.DealStageChanged", "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "title", "type": "string"},
        {"name": "won", "type": "boolean"},
        {"name": "stage", "type": {"type": "enum", "name": "Stage", "symbols": ["OPEN", "CLOSED_WON", "CLOSED_LOST"]}},
        {"name": "before", "type": ["null", "Stage"], "default": null},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "discount", "type": {"type": "fixed", "name": "Money", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 3}},
        {"name": "signed_on", "type": {"type": "int", "logicalType": "date"}},
        {"name": "closed_at", "type": [{"type": "long", "logicalType": "timestamp-millis"}, "null"]},
        {"name": "seen_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "rank", "type": "int"},
        {"name": "visits", "type": "long"},
        {"name": "score", "type": "float"},
        {"name": "weight", "type": "double"},
        {"name": "blob", "type": "bytes"},
        {"name": "check", "type": {"type": "fixed", "name": "Check", "size": 3}},
        {"name": "trace", "type": {"type": "fixed", "name": "Trace", "size": 16, "logicalType": "uuid"}},
        {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
            {"name": "sku", "type": "string"}, {"name": "check", "type": ["null", "Check"]}]}}},
        {"name": "tags", "type": {"type": "map", "values": "long"}}
      ]}"#;

    fn deal() -> EventSchema {
        EventSchema::parse(DEAL).unwrap()
    }

    fn example() -> Value {
        json!({
            "id": "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b", "title": "Größe – 🦀", "won": true, "stage": "CLOSED_WON",
            "before": "OPEN", "amount": "125000.50", "discount": "-0.125", "signed_on": "2026-01-31",
            "closed_at": "2026-01-31T23:30:00.25Z", "seen_at": "1969-12-31T23:59:59.999999Z", "rank": -7,
            "visits": 9_007_199_254_740_993_i64, "score": 0.1, "weight": 0.1, "blob": "AP8=", "check": "AQID",
            "trace": "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b", "lines": [{"sku": "a", "check": null}, {"sku": "b", "check": "AQID"}],
            "tags": {"new": 1, "": -1},
        })
    }

    fn one(ty: &str) -> EventSchema {
        let text = format!(r#"{{"type": "record", "name": "E", "fields": [{{"name": "f", "type": {ty}}}]}}"#);
        EventSchema::parse(&text).unwrap()
    }

    fn with(field: &str, value: Value) -> Value {
        let mut event = example();
        event[field] = value;
        event
    }

    #[test]
    fn an_event_reads_as_people_would_write_it_and_comes_back() {
        let datum = deal().datum_from_json(&example()).unwrap();
        assert_eq!(deal().json_from_datum(&datum, VALUES_MAX), Ok(example()));
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        // Avro 1.12, "Binary Encoding": the record of "a" 27 and "b" "foo" is 36 06 66 6f 6f.
        let schema = EventSchema::parse(
            r#"{"type": "record", "name": "test", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}]}"#,
        );
        let datum = schema.unwrap().datum_from_json(&json!({"a": 27, "b": "foo"})).unwrap();
        assert_eq!(datum, [0x36, 0x06, 0x66, 0x6f, 0x6f]);
        // The array of 3 and 27 is 04 06 36 00; the union of null and string with "a" is 02 02 61.
        let list = one(r#"{"type": "array", "items": "long"}"#);
        assert_eq!(list.datum_from_json(&json!({"f": [3, 27]})).unwrap(), [4, 6, 0x36, 0]);
        let union = one(r#"["null", "string"]"#);
        assert_eq!(union.datum_from_json(&json!({"f": "a"})).unwrap(), [2, 2, 0x61]);
        assert_eq!(union.datum_from_json(&json!({"f": null})).unwrap(), [0]);
    }

    #[test]
    fn a_list_in_blocks_with_sizes_is_read() {
        // -2 items in 2 bytes, then 1 item, then the end.
        let datum = [3, 4, 2, 4, 2, 6, 0];
        let list = one(r#"{"type": "array", "items": "long"}"#);
        assert_eq!(list.json_from_datum(&datum, VALUES_MAX), Ok(json!({"f": [1, 2, 3]})));
    }

    #[test]
    fn other_ways_to_write_a_value_are_the_same_value() {
        for (field, other, shown) in [
            ("amount", json!(125_000.5), json!("125000.50")),
            ("amount", json!(7), json!("7.00")),
            ("closed_at", json!("2026-02-01T00:30:00+01:00"), json!("2026-01-31T23:30:00Z")),
            ("closed_at", json!(null), json!(null)),
            ("weight", json!(3), json!(3.0)),
            ("weight", json!("-Infinity"), json!("-Infinity")),
            ("id", json!("1B4E28BA-2FA1-4D3B-A3F5-EF19B5A7633B"), json!("1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b")),
            ("signed_on", json!(2_000_000_000), json!(2_000_000_000)),
            ("closed_at", json!(i64::MIN), json!(i64::MIN)),
        ] {
            let datum = deal().datum_from_json(&with(field, other)).unwrap();
            assert_eq!(deal().json_from_datum(&datum, VALUES_MAX).unwrap()[field], shown, "{field}");
        }
    }

    #[test]
    fn a_field_that_is_left_out_has_the_schemas_default() {
        let schema = EventSchema::parse(
            r#"{"type": "record", "name": "E", "fields": [
                {"name": "text", "type": "string", "default": "x"},
                {"name": "null", "type": ["null", "int"], "default": null},
                {"name": "int", "type": ["int", "null"], "default": 3},
                {"name": "date", "type": {"type": "int", "logicalType": "date"}, "default": 1},
                {"name": "bytes", "type": "bytes", "default": "\u00ff\u0000"},
                {"name": "list", "type": {"type": "array", "items": "string"}, "default": ["a", "b"]},
                {"name": "map", "type": {"type": "map", "values": "boolean"}, "default": {"a": true}},
                {"name": "enum", "type": {"type": "enum", "name": "S", "symbols": ["A", "B"]}, "default": "B"},
                {"name": "record", "type": {"type": "record", "name": "R", "fields": [
                    {"name": "a", "type": "double", "default": 0.5}, {"name": "b", "type": "S"}]}, "default": {"b": "A"}}
            ]}"#,
        )
        .unwrap();
        let datum = schema.datum_from_json(&json!({})).unwrap();
        let shown = json!({"text": "x", "null": null, "int": 3, "date": "1970-01-02", "bytes": "/wA=", "list": ["a", "b"],
            "map": {"a": true}, "enum": "B", "record": {"a": 0.5, "b": "A"}});
        assert_eq!(schema.json_from_datum(&datum, VALUES_MAX), Ok(shown));
    }

    #[test]
    fn what_does_not_fit_is_named_and_never_quoted() {
        for (field, value, error) in [
            (
                "titel",
                json!("x"),
                "`.` has no field `titel`; its fields are id, title, won, stage, before, amount, discount, signed_on, closed_at, seen_at, rank, visits, score, weight, blob, check, trace, lines, tags",
            ),
            ("title", json!(null), "`.title` must be a text, but is null"),
            ("won", json!("yes"), "`.won` must be true or false, but is a text"),
            ("stage", json!("secret"), "`.stage` must be one of OPEN, CLOSED_WON, CLOSED_LOST"),
            ("before", json!("secret"), "`.before` must be one of OPEN, CLOSED_WON, CLOSED_LOST"),
            ("amount", json!("12.345"), "`.amount` has more than 2 decimals"),
            ("amount", json!("10000000000"), "`.amount` has more than 12 digits, of which 2 are decimals"),
            ("amount", json!("1,5"), "`.amount` is not a decimal number such as 125000.50"),
            ("amount", json!(true), "`.amount` must be a decimal such as \"125000.50\", but is true or false"),
            ("discount", json!("1000000"), "`.discount` has more than 9 digits, of which 3 are decimals"),
            ("signed_on", json!("31.01.2026"), "`.signed_on` is not a date such as 2026-01-31"),
            ("signed_on", json!(20_000), "`.signed_on` must be a date such as \"2026-01-31\", but is another number"),
            (
                "closed_at",
                json!("2026-01-31T23:30:00"),
                "`.closed_at` is not an RFC 3339 time such as 2026-01-31T09:30:00Z",
            ),
            ("closed_at", json!("2026-01-31T23:30:00.0001Z"), "`.closed_at` is finer than a millisecond"),
            (
                "closed_at",
                json!(1_769_851_800),
                "`.closed_at` must be a time such as \"2026-01-31T09:30:00Z\", but is another number",
            ),
            ("rank", json!(2_147_483_648_i64), "`.rank` must be an integer of 32 bits, but is another number"),
            ("visits", json!(1.5), "`.visits` must be an integer of 64 bits, but is another number"),
            ("score", json!(1e300), "`.score` is too large for a float of 32 bits"),
            ("blob", json!("***"), "`.blob` is not base64"),
            ("check", json!("AQI="), "`.check` is 2 bytes, but must be 3"),
            (
                "id",
                json!("{1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b}"),
                "`.id` is not a UUID such as 1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b",
            ),
            (
                "lines",
                json!([{"sku": "a", "check": null}, {"sku": 1}]),
                "`.lines[1].sku` must be a text, but is another number",
            ),
            ("lines", json!([{"sku": "a"}]), "`.lines[0].check` is missing, and the schema has no default for it"),
            ("tags", json!({"a": "b"}), "`.tags.a` must be an integer of 64 bits, but is a text"),
        ] {
            assert_eq!(deal().datum_from_json(&with(field, value)).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn bytes_of_another_schema_are_refused_with_their_place() {
        let check = |ty: &str, datum: &[u8], error: &str| {
            assert_eq!(one(ty).json_from_datum(datum, 100).unwrap_err().to_string(), error);
        };
        check(r#""string""#, &[4, b'a'], "`.f` needs 2 bytes, but 1 are left");
        check(r#""string""#, &[2, 0xff], "`.f` is a text that is not UTF-8");
        check(r#""string""#, &[1], "`.f` has a length of -1");
        check(r#""long""#, &[], "`.f` needs 1 bytes, but 0 are left");
        check(r#""long""#, &[2, 2], "`.` is followed by 1 bytes that the schema does not account for");
        check(r#""long""#, &[0xff; 11], "`.f` is a number of more than 64 bits");
        check(r#""int""#, &[0xfe, 0xff, 0xff, 0xff, 0x1f], "`.f` is an int of more than 32 bits");
        check(r#""boolean""#, &[2], "`.f` is a boolean of byte 0x02");
        check(r#"["null", "int"]"#, &[4], "`.f` is branch 2 of 2");
        check(r#"{"type": "enum", "name": "S", "symbols": ["A"]}"#, &[1], "`.f` is symbol -1 of 1");
        check(r#"{"type": "bytes", "logicalType": "decimal", "precision": 4}"#, &[0], "`.f` is a decimal of 0 bytes");
    }

    #[test]
    fn no_few_bytes_become_more_values_than_allowed() {
        let nulls = one(r#"{"type": "array", "items": "null"}"#);
        let too_large = Err(DatumError::TooLarge { path: ".f".into(), values_max: VALUES_MAX });
        // Counts of 2^30, of the most and of the least that 64 bits hold.
        for count in [1_i64 << 30, i64::MAX, i64::MIN] {
            let mut datum = encode::Encoder::new(Names::of(&nulls.avro));
            datum.put_long(count);
            datum.put_long(0);
            assert_eq!(nulls.json_from_datum(&datum.out, VALUES_MAX), too_large);
        }
        // Many small blocks add up as well: the event and its list are two, and each of 99 items of no bytes is 65.
        let blocks = [[2; 99].as_slice(), &[0]].concat();
        assert!(nulls.json_from_datum(&blocks, 2 + 99 * 65).is_ok());
        assert!(matches!(nulls.json_from_datum(&blocks, 1 + 99 * 65), Err(DatumError::TooLarge { .. })));
        // An item that takes a byte is one.
        let flags = one(r#"{"type": "array", "items": "boolean"}"#);
        assert!(flags.json_from_datum(&[4, 0, 1, 0], 4).is_ok());
        assert!(matches!(flags.json_from_datum(&[4, 0, 1, 0], 3), Err(DatumError::TooLarge { .. })));
    }

    fn avro_value(schema: &EventSchema, datum: &[u8]) -> Avro {
        let reader = GenericDatumReader::builder(&schema.avro).build().unwrap();
        reader.read_value(&mut &*datum).unwrap()
    }

    /// What `apache-avro` read, in our form: a second way to the same JSON that shares no code with the first.
    fn show(avro: Avro) -> Value {
        match avro {
            Avro::Null => Value::Null,
            Avro::Boolean(boolean) => boolean.into(),
            Avro::Int(int) => int.into(),
            Avro::Long(long) => long.into(),
            Avro::Float(float) => json!(float.to_string().parse::<f64>().unwrap()),
            Avro::Double(double) => json!(double),
            Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => STANDARD.encode(bytes).into(),
            Avro::String(text) | Avro::Enum(_, text) => text.into(),
            Avro::Union(_, inner) => show(*inner),
            Avro::Array(items) => items.into_iter().map(show).collect(),
            Avro::Map(entries) => Value::Object(entries.into_iter().map(|(name, value)| (name, show(value))).collect()),
            Avro::Record(fields) => {
                Value::Object(fields.into_iter().map(|(name, value)| (name, show(value))).collect())
            }
            Avro::Date(days) => {
                let seconds = i64::from(days) * 86_400;
                jiff::Timestamp::from_second(seconds).unwrap().to_string()[..10].into()
            }
            Avro::TimestampMillis(ms) => jiff::Timestamp::from_millisecond(ms).unwrap().to_string().into(),
            Avro::TimestampMicros(us) => jiff::Timestamp::from_microsecond(us).unwrap().to_string().into(),
            Avro::Decimal(decimal) => {
                let bytes = Vec::<u8>::try_from(decimal).unwrap();
                let negative = bytes[0] >= 0x80;
                let unscaled = bytes.iter().fold(if negative { -1_i128 } else { 0 }, |n, b| (n << 8) | i128::from(*b));
                json!({"unscaled": unscaled.to_string()})
            }
            Avro::Uuid(uuid) => uuid.to_string().into(),
            other => panic!("{other:?} is not in the schema of this test"),
        }
    }

    /// The decimals of an event without their points, as [`show`] has them.
    fn without_points(mut event: Value) -> Value {
        for field in ["amount", "discount"] {
            let digits = event[field].as_str().unwrap().replace('.', "");
            event[field] = json!({"unscaled": digits.parse::<i128>().unwrap().to_string()});
        }
        event
    }

    fn decimal(unscaled: i64, scale: usize) -> Value {
        crate::decimal::print(unscaled.into(), scale).into()
    }

    fn base64_of(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Value> {
        proptest::collection::vec(any::<u8>(), len).prop_map(|bytes| STANDARD.encode(bytes).into())
    }

    prop_compose! {
        fn any_deal()(
            (ids, title, won, stage, before) in (any::<[u128; 2]>(), ".{0,20}", any::<bool>(), 0..3_usize, proptest::option::of(0..3_usize)),
            (amount, discount) in (-999_999_999_999_i64..=999_999_999_999, -999_999_999_i64..=999_999_999),
            (days, ms, us) in (-719_528..2_932_896_i64, proptest::option::of(-62_167_219_200_000..253_370_764_800_000_i64), -62_167_219_200_000_000..253_370_764_800_000_000_i64),
            (rank, visits, score, weight) in (any::<i32>(), any::<i64>(), -1e30_f32..1e30, any::<f64>().prop_filter("finite", |f| f.is_finite())),
            (blob, check) in (base64_of(0..20), base64_of(3)),
            lines in proptest::collection::vec((".{0,5}", proptest::option::of(base64_of(3))), 0..4),
            tags in proptest::collection::btree_map(".{0,5}", any::<i64>(), 0..4),
        ) -> Value {
            let stages = ["OPEN", "CLOSED_WON", "CLOSED_LOST"];
            let lines: Vec<Value> = lines.into_iter().map(|(sku, check)| json!({"sku": sku, "check": check})).collect();
            json!({
                "id": uuid::Uuid::from_u128(ids[0]).to_string(), "title": title, "won": won, "stage": stages[stage],
                "before": before.map(|b| stages[b]), "amount": decimal(amount, 2), "discount": decimal(discount, 3),
                "signed_on": jiff::Timestamp::from_second(days * 86_400).unwrap().to_string()[..10].to_owned(),
                "closed_at": ms.map(|ms| jiff::Timestamp::from_millisecond(ms).unwrap().to_string()),
                "seen_at": jiff::Timestamp::from_microsecond(us).unwrap().to_string(),
                "rank": rank, "visits": visits, "score": score.to_string().parse::<f64>().unwrap(), "weight": weight,
                "blob": blob, "check": check, "trace": uuid::Uuid::from_u128(ids[1]).to_string(), "lines": lines, "tags": tags,
            })
        }
    }

    proptest! {
        #[test]
        fn what_we_encode_apache_avro_decodes_to_the_same(event in any_deal()) {
            let schema = deal();
            let datum = schema.datum_from_json(&event).unwrap();
            prop_assert_eq!(schema.json_from_datum(&datum, VALUES_MAX), Ok(event.clone()));
            let theirs = avro_value(&schema, &datum);
            prop_assert_eq!(show(theirs), without_points(event));
        }

        #[test]
        fn what_apache_avro_encodes_we_decode_to_the_same(event in any_deal()) {
            let schema = deal();
            let ours = schema.datum_from_json(&event).unwrap();
            let value = avro_value(&schema, &ours);
            // A block for each item, with its size in bytes before it: the other way to write lists and maps.
            let writer = GenericDatumWriter::builder(&schema.avro).target_block_size(1).build().unwrap();
            let theirs = writer.write_value_to_vec(value).unwrap();
            prop_assert_eq!(schema.json_from_datum(&theirs, VALUES_MAX), Ok(event));
        }

        #[test]
        fn no_bytes_make_it_panic(
            datum in proptest::collection::vec(any::<u8>(), 0..64),
            event in any_deal(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let schema = deal();
            let _ = schema.json_from_datum(&datum, 1_000);
            // One byte of an event changed gets further in than noise does. What is read can be written again.
            let mut datum = schema.datum_from_json(&event).unwrap();
            let at = at.index(datum.len());
            datum[at] = byte;
            if let Ok(shown) = schema.json_from_datum(&datum, 1_000) && let Ok(again) = schema.datum_from_json(&shown) {
                prop_assert_eq!(schema.json_from_datum(&again, 1_000), Ok(shown));
            }
        }
    }
}
