//! What is asked of a store all the time, of one that is nearly empty and of one that is full of ended logs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay::journal::{Begin, Begun, Claim, InstanceId, Join, Journal, Labels, Listing, Status};
use mainstay::time::Timestamp;

/// How often each question is asked; a claim takes 32 logs each time.
const ROUNDS: usize = 50;

/// How many logs have ended, `MAINSTAY_ENDED`; the other store has a thousand.
pub(crate) fn ended() -> u32 {
    let asked = std::env::var("MAINSTAY_ENDED").ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or(100_000)
}

/// A store, and who asks it.
pub(crate) struct Asked {
    journal: Arc<dyn Journal>,
    owner: InstanceId,
}

impl Asked {
    /// Begins as many logs as will be claimed.
    pub(crate) async fn new(journal: Arc<dyn Journal>) -> Self {
        let lease = Duration::from_secs(3_600);
        let owner = journal.join(Join::new("crowd", lease)).await.unwrap();
        // The claims of three tries, a warm one, and some that are left.
        let begins = (0..4 * ROUNDS * 32).map(|number| {
            let labels = Arc::new(Labels::new("acme"));
            let key = format!("running-{owner}-{number}");
            journal.begin(Begin::new(
                labels,
                "pay",
                key,
                "",
                1,
                "[]",
                Timestamp::from_millis(1),
            ))
        });
        for begun in futures::future::join_all(begins).await {
            assert!(matches!(begun.unwrap(), Begun::Created(_)));
        }
        Self { journal, owner }
    }

    async fn ask(&self, question: Question) -> Duration {
        let began = Instant::now();
        let found = match question {
            Question::Claim => {
                let claim = Claim::new(vec![("pay".into(), 1)], 32).owner(self.owner);
                self.journal.claim(claim).await
            }
            Question::List(status, narrow) => {
                let listing = Listing::new(status, 32);
                self.journal
                    .list(match narrow {
                        Narrow::Not => listing,
                        // The small store has as many.
                        Narrow::Tenant => Listing::new(status, 10).tenant("t3"),
                        Narrow::Key => listing.tenant("t7").kind("pay").key("ended-00000008"),
                    })
                    .await
            }
        };
        let took = began.elapsed();
        let found = found.unwrap().len();
        match question {
            Question::List(Status::Held, _) => assert_eq!(found, 0),
            Question::List(Status::Ended, Narrow::Tenant) => assert_eq!(found, 10),
            Question::List(Status::Ended, Narrow::Key) => assert_eq!(found, 1),
            _ => assert_eq!(found, 32, "{question:?}"),
        }
        took
    }
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Claim,
    List(Status, Narrow),
}

#[derive(Clone, Copy, Debug)]
enum Narrow {
    Not,
    Tenant,
    Key,
}

const QUESTIONS: [(&str, Question); 6] = [
    ("claim 32", Question::Claim),
    ("list running", Question::List(Status::Running, Narrow::Not)),
    ("list held", Question::List(Status::Held, Narrow::Not)),
    ("list ended", Question::List(Status::Ended, Narrow::Not)),
    ("list one ended", Question::List(Status::Ended, Narrow::Key)),
    (
        "list ended of a tenant",
        Question::List(Status::Ended, Narrow::Tenant),
    ),
];

/// Asks each once, just after it was opened.
pub(crate) async fn cold(few: &Asked, many: &Asked) {
    for (name, question) in QUESTIONS {
        let (few, many) = (few.ask(question).await, many.ask(question).await);
        println!("{name:24} cold {few:>10.1?} {many:>10.1?}");
    }
}

/// Asks both in turn, and holds that the full one is as fast, give or take a fifth. What else goes on in the machine may
/// spoil one try, and not three.
pub(crate) async fn warm(few: &Asked, many: &Asked) {
    for (name, question) in QUESTIONS {
        let mut fast = false;
        let tries = 3;
        for _ in 0..tries {
            let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                of_few.push(few.ask(question).await);
                of_many.push(many.ask(question).await);
            }
            let (few, many) = (quick(of_few), quick(of_many));
            let ratio = many.as_secs_f64() / few.as_secs_f64();
            println!("{name:24} warm {few:>10.1?} {many:>10.1?}  {ratio:.2}");
            fast = ratio <= 1.2;
            if fast {
                break;
            }
        }
        assert!(fast, "{name}");
    }
}

/// One of the quicker: what else goes on in the machine only ever adds.
fn quick(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 4]
}

/// Takes a file out of the system's memory, where it lets itself be told.
pub(crate) fn forget(file: &Path) {
    let from = format!("if={}", file.display());
    let told = std::process::Command::new("dd")
        .args([&from, "iflag=nocache", "count=0", "status=none"])
        .status();
    println!(
        "{} is forgotten: {}",
        file.display(),
        told.is_ok_and(|told| told.success())
    );
}
