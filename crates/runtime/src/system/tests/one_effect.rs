//! One effect at systems that differ: each profile against a stand-in that behaves as it says.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tieline_bus::{Bus, Environment};
use tieline_sandbox::systems::{Expected, Fault, Refusal, Repeats, Spec, Systems};
use uuid::Uuid;

use super::super::idempotency::Cause;
use super::super::{Attempted, Came, Effect};
use super::*;
use crate::telemetry::Metrics;

/// Projects that can be made, set, shown and found by a reference of ours.
const CONTRACT: &str = r##"
openapi: 3.1.0
info: { title: ERP, version: "1" }
paths:
  /projects:
    post:
      operationId: createProject
      requestBody: { required: true, content: { application/json: { schema: { $ref: "#/components/schemas/New" } } } }
      responses: { "201": { description: Made., content: { application/json: { schema: { $ref: "#/components/schemas/Project" } } } } }
    get:
      operationId: findProjects
      parameters: [{ name: q, in: query, required: true, schema: { type: string } }]
      responses:
        "200":
          description: Those.
          content: { application/json: { schema: { type: object, required: [projects], properties: {
            projects: { type: array, items: { $ref: "#/components/schemas/Project" } } } } } }
  /projects/{id}:
    get:
      operationId: getProject
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      responses: { "200": { description: It., content: { application/json: { schema: { $ref: "#/components/schemas/Project" } } } } }
    put:
      operationId: setProject
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      requestBody: { required: true, content: { application/json: { schema: { $ref: "#/components/schemas/New" } } } }
      responses: { "200": { description: It., content: { application/json: { schema: { $ref: "#/components/schemas/Project" } } } } }
components:
  schemas:
    New: { type: object, required: [externalId], properties: { externalId: { type: string }, name: { type: string } } }
    Project: { type: object, required: [id, externalId], properties: { id: { type: string }, externalId: { type: string }, name: { type: string } } }
"##;

/// Found at once, where it is there.
const LOOK_UP: &str = "look_up: { createProject: { operation: findProjects, with: { q: .externalId }, \
                       found_at: /projects, found_when: $found.externalId == .externalId, visible_after: 0s } }";

fn keyed() -> Repeats {
    Repeats { header: Some("Idempotency-Key".into()), ..Repeats::default() }
}

struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
    fn secret(&self, _name: &str) -> Option<String> {
        None
    }
}

struct Erp {
    systems: Systems,
    client: Arc<SystemClient>,
    metrics: Metrics,
}

impl Erp {
    /// A system of this profile, and a stand-in that takes a second attempt in this way.
    async fn new(profile: &str, repeats: Repeats) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(path), text).unwrap();
        };
        write(
            "tieline.yaml",
            "bus: shop\nlanguage: 1\nkafka: { brokers: x }\nregistry: { url: \"http://127.0.0.1:1\" }\n",
        );
        write("systems/erp/openapi.yaml", CONTRACT);
        let head = "purpose: It plans.\nowner: a@example.com\nbase_url: http://127.0.0.1:1\ncontract: openapi.yaml\n";
        write("systems/erp/system.yaml", &format!("{head}deadline: 500ms\nidempotency: {profile}\n"));
        let loaded = Bus::load(dir.path(), &Nowhere);
        let bus = loaded.bus.unwrap_or_else(|| panic!("{:?}", loaded.problems));

        let mut system = (*bus.systems["erp"]).clone();
        let contract = Arc::clone(&system.contract);
        let (credential, seed) = (Expected::None, BTreeMap::new());
        let spec = Spec { name: "erp".into(), contract, credential, repeats, version: None, seed };
        let systems = Systems::start(vec![spec]).await.unwrap();
        system.base_url = systems.base_url("erp").unwrap();
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let client = Arc::new(SystemClient::new(Arc::new(system), metrics.systems()).unwrap());
        Self { systems, client, metrics }
    }

    fn fault(&self, fault: Fault) {
        assert!(self.systems.fault("erp", fault));
    }

    fn well(&self) {
        self.fault(Fault::default());
    }

    /// The effects that there are.
    fn effects(&self) -> usize {
        self.systems.journal().iter().filter(|arrival| arrival.applied).count()
    }

    /// How often the call arrived.
    fn calls(&self) -> usize {
        self.systems.journal().iter().filter(|arrival| arrival.method != "GET").count()
    }

    fn looked_up(&self, result: &str) -> u64 {
        let counted = self.metrics.systems().effect_look_ups;
        ["findProjects", "getProject"].map(|o| counted.with_label_values(&["erp", o, result]).get()).iter().sum()
    }
}

/// A record on its way, as far as its effect goes: what the core and the shell remember of it.
struct Record {
    operation: &'static str,
    body: Value,
    effect: Effect,
    maybe_applied: bool,
}

impl Record {
    fn of(external_id: &str) -> Self {
        let body = json!({ "externalId": external_id, "name": "Acme" });
        Self { operation: "createProject", body, effect: Effect::default(), maybe_applied: false }
    }

    /// Somebody else has it now, who knows only that an attempt may have been applied.
    fn taken_over(self) -> Self {
        Self { effect: Effect::default(), maybe_applied: true, ..self }
    }

    fn key(&self) -> Uuid {
        let id = self.body["externalId"].as_str().unwrap();
        Cause { bus: "shop", consumer: "c", call: "call", source: "/s", id, round: self.effect.round() }.key()
    }

    async fn attempt(&mut self, erp: &Erp) -> Attempted {
        let operation = Arc::clone(erp.client.system().contract.operation(self.operation).unwrap());
        let parameters = match self.operation {
            "setProject" => vec![("id".to_owned(), self.body["externalId"].as_str().unwrap().to_owned())],
            _ => vec![],
        };
        let mut request = Request {
            operation,
            parameters,
            body: Some(self.body.to_string().into()),
            idempotency_key: Some(self.key()),
            traceparent: None,
            headers: vec![],
            on_behalf: None,
            reads_response: true,
        };
        let attempted = erp.client.once(&mut request, &self.effect, self.maybe_applied, None).await;
        self.maybe_applied |= matches!(attempted.answer, Answer::Unknown(_));
        attempted
    }

    /// Its effect is made, and its answer lost.
    async fn lose_the_answer(&mut self, erp: &Erp) {
        erp.fault(Fault { drop_after_effect_share: 1.0, ..Fault::default() });
        let lost = self.attempt(erp).await;
        assert!(matches!(lost.answer, Answer::Unknown(_)), "{lost:?}");
        assert_eq!(erp.effects(), 1);
        erp.well();
    }
}

fn id(attempted: &Attempted) -> &str {
    assert_eq!(attempted.answer, Answer::Applied, "{attempted:?}");
    match &attempted.came {
        Came::Answered(Some(body)) | Came::Found(body) => body["id"].as_str().unwrap(),
        Came::Answered(None) => panic!("nothing came: {attempted:?}"),
    }
}

#[tokio::test]
async fn an_effect_whose_answer_was_lost_is_made_once_under_every_profile() {
    let exists = Repeats { unique: Some(("externalId".into(), Refusal::of(409))), ..Repeats::default() };
    for (profile, repeats, operation, looked_up) in [
        ("{ header: Idempotency-Key }".to_owned(), keyed(), "createProject", 0),
        (format!("{{ {LOOK_UP} }}"), Repeats::default(), "createProject", 1),
        // What is there already is refused, and then looked up, since the follow-up event needs it.
        (format!("{{ conflict: {{ 409: exists }}, {LOOK_UP} }}"), exists, "createProject", 1),
        ("upsert".to_owned(), Repeats::default(), "setProject", 0),
    ] {
        let erp = Erp::new(&profile, repeats).await;
        let mut record = Record { operation, ..Record::of("D-1") };
        record.lose_the_answer(&erp).await;
        let again = record.attempt(&erp).await;
        id(&again);
        // An upsert is made again, and sets what is set.
        let effects = if operation == "setProject" { 2 } else { 1 };
        assert_eq!((erp.effects(), erp.looked_up("found")), (effects, looked_up), "{profile}");
        assert_eq!(matches!(again.came, Came::Found(_)), looked_up == 1, "{profile}");

        let mut taken_over = record.taken_over();
        id(&taken_over.attempt(&erp).await);
        assert_eq!(erp.effects(), effects + usize::from(operation == "setProject"), "{profile}, after a takeover");
    }
}

#[tokio::test]
async fn a_system_that_recognises_nothing_makes_a_second_effect_as_check_has_said() {
    let erp = Erp::new("none", Repeats::default()).await;
    let mut record = Record::of("D-1");
    record.lose_the_answer(&erp).await;
    id(&record.attempt(&erp).await);
    assert_eq!(erp.effects(), 2);
}

#[tokio::test]
async fn what_is_not_found_is_sent_and_what_may_not_be_seen_yet_is_waited_for() {
    let erp = Erp::new(&format!("{{ {LOOK_UP} }}"), Repeats::default()).await;
    let mut record = Record { maybe_applied: true, ..Record::of("D-1") };
    id(&record.attempt(&erp).await);
    assert_eq!((erp.effects(), erp.looked_up("not-there")), (1, 1));

    let slow = LOOK_UP.replace("visible_after: 0s", "visible_after: 300ms");
    let erp = Erp::new(&format!("{{ {slow} }}"), Repeats::default()).await;
    let mut record = Record { maybe_applied: true, ..Record::of("D-1") };
    let begun = Instant::now();
    let mut waits = 0;
    let done = loop {
        let attempted = record.attempt(&erp).await;
        match &attempted.answer {
            Answer::NotApplied(why) if why.code == "not-found-yet" => waits += 1,
            _other => break attempted,
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it waits for ever");
        assert_eq!(erp.calls(), 0, "it was sent while an attempt could still come to be seen");
    };
    id(&done);
    // Ages are in whole milliseconds of the wall clock, so that one of them may be missing.
    assert!(waits > 0 && begun.elapsed() >= Duration::from_millis(299), "{waits} waits in {:?}", begun.elapsed());
    // The next one that fails is known not to be applied: nothing has to be looked for.
    assert_eq!((erp.effects(), erp.looked_up("not-there")), (1, 1));
}

#[tokio::test]
async fn what_a_search_finds_beside_it_is_not_its_effect() {
    let erp = Erp::new(&format!("{{ {LOOK_UP} }}"), Repeats::default()).await;
    let other = id(&Record::of("D-10").attempt(&erp).await).to_owned();
    let mut record = Record { maybe_applied: true, ..Record::of("D-1") };
    let own = id(&record.attempt(&erp).await).to_owned();
    assert_eq!((erp.effects(), erp.looked_up("not-there")), (2, 1));
    assert_ne!(own, other);
    assert_eq!(id(&record.taken_over().attempt(&erp).await), own, "its own is found among all");
}

#[tokio::test]
async fn an_attempt_that_is_known_to_have_failed_is_not_looked_for_again() {
    let erp = Erp::new(&format!("{{ {LOOK_UP} }}"), Repeats::default()).await;
    let mut record = Record { maybe_applied: true, ..Record::of("D-1") };
    erp.fault(Fault { status: Some(503), share: Some(0.0), ..Fault::default() });
    let look_up_only = |erp: &Erp| erp.looked_up("not-there") + erp.looked_up("found");
    record.effect.before(erp.client.system(), "createProject", true, 0);
    assert!(record.effect.not_found(&erp.client.system().idempotency.look_ups["createProject"], 1_000_000));
    erp.fault(Fault { outage: true, ..Fault::default() });
    assert!(matches!(record.attempt(&erp).await.answer, Answer::NotApplied(_)));
    erp.well();
    id(&record.attempt(&erp).await);
    assert_eq!(look_up_only(&erp), 0);
}

#[tokio::test]
async fn a_look_up_that_fails_says_nothing_of_the_call_and_sends_nothing() {
    for (status, class) in [(403, "misconfigured"), (404, "misconfigured"), (500, "not applied"), (400, "refused")] {
        let erp = Erp::new(&format!("{{ {LOOK_UP} }}"), Repeats::default()).await;
        let mut record = Record { maybe_applied: true, ..Record::of("D-1") };
        erp.fault(Fault { status: Some(status), ..Fault::default() });
        let attempted = record.attempt(&erp).await;
        let fits = match class {
            // The look-up asks for a list, which is always there: its 404 is of the address.
            "misconfigured" => matches!(attempted.answer, Answer::Misconfigured(_)),
            "not applied" => matches!(attempted.answer, Answer::NotApplied(_)),
            _refused => matches!(&attempted.answer, Answer::Refused(why) if why.code == "outcome-unknown"),
        };
        assert!(fits, "{status}: {attempted:?}");
        assert_eq!((erp.calls(), erp.looked_up("not-known")), (0, 1), "{status}");
    }
}

#[tokio::test]
async fn a_404_says_that_there_is_no_effect_where_one_thing_is_asked_for() {
    let by_id =
        "{ look_up: { createProject: { operation: getProject, with: { id: .externalId }, visible_after: 0s } } }";
    let erp = Erp::new(by_id, Repeats::default()).await;
    let mut record = Record { maybe_applied: true, ..Record::of("D-1") };
    id(&record.attempt(&erp).await);
    assert_eq!((erp.effects(), erp.looked_up("not-there")), (1, 1));
}

#[tokio::test]
async fn an_attempt_that_is_still_under_way_is_waited_for_and_its_answer_is_had() {
    let busy = |refusal: Refusal| Repeats { in_progress: Some(refusal), ..keyed() };
    let field = |pointer: &str, value: &str| Some((pointer.to_owned(), value.to_owned()));
    for (conflict, refusal) in [
        ("409: in_progress", Refusal::of(409)),
        ("422: { /errorCode: { \"704\": in_progress } }", Refusal { status: 422, field: field("/errorCode", "704") }),
    ] {
        let profile = format!("{{ header: Idempotency-Key, conflict: {{ {conflict} }} }}");
        let erp = Erp::new(&profile, busy(refusal)).await;
        erp.fault(Fault { latency_ms: 900, ..Fault::default() });
        let mut record = Record::of("D-1");
        let first = record.attempt(&erp).await;
        assert!(matches!(&first.answer, Answer::Unknown(why) if why.code == "timeout"), "{first:?}");
        erp.well();
        let mut waits = 0;
        let begun = Instant::now();
        let done = loop {
            let attempted = record.attempt(&erp).await;
            match &attempted.answer {
                Answer::Unknown(why) if why.code == "in-progress" => waits += 1,
                _other => break attempted,
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it waits for ever");
        };
        id(&done);
        assert!(waits > 0, "{conflict}: nothing was under way");
        assert_eq!(erp.effects(), 1);
    }
}

#[tokio::test]
async fn a_key_that_came_with_another_request_is_looked_up_or_dead_and_never_changed() {
    let refusal = Refusal { status: 400, field: Some(("/error/type".into(), "idempotency_error".into())) };
    let conflict = "conflict: { 400: { /error/type: { idempotency_error: mismatch } } }";
    for look_up in [String::new(), format!(", {LOOK_UP}")] {
        let profile = format!("{{ header: Idempotency-Key, stores: everything, {conflict}{look_up} }}");
        let erp = Erp::new(&profile, Repeats { mismatch: Some(refusal.clone()), ..keyed() }).await;
        let mut record = Record::of("D-1");
        record.lose_the_answer(&erp).await;
        record.body["name"] = json!("mapped anew");
        let again = record.attempt(&erp).await;
        if look_up.is_empty() {
            let Answer::Refused(why) = &again.answer else { panic!("{again:?}") };
            assert_eq!(why.code, "idempotency-mismatch");
        } else {
            id(&again);
            assert!(matches!(again.came, Came::Found(_)));
        }
        assert_eq!((record.effect.next_round(), erp.effects()), (0, 1));

        // Nobody knows of an earlier attempt, and there was one all the same.
        let mut fresh = Record { effect: Effect::default(), maybe_applied: false, ..record };
        fresh.attempt(&erp).await;
        assert_eq!((fresh.effect.next_round(), erp.effects()), (0, 1));
    }
}

#[tokio::test]
async fn what_exists_already_is_done_and_unreadable_only_where_it_cannot_be_looked_up() {
    let exists = || Repeats { unique: Some(("externalId".into(), Refusal::of(409))), ..Repeats::default() };
    for (look_up, readable) in [(String::new(), false), (format!(", {LOOK_UP}"), true)] {
        let erp = Erp::new(&format!("{{ conflict: {{ 409: exists }}{look_up} }}"), exists()).await;
        id(&Record::of("D-1").attempt(&erp).await);
        let again = Record::of("D-1").attempt(&erp).await;
        match readable {
            true => assert!(matches!(again.came, Came::Found(_)) && !id(&again).is_empty()),
            false => assert!(matches!(again.answer, Answer::AppliedUnreadable(_)), "{again:?}"),
        }
        assert_eq!(erp.effects(), 1);
    }
}

#[tokio::test]
async fn a_failure_that_is_kept_under_its_key_is_left_behind_by_the_next_round() {
    for (stores, next) in [("everything", 1), ("success", 0)] {
        let keeps = Repeats { keeps_failures: true, ..keyed() };
        let erp = Erp::new(&format!("{{ header: Idempotency-Key, stores: {stores} }}"), keeps).await;
        let mut record = Record::of("D-1");
        erp.fault(Fault { status: Some(404), ..Fault::default() });
        assert!(matches!(record.attempt(&erp).await.answer, Answer::AbsentOrForbidden(_)));
        erp.well();
        let again = record.attempt(&erp).await;
        assert!(matches!(again.answer, Answer::AbsentOrForbidden(_)), "what is kept comes again: {again:?}");
        assert_eq!((record.effect.round(), record.effect.next_round()), (0, next));

        record.effect = Effect::of(record.effect.set_aside());
        let redriven = record.attempt(&erp).await;
        match next {
            0 => assert!(matches!(redriven.answer, Answer::AbsentOrForbidden(_))),
            _one => drop(id(&redriven)),
        }
        assert_eq!(erp.effects(), next as usize);
    }
}

#[tokio::test]
async fn an_unknown_outcome_keeps_its_round_whatever_is_answered_later() {
    let erp = Erp::new("{ header: Idempotency-Key, stores: everything }", keyed()).await;
    let mut record = Record::of("D-1");
    record.lose_the_answer(&erp).await;
    erp.fault(Fault { status: Some(403), ..Fault::default() });
    assert!(matches!(record.attempt(&erp).await.answer, Answer::AbsentOrForbidden(_)));
    erp.well();
    id(&record.attempt(&erp).await);
    assert_eq!((record.effect.next_round(), erp.effects()), (0, 1));
}

#[tokio::test]
async fn a_conditional_call_names_the_version_that_it_changes() {
    let conditional = Repeats { conditional: true, ..Repeats::default() };
    let erp = Erp::new("{ upsert: { if_match: true } }", conditional).await;
    let mut record = Record { operation: "setProject", ..Record::of("D-1") };
    id(&record.attempt(&erp).await); // made, on the condition that there was none
    record.body["name"] = json!("another");
    id(&record.attempt(&erp).await); // changed, on the condition that it was as it was
    assert_eq!(erp.effects(), 2);
    let refused = erp.systems.journal().iter().filter(|a| a.status == 412).count();
    assert_eq!(refused, 0);

    // The question for the version fails: nothing is sent.
    erp.fault(Fault { status: Some(500), ..Fault::default() });
    assert!(matches!(record.attempt(&erp).await.answer, Answer::NotApplied(_)));
    assert_eq!(erp.calls(), 2);
}
