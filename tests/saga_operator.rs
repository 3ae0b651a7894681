//! What operators see and may do: nothing that nobody granted, one decision for one incident, and all of it written down.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(clippy::disallowed_methods, reason = "it waits, in virtual time")]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Append, Begin, Begun, Claim, Journal, Labels, LogId, Status};
use mainstay::num::Attempts;
use mainstay::saga::entry::{Class, FORMAT, Fact, Operation};
use mainstay::saga::machine::Execution;
use mainstay::saga::operator::{
    Act, Authorize, Authorized, Command, Decided, DenyAll, MOST_PROPOSALS, MOST_REFUSALS, Operator,
    OperatorError, Permission, Request, Search, Shown, Story, Sweep,
};
use mainstay::saga::seal::{Keyed, PayloadCodec, Seal, SealError};
use mainstay::saga::{
    Cx, Ended, Handle, Key, Kind, Payload, Saga, SagaError, SagaId, Sagas, Shape, Step, StepError,
    StepShape,
};
use mainstay::time::Timestamp;

/// Whether the bank answers.
#[derive(Default)]
struct World {
    bank: AtomicBool,
    shop: AtomicBool,
    transfers: AtomicUsize,
}

type Here = Cx<World, String>;

async fn reserve(cx: Here, (): ()) -> Result<String, StepError> {
    Ok(format!("SECRET-output of {}", cx.input()))
}

async fn unreserve(cx: Here, _: Option<String>) -> Result<(), StepError> {
    if cx.app().shop.load(Ordering::SeqCst) {
        Ok(())
    } else {
        Err(StepError::retry("the shop is shut"))
    }
}

async fn transfer(cx: Here, _: String) -> Result<u64, StepError> {
    cx.app().transfers.fetch_add(1, Ordering::SeqCst);
    match (cx.input().as_str(), cx.app().bank.load(Ordering::SeqCst)) {
        ("SECRET-refused", _) => Err(StepError::fail("no")),
        ("SECRET-later", _) => Err(StepError::retry_after(
            "not yet",
            Duration::from_secs(3_600),
        )),
        (_, true) => Ok(7),
        (_, false) => Err(StepError::unknown("the line went dead")),
    }
}

fn payment() -> Saga<World, String, u64> {
    Saga::builder("payment")
        .step("reserve", reserve)
        .undo(Step::new(unreserve).attempts(Attempts::total(1)))
        .pivot("transfer", transfer)
        .build()
        .unwrap()
}

/// What everybody may, and what was asked.
#[derive(Default)]
struct House {
    payloads: bool,
    two: Vec<Operation>,
    asked: Mutex<Vec<String>>,
}

impl Authorize for House {
    fn authorize<'a>(&'a self, request: Request<'a>) -> Authorized<'a> {
        let Request {
            actor, act, saga, ..
        } = &request;
        let line = format!("{actor} {} {}", act.as_str(), saga.key);
        self.asked.lock().unwrap().push(line);
        let answer = match act {
            _ if request.actor.starts_with("eve") => Permission::denied("not you"),
            Act::List if *saga.tenant != *"" && *saga.tenant != *request.actor => {
                Permission::default()
            }
            Act::Decide(operation) if self.two.contains(operation) => Permission::NeedsSecond,
            _ => Permission::Granted {
                payloads: self.payloads,
            },
        };
        Box::pin(async move { answer })
    }
}

async fn engine(journal: Arc<dyn Journal>, world: &Arc<World>) -> Sagas<World> {
    let builder = Sagas::builder(journal, Arc::clone(world));
    builder.register(&payment()).start().await.unwrap()
}

async fn stuck(sagas: &Sagas<World>, key: impl Into<Key>) -> Handle<u64> {
    let handle = sagas
        .start(&payment(), key, "SECRET-input".into())
        .await
        .unwrap();
    assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
    handle
}

fn house() -> Arc<House> {
    Arc::default()
}

fn two(operations: &[Operation]) -> Arc<House> {
    Arc::new(House {
        two: operations.to_vec(),
        ..House::default()
    })
}

fn command(operation: Operation) -> Command {
    Command::new(operation, 1, "because")
}

async fn facts(journal: &dyn Journal, saga: SagaId) -> Vec<Fact> {
    let log = journal.load(saga.log()).await.unwrap();
    let read = |body: &str| serde_json::from_str::<Vec<Fact>>(body).unwrap();
    log.records
        .iter()
        .flat_map(|record| read(&record.body))
        .collect()
}

fn is_denied<T>(answer: &Result<T, OperatorError>) -> bool {
    matches!(answer, Err(OperatorError::Denied { .. }))
}

fn held() -> Search {
    Search::new(Status::Held)
}

// === rule 1: what is not granted is denied ===

struct Panics;
impl Authorize for Panics {
    fn authorize<'a>(&'a self, _: Request<'a>) -> Authorized<'a> {
        panic!("no directory")
    }
}

struct PanicsLater;
impl Authorize for PanicsLater {
    fn authorize<'a>(&'a self, _: Request<'a>) -> Authorized<'a> {
        Box::pin(async { panic!("no directory") })
    }
}

struct Hangs;
impl Authorize for Hangs {
    fn authorize<'a>(&'a self, _: Request<'a>) -> Authorized<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_yes_nothing_is_shown_and_nothing_happens() {
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(Arc::new(journal.clone()), &world).await;
    let id = stuck(&sagas, "1").await.id();
    let authorisers: [Arc<dyn Authorize>; 4] = [
        Arc::new(DenyAll),
        Arc::new(Panics),
        Arc::new(PanicsLater),
        Arc::new(Hangs),
    ];
    for authorize in authorisers {
        let eve = sagas.operator(authorize, "eve");
        assert!(eve.search(&held()).await.unwrap().found.is_empty());
        assert!(eve.incidents(&held()).await.unwrap().found.is_empty());
        assert!(is_denied(&eve.story(id).await));
        assert!(is_denied(&eve.drawing(id).await));
        assert!(is_denied(&eve.cancel(id, "because").await));
        for operation in [Operation::Retry, Operation::Abandon, Operation::Unwind] {
            assert!(is_denied(&eve.decide(id, &command(operation)).await));
        }
        let swept = eve
            .decide_all(&Sweep::new(held()), Operation::Retry, "because")
            .await;
        assert!(swept.unwrap().each.is_empty());
    }
    assert_eq!(sagas.incidents().await.unwrap().len(), 1);
    // What was refused about the incident is in the history, once.
    let facts = facts(&journal, id).await;
    let refused: Vec<&Fact> = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::Refused(_)))
        .collect();
    assert_eq!(refused.len(), 3, "{facts:?}");
    let log = journal.load(id.log()).await.unwrap();
    assert_eq!((log.head.status, log.mail.len()), (Status::Held, 0));
    // Nobody without a name, whatever the authoriser says.
    let nobody = sagas.operator(house(), " ");
    assert!(is_denied(&nobody.story(id).await));
    // The saga is none the worse for it.
    world.bank.store(true, Ordering::SeqCst);
    let ann = sagas.operator(house(), "ann");
    let decided = ann.decide(id, &command(Operation::Retry)).await.unwrap();
    assert_eq!(decided, Decided::CarriedOut);
    let again = sagas
        .start(&payment(), "1", "SECRET-input".into())
        .await
        .unwrap();
    assert_eq!(again.ended().await.unwrap(), Ended::Completed(7));
}

#[tokio::test(start_paused = true)]
async fn each_act_is_asked_for_with_its_saga() {
    let world = Arc::default();
    let sagas = engine(Arc::new(MemoryJournal::new()), &world).await;
    let id = stuck(&sagas, "K-1").await.id();
    let house = house();
    let ann = sagas.operator(Arc::clone(&house) as _, "ann");
    ann.search(&held()).await.unwrap();
    ann.story(id).await.unwrap();
    ann.drawing(id).await.unwrap();
    ann.decide(id, &command(Operation::Unwind)).await.unwrap();
    ann.cancel(id, "because").await.unwrap();
    let asked = house.asked.lock().unwrap().join(", ");
    assert_eq!(
        asked,
        "ann list K-1, ann read K-1, ann read K-1, ann unwind K-1, ann cancel K-1"
    );
}

/// Rule 4.
#[tokio::test(start_paused = true)]
async fn refusals_do_not_fill_the_journal() {
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(Arc::new(journal.clone()), &world).await;
    let id = stuck(&sagas, "1").await.id();
    for number in 0..100 {
        let eve = sagas.operator(house(), &format!("eve {}", number / 2));
        assert!(is_denied(
            &eve.decide(id, &command(Operation::Abandon)).await
        ));
    }
    let facts = facts(&journal, id).await;
    let refused = facts.iter().filter(|fact| matches!(fact, Fact::Refused(_)));
    assert_eq!(refused.count(), MOST_REFUSALS);
    let ann = sagas.operator(two(&[Operation::Abandon]), "ann");
    for _ in 0..MOST_PROPOSALS {
        ann.decide(id, &command(Operation::Abandon)).await.unwrap();
    }
    let more = ann.decide(id, &command(Operation::Abandon)).await;
    assert!(matches!(more, Err(OperatorError::TooMany(_))), "{more:?}");
}

// === rule 5: payloads ===

/// Turns bytes around: a place where something is sealed, and no cipher.
struct Around;

impl Seal for Around {
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.iter().chain(bound_to).rev().copied().collect())
    }
    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let whole: Vec<u8> = sealed.iter().rev().copied().collect();
        let plain = whole.strip_suffix(bound_to).map(<[u8]>::to_vec);
        plain.ok_or(SealError::refused("of another place"))
    }
    fn digest(&self, _: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}

struct Vault(Arc<AtomicBool>);

impl PayloadCodec for Vault {
    fn choose<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Option<String>> {
        Box::pin(async { Ok(Some("k1".into())) })
    }
    fn fetch<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        let gone = self.0.load(Ordering::SeqCst);
        Box::pin(async move {
            if gone {
                Err(SealError::Gone)
            } else {
                Ok(Arc::new(Around) as Arc<dyn Seal>)
            }
        })
    }
}

fn shown(story: &Story) -> (bool, String) {
    let text = serde_json::to_string(story).unwrap();
    (
        text.contains("SECRET-input") && text.contains("SECRET-output"),
        text,
    )
}

#[tokio::test(start_paused = true)]
async fn payloads_are_shown_to_those_to_whom_they_are_granted() {
    for sealed in [false, true] {
        let world = Arc::<World>::default();
        let gone = Arc::new(AtomicBool::new(false));
        let mut builder = Sagas::builder(Arc::new(MemoryJournal::new()), Arc::clone(&world));
        if sealed {
            builder = builder.codec(Arc::new(Vault(Arc::clone(&gone))));
        }
        let sagas = builder.register(&payment()).start().await.unwrap();
        let id = stuck(&sagas, "1").await.id();
        let ann = sagas.operator(house(), "ann");
        let story = ann.story(id).await.unwrap();
        let (_, text) = shown(&story);
        assert_eq!(story.payloads, Shown::Redacted);
        assert!(
            !text.contains("SECRET") && !text.contains("sealed"),
            "{text}"
        );
        assert!(
            text.contains("the line went dead"),
            "errors are shown: {text}"
        );
        let granted = Arc::new(House {
            payloads: true,
            ..House::default()
        });
        let bob = sagas.operator(granted, "bob");
        let story = bob.story(id).await.unwrap();
        assert_eq!(story.payloads, Shown::Yes);
        assert!(shown(&story).0, "{story:?}");
        gone.store(sealed, Ordering::SeqCst);
        let story = bob.story(id).await.unwrap();
        assert_eq!(matches!(story.payloads, Shown::Sealed(_)), sealed);
        assert_eq!(shown(&story).0, !sealed);
        let drawing = ann.drawing(id).await.unwrap().mermaid();
        assert!(drawing.contains("waits for an operator") && !drawing.contains("SECRET"));
    }
}

/// Nothing of it is redacted away or added unseen: the whole, letter by letter.
#[tokio::test(start_paused = true)]
async fn the_story_of_a_saga() {
    let journal = MemoryJournal::new();
    let at = Timestamp::from_millis;
    let shape = payment().shape().clone();
    let start = format!(
        r#"[{{"started":{{"definition":"payment","version":1,"fingerprint":"{}","nonce":"51","input":"SECRET"}}}}]"#,
        shape.fingerprint()
    );
    let labels = Arc::new(Labels::new("acme").subject("S-1"));
    let begin = Begin::new(
        Arc::clone(&labels),
        "payment",
        "K-1",
        "d",
        FORMAT,
        start,
        at(1_000),
    );
    let Begun::Created(head) = journal.begin(begin.stage("reserve")).await.unwrap() else {
        panic!("it is new")
    };
    let mut place = head.place;
    for (body, status, stage, time) in [
        (
            r#"[{"retry_at":{"step":"reserve","attempt":2,"since":1000,"at":4000,"error":"busy"}}]"#,
            Status::Running,
            "reserve",
            3_000,
        ),
        (
            r#"[{"done":{"step":"reserve","output":"SECRET"}}]"#,
            Status::Running,
            "transfer",
            5_000,
        ),
        (
            r#"[{"failed":{"step":"transfer","effect":"none","error":"no","attempts":1}},"unwind"]"#,
            Status::Running,
            "undo reserve",
            6_000,
        ),
        (
            r#"[{"incident":{"number":1,"class":"undo_failed","step":"reserve","error":"shut","attempts":10,"allowed":["abandon","retry"]}}]"#,
            Status::Held,
            "undo reserve",
            9_000,
        ),
        (
            r#"[{"refused":{"incident":1,"operation":"abandon","actor":"eve","why":"not you"}}]"#,
            Status::Held,
            "undo reserve",
            9_500,
        ),
        (
            r#"[{"proposed":{"number":1,"incident":1,"operation":"abandon","actor":"ann","reason":"by hand"}}]"#,
            Status::Held,
            "undo reserve",
            9_600,
        ),
    ] {
        let append = Append::new(
            head.id,
            place,
            status,
            Arc::clone(&labels),
            FORMAT,
            body,
            at(time),
        );
        journal.append(append.stage(stage)).await.unwrap();
        place = place.after();
    }
    let sagas = engine(Arc::new(journal), &Arc::default()).await;
    let acme = sagas.operator(house(), "acme");
    let story = acme.story(head.id.into()).await.unwrap();
    let text = serde_json::to_string_pretty(&story).unwrap();
    let text = text.replace(&shape.fingerprint(), "<fingerprint>");
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/operator_story.json"
    );
    if std::env::var_os("MAINSTAY_BLESS").is_some() {
        std::fs::write(golden, format!("{text}\n")).unwrap();
    }
    assert_eq!(
        format!("{text}\n"),
        std::fs::read_to_string(golden).unwrap()
    );
}

// === rule 3: two people ===

#[tokio::test(start_paused = true)]
async fn what_takes_two_waits_for_another_person_over_a_restart() {
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(Arc::new(journal.clone()), &world).await;
    let id = stuck(&sagas, "1").await.id();
    let house = two(&[Operation::Abandon]);
    let ann = sagas.operator(Arc::clone(&house) as _, "ann");
    let decided = ann.decide(id, &command(Operation::Abandon)).await.unwrap();
    assert_eq!(decided, Decided::Proposed(1));
    for same in ["ann", " Ann "] {
        let herself = sagas.operator(Arc::clone(&house) as _, same);
        let approved = herself.approve(id, 1).await;
        assert!(
            matches!(approved, Err(OperatorError::SameActor { .. })),
            "{approved:?}"
        );
    }
    sagas.shutdown(Duration::from_secs(5)).await;
    drop((ann, sagas));

    let sagas = engine(Arc::new(journal.clone()), &world).await;
    let eve = sagas.operator(Arc::clone(&house) as _, "eve");
    assert!(is_denied(&eve.approve(id, 1).await));
    let bob = sagas.operator(Arc::clone(&house) as _, "bob");
    let proposal = bob.story(id).await.unwrap().proposal.unwrap();
    assert_eq!(
        (proposal.number, &*proposal.actor, &*proposal.reason),
        (1, "ann", "because")
    );
    assert_eq!(sagas.incidents().await.unwrap().len(), 1, "it waits on");
    let none = bob.approve(id, 2).await;
    assert!(
        matches!(none, Err(OperatorError::NoProposal { .. })),
        "{none:?}"
    );
    bob.approve(id, 1).await.unwrap();
    let again = bob.approve(id, 1).await;
    assert!(
        matches!(again, Err(OperatorError::NoProposal { .. })),
        "{again:?}"
    );

    let facts = facts(&journal, id).await;
    let Some([Fact::Resolved(by), Fact::Finished(_)]) = facts.last_chunk::<2>() else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (&*by.actor, by.approver.as_deref(), &*by.reason),
        ("ann", Some("bob"), "because")
    );
    let refused = facts.iter().any(
        |fact| matches!(fact, Fact::Refused(denial) if *denial.actor == *"eve" && denial.proposal == Some(1)),
    );
    assert!(refused, "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_proposal_is_off_when_it_is_turned_down_replaced_or_outlived() {
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(Arc::new(journal.clone()), &world).await;
    let handle = stuck(&sagas, "1").await;
    let id = handle.id();
    let house = two(&[Operation::Abandon, Operation::SupplyOutput]);
    let ann = sagas.operator(Arc::clone(&house) as _, "ann");
    let bob = sagas.operator(Arc::clone(&house) as _, "bob");
    let off = |answer: Result<(), OperatorError>| {
        assert!(
            matches!(answer, Err(OperatorError::NoProposal { .. })),
            "{answer:?}"
        );
    };
    ann.decide(id, &command(Operation::Abandon)).await.unwrap();
    bob.turn_down(id, 1, "the bank is back").await.unwrap();
    off(bob.approve(id, 1).await);
    off(bob.turn_down(id, 1, "again").await);
    // What would not be carried out is not proposed.
    for (output, why) in [
        (None, "needs the output"),
        (Some(r#""seven""#), "the output"),
    ] {
        let mut supply = command(Operation::SupplyOutput);
        if let Some(output) = output {
            supply = supply.output(serde_json::from_str(output).unwrap());
        }
        let refused = ann.decide(id, &supply).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    ann.decide(id, &command(Operation::Abandon)).await.unwrap();
    let output: Payload = serde_json::from_str("8").unwrap();
    let supply = command(Operation::SupplyOutput).output(output);
    assert_eq!(ann.decide(id, &supply).await.unwrap(), Decided::Proposed(3));
    off(bob.approve(id, 2).await);
    // The incident ends, and another one begins.
    let carol = sagas.operator(Arc::clone(&house) as _, "carol");
    carol.decide(id, &command(Operation::Retry)).await.unwrap();
    assert!(
        matches!(handle.ended().await.unwrap(), Ended::Incident(incident) if incident.number == 2)
    );
    off(bob.approve(id, 3).await);
    // Rule 2: who saw the first one does not decide about the second.
    let stale = ann
        .decide(id, &command(Operation::Retry))
        .await
        .unwrap_err()
        .to_string();
    assert!(stale.contains("incident 1 is over, 2 is open"), "{stale}");
    let stale = ann
        .decide(id, &command(Operation::Abandon))
        .await
        .unwrap_err()
        .to_string();
    assert!(stale.contains("incident 1 is over, 2 is open"), "{stale}");
}

#[tokio::test(start_paused = true)]
async fn an_output_that_was_proposed_is_sealed_until_it_is_approved() {
    let journal = MemoryJournal::new();
    let vault = || Arc::new(Vault(Arc::default()));
    let builder = Sagas::builder(Arc::new(journal.clone()), World::default());
    let sagas = builder
        .codec(vault())
        .register(&payment())
        .start()
        .await
        .unwrap();
    let handle = stuck(&sagas, "1").await;
    let house = two(&[Operation::SupplyOutput]);
    let ann = sagas.operator(Arc::clone(&house) as _, "ann");
    let output: Payload = serde_json::from_str("4711").unwrap();
    let supply = command(Operation::SupplyOutput).output(output);
    ann.decide(handle.id(), &supply).await.unwrap();
    let bob = sagas.operator(Arc::clone(&house) as _, "bob");
    bob.approve(handle.id(), 1).await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(4_711));
    let log = journal.load(handle.id().log()).await.unwrap();
    assert!(
        log.records
            .iter()
            .all(|record| !record.body.contains("4711"))
    );
}

// === rule 2: one decision ===

#[tokio::test(start_paused = true)]
async fn of_two_operators_on_two_instances_one_decides() {
    let journal = MemoryJournal::new();
    let world = Arc::<World>::default();
    world.bank.store(true, Ordering::SeqCst);
    let here = engine(Arc::new(journal.clone()), &world).await;
    let there = engine(Arc::new(journal.clone()), &world).await;
    for round in 0..50 {
        world.bank.store(false, Ordering::SeqCst);
        let handle = stuck(&here, format!("{round}").as_str()).await;
        let id = handle.id();
        world.bank.store(true, Ordering::SeqCst);
        let (ann, bob) = (
            here.operator(house(), "ann"),
            there.operator(house(), "bob"),
        );
        let (retry, abandon) = (command(Operation::Retry), command(Operation::Abandon));
        let (one, other) = tokio::join!(ann.decide(id, &retry), bob.decide(id, &abandon));
        let facts = facts(&journal, id).await;
        let decisions = facts
            .iter()
            .filter(|fact| matches!(fact, Fact::Resolved(_)));
        assert_eq!(decisions.count(), 1, "{facts:?}");
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let ended = handle.ended().await.unwrap();
        assert_eq!(
            matches!(ended, Ended::Abandoned { .. }),
            other.is_ok(),
            "{ended:?}"
        );
    }
}

// === rule 6: many ===

#[tokio::test(start_paused = true)]
async fn a_class_of_incidents_is_decided_about_one_by_one() {
    let journal = MemoryJournal::new();
    let world = Arc::<World>::default();
    let sagas = engine(Arc::new(journal.clone()), &world).await;
    for number in 0..25 {
        let tenant = if number % 5 == 4 { "other" } else { "ann" };
        stuck(&sagas, Key::new(format!("{number}")).tenant(tenant)).await;
    }
    let refused = sagas
        .start(&payment(), "undo", "SECRET-refused".into())
        .await
        .unwrap();
    assert!(
        matches!(refused.ended().await.unwrap(), Ended::Incident(incident) if incident.class == Class::UndoFailed)
    );
    world.bank.store(true, Ordering::SeqCst);
    let ann = sagas.operator(house(), "ann");
    let search = held()
        .class(Class::UnknownOutcome)
        .step("transfer")
        .limit(8);
    let calls = world.transfers.load(Ordering::SeqCst);

    let mut sweep = Sweep::new(search)
        .per_second(NonZeroU32::new(4).unwrap())
        .rehearse();
    let rehearsed = ann
        .decide_all(&sweep, Operation::Retry, "the bank is back")
        .await
        .unwrap();
    assert!(rehearsed.each.iter().all(|one| one.result.is_none()));
    assert_eq!(rehearsed.each.len(), 7, "of eight one is another tenant's");
    assert_eq!(world.transfers.load(Ordering::SeqCst), calls);
    let output = ann
        .decide_all(&sweep, Operation::SupplyOutput, "because")
        .await;
    assert!(output.is_err());

    sweep = sweep.carry_out();
    let began = tokio::time::Instant::now();
    let (mut done, mut pages) = (0_u32, 0_u32);
    loop {
        let swept = ann
            .decide_all(&sweep, Operation::Retry, "the bank is back")
            .await
            .unwrap();
        let all = swept.each.iter();
        assert!(
            all.clone()
                .all(|one| matches!(one.result, Some(Ok(Decided::CarriedOut))))
        );
        done += u32::try_from(swept.each.len()).unwrap();
        pages += 1;
        let Some(next) = swept.next else { break };
        sweep = sweep.after(next);
    }
    assert_eq!((done, pages), (20, 4));
    assert_eq!(began.elapsed(), Duration::from_millis(250) * 20);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = sagas.incidents().await.unwrap();
    assert_eq!(left.len(), 6, "another tenant's, and another class");
    assert!(left.iter().all(|incident| *incident.tenant != *"ann"));
}

// === search ===

async fn keys(operator: &Operator<World>, search: &Search) -> String {
    let page = operator.search(search).await.unwrap();
    let keys: Vec<&str> = page.found.iter().map(|found| &*found.key).collect();
    keys.join(" ")
}

#[tokio::test]
async fn sagas_are_found_by_what_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteJournal::open(folder.path().join("sagas.sqlite")).unwrap();
    let journals: [Arc<dyn Journal>; 2] = [Arc::new(MemoryJournal::new()), Arc::new(sqlite)];
    for journal in journals {
        let world = Arc::<World>::default();
        world.bank.store(true, Ordering::SeqCst);
        let sagas = engine(Arc::clone(&journal), &world).await;
        let start = async |key: Key, input: &str| {
            let handle = sagas.start(&payment(), key, input.into()).await.unwrap();
            if input != "SECRET-later" {
                handle.ended().await.unwrap();
            }
            handle.id()
        };
        let first = start(Key::new("done"), "SECRET").await;
        start(Key::new("undo"), "SECRET-refused").await;
        let later = start(Key::new("later"), "SECRET-later").await;
        world.bank.store(false, Ordering::SeqCst);
        start(Key::new("held").tenant("ann"), "SECRET").await;
        start(Key::new("other").tenant("bob"), "SECRET").await;
        while sagas.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        let ann = sagas.operator(house(), "ann");
        let running = Search::new(Status::Running);
        assert_eq!(keys(&ann, &Search::new(Status::Ended)).await, "done");
        assert_eq!(keys(&ann, &running).await, "later");
        assert_eq!(keys(&ann, &running.clone().step("transfer")).await, "later");
        assert_eq!(keys(&ann, &running.clone().step("reserve")).await, "");
        assert_eq!(
            keys(&ann, &held()).await,
            "undo held",
            "bob's is not hers to see"
        );
        assert_eq!(keys(&ann, &held().undoing("reserve")).await, "undo");
        assert_eq!(keys(&ann, &held().step("reserve")).await, "");
        assert_eq!(keys(&ann, &held().step("transfer")).await, "held");
        assert_eq!(keys(&ann, &held().tenant("ann")).await, "held");
        assert_eq!(keys(&ann, &held().tenant("")).await, "undo");
        assert_eq!(keys(&ann, &held().key("undo")).await, "undo");
        assert_eq!(keys(&ann, &held().class(Class::UndoFailed)).await, "undo");
        assert_eq!(keys(&ann, &held().definition("payment")).await, "undo held");
        assert_eq!(keys(&ann, &held().definition("refund")).await, "");
        assert_eq!(
            keys(&ann, &running.clone().class(Class::UndoFailed)).await,
            ""
        );
        let now = ann.search(&running).await.unwrap().found.remove(0);
        assert_eq!((now.saga, now.records, now.instance), (later, 3, None));
        let (begun, updated) = (now.begun, now.updated);
        let next = |at: Timestamp| Timestamp::from_millis(at.as_millis() + 1);
        assert_eq!(keys(&ann, &running.clone().begun_before(begun)).await, "");
        assert_eq!(
            keys(&ann, &running.clone().begun_before(next(begun))).await,
            "later"
        );
        assert_eq!(
            keys(&ann, &running.clone().updated_before(updated)).await,
            ""
        );
        assert_eq!(
            keys(&ann, &running.clone().updated_before(next(updated))).await,
            "later"
        );
        assert_eq!(
            keys(&ann, &Search::new(Status::Ended).after(first)).await,
            ""
        );

        // Page by page, and a page of what may not be seen is empty and not the last.
        let mut pages = Vec::new();
        let mut search = held().limit(1);
        loop {
            let page = ann.search(&search).await.unwrap();
            pages.push(page.found.len());
            let Some(next) = page.next else { break };
            search = search.after(next);
        }
        assert_eq!(pages, [1, 1, 0, 0]);
        assert_eq!(
            ann.incidents(&held().class(Class::UndoFailed))
                .await
                .unwrap()
                .found
                .len(),
            1
        );
        sagas.shutdown(Duration::ZERO).await;
    }
}

async fn pass(_: Here, (): ()) -> Result<(), StepError> {
    Ok(())
}

async fn undone(_: Here, _: Option<()>) -> Result<(), StepError> {
    Ok(())
}

async fn stops(_: Here, _: Option<()>) -> Result<(), StepError> {
    tokio::time::sleep(Duration::from_secs(5)).await;
    Err(StepError::halt("look"))
}

async fn fails(_: Here, (): ()) -> Result<(), StepError> {
    Err(StepError::fail("no"))
}

#[tokio::test(start_paused = true)]
async fn a_saga_is_at_the_undo_that_is_next() {
    let saga = Saga::builder("two")
        .check("look", pass)
        .step("first", pass)
        .undo(stops)
        .step("second", pass)
        .undo(undone)
        .step("third", fails)
        .undo(undone)
        .build()
        .unwrap();
    let journal = MemoryJournal::new();
    let builder = Sagas::builder(Arc::new(journal.clone()), World::default());
    let sagas = builder.register(&saga).start().await.unwrap();
    let handle = sagas.start(&saga, "1", String::new()).await.unwrap();
    let stage = async || {
        let log = journal.load(handle.id().log()).await.unwrap();
        log.head.stage.to_string()
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage().await, "undo first", "it is under way");
    assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
    assert_eq!(stage().await, "undo first");
    let ann = sagas.operator(house(), "ann");
    let skip = command(Operation::SkipUndo);
    ann.decide(handle.id(), &skip).await.unwrap();
    assert!(matches!(
        handle.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
    assert_eq!(stage().await, "", "it is over");
}

// === logs that cannot be read ===

#[tokio::test]
async fn a_log_that_cannot_be_read_is_abandoned_without_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let world = Arc::<World>::default();
    {
        let journal = Arc::new(SqliteJournal::open(&path).unwrap());
        let sagas = engine(journal, &world).await;
        for number in 1..=4 {
            let input = "SECRET-later".to_owned();
            sagas
                .start(&payment(), format!("{number}").as_str(), input)
                .await
                .unwrap();
        }
        while sagas.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sagas.shutdown(Duration::from_secs(5)).await;
    }
    {
        let shell = rusqlite::Connection::open(&path).unwrap();
        let wake = shell.execute("UPDATE log SET wake = 0", []);
        wake.unwrap();
        for damage in [
            r#"UPDATE record SET body = '[{"teleported":{}}]' WHERE log = 1 AND seq = 2"#,
            "UPDATE record SET format = 99 WHERE log = 2",
            "DELETE FROM record WHERE log = 3 AND seq = 2",
            // It reads, and is no saga.
            r#"UPDATE record SET body = '["unwind"]' WHERE log = 4 AND seq = 2"#,
        ] {
            shell.execute(damage, []).unwrap();
        }
    }
    let journal = Arc::new(SqliteJournal::open(&path).unwrap());
    let sagas = engine(Arc::clone(&journal) as _, &world).await;
    let ann = sagas.operator(house(), "ann");
    let mut seen = Vec::new();
    while seen.len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        seen = ann.incidents(&held()).await.unwrap().found;
    }
    assert!(keys(&ann, &held()).await.is_empty(), "nothing was written");
    for incident in seen {
        assert_eq!((incident.class, incident.number), (Class::Unreadable, 0));
        assert_eq!(incident.operations(), [Operation::Abandon]);
        let id = incident.saga;
        let story = ann.story(id).await.unwrap();
        assert_eq!(story.unreadable.is_some(), id.get() != 4, "{story:?}");
        let retried = ann
            .decide(id, &Command::new(Operation::Retry, 0, "because"))
            .await;
        assert!(
            matches!(
                retried,
                Err(OperatorError::Saga(SagaError::Unreadable { .. }))
            ),
            "{retried:?}"
        );
        // A second person cannot be asked: there is nowhere to write it.
        let careful = sagas.operator(two(&[Operation::Abandon]), "ann");
        let abandon = Command::new(Operation::Abandon, 0, "restored by hand");
        assert!(is_denied(&careful.decide(id, &abandon).await));
        assert_eq!(ann.decide(id, &abandon).await.unwrap(), Decided::CarriedOut);
        let again = ann.decide(id, &abandon).await;
        assert!(
            matches!(again, Err(OperatorError::Saga(SagaError::NotHeld(_)))),
            "{again:?}"
        );
        if id.get() != 3 {
            let key = format!("{id}");
            let handle = sagas
                .start(&payment(), key.as_str(), "SECRET-later".into())
                .await
                .unwrap();
            let ended = handle.ended().await.unwrap();
            assert!(
                matches!(&ended, Ended::Abandoned { actor, .. } if **actor == *"ann"),
                "{ended:?}"
            );
        }
    }
    assert!(sagas.incidents().await.unwrap().is_empty());
    let ended = ann.search(&Search::new(Status::Ended)).await.unwrap();
    assert_eq!(ended.found.len(), 4);
    sagas.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_another_instance_has_is_left_to_it() {
    let journal = MemoryJournal::new();
    let join = mainstay::journal::Join::new("newer", Duration::from_secs(60));
    let newer = journal.join(join).await.unwrap();
    let labels = Arc::new(Labels::default());
    let at = Timestamp::from_millis(0);
    let begin = Begin::new(
        labels,
        "payment",
        "1",
        "d",
        FORMAT,
        r#"[{"teleported":{}}]"#,
        at,
    );
    let Begun::Created(head) = journal.begin(begin.owner(newer)).await.unwrap() else {
        panic!("it is new")
    };
    let sagas = engine(Arc::new(journal.clone()), &Arc::default()).await;
    let ann = sagas.operator(house(), "ann");
    let abandon = Command::new(Operation::Abandon, 0, "because");
    let refused = ann.decide(head.id.into(), &abandon).await;
    assert!(
        matches!(
            refused,
            Err(OperatorError::Saga(SagaError::NotAllowed { .. }))
        ),
        "{refused:?}"
    );
    // A claim comes between: the position is another one.
    journal.leave(newer).await.unwrap();
    let claimed = journal
        .claim(Claim::new(vec![("payment".into(), 1)], 1))
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    ann.decide(head.id.into(), &abandon).await.unwrap();
    assert_eq!(
        journal.load(LogId::new(1)).await.unwrap().head.status,
        Status::Ended
    );
}

// === the machine's rules ===

/// Rules 25 and 26.
#[test]
fn words_about_an_incident_change_nothing_and_follow_each_other() {
    let shape = Arc::new(Shape::new(
        "pay",
        1,
        vec![StepShape::new("pay", Kind::Pivot)],
    ));
    let start = r#"{"started":{"definition":"pay","version":1,"fingerprint":"9c","nonce":"51","input":null}}"#;
    let incident = r#"{"incident":{"number":1,"class":"unknown_outcome","step":"pay","error":"","attempts":1}}"#;
    let proposed = |number: u32, incident: u32, operation: &str| {
        format!(
            r#"{{"proposed":{{"number":{number},"incident":{incident},"operation":"{operation}","actor":"a","reason":"b"}}}}"#
        )
    };
    let off = r#"{"turned_down":{"proposal":1,"actor":"b","reason":"c"}}"#.to_owned();
    let refused = |incident: u32| {
        format!(
            r#"{{"refused":{{"incident":{incident},"operation":"abandon","actor":"e","why":"no"}}}}"#
        )
    };
    let retry =
        r#"{"resolved":{"incident":1,"operation":"retry","actor":"a","reason":"b"}}"#.to_owned();
    let given_up =
        r#"{"resolved":{"incident":0,"operation":"abandon","actor":"a","reason":"b"}}"#.to_owned();
    let replay = |more: &[&String]| {
        let more: Vec<&str> = more.iter().map(|fact| fact.as_str()).collect();
        let text = format!("[{}]", [&[start, incident], &*more].concat().join(","));
        let facts: Vec<Fact> = serde_json::from_str(&text).unwrap();
        let dated = facts.iter().map(|fact| (fact, Timestamp::from_millis(0)));
        Execution::replay(Arc::clone(&shape), dated).map(|execution| execution.held().is_some())
    };
    let one = proposed(1, 1, "abandon");
    assert_eq!(
        replay(&[&one, &refused(1), &off, &proposed(2, 1, "unwind")]),
        Ok(true)
    );
    assert_eq!(replay(&[&one, &retry]), Ok(false));
    for bad in [
        &[&off][..],
        &[&one, &off, &off],
        &[&one, &proposed(1, 1, "abandon")],
        &[&proposed(2, 1, "abandon")],
        &[&proposed(1, 2, "abandon")],
        &[&proposed(1, 1, "skip_undo")],
        &[&refused(2)],
        &[&retry, &refused(1)],
        &[&retry, &one],
        &[&one, &retry, &off],
        &[&given_up],
    ] {
        assert!(replay(bad).is_err(), "{bad:?}");
    }
}
