//! New settings come to what runs, all of them or none.

use std::time::Duration;

use mainstay::breaker::{BreakerLayer, KeyedBreakerLayer, State, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::fallback::{FallbackConfig, FallbackLayer};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{KeyedRate, Rate, RateLayer};
use mainstay::num::{Period, count};
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::settings::{Live, Settings};
use mainstay::standard::Stack;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

fn reload(live: &Live, text: &str) -> Result<(), String> {
    let settings = toml::from_str::<Settings>(text);
    let settings = settings.map_err(|error| error.message().to_owned())?;
    live.reload(&settings).map_err(|errors| errors.to_string())
}

/// Case X02 of the conformance vectors, from texts: what was learned stays, what is wrong changes nothing.
#[tokio::test(start_paused = true)]
async fn x02_a_bad_file_leaves_the_old_and_the_next_good_one_works() {
    let text = |percent: i32| {
        format!(
            "breakers.stock.trips.rate = {{ ratio = '{percent}%', min_calls = 4, window = 10 }}"
        )
    };
    let settings: Settings = toml::from_str(&text(50)).unwrap();
    let layer = BreakerLayer::new("stock", settings.breaker("stock").unwrap());
    let handle = layer.handle();
    let live = Live::new().breaker("stock", handle.clone());
    let failing = service_fn(|(): ()| async { Err::<(), BoxError>("down".into()) });
    let mut stock = layer.layer(failing);
    for _ in 0..3 {
        assert!(stock.ready().await.unwrap().call(()).await.is_err());
    }
    reload(&live, &text(40)).unwrap();
    assert_eq!(handle.state(), State::Closed);
    assert!(stock.ready().await.unwrap().call(()).await.is_err());
    assert_eq!(handle.state(), State::Open, "the three before count");
    reload(&live, &text(60)).unwrap();
    assert_eq!(handle.state(), State::Open);

    let ratio = || {
        handle.config().trips().find_map(|trip| match trip {
            Trip::Rate { ratio, .. } => Some(ratio.get()),
            _ => None,
        })
    };
    let refused = reload(&live, &text(-1)).unwrap_err();
    let expected = "breakers.stock.trips.rate.ratio: expected a number from 0 to 1, or a percentage such as \"50%\", \
                    got \"-1%\"";
    assert_eq!(refused, expected);
    assert_eq!((ratio(), handle.state()), (Some(0.6), State::Open));
    // No TOML, and no policy of the name.
    assert!(reload(&live, "breakers = ").is_err());
    let refused = reload(&live, "").unwrap_err();
    assert_eq!(refused, "breakers.stock: expected a table, got nothing");
    assert_eq!((ratio(), handle.state()), (Some(0.6), State::Open));
    reload(&live, &text(70)).unwrap();
    assert_eq!((ratio(), handle.state()), (Some(0.7), State::Open));
}

/// One policy of every kind, and one wrong setting: none of them changes.
#[tokio::test(start_paused = true)]
async fn all_or_none() {
    let period = Period::secs(1);
    let stack = Stack::standard("ledger");
    let breaker = BreakerLayer::new("stock", Trip::consecutive(5));
    let keyed =
        KeyedBreakerLayer::<u32, _>::new("hosts", Trip::consecutive(5), 8, |host: &u32| *host);
    let retry = RetryLayer::new("stock", RetryConfig::default());
    let fallback = FallbackLayer::value("search", FallbackConfig::default(), 0_u32);
    let deadline = DeadlineLayer::new("search", period);
    let adaptive = AdaptiveLayer::new("vectors", AdaptiveConfig::default());
    let concurrency = ConcurrencyLayer::new("reports", ConcurrencyConfig::default());
    let rate = RateLayer::new("mail", Rate::even(1, period));
    let by_tenant = KeyedRate::<u32>::new("tenants", Rate::even(1, period));
    let live = Live::new()
        .stack("ledger", stack.handle())
        .breaker("stock", breaker.handle())
        .keyed_breaker("hosts", keyed.handle())
        .retry("stock", retry.handle())
        .fallback("search", fallback.handle())
        .deadline("search", deadline.handle())
        .adaptive_limit("vectors", adaptive.handle())
        .concurrency_limit("reports", concurrency.handle())
        .rate_limit("mail", rate.handle())
        .keyed_rate_limit("tenants", by_tenant.handle());
    let seen = || {
        (
            stack.handle().config().total(),
            breaker.handle().config().opening(),
            retry.handle().config().attempts().get(),
            fallback.handle().config().places(),
            deadline.handle().limit(),
            adaptive.handle().config().range().most(),
            concurrency.handle().limit(),
            rate.handle().config().rate(),
            by_tenant.handle().config().bound(),
        )
    };
    let before = seen();
    let text = "
        stacks.ledger.deadline = '7s'
        breakers.stock.open_for = '7s'
        breakers.hosts.open_for = '7s'
        retries.stock.attempts = 7
        fallbacks.search.max_in_flight = 7
        deadlines.search = '7s'
        adaptive_limits.vectors.bounds.most = 7
        concurrency_limits.reports.limit = 7
        rate_limits.mail = { kind = 'even', permits = 7, period = '7s' }
        keyed_rate_limits.tenants = { kind = 'even', permits = 7, period = '7s', max_keys = 7 }
    ";
    // Each line in turn is left out, or has a value that cannot be.
    for line in text.lines().filter(|line| line.contains('=')) {
        let path = line.trim().split([' ', '=']).next().unwrap();
        let name = path.split('.').take(2).collect::<Vec<_>>().join(".");
        let refused = reload(&live, &text.replace(line, "")).unwrap_err();
        assert!(
            refused.starts_with(&format!("{name}: expected a")),
            "{refused}"
        );
        assert_eq!(refused.matches("expected").count(), 1);
        assert_eq!(seen(), before, "{name}");
        let wrong = line.replace('7', "0");
        let refused = reload(&live, &text.replace(line, &wrong)).unwrap_err();
        assert!(refused.starts_with(&name), "{refused}");
        assert_eq!(seen(), before, "{name}");
    }
    let refused = reload(&live, "").unwrap_err();
    assert_eq!(refused.matches("got nothing").count(), 10, "{refused}");
    reload(&live, text).unwrap();
    let seven = Period::secs(7);
    let after = (
        seven,
        Duration::from_secs(7),
        7,
        count(7),
        seven,
        count(7),
        count(7),
        Rate::even(7, seven),
        count(7),
    );
    assert_eq!(seen(), after);
}

/// Twenty calls wait in a stack while its settings change back and forth, some of them wrong.
#[tokio::test(start_paused = true)]
async fn calls_under_way_end_as_they_began() {
    let stack = Stack::standard("ledger");
    let live = Live::new().stack("ledger", stack.handle());
    let slow = service_fn(|n: u32| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<_, BoxError>(n)
    });
    let ledger = stack.service(slow);
    let calls: Vec<_> = (0..20)
        .map(|n| tokio::spawn(ledger.clone().oneshot(n)))
        .collect();
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = match n % 3 {
            0 => "stacks.ledger = { deadline = '5s', limit.bounds.most = 5 }",
            1 => "stacks.ledger = { deadline = '5', limit.bounds.most = 0 }",
            _ => "stacks.ledger = { deadline = '1m', retry.budget = 'none' }",
        };
        assert_eq!(reload(&live, text).is_err(), n % 3 == 1);
    }
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), n);
    }
    assert_eq!(stack.handle().limit().in_flight(), 0);
}
