use http::{Method, Request};

use crate::degrade::{Access, Accesses};

/// What a request does, by its method: GET, HEAD, OPTIONS and TRACE read, everything else writes.
///
/// # Source
///
/// RFC 9110 §9.2.1, safe methods.
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Access, Accesses};
/// use mainstay::http::ByMethod;
///
/// assert_eq!(ByMethod.access(&http::Request::get("/ledger").body(())?), Access::Read);
/// assert_eq!(ByMethod.access(&http::Request::post("/ledger").body(())?), Access::Write);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct ByMethod;

impl<B> Accesses<Request<B>> for ByMethod {
    fn access(&self, request: &Request<B>) -> Access {
        match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Access::Read,
            _ => Access::Write,
        }
    }
}
