use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};
use pin_project::{pin_project, pinned_drop};
use tower::{Layer, Service};

use crate::scope::{self, Held, Scope, TierName};

/// The header in which the tier of a call travels to the next process: an HTTP header, which gRPC calls metadata.
///
/// The caller's half, [`carry`](Self::carry), stands next to the transport and writes what the
/// [`Scope`](crate::scope::Scope) says; what the request itself said before is taken out, so that a proxy that copies
/// headers does not pass on what a stranger wrote. The callee's half, [`honour`](Self::honour), believes nobody until it
/// is told [whom to trust](HonourTierLayer::trust), and takes the headers out of what it does not believe.
///
/// A second header of the same name with `-seats` at its end names the pools that hold a seat for this call, by numbers
/// that nobody can guess. So a call that comes back to a process by way of another one takes no second seat there, and a
/// circle of services cannot wait for itself. It is believed as the tier is, and taken out of every request; it is marked as
/// sensitive, so that whoever prints headers does not print it.
///
/// # Example
///
/// ```
/// use mainstay::http::TierHeader;
///
/// /// What the user's own authentication leaves in the extensions of a request.
/// #[derive(Clone)]
/// struct Peer {
///     is_ours: bool,
/// }
///
/// let carry = TierHeader::default().carry(); // on the client, next to the transport
/// let honour = TierHeader::default() // on the server, inside of what authenticates the peer
///     .honour()
///     .trust(|facts: &http::Extensions| facts.get::<Peer>().is_some_and(|peer| peer.is_ours));
/// # let _ = (carry, honour);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierHeader {
    name: HeaderName,
    seats: HeaderName,
}

impl TierHeader {
    /// The header of this name.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        let seats = HeaderName::from_bytes(format!("{name}-seats").as_bytes());
        Self {
            seats: seats.unwrap_or_else(|_| HeaderName::from_static("x-tenant-tier-seats")),
            name,
        }
    }

    /// Writes the tier into each request: the client's half.
    #[must_use]
    pub const fn carry(self) -> CarryTierLayer {
        CarryTierLayer { header: self }
    }

    /// Reads the tier from the requests of trusted callers: the server's half. Nobody is trusted before
    /// [`trust`](HonourTierLayer::trust) says whom.
    #[must_use]
    pub const fn honour(self) -> HonourTierLayer<Nobody> {
        HonourTierLayer {
            header: self,
            trust: Nobody,
        }
    }

    fn take_out(&self, headers: &mut HeaderMap) {
        headers.remove(&self.name);
        headers.remove(&self.seats);
    }

    fn write(&self, headers: &mut HeaderMap) {
        self.take_out(headers);
        if let Some(tier) = Scope::current().tier() {
            headers.insert(
                self.name.clone(),
                // It is made of letters, digits and three marks.
                HeaderValue::from_static(tier.as_str()),
            );
        }
        let mut seats = String::new();
        for token in scope::held().tokens() {
            if !seats.is_empty() {
                seats.push('.');
            }
            seats.push_str(&format!("{token:016x}"));
        }
        if !seats.is_empty()
            && let Ok(mut seats) = HeaderValue::from_str(&seats)
        {
            // Whoever is believed and knows a number takes no seat: it is not for logs, nor for a compressor's table.
            seats.set_sensitive(true);
            headers.insert(self.seats.clone(), seats);
        }
    }

    /// What a trusted caller told. What cannot be read, and a tier that nobody here knows, say nothing.
    fn read(&self, headers: &HeaderMap) -> (Scope, Held) {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let scope = Scope::current();
        let scope = match text(&self.name).and_then(TierName::known) {
            Some(tier) => scope.in_tier(tier),
            None => scope,
        };
        let tokens = text(&self.seats).unwrap_or_default().split('.');
        let tokens = tokens
            .take(Held::MOST)
            .filter(|token| token.len() == 16 && !token.starts_with('+'))
            .filter_map(|token| u64::from_str_radix(token, 16).ok());
        (
            scope,
            tokens.fold(scope::held(), |held, token| held.with(token)),
        )
    }
}

/// `x-tenant-tier`: there is no standard header.
impl Default for TierHeader {
    fn default() -> Self {
        Self::new(HeaderName::from_static("x-tenant-tier"))
    }
}

/// Tells the callee the tier of the call.
///
/// It belongs next to the transport, and only in front of services of your own: what it tells is nobody else's business.
/// Clones share nothing.
#[derive(Clone, Debug)]
pub struct CarryTierLayer {
    header: TierHeader,
}

impl<S> Layer<S> for CarryTierLayer {
    type Service = CarryTierService<S>;

    fn layer(&self, inner: S) -> CarryTierService<S> {
        CarryTierService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`CarryTierLayer`].
#[derive(Clone, Debug)]
pub struct CarryTierService<S> {
    inner: S,
    layer: CarryTierLayer,
}

impl<S, B> Service<Request<B>> for CarryTierService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.header.write(request.headers_mut());
        self.inner.call(request)
    }
}

/// Says whose word about the tier is believed, by what is known of the peer: the extensions of the request, where
/// authentication left its facts. Headers are not shown to it, since whoever calls can write them.
pub trait Trust {
    /// Whether the peer of a request with these extensions is believed.
    fn trusts(&self, facts: &Extensions) -> bool;
}

impl<F: Fn(&Extensions) -> bool> Trust for F {
    fn trusts(&self, facts: &Extensions) -> bool {
        self(facts)
    }
}

/// Trusts nobody.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct Nobody;

impl Trust for Nobody {
    fn trusts(&self, _facts: &Extensions) -> bool {
        false
    }
}

/// Takes over the tier that a trusted caller tells.
///
/// It belongs outside the [`TenantLayer`](crate::tenant::TenantLayer) and inside of what authenticates the peer. Clones
/// share nothing.
#[derive(Clone, Debug)]
pub struct HonourTierLayer<T = Nobody> {
    header: TierHeader,
    trust: T,
}

impl<T> HonourTierLayer<T> {
    /// Whose word is believed. Defaults to [`Nobody`]'s.
    #[must_use]
    pub fn trust<T2: Trust>(self, trust: T2) -> HonourTierLayer<T2> {
        HonourTierLayer {
            header: self.header,
            trust,
        }
    }
}

impl<S, T: Clone> Layer<S> for HonourTierLayer<T> {
    type Service = HonourTierService<S, T>;

    fn layer(&self, inner: S) -> HonourTierService<S, T> {
        HonourTierService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`HonourTierLayer`].
#[derive(Clone, Debug)]
pub struct HonourTierService<S, T> {
    inner: S,
    layer: HonourTierLayer<T>,
}

impl<S, B, T> Service<Request<B>> for HonourTierService<S, T>
where
    S: Service<Request<B>>,
    T: Trust,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = InTier<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let HonourTierLayer { header, trust } = &self.layer;
        let (scope, held) = if trust.trusts(request.extensions()) {
            let told = header.read(request.headers());
            // They are in the scope from here on, and nobody's business within.
            request.headers_mut().remove(&header.seats);
            told
        } else {
            header.take_out(request.headers_mut());
            (Scope::current(), scope::held())
        };
        let _within = scope::within(scope, held);
        InTier {
            future: Some(self.inner.call(request)),
            scope,
            held,
        }
    }
}

/// The future of [`HonourTierService`].
///
/// # Cancel safety
///
/// Dropping it drops the call.
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct InTier<F> {
    #[pin]
    future: Option<F>,
    scope: Scope,
    held: Held,
}

impl<F: Future> Future for InTier<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _within = scope::within(*this.scope, *this.held);
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            // Only `drop` takes the future out.
            None => Poll::Pending,
        }
    }
}

#[pinned_drop]
impl<F> PinnedDrop for InTier<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _within = scope::within(*this.scope, *this.held);
        this.future.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_what_was_there_before_is_not() {
        let header = TierHeader::default();
        let tier = TierName::new("tier-of-the-header-test").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant-tier", HeaderValue::from_static("forged"));
        headers.insert("x-tenant-tier-seats", HeaderValue::from_static("1"));
        header.write(&mut headers);
        assert!(headers.is_empty(), "a stranger's words are not passed on");
        let held = Held::NONE.with(7).with(u64::MAX);
        let within = scope::within(Scope::current().in_tier(tier), held);
        header.write(&mut headers);
        drop(within);
        assert_eq!(headers["x-tenant-tier"], tier.as_str());
        assert!(headers["x-tenant-tier-seats"].is_sensitive());
        assert!(!format!("{headers:?}").contains("0000000000000007"));
        let (scope, read) = header.read(&headers);
        assert_eq!((scope.tier(), read), (Some(tier), held));
    }

    #[test]
    fn what_is_believed_goes_into_the_scope_and_the_seats_out_of_the_request() {
        let tier = TierName::new("tier-of-the-header-test").unwrap();
        for is_believed in [true, false] {
            let honour = TierHeader::default().honour();
            let layer = honour.trust(move |_: &Extensions| is_believed);
            let mut service = layer.layer(tower::service_fn(|request: Request<()>| {
                let told = (Scope::current().tier(), scope::held());
                assert!(!request.headers().contains_key("x-tenant-tier-seats"));
                std::future::ready(Ok::<_, ()>((told, request.headers().len())))
            }));
            let mut request = Request::new(());
            let held = Held::NONE.with(7);
            let within = scope::within(Scope::current().in_tier(tier), held);
            TierHeader::default().write(request.headers_mut());
            drop(within);
            assert_eq!(request.headers().len(), 2);
            let future = std::pin::pin!(service.call(request));
            let Poll::Ready(answer) =
                future.poll(&mut Context::from_waker(std::task::Waker::noop()))
            else {
                panic!("it is ready");
            };
            let told = if is_believed {
                (Some(tier), held)
            } else {
                (None, Held::NONE)
            };
            assert_eq!(answer, Ok((told, usize::from(is_believed))));
        }
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let header = TierHeader::default();
        for bad in [
            "",
            "nobody-knows-this",
            "é",
            ".",
            "0",
            "zzzzzzzzzzzzzzzz",
            "+000000000000001",
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            headers.insert("x-tenant-tier", value.clone());
            headers.insert("x-tenant-tier-seats", value);
            let (scope, held) = header.read(&headers);
            assert_eq!(scope.tier(), None, "{bad:?}");
            assert_eq!(held, Held::NONE, "{bad:?}");
        }
    }
}
