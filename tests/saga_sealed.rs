//! Sealed payloads: nothing of them is in the file, and whatever happens to them or their keys is told and not guessed.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it waits for real writers, and in virtual time"
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{Key as CipherKey, KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{
    Answer, Append, Begin, Begun, Journal, JournalError, Labels, Listing, Status,
};
use mainstay::saga::entry::{Class, Operation};
use mainstay::saga::seal::{Keyed, PATIENCE, PayloadCodec, SEALED_FORMAT, Seal, SealError};
use mainstay::saga::{Cx, Ended, Incident, Key, Saga, SagaError, SagaId, Sagas, StepError};
use sha2::Sha256;

const INPUT: &str = "IBAN-DE89370400440532013000";
const OUTPUT: &str = "PAYMENT-OF-ADA-LOVELACE";

// === a codec with a real cipher ===

#[derive(Default)]
struct Vault {
    keys: Mutex<HashMap<String, Option<[u8; 32]>>>,
    generation: AtomicU32,
    away: AtomicBool,
    hangs: AtomicBool,
    strict: AtomicBool,
    fetched: AtomicU32,
}

impl Vault {
    fn forget(&self, key_id: &str) -> Option<[u8; 32]> {
        self.keys
            .lock()
            .unwrap()
            .insert(key_id.into(), None)
            .flatten()
    }

    fn put_back(&self, key_id: &str, key: [u8; 32]) {
        self.keys.lock().unwrap().insert(key_id.into(), Some(key));
    }

    fn rotate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

impl PayloadCodec for Vault {
    fn choose<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Option<String>> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(SealError::unavailable("the key service is shut"));
            }
            let Some(subject) = &labels.subject else {
                return Ok(None);
            };
            let generation = self.generation.load(Ordering::SeqCst);
            let mut keys = self.keys.lock().unwrap();
            let key_id = (generation..)
                .map(|number| format!("{}/{subject}:{number}", labels.tenant))
                .find(|key_id| keys.get(key_id) != Some(&None))
                .unwrap();
            keys.entry(key_id.clone())
                .or_insert_with(|| Some(CipherKey::generate().into()));
            Ok(Some(key_id))
        })
    }

    fn fetch<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        Box::pin(async move {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.away.load(Ordering::SeqCst) {
                return Err(SealError::unavailable("the key service is shut"));
            }
            let keys = self.keys.lock().unwrap();
            let key = keys.get(labels.key_id.as_ref().unwrap()).copied().flatten();
            let key = key.ok_or(SealError::Gone)?;
            Ok(Arc::new(SubjectKey(key)) as Arc<dyn Seal>)
        })
    }

    fn admits_plain(&self, _: &Labels) -> bool {
        !self.strict.load(Ordering::SeqCst)
    }
}

struct SubjectKey([u8; 32]);

impl SubjectKey {
    fn derived(&self, purpose: &[u8], message: &[u8]) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).unwrap();
        mac.update(purpose);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derived(b"seal", b"").into())
    }
}

impl Seal for SubjectKey {
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: plain,
            aad: bound_to,
        };
        let sealed = self.cipher().encrypt(&nonce, payload);
        let sealed = sealed.map_err(|_| SealError::refused("too long"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let cut = || SealError::refused("cut short");
        let (nonce, msg) = sealed.split_at_checked(24).ok_or_else(cut)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| cut())?;
        let payload = Payload { msg, aad: bound_to };
        let opened = self.cipher().decrypt(&nonce, payload);
        opened.map_err(|_| SealError::refused("not what was sealed"))
    }

    fn digest(&self, message: &[u8]) -> [u8; 32] {
        self.derived(b"digest", message)
    }
}

// === a saga ===

/// What steps saw, and whether the second one may go on.
#[derive(Default)]
struct Desk {
    open: AtomicBool,
    refuse: AtomicBool,
    seen: Mutex<Vec<String>>,
}

impl Desk {
    fn saw(&self, what: impl Into<String>) {
        self.seen.lock().unwrap().push(what.into());
    }
}

async fn order(cx: Cx<Desk, String>, (): ()) -> Result<String, StepError> {
    cx.app().saw(format!("order {}", cx.input()));
    Ok(format!("{OUTPUT}-1"))
}

async fn cancel(cx: Cx<Desk, String>, output: Option<String>) -> Result<(), StepError> {
    cx.app().saw(format!("cancel {output:?}"));
    Ok(())
}

async fn pay(cx: Cx<Desk, String>, order: String) -> Result<String, StepError> {
    cx.app().saw(format!("pay {order}"));
    if cx.app().refuse.load(Ordering::SeqCst) {
        return Err(StepError::refused("no money"));
    }
    while !cx.app().open.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(format!("{OUTPUT}-2"))
}

fn saga() -> Saga<Desk, String, String> {
    Saga::builder("payment")
        .step("order", order)
        .undo(cancel)
        .pivot("pay", pay)
        .build()
        .unwrap()
}

fn desk(open: bool) -> Arc<Desk> {
    let desk = Desk::default();
    desk.open.store(open, Ordering::SeqCst);
    Arc::new(desk)
}

fn key(number: u32) -> Key {
    Key::new(format!("INV-{number}"))
        .tenant("acme")
        .subject("ada")
}

async fn engine(
    journal: &Arc<dyn Journal>,
    desk: &Arc<Desk>,
    codec: Option<&Arc<Vault>>,
) -> Sagas<Desk> {
    let mut sagas = Sagas::builder(Arc::clone(journal), Arc::clone(desk)).register(&saga());
    if let Some(codec) = codec {
        let codec: Arc<Vault> = Arc::clone(codec);
        sagas = sagas.codec(codec);
    }
    sagas.start().await.unwrap()
}

fn memory() -> Arc<dyn Journal> {
    Arc::new(MemoryJournal::new())
}

fn sqlite(path: &Path) -> Arc<dyn Journal> {
    // The one before may still be about to let go of its lock.
    for _ in 0..500 {
        if let Ok(journal) = SqliteJournal::open(path) {
            return Arc::new(journal);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the journal stays locked");
}

/// Runs a saga up to its second step and lets go of everything, as the end of the process does.
async fn interrupted(path: &Path, vault: Option<&Arc<Vault>>, numbers: &[u32]) -> Vec<SagaId> {
    let journal = sqlite(path);
    let desk = desk(false);
    let sagas = engine(&journal, &desk, vault).await;
    let mut ids = Vec::new();
    for number in numbers {
        let handle = sagas
            .start(&saga(), key(*number), INPUT.into())
            .await
            .unwrap();
        ids.push(handle.id());
    }
    while desk
        .seen
        .lock()
        .unwrap()
        .iter()
        .filter(|seen| seen.starts_with("pay"))
        .count()
        < numbers.len()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sagas.shutdown(Duration::ZERO).await;
    ids
}

/// The whole of a finished saga in a file.
async fn completed(path: &Path, vault: Option<&Arc<Vault>>, number: u32) -> SagaId {
    let journal = sqlite(path);
    let sagas = engine(&journal, &desk(true), vault).await;
    let handle = sagas
        .start(&saga(), key(number), INPUT.into())
        .await
        .unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(format!("{OUTPUT}-2"))
    );
    sagas.shutdown(Duration::from_secs(5)).await;
    handle.id()
}

fn bytes_of(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn sql(path: &Path, statement: &str) {
    let database = rusqlite::Connection::open(path).unwrap();
    let changed = database.execute(statement, []).unwrap();
    assert!(changed > 0, "{statement}");
}

fn bodies(path: &Path) -> Vec<(u16, Option<String>, String)> {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut rows = database
        .prepare("SELECT format, key_id, body FROM record ORDER BY log, seq")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

async fn held(sagas: &Sagas<Desk>) -> Vec<Incident> {
    for _ in 0..1_000 {
        let incidents = sagas.incidents().await.unwrap();
        if !incidents.is_empty() && sagas.running() == 0 {
            return incidents;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no incident came");
}

// === what is written ===

#[tokio::test]
async fn nothing_of_a_payload_is_in_the_file() {
    for sealed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sagas.sqlite");
        let vault = Arc::new(Vault::default());
        let journal = sqlite(&path);
        let desk = desk(true);
        let sagas = engine(&journal, &desk, sealed.then_some(&vault)).await;
        let handle = sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
        handle.ended().await.unwrap();
        drop(handle);
        desk.refuse.store(true, Ordering::SeqCst);
        let handle = sagas.start(&saga(), key(2), INPUT.into()).await.unwrap();
        assert!(matches!(
            handle.ended().await.unwrap(),
            Ended::Compensated { .. }
        ));
        // With the write-ahead log, and after it was folded in.
        let running = bytes_of(folder.path());
        sagas.shutdown(Duration::from_secs(5)).await;
        drop((sagas, handle, journal));
        drop(sqlite(&path));
        for bytes in [running, bytes_of(folder.path())] {
            for secret in [INPUT, "370400440532", OUTPUT, "LOVELACE"] {
                // The control: the search finds what is there.
                assert_eq!(holds(&bytes, secret), !sealed, "{secret}");
            }
            for shown in [
                "order",
                "payment",
                "undone",
                "compensated",
                "no money",
                "INV-1",
            ] {
                assert!(holds(&bytes, shown), "{shown}");
            }
        }
        for (format, key_id, body) in bodies(&path) {
            if sealed {
                assert_eq!(key_id.as_deref(), Some("acme/ada:0"));
                let with_payload = body.contains("started") || body.contains("\"done\"");
                assert_eq!(format == SEALED_FORMAT, with_payload, "{body}");
                assert_eq!(body.contains(r#"{"sealed":""#), with_payload, "{body}");
            } else {
                assert_eq!((format, key_id), (1, None));
            }
        }
    }
}

#[tokio::test]
async fn the_same_payload_never_looks_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let vault = Arc::new(Vault::default());
    for number in 1..=3 {
        completed(&path, Some(&vault), number).await;
    }
    let mut seals: Vec<String> = bodies(&path)
        .iter()
        .flat_map(|(_, _, body)| body.split(r#""sealed":""#).skip(1))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(seals.len(), 9);
    seals.sort();
    seals.dedup();
    assert_eq!(seals.len(), 9);
}

// === going on ===

#[tokio::test]
async fn another_process_opens_what_was_sealed_forward_and_backward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let vault = Arc::new(Vault::default());
    interrupted(&path, Some(&vault), &[1]).await;
    let forward = desk(true);
    {
        let sagas = engine(&sqlite(&path), &forward, Some(&vault)).await;
        let handle = sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
        assert_eq!(
            handle.ended().await.unwrap(),
            Ended::Completed(format!("{OUTPUT}-2"))
        );
        sagas.shutdown(Duration::from_secs(5)).await;
    }
    assert_eq!(*forward.seen.lock().unwrap(), [format!("pay {OUTPUT}-1")]);

    interrupted(&path, Some(&vault), &[2]).await;
    let backward = desk(true);
    backward.refuse.store(true, Ordering::SeqCst);
    let sagas = engine(&sqlite(&path), &backward, Some(&vault)).await;
    let handle = sagas.start(&saga(), key(2), INPUT.into()).await.unwrap();
    assert!(matches!(
        handle.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
    let seen = backward.seen.lock().unwrap().clone();
    assert_eq!(seen[1], format!("cancel Some(\"{OUTPUT}-1\")"));
    // The first one's result, from the file.
    let handle = sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(format!("{OUTPUT}-2"))
    );
}

#[tokio::test]
async fn old_logs_open_with_their_own_key_after_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let vault = Arc::new(Vault::default());
    completed(&path, Some(&vault), 1).await;
    interrupted(&path, Some(&vault), &[2]).await;
    vault.rotate();
    let sagas = engine(&sqlite(&path), &desk(true), Some(&vault)).await;
    for number in 1..=3 {
        let handle = sagas
            .start(&saga(), key(number), INPUT.into())
            .await
            .unwrap();
        assert_eq!(
            handle.ended().await.unwrap(),
            Ended::Completed(format!("{OUTPUT}-2"))
        );
    }
    for number in 1..=3 {
        let other = sagas.start(&saga(), key(number), "another".into()).await;
        assert!(matches!(other, Err(SagaError::OtherInput(_))), "{other:?}");
    }
    let key_ids: Vec<_> = bodies(&path)
        .into_iter()
        .map(|(_, key_id, _)| key_id.unwrap())
        .collect();
    let (old, new) = ("acme/ada:0", "acme/ada:1");
    assert_eq!(key_ids, [old, old, old, old, old, old, new, new, new]);
}

#[tokio::test]
async fn plain_logs_from_before_the_codec_go_on_plain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    completed(&path, None, 1).await;
    interrupted(&path, None, &[2]).await;
    let vault = Arc::new(Vault::default());
    let sagas = engine(&sqlite(&path), &desk(true), Some(&vault)).await;
    for number in 1..=2 {
        let handle = sagas
            .start(&saga(), key(number), INPUT.into())
            .await
            .unwrap();
        assert_eq!(
            handle.ended().await.unwrap(),
            Ended::Completed(format!("{OUTPUT}-2"))
        );
        let other = sagas.start(&saga(), key(number), "another".into()).await;
        assert!(matches!(other, Err(SagaError::OtherInput(_))), "{other:?}");
    }
    assert!(
        bodies(&path)
            .iter()
            .all(|(format, key_id, _)| (*format, key_id.is_none()) == (1, true))
    );
}

#[tokio::test]
async fn a_codec_that_admits_no_plain_payloads_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    completed(&path, None, 1).await;
    interrupted(&path, None, &[2]).await;
    let vault = Arc::new(Vault::default());
    vault.strict.store(true, Ordering::SeqCst);
    let desk = desk(true);
    let sagas = engine(&sqlite(&path), &desk, Some(&vault)).await;
    let incidents = held(&sagas).await;
    assert_eq!(
        (incidents.len(), incidents[0].class),
        (1, Class::Unreadable)
    );
    assert!(desk.seen.lock().unwrap().is_empty(), "nothing ran");
    let old = sagas.start(&saga(), key(1), INPUT.into()).await;
    assert!(matches!(old, Err(SagaError::Sealed { .. })), "{old:?}");
    let about_nobody = sagas.start(&saga(), "INV-3", INPUT.into()).await;
    assert!(matches!(about_nobody, Err(SagaError::Sealed { .. })));
}

// === what was tampered with ===

/// Each change to one saga that stands before its second step, and what must come of it: an incident, and no step.
#[tokio::test]
async fn what_was_changed_becomes_an_incident_and_reaches_no_step() {
    let body =
        |change: &str| format!("UPDATE record SET body = {change} WHERE log = 1 AND seq = 2");
    let output = |text: &str| {
        body(&format!(
            r#"'[{{"done":{{"step":"order","output":{text}}}}}]'"#
        ))
    };
    let changes = [
        // One letter of the seal.
        body("replace(body, substr(body, -30, 1), CASE substr(body, -30, 1) WHEN 'x' THEN 'y' ELSE 'x' END)"),
        output(r#"{"sealed":""}"#),
        output(r#"{"sealed":"AAAA"}"#),
        output(r#"{"sealed":"not base64!"}"#),
        output(r#"{"sealed":7}"#),
        output(r#"{"sealed":"AAAA","more":1}"#),
        output(r#""PAY-ATTACKER""#),
        output("null"),
        // A plain payload in a plain record of a sealed log.
        format!("{} ; ", output(r#""PAY-ATTACKER""#)).replace("SET body", "SET format = 1, body").replace(" ; ", ""),
        // The seal taken for the value.
        "UPDATE record SET format = 1 WHERE log = 1 AND seq = 2".into(),
        // The order's output as the input, and the other way round.
        "UPDATE record SET body = replace(body, substr(body, instr(body, '{\"sealed')), \
         (SELECT substr(o.body, instr(o.body, '{\"sealed')) FROM record o WHERE o.log = 1 AND o.seq = 1)) \
         WHERE log = 1 AND seq = 2"
            .into(),
        // Another saga's output of the same step, of the same person, under the same key.
        body("(SELECT o.body FROM record o WHERE o.log = 2 AND o.seq = 2)"),
        // Another saga's input, with its nonce.
        "UPDATE record SET body = (SELECT o.body FROM record o WHERE o.log = 2 AND o.seq = 1) \
         WHERE log = 1 AND seq = 1"
            .into(),
        // Labels: whose it is, and that it was ever sealed.
        "UPDATE log SET subject = 'bob' WHERE id = 1".into(),
        "UPDATE log SET tenant = 'rival' WHERE id = 1".into(),
        "UPDATE log SET key_id = NULL WHERE id = 1".into(),
        "UPDATE log SET key = 'INV-9' WHERE id = 1".into(),
    ];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sagas.sqlite");
        let vault = Arc::new(Vault::default());
        let ids = interrupted(&path, Some(&vault), &[1, 2]).await;
        sql(&path, &change);
        let desk = desk(true);
        let sagas = engine(&sqlite(&path), &desk, Some(&vault)).await;
        let incidents = held(&sagas).await;
        let found: Vec<_> = incidents
            .iter()
            .map(|incident| (incident.saga, incident.class))
            .collect();
        assert_eq!(found, [(ids[0], Class::Unreadable)], "{change}");
        let text = format!("{incidents:?}");
        assert!(
            !text.contains("PAYMENT-OF") && !text.contains("IBAN") && !text.contains("ATTACKER"),
            "{text}"
        );
        // The other one went on, and only it.
        assert_eq!(
            *desk.seen.lock().unwrap(),
            [format!("pay {OUTPUT}-1")],
            "{change}"
        );
        if incidents[0].operations().contains(&Operation::Retry) {
            sagas.retry(ids[0], "ann", "look again").await.unwrap();
            assert_eq!(held(&sagas).await[0].number, 2, "{change}");
            sagas.abandon(ids[0], "ann", "by hand").await.unwrap();
            assert!(sagas.incidents().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_result_that_was_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let vault = Arc::new(Vault::default());
    completed(&path, Some(&vault), 1).await;
    completed(&path, Some(&vault), 2).await;
    sql(
        &path,
        "UPDATE record SET body = (SELECT o.body FROM record o WHERE o.log = 2 AND o.seq = 3) WHERE log = 1 AND seq = 3",
    );
    let sagas = engine(&sqlite(&path), &desk(true), Some(&vault)).await;
    let result = sagas.start(&saga(), key(1), INPUT.into()).await;
    assert!(
        matches!(result, Err(SagaError::Sealed { .. })),
        "{result:?}"
    );
    let handle = sagas.start(&saga(), key(2), INPUT.into()).await.unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(format!("{OUTPUT}-2"))
    );
}

// === keys that are gone, or away ===

#[tokio::test]
async fn an_erased_subject_is_told_and_never_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let vault = Arc::new(Vault::default());
    let done = completed(&path, Some(&vault), 1).await;
    let under_way = interrupted(&path, Some(&vault), &[2, 3]).await[0];
    let key_bytes = vault.forget("acme/ada:0").unwrap();
    let desk = desk(true);
    let sagas = engine(&sqlite(&path), &desk, Some(&vault)).await;
    let incidents = held(&sagas).await;
    assert_eq!(incidents.len(), 2);
    let incident = &incidents[0];
    assert_eq!(
        (incident.saga, incident.class, incident.number),
        (under_way, Class::Unreadable, 1)
    );
    assert!(
        incident.error.contains("acme/ada:0") && incident.error.contains("gone"),
        "{}",
        incident.error
    );
    assert_eq!(
        incident.operations(),
        [Operation::Abandon, Operation::Retry]
    );
    assert!(desk.seen.lock().unwrap().is_empty());

    for number in [1, 2] {
        let again = sagas.start(&saga(), key(number), INPUT.into()).await;
        let Err(SagaError::Erased { id, key_id, .. }) = again else {
            panic!("{again:?}");
        };
        assert_eq!(id, if number == 1 { done } else { under_way });
        assert_eq!(key_id, "acme/ada:0");
    }
    // The key comes back, from the safe: the saga goes on.
    vault.put_back("acme/ada:0", key_bytes);
    sagas
        .retry(under_way, "ann", "the key is back")
        .await
        .unwrap();
    let handle = sagas.start(&saga(), key(2), INPUT.into()).await.unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(format!("{OUTPUT}-2"))
    );
    vault.forget("acme/ada:0");
    sagas
        .abandon(incidents[1].saga, "ann", "erased")
        .await
        .unwrap();
    assert!(sagas.incidents().await.unwrap().is_empty());
}

#[tokio::test]
async fn operators_need_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let vault = Arc::new(Vault::default());
    let id = interrupted(&path, Some(&vault), &[1]).await[0];
    // An engine of operators has neither a codec nor the definition.
    let journal = sqlite(&path);
    let sagas = Sagas::builder(Arc::clone(&journal), ())
        .start()
        .await
        .unwrap();
    assert_eq!(sagas.unregistered().await.unwrap().len(), 1);
    drop(sagas);
    // One that has the definition and no codec holds the saga; it takes no seal for a value.
    let desk = desk(true);
    let sagas = engine(&journal, &desk, None).await;
    let incidents = held(&sagas).await;
    assert_eq!(
        (incidents[0].saga, incidents[0].class),
        (id, Class::Unreadable)
    );
    assert!(desk.seen.lock().unwrap().is_empty());
    let again = sagas.start(&saga(), key(1), INPUT.into()).await;
    assert!(matches!(again, Err(SagaError::Sealed { .. })), "{again:?}");
    sagas.abandon(id, "ann", "by hand").await.unwrap();
    let ended = journal.list(Listing::new(Status::Ended, 10)).await.unwrap();
    assert_eq!(ended.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_service_that_is_away_is_waited_for_with_patience() {
    let (journal, vault) = (memory(), Arc::new(Vault::default()));
    let first = desk(false);
    let sagas = engine(&journal, &first, Some(&vault)).await;
    let handle = sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sagas.shutdown(Duration::ZERO).await;
    drop((sagas, handle));

    vault.away.store(true, Ordering::SeqCst);
    let second = desk(true);
    let sagas = engine(&journal, &second, Some(&vault)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sagas.running(), 1, "it waits");
    // A start is not kept waiting: nothing has begun.
    let refused = sagas.start(&saga(), key(2), INPUT.into()).await;
    assert!(matches!(
        refused,
        Err(SagaError::Sealed {
            error: SealError::Unavailable(_),
            ..
        })
    ));
    vault.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(sagas.running(), 0);
    assert_eq!(*second.seen.lock().unwrap(), [format!("pay {OUTPUT}-1")]);
    drop(sagas);

    let third = desk(false);
    let sagas = engine(&journal, &third, Some(&vault)).await;
    let handle = sagas.start(&saga(), key(3), INPUT.into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sagas.shutdown(Duration::ZERO).await;
    drop((sagas, handle));
    vault.away.store(true, Ordering::SeqCst);
    let before = vault.fetched.load(Ordering::SeqCst);
    let sagas = engine(&journal, &desk(true), Some(&vault)).await;
    tokio::time::sleep(PATIENCE + Duration::from_secs(10)).await;
    let incidents = held(&sagas).await;
    assert_eq!(incidents[0].class, Class::Unreadable);
    assert!(
        incidents[0].error.contains("shut"),
        "{}",
        incidents[0].error
    );
    let asked = vault.fetched.load(Ordering::SeqCst) - before;
    assert!((100..1_000).contains(&asked), "{asked}");
    vault.away.store(false, Ordering::SeqCst);
    sagas
        .retry(incidents[0].saga, "ann", "it is back")
        .await
        .unwrap();
    let handle = sagas.start(&saga(), key(3), INPUT.into()).await.unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(format!("{OUTPUT}-2"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_key_service_that_hangs() {
    let (journal, vault) = (memory(), Arc::new(Vault::default()));
    let sagas = engine(&journal, &desk(false), Some(&vault)).await;
    sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sagas.shutdown(Duration::ZERO).await;
    drop(sagas);
    vault.hangs.store(true, Ordering::SeqCst);
    let sagas = engine(&journal, &desk(true), Some(&vault)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    let drained = sagas.shutdown(Duration::from_secs(3_600)).await;
    assert_eq!((drained.unfinished, drained.cut_off), (1, 0));
    assert!(begun.elapsed() < Duration::from_secs(1));
    let running = journal
        .list(Listing::new(Status::Running, 10))
        .await
        .unwrap();
    assert_eq!(running.len(), 1, "the next engine has it");
}

// === replies that are lost ===

/// A journal that does what it is asked and says every other time that the line went dead.
#[derive(Debug, Default)]
struct Deaf {
    inner: MemoryJournal,
    asked: AtomicU32,
}

impl Deaf {
    fn half_told<'a, T: Send + 'a>(&self, work: Answer<'a, T>) -> Answer<'a, T> {
        let lost = self.asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        Box::pin(async move {
            let answer = work.await?;
            if lost {
                return Err(JournalError::backend(std::io::Error::other(
                    "the line went dead",
                )));
            }
            Ok(answer)
        })
    }
}

impl Journal for Deaf {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        self.half_told(self.inner.begin(begin))
    }
    fn append(&self, append: Append) -> Answer<'_, ()> {
        self.half_told(self.inner.append(append))
    }
    mainstay::journal::pass_on!(inner: load claim list join beat leave release post prune changed);
}

/// A record that is asked for again is the same record, though sealing twice gives two texts.
#[tokio::test(start_paused = true)]
async fn a_record_is_sealed_once_however_often_it_is_asked_for() {
    let journal = Arc::new(Deaf::default());
    let vault = Arc::new(Vault::default());
    let desk = desk(true);
    let journal: Arc<dyn Journal> = journal;
    let sagas = engine(&journal, &desk, Some(&vault)).await;
    let handle = sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(format!("{OUTPUT}-2"))
    );
    assert_eq!(desk.seen.lock().unwrap().len(), 2, "each step ran once");
    let log = journal.load(handle.id().log()).await.unwrap();
    assert_eq!(log.records.len(), 3);
}

// === a crash at every write ===

/// A journal that ends after so many writes, with the last one done or not.
#[derive(Debug)]
struct Ends {
    inner: MemoryJournal,
    left: AtomicU32,
    done: bool,
}

impl Ends {
    fn until<'a, T: Send + 'a>(&self, work: Answer<'a, T>) -> Answer<'a, T> {
        let left = self.left.load(Ordering::SeqCst);
        self.left.store(left.saturating_sub(1), Ordering::SeqCst);
        let done = self.done;
        Box::pin(async move {
            match left {
                0 => Err(JournalError::Closed(None)),
                1 if done => work.await.and(Err(JournalError::Closed(None))),
                1 => Err(JournalError::Closed(None)),
                _ => work.await,
            }
        })
    }
}

impl Journal for Ends {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        self.until(self.inner.begin(begin))
    }
    fn append(&self, append: Append) -> Answer<'_, ()> {
        self.until(self.inner.append(append))
    }
    mainstay::journal::pass_on!(inner: load claim list join beat leave release post prune changed);
}

/// Wherever it crashes, forward and backward, the next process ends the saga as it would have ended, with the values
/// that were sealed, and every record with a payload is sealed.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_leaves_what_opens() {
    for (refuse, done, writes) in (0..40).map(|case| (case % 2 == 1, case / 2 % 2 == 1, case / 4)) {
        let inner = MemoryJournal::new();
        let vault = Arc::new(Vault::default());
        let journal: Arc<dyn Journal> = Arc::new(Ends {
            inner: inner.clone(),
            left: AtomicU32::new(writes),
            done,
        });
        let desk = desk(true);
        desk.refuse.store(refuse, Ordering::SeqCst);
        let sagas = engine(&journal, &desk, Some(&vault)).await;
        if let Ok(handle) = sagas.start(&saga(), key(1), INPUT.into()).await {
            drop(handle.ended().await);
        }
        sagas.shutdown(Duration::ZERO).await;
        drop(sagas);
        vault.rotate();

        let journal: Arc<dyn Journal> = Arc::new(inner.clone());
        let sagas = engine(&journal, &desk, Some(&vault)).await;
        let handle = sagas.start(&saga(), key(1), INPUT.into()).await.unwrap();
        let ended = handle.ended().await.unwrap();
        let case = format!("refuse {refuse}, done {done}, {writes} writes");
        if refuse {
            assert!(
                matches!(ended, Ended::Compensated { .. }),
                "{case}: {ended:?}"
            );
        } else {
            assert_eq!(ended, Ended::Completed(format!("{OUTPUT}-2")), "{case}");
        }
        let seen = desk.seen.lock().unwrap().clone();
        for saw in &seen {
            let known = [
                format!("order {INPUT}"),
                format!("pay {OUTPUT}-1"),
                format!("cancel Some(\"{OUTPUT}-1\")"),
            ];
            assert!(known.contains(saw), "{case}: {saw}");
        }
        let log = journal.load(handle.id().log()).await.unwrap();
        assert!(
            log.records
                .iter()
                .all(|record| !record.body.contains("IBAN") && !record.body.contains("PAYMENT"))
        );
    }
}

// === the same input ===

#[tokio::test(start_paused = true)]
async fn a_digest_tells_inputs_apart_and_gives_none_away() {
    let vault = Arc::new(Vault::default());
    let (sealed, plain) = (memory(), memory());
    let with = engine(&sealed, &desk(true), Some(&vault)).await;
    let without = engine(&plain, &desk(true), None).await;
    for number in 1..=2 {
        for sagas in [&with, &without] {
            let first = sagas
                .start(&saga(), key(number), "129900".into())
                .await
                .unwrap();
            let again = sagas
                .start(&saga(), key(number), "129900".into())
                .await
                .unwrap();
            assert_eq!(first.id(), again.id());
            first.ended().await.unwrap();
            let again = sagas
                .start(&saga(), key(number), "129900".into())
                .await
                .unwrap();
            assert_eq!(first.id(), again.id());
            let other = sagas.start(&saga(), key(number), "129901".into()).await;
            assert!(matches!(other, Err(SagaError::OtherInput(_))), "{other:?}");
        }
    }
    let digests = |journal: Arc<dyn Journal>| async move {
        let heads = journal.list(Listing::new(Status::Ended, 10)).await.unwrap();
        heads
            .into_iter()
            .map(|head| head.digest)
            .collect::<Vec<_>>()
    };
    let (sealed, plain) = (digests(sealed).await, digests(plain).await);
    // What anybody computes for every amount, and finds.
    assert_eq!(plain[0], plain[1]);
    assert_ne!(sealed[0], sealed[1]);
    assert!(
        sealed
            .iter()
            .all(|digest| digest.starts_with("sealed:acme/ada:0:")),
        "{sealed:?}"
    );
    assert!(!sealed[0].contains(&plain[0]));
}

// === codecs that are wrong ===

/// A codec that fails in a stated way.
struct Wrong(&'static str);

impl PayloadCodec for Wrong {
    fn choose<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Option<String>> {
        let how = self.0;
        Box::pin(async move {
            match how {
                "choose panics" => panic!("{INPUT}"),
                "choose hangs" => std::future::pending().await,
                "no name" => Ok(Some(String::new())),
                "long name" => Ok(Some("k".repeat(201))),
                "control in name" => Ok(Some("k\n".into())),
                "no key though asked" => Ok(None),
                _ => Ok(Some("k".into())),
            }
        })
    }

    fn fetch<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        let how = self.0;
        assert!(how != "fetch panics", "{INPUT}");
        Box::pin(async move {
            match how {
                "fetch hangs" => std::future::pending().await,
                "gone" => Err(SealError::Gone),
                _ => Ok(Arc::new(Self(how)) as Arc<dyn Seal>),
            }
        })
    }
}

impl Seal for Wrong {
    fn seal(&self, plain: &[u8], _: &[u8]) -> Result<Vec<u8>, SealError> {
        match self.0 {
            "seal panics" => panic!("{INPUT}"),
            "seal grows" => Ok(vec![7; 10 << 20]),
            "seal refuses" => Err(SealError::refused("not today")),
            _ => Ok(plain.to_vec()),
        }
    }

    fn open(&self, sealed: &[u8], _: &[u8]) -> Result<Vec<u8>, SealError> {
        match self.0 {
            "open panics" => panic!("{INPUT}"),
            "another value" => Ok(b"\"other\"".to_vec()),
            "no json" => Ok(b"{".to_vec()),
            "no text" => Ok(vec![0xff]),
            _ => Ok(sealed.to_vec()),
        }
    }

    fn digest(&self, _: &[u8]) -> [u8; 32] {
        assert!(self.0 != "digest panics", "{INPUT}");
        [7; 32]
    }
}

#[tokio::test(start_paused = true)]
async fn a_codec_that_is_wrong_is_found_before_anything_is_written() {
    for how in [
        "choose panics",
        "choose hangs",
        "no name",
        "long name",
        "control in name",
        "no key though asked",
        "fetch panics",
        "fetch hangs",
        "gone",
        "seal panics",
        "seal grows",
        "seal refuses",
        "open panics",
        "another value",
        "no json",
        "no text",
        "digest panics",
    ] {
        let journal = memory();
        let desk = desk(true);
        let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&desk))
            .codec(Arc::new(Wrong(how)))
            .register(&saga())
            .start()
            .await
            .unwrap();
        let asked = key(1).key_id("k9");
        let refused = sagas.start(&saga(), asked, INPUT.into()).await;
        let Err(error @ SagaError::Sealed { .. }) = refused else {
            panic!("{how}: {refused:?}");
        };
        assert!(
            !format!("{error} {error:?}").contains("IBAN"),
            "{how}: {error:?}"
        );
        for status in [Status::Running, Status::Held, Status::Ended] {
            assert!(
                journal
                    .list(Listing::new(status, 10))
                    .await
                    .unwrap()
                    .is_empty(),
                "{how}"
            );
        }
        assert!(desk.seen.lock().unwrap().is_empty());
        assert_eq!(sagas.running(), 0, "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_key_where_nothing_seals_is_refused() {
    let sagas = engine(&memory(), &desk(true), None).await;
    let refused = sagas
        .start(&saga(), key(1).key_id("k9"), INPUT.into())
        .await;
    let Err(error) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        matches!(&error, SagaError::Sealed { key_id, .. } if key_id == "k9"),
        "{error:?}"
    );
}

/// What the engine does not seal, it does not hide: a saga about nobody stays plain under this codec.
#[tokio::test(start_paused = true)]
async fn the_codec_decides_what_stays_plain() {
    let journal = memory();
    let vault = Arc::new(Vault::default());
    let sagas = engine(&journal, &desk(true), Some(&vault)).await;
    let handle = sagas.start(&saga(), "INV-1", INPUT.into()).await.unwrap();
    handle.ended().await.unwrap();
    let log = journal.load(handle.id().log()).await.unwrap();
    assert!(log.records[0].body.contains(INPUT));
    assert_eq!(log.records[0].format, 1);
}
