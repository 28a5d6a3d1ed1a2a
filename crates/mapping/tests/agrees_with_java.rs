//! Schema resolution as Avro's own reader has it: made-up pairs of a writer's and a reader's schema, and data, read by
//! Java's `GenericDatumReader` and by ours.
//!
//! `AVRO_PAIRS` says how many, 5,000 if it does not. It needs a JDK, and Maven once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod made_up;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use made_up::{Copying, Dice};
use serde_json::{Value as Json, json};
use tieline_schema::avro::EventSchema;

#[test]
fn what_is_read_is_what_javas_reader_reads() {
    if std::env::var_os("TIELINE_SKIP_KAFKA").is_some_and(|v| v == "1") {
        println!("skipped: TIELINE_SKIP_KAFKA=1 stands for all that needs Java");
        return;
    }
    let pairs = std::env::var("AVRO_PAIRS").map_or(5_000, |n| n.parse().expect("AVRO_PAIRS is a number"));
    let asked: Vec<Json> = (0..pairs).map(pair).collect();
    let lines: String = asked.iter().map(|pair| format!("{pair}\n")).collect();
    let answers = java(lines);
    assert_eq!(answers.len(), asked.len());
    let same = answers.iter().filter(|answer| *answer == "same").count();
    let differ: Vec<(usize, &String)> =
        answers.iter().enumerate().filter(|(_, answer)| !matches!(answer.as_str(), "same" | "refused")).collect();
    println!(
        "{pairs} pairs: {same} the same, {} refused by both, {} differ",
        answers.len() - same - differ.len(),
        differ.len()
    );
    for (n, answer) in differ.iter().take(3) {
        println!("seed {n}: {answer}\n{}", asked[*n]);
    }
    assert!(differ.is_empty(), "{} of {pairs} differ", differ.len());
    assert!(same * 2 > answers.len(), "only {same} of {pairs} could be read at all");
}

/// What a seed stands for: both schemas, a datum, and what we make of it.
fn pair(seed: u64) -> Json {
    let mut dice = Dice::of(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    dice.maps = true;
    let written = dice.record(3);
    let read = evolved(&written, &mut dice);
    let writer = Schema::parse(&written).unwrap();
    let event = EventSchema::parse(&read.to_string()).unwrap_or_else(|error| panic!("{error}: {read}"));
    let value = dice.value(&writer);
    let datum = GenericDatumWriter::builder(&writer).build().unwrap().write_value_to_vec(value).unwrap();
    let ours = Copying::of(&writer, &event).ok().and_then(|copying| copying.copy(&datum).ok());
    json!({
        "writer": written.to_string(), "reader": event.text,
        "datum": STANDARD.encode(&datum), "ours": ours.map(|bytes| STANDARD.encode(bytes)),
    })
}

/// The same record years later: fields dropped, added with defaults of all types, renamed, reordered, widened, made
/// nullable or no longer so; enums with more symbols and fewer.
fn evolved(written: &Json, dice: &mut Dice) -> Json {
    let mut schema = written.clone();
    let fields = schema["fields"].as_array_mut().unwrap();
    // A mapping reads the keys of a map that it names; as a whole it is passed over.
    fields.retain(|field| !field.to_string().contains(r#""type":"map""#));
    if fields.len() > 1 && dice.roll(2) == 0 {
        let dropped = dice.roll(fields.len() as u64) as usize;
        fields.remove(dropped);
    }
    for field in fields.iter_mut() {
        field["type"] = evolved_type(&field["type"], dice);
        if dice.roll(6) == 0 {
            let name = field["name"].as_str().unwrap().to_owned();
            field["name"] = json!(format!("{name}_renamed"));
            field["aliases"] = json!([name]);
        }
    }
    if dice.roll(2) == 0 {
        fields.reverse();
    }
    for n in 0..=dice.roll(2) {
        let (ty, default) = match dice.roll(12) {
            0 => (json!(["null", "string"]), json!(null)),
            1 => (json!(["long", "null"]), json!(-42)),
            2 => (json!({ "type": "array", "items": "string" }), json!([])),
            3 => (json!(["null", { "type": "int", "logicalType": "date" }]), json!(null)),
            4 => (json!({ "type": "enum", "name": dice.name(), "symbols": ["X", "Y"] }), json!("Y")),
            5 => (json!("bytes"), json!("\u{ff}\u{0}a")),
            6 => (json!({ "type": "fixed", "name": dice.name(), "size": 2 }), json!("\u{1}\u{80}")),
            7 => (json!("double"), json!(0.1)),
            8 => (json!("boolean"), json!(true)),
            9 => (
                json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 }),
                json!("\u{ff}\u{38}"),
            ),
            10 => {
                let inner = json!([{ "name": "x", "type": "long", "default": 7 }, { "name": "s", "type": "string" }]);
                (json!({ "type": "record", "name": dice.name(), "fields": inner }), json!({ "s": "ü" }))
            }
            _ => (json!({ "type": "long", "logicalType": "timestamp-millis" }), json!(1_700_000_000_000_i64)),
        };
        fields.push(json!({ "name": format!("added{n}"), "type": ty, "default": default }));
    }
    schema
}

fn evolved_type(ty: &Json, dice: &mut Dice) -> Json {
    if let Some(name) = ty.as_str() {
        let wider: &[&str] = match name {
            "int" => &["int", "long", "float", "double"],
            "long" => &["long", "float", "double"],
            "float" => &["float", "double"],
            "string" => &["string", "bytes"],
            "bytes" => &["bytes", "string"],
            _ => &[],
        };
        if !wider.is_empty() && dice.roll(3) == 0 {
            return json!(wider[dice.roll(wider.len() as u64) as usize]);
        }
    }
    let mut ty = ty.clone();
    if let Json::Array(branches) = &ty {
        let of = branches.iter().find(|branch| **branch != json!("null")).unwrap().clone();
        let of = match evolved_type(&of, dice) {
            union @ Json::Array(_) => return union,
            other => other,
        };
        return match dice.roll(4) {
            // Null comes, or does not: it is an error of both where it does.
            0 => of,
            1 => json!([of, "null"]),
            _ => json!(["null", of]),
        };
    }
    match ty["type"].as_str() {
        Some("record") => {
            let inner = evolved(&ty, dice);
            ty = inner;
        }
        Some("array") => ty["items"] = evolved_type(&ty["items"], dice),
        Some("enum") => match dice.roll(4) {
            0 => ty["symbols"] = json!(["Z", "C", "B", "A"]),
            1 => ty["symbols"] = json!(["B", "A"]),
            2 => {
                ty["symbols"] = json!(["B", "A"]);
                ty["default"] = json!("B");
            }
            _ => {}
        },
        _ => {}
    }
    if dice.roll(5) == 0 { json!(["null", ty]) } else { ty }
}

/// What `Agrees.java` says of each line.
fn java(lines: String) -> Vec<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java");
    let home = std::env::var("JAVA_HOME");
    let java = home.map_or_else(|_| PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
    let mut java = Command::new(java)
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jars(&here).join("*"))
        .arg(here.join("Agrees.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Java runs: a JDK of 17 or later is needed");
    let mut stdin = java.stdin.take().unwrap();
    let written = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = java.wait_with_output().unwrap();
    assert!(output.status.success(), "Avro's reader did not run: a JDK is needed, a JRE has no compiler");
    written.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Avro's jars, from Maven; once for a target folder.
fn jars(here: &Path) -> PathBuf {
    let jars = Path::new(env!("CARGO_TARGET_TMPDIR")).join("avro-1.12.0");
    if !jars.is_dir() {
        let fetched = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let run = |more: &[&str]| {
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B"]).args(more).arg("-f").arg(here.join("pom.xml")).arg("dependency:copy-dependencies");
            maven.arg(format!("-DoutputDirectory={}", fetched.path().display()));
            maven.output().expect("Maven runs: it downloads Avro's jars once")
        };
        let output = if run(&["-o"]).status.success() { None } else { Some(run(&[])) };
        if let Some(output) = output.filter(|output| !output.status.success()) {
            panic!("Maven could not download Avro's jars: {}", String::from_utf8_lossy(&output.stdout));
        }
        // Whole or not at all; where another test was quicker, its jars are as good.
        let _ = std::fs::rename(fetched.keep(), &jars);
    }
    jars
}
