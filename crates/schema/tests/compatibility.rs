//! Which schema reads what another one writes: each rule of "Schema Resolution" in Avro's specification (1.12), and the
//! cases that Java's own tests of `SchemaCompatibility` have (`TestSchemaCompatibility` and its companions for each kind of
//! incompatibility, Avro 1.11), written anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use apache_avro::Schema;
use tieline_schema::compatibility::{Incompatibility, Problem, incompatibilities};

fn between(reader: &str, writer: &str) -> Vec<Incompatibility> {
    let parse = |text: &str| Schema::parse_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    incompatibilities(&parse(reader), &parse(writer))
}

#[track_caller]
fn reads(reader: &str, writer: &str) {
    assert_eq!(between(reader, writer), [], "{reader} reads {writer}");
}

/// What keeps it from reading, each as a person sees it.
#[track_caller]
fn refuses(reader: &str, writer: &str, expect: &[&str]) {
    let told: Vec<String> = between(reader, writer).iter().map(ToString::to_string).collect();
    assert_eq!(told, expect, "{reader} does not read {writer}");
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Record1","fields":[{fields}]}}"#)
}

fn symbols(symbols: &str) -> String {
    format!(r#"{{"type":"enum","name":"Enum1","symbols":{symbols}}}"#)
}

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Writer and reader, of those that differ: all promotions that there are.
const PROMOTIONS: [(&str, &str); 8] = [
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
];

#[test]
fn a_primitive_reads_itself_and_what_is_promoted_to_it() {
    for writer in PRIMITIVES {
        for reader in PRIMITIVES {
            let expect = writer == reader || PROMOTIONS.contains(&(writer, reader));
            let (reader, writer) = (format!("\"{reader}\""), format!("\"{writer}\""));
            assert_eq!(between(&reader, &writer).is_empty(), expect, "{reader} of {writer}");
        }
    }
    refuses("\"int\"", "\"long\"", &["`/`: the writer has a long, and the reader an int"]);
}

#[test]
fn a_logical_type_counts_as_what_it_is_written_as() {
    let date = r#"{"type":"int","logicalType":"date"}"#;
    let instant = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    let decimal = |scale: u32| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#);
    reads(date, "\"int\"");
    reads(instant, date);
    reads("\"string\"", r#"{"type":"string","logicalType":"uuid"}"#);
    reads(&decimal(2), &decimal(3));
    reads("\"bytes\"", &decimal(2));
    refuses(date, instant, &["`/`: the writer has a long, and the reader an int"]);
}

#[test]
fn lists_and_maps_read_what_their_items_and_values_read() {
    let (array, map) = (
        |items: &str| format!(r#"{{"type":"array","items":"{items}"}}"#),
        |values: &str| format!(r#"{{"type":"map","values":"{values}"}}"#),
    );
    reads(&array("int"), &array("int"));
    reads(&array("long"), &array("int"));
    reads(&map("long"), &map("int"));
    refuses(&array("int"), &array("long"), &["`/items`: the writer has a long, and the reader an int"]);
    refuses(&map("int"), &map("long"), &["`/values`: the writer has a long, and the reader an int"]);
    refuses(&map("int"), &array("int"), &["`/`: the writer has an array, and the reader a map"]);
    refuses(&array("int"), &map("int"), &["`/`: the writer has a map, and the reader an array"]);
}

#[test]
fn an_enum_reads_the_symbols_that_it_has_and_any_with_a_default() {
    reads(&symbols(r#"["A","B"]"#), &symbols(r#"["A","B"]"#));
    reads(&symbols(r#"["A","B","C"]"#), &symbols(r#"["A","B"]"#));
    reads(&symbols(r#"["B","A"]"#), &symbols(r#"["A","B"]"#));
    refuses(
        &symbols(r#"["B"]"#),
        &symbols(r#"["A","B","C"]"#),
        &["`/symbols`: the reader has no symbol A, C, nor a default for them"],
    );
    reads(&symbols(r#"["B"],"default":"B""#), &symbols(r#"["A","B","C"],"default":"A""#));
    refuses(
        &symbols(r#"["B"]"#),
        &symbols(r#"["A"],"default":"A""#),
        &["`/symbols`: the reader has no symbol A, nor a default for them"],
    );
    let other = symbols(r#"["A","B"]"#).replace("Enum1", "Enum2");
    let named = "`/`: the writer calls it `Enum1`, the reader `Enum2`, which has no alias for that";
    refuses(&other, &symbols(r#"["A"]"#), &[named]);
    refuses("\"int\"", &other, &["`/`: the writer has an enum, and the reader an int"]);
    refuses(&other, "\"string\"", &["`/`: the writer has a string, and the reader an enum"]);
}

#[test]
fn a_fixed_reads_its_own_size_and_name() {
    let fixed = |name: &str, size: u32| format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#);
    reads(&fixed("F", 4), &fixed("F", 4));
    refuses(&fixed("F", 4), &fixed("F", 8), &["`/`: the writer has 8 bytes, and the reader 4"]);
    let both = [
        "`/`: the writer calls it `G`, the reader `F`, which has no alias for that",
        "`/`: the writer has 8 bytes, and the reader 4",
    ];
    refuses(&fixed("F", 4), &fixed("G", 8), &both);
    refuses("\"bytes\"", &fixed("F", 4), &["`/`: the writer has a fixed, and the reader bytes"]);
    refuses(&fixed("F", 4), "\"bytes\"", &["`/`: the writer has bytes, and the reader a fixed"]);
}

#[test]
fn names_match_without_namespaces_and_by_aliases_with_them() {
    let named = |name: &str, more: &str| format!(r#"{{"type":"record","name":"{name}",{more}"fields":[]}}"#);
    reads(&named("a.Deal", ""), &named("b.Deal", ""));
    reads(&named("a.Deal", r#""aliases":["b.Offer"],"#), &named("b.Offer", ""));
    // An alias without a namespace is in that of its type.
    reads(&named("b.Deal", r#""aliases":["Offer"],"#), &named("b.Offer", ""));
    let other = ["`/`: the writer calls it `b.Offer`, the reader `a.Deal`, which has no alias for that"];
    refuses(&named("a.Deal", r#""aliases":["Offer"],"#), &named("b.Offer", ""), &other);
    // Those of the writer count for nothing.
    let other = ["`/`: the writer calls it `Offer`, the reader `Deal`, which has no alias for that"];
    refuses(&named("Deal", ""), &named("Offer", r#""aliases":["Deal"],"#), &other);
}

#[test]
fn a_field_is_read_from_its_namesake_or_has_a_default() {
    let (a, b) = (r#"{"name":"a","type":"int"}"#, r#"{"name":"b","type":"int"}"#);
    let (da, db) = (r#"{"name":"a","type":"int","default":0}"#, r#"{"name":"b","type":"int","default":0}"#);
    let long = r#"{"name":"a","type":"long"}"#;
    for (reader, writer) in [
        (String::new(), a.to_owned()),
        (a.to_owned(), da.to_owned()),
        (long.to_owned(), a.to_owned()),
        (a.to_owned(), format!("{a},{b}")),
        (da.to_owned(), format!("{b},{a}")),
        (format!("{a},{db}"), a.to_owned()),
        (format!("{da},{db}"), String::new()),
        (format!("{a},{b}"), format!("{db},{da}")),
    ] {
        reads(&record(&reader), &record(&writer));
    }
    let missing = |name: &str, at: u32| {
        format!("`/fields/{at}`: the writer has no field `{name}`, and the reader no default for it")
    };
    refuses(&record(a), &record(""), &[&missing("a", 0)]);
    refuses(&record(&format!("{a},{b}")), &record(da), &[&missing("b", 1)]);
    refuses(&record(a), &record(long), &["`/fields/0/type`: the writer has a long, and the reader an int"]);
    // A default of null is one.
    let null = r#"{"name":"n","type":["null","int"],"default":null}"#;
    reads(&record(null), &record(""));
    refuses(&record(&null.replace(r#","default":null"#, "")), &record(""), &[&missing("n", 0)]);
    // The default of an enum stands for symbols, not for the field.
    let with_symbol_default = format!(r#"{{"name":"e","type":{}}}"#, symbols(r#"["A"],"default":"A""#));
    refuses(&record(&with_symbol_default), &record(""), &[&missing("e", 0)]);
    refuses(&record(a), "\"int\"", &["`/`: the writer has an int, and the reader a record"]);
}

#[test]
fn a_field_is_read_from_one_that_its_alias_names() {
    let new = r#"{"name":"new","type":"long","aliases":["old","older"]}"#;
    reads(&record(new), &record(r#"{"name":"old","type":"int"}"#));
    reads(&record(new), &record(r#"{"name":"older","type":"int"}"#));
    refuses(
        &record(new),
        &record(r#"{"name":"old","type":"string"}"#),
        &["`/fields/0/type`: the writer has a string, and the reader a long"],
    );
    refuses(
        &record(new),
        &record(r#"{"name":"old","type":"int"},{"name":"older","type":"int"}"#),
        &["`/fields/0`: the name and the aliases of `new` mean several fields of the writer"],
    );
}

#[test]
fn each_branch_of_the_writers_union_has_to_be_read() {
    for (reader, writer) in [
        (r#"["int"]"#, r#"["int"]"#),
        (r#"["int","string"]"#, r#"["string","int"]"#),
        (r#"["long"]"#, r#"["int"]"#),
        (r#"["float"]"#, r#"["int","long"]"#),
        (r#"["double"]"#, r#"["int","float"]"#),
        (r#"["string"]"#, r#"["bytes"]"#),
        (r#""double""#, r#"["int","long","float","double"]"#),
        (r#""int""#, r#"["int"]"#),
        (r#"["int"]"#, r#""int""#),
        (r#"["null","long"]"#, r#""int""#),
    ] {
        reads(reader, writer);
    }
    let none = |what: &str| format!("`/`: no branch of the reader's union takes {what}");
    refuses(r#"["int","string"]"#, r#"["int","string","boolean"]"#, &[&none("a boolean")]);
    refuses(r#"["null","int"]"#, r#""string""#, &[&none("a string")]);
    refuses("\"float\"", r#"["int","double"]"#, &["`/`: the writer has a double, and the reader a float"]);
    refuses("\"long\"", r#"["int","float"]"#, &["`/`: the writer has a float, and the reader a long"]);
    refuses("\"string\"", r#"["null","string"]"#, &["`/`: the writer has null, and the reader a string"]);
    refuses("[\"int\"]", r#"["null"]"#, &[&none("null")]);
    let (one, two) = (symbols(r#"["A"]"#), symbols(r#"["A"]"#).replace("Enum1", "Enum2"));
    refuses(&format!("[\"null\",{one}]"), &format!("[\"null\",{two}]"), &[&none("an enum `Enum2`")]);
}

#[test]
fn what_is_wrong_in_the_branch_that_was_meant_is_told_itself() {
    let owner = |fields: &str| {
        let owner = record(fields).replace("Record1", "Owner");
        record(&format!(r#"{{"name":"owner","type":["null",{owner}],"default":null}}"#))
    };
    let (mail, phone) = (r#"{"name":"mail","type":"string"}"#, r#"{"name":"phone","type":"string"}"#);
    reads(&owner(mail), &owner(&format!("{mail},{phone}")));
    refuses(
        &owner(&format!("{mail},{phone}")),
        &owner(mail),
        &["`/fields/0/type/1/fields/1`: the writer has no field `phone`, and the reader no default for it"],
    );
}

#[test]
fn recursive_types_end_and_are_compared_all_the_way() {
    let list = |head: &str| {
        format!(
            r#"{{"type":"record","name":"List","fields":[{{"name":"head","type":"{head}"}},
            {{"name":"tail","type":["null","List"],"default":null}}]}}"#
        )
    };
    reads(&list("int"), &list("int"));
    reads(&list("long"), &list("int"));
    refuses(&list("int"), &list("long"), &["`/fields/0/type`: the writer has a long, and the reader an int"]);
    // Two types that hold each other, of which the second differs.
    let pair = |last: &str| {
        format!(
            r#"{{"type":"record","name":"A","fields":[{{"name":"b","type":["null",{{"type":"record","name":"B","fields":[
            {{"name":"a","type":["null","A"]}},{{"name":"x","type":"{last}"}}]}}]}}]}}"#
        )
    };
    reads(&pair("double"), &pair("int"));
    refuses(
        &pair("int"),
        &pair("string"),
        &["`/fields/0/type/1/fields/1/type`: the writer has a string, and the reader an int"],
    );
}

#[test]
fn a_type_that_is_used_twice_is_told_of_once_and_found_in_no_time() {
    // Each record has two fields of the one below, so that a walk without a memory would take 2^24 steps.
    let tower = |last: &str| {
        let mut schema = format!(r#"{{"type":"record","name":"R0","fields":[{{"name":"x","type":"{last}"}}]}}"#);
        for n in 1..=24 {
            let below = format!(r#"{{"name":"a","type":{schema}}},{{"name":"b","type":"R{}"}}"#, n - 1);
            schema = format!(r#"{{"type":"record","name":"R{n}","fields":[{below}]}}"#);
        }
        schema
    };
    let start = std::time::Instant::now();
    reads(&tower("long"), &tower("int"));
    assert_eq!(between(&tower("int"), &tower("long")).len(), 1);
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn a_chain_of_names_ends_before_the_stack_does() {
    // Each type holds the one below by its name, so that the text stays flat. Only the top is in both schemas, and is
    // compared while nothing below it is known.
    let chain = |field: &str| {
        let definition = |n: u32, inner: &str| {
            let ty = format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"x","type":"{inner}"}}]}}"#);
            format!(r#"{{"name":"{field}{n}","type":{ty}}}"#)
        };
        let mut fields = vec![definition(0, "int")];
        fields.extend((1..2_000).map(|n| definition(n, &format!("R{}", n - 1))));
        fields.push(r#"{"name":"top","type":"R1999"}"#.to_owned());
        record(&fields.join(","))
    };
    let found = between(&chain("reader"), &chain("writer"));
    assert_eq!(found.len(), 2_001, "each field but the top has neither a namesake nor a default");
    assert_eq!(found.last().unwrap().problem, Problem::TooDeep);
}
