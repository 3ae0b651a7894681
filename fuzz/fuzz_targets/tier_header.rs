//! Whatever a peer sends as the tier of a call and the seats that it holds: of a stranger nothing is believed and nothing
//! passed on; of a friend only a tier that is known here and seats that are written as ours are, four at the most.
//!
//! The first line is `friend` for one. Of those after it one that begins with `=` is a tier, and one with `.` are seats.

#![no_main]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use http::{Extensions, HeaderMap, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use mainstay::http::TierHeader;
use mainstay::scope::{Scope, TierName};
use tower::{Layer, Service, service_fn};

const TIER: &str = "x-tenant-tier";
const SEATS: &str = "x-tenant-tier-seats";
const KNOWN: [&str; 3] = ["enterprise", "mid-market", "smb"];

/// The tiers that this process has.
fn known() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        for name in KNOWN {
            TierName::new(name).expect("a name");
        }
    });
}

/// What the service within saw: the tier of its scope, the headers of its request, and those of a request that it sends on.
type Seen = (Option<TierName>, HeaderMap, HeaderMap);

fn send_on() -> HeaderMap {
    let mut sent = HeaderMap::new();
    let mut out = TierHeader::default()
        .carry()
        .layer(service_fn(|request: Request<()>| {
            sent = request.headers().clone();
            ready(Ok::<_, Infallible>(()))
        }));
    let mut request = Request::new(());
    // What a proxy copies from the request that came in.
    request
        .headers_mut()
        .insert(TIER, HeaderValue::from_static("forged"));
    drop(out.call(request));
    drop(out);
    sent
}

fn through(headers: HeaderMap, is_friend: bool) -> Seen {
    let within = |request: Request<()>| -> Ready<Result<Seen, Infallible>> {
        let tier = Scope::current().tier();
        ready(Ok((tier, request.headers().clone(), send_on())))
    };
    let honour = TierHeader::default().honour();
    let layer = honour.trust(move |_: &Extensions| is_friend);
    let mut service = layer.layer(service_fn(within));
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    let future = pin!(service.call(request));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(seen)) => seen,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => panic!("it is ready"),
    }
}

fuzz_target!(|told: &[u8]| {
    known();
    let mut lines = told.split(|byte| *byte == b'\n');
    let is_friend = lines.next() == Some(b"friend");
    let mut headers = HeaderMap::new();
    for line in lines.take(16) {
        let (name, value) = match line.split_first() {
            Some((b'=', value)) => (TIER, value),
            Some((b'.', value)) => (SEATS, value),
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let first = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (tier, seats) = (first(TIER), first(SEATS));
    let (believed, kept, sent) = through(headers, is_friend);
    assert!(!kept.contains_key(SEATS), "nobody's business within");
    assert_eq!(Scope::current().tier(), None, "a scope ends with its call");
    assert!(send_on().is_empty(), "and nothing is sent outside of it");
    if !is_friend {
        assert!(believed.is_none() && kept.is_empty() && sent.is_empty());
        return;
    }
    let expected = KNOWN.into_iter().find(|name| *name == tier);
    assert_eq!(believed.map(TierName::as_str), expected);
    let told = sent.get(TIER).map(|tier| tier.to_str().expect("a name"));
    assert_eq!(told, expected);
    // The seats go on as they came, if they are any.
    let Some(on) = sent.get(SEATS) else {
        return;
    };
    assert!(on.is_sensitive());
    let on = on.to_str().expect("digits");
    let came: Vec<_> = seats.split('.').map(str::to_ascii_lowercase).collect();
    let gone: Vec<_> = on.split('.').collect();
    assert!(gone.len() <= 4);
    for seat in &gone {
        assert!(
            seat.len() == 16 && came.iter().any(|known| known == seat),
            "{seat}"
        );
    }
    // The next process reads of it what this one did.
    let (tier, _, again) = through(sent.clone(), true);
    assert_eq!((tier, again), (believed, sent));
});
