use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::error::{Reason, Rejected, TimedOut};
use crate::reject::{GiveUp, Refuse};

/// Refusals leave as responses: 503 with Retry-After, 504 when time is over, with a problem body.
///
/// The body says no more than the status does: no host, no tenant, no policy. The [`Rejected`] travels in the
/// response's extensions, where outer layers find it. For every service whose body can be made from a `String`: axum's,
/// reqwest's, `http_body_util::Full`.
///
/// # Source
///
/// RFC 9457, problem details; RFC 9110 §10.2.3, Retry-After in whole seconds, rounded up.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct AsResponse;

impl<B: From<String>, E> Refuse<Response<B>, E> for AsResponse {
    fn refuse(&self, rejected: Rejected) -> Result<Response<B>, E> {
        Ok(problem(rejected))
    }

    fn rejection(&self, result: Result<&Response<B>, &E>) -> Option<Rejected> {
        result.ok()?.extensions().get().copied()
    }
}

impl<B: From<String>, E> GiveUp<Response<B>, E> for AsResponse {
    fn give_up(&self, _timed_out: TimedOut) -> Result<Response<B>, E> {
        Ok(status_only(StatusCode::GATEWAY_TIMEOUT))
    }
}

pub(crate) fn problem<B: From<String>>(rejected: Rejected) -> Response<B> {
    let status = match rejected.reason() {
        Reason::CircuitOpen
        | Reason::ConcurrencyLimit
        | Reason::Degraded
        | Reason::FailedOver
        | Reason::ForcedOpen
        | Reason::PredictedWait
        | Reason::ProbesBusy
        | Reason::QueueFull
        | Reason::QueueTimeout
        | Reason::Readmitting => StatusCode::SERVICE_UNAVAILABLE,
        Reason::RateLimit | Reason::TenantQueueFull => StatusCode::TOO_MANY_REQUESTS,
        Reason::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    };
    let mut response = status_only(status);
    if let Some(after) = rejected.hint() {
        let seconds = after
            .as_secs()
            .saturating_add(u64::from(after.subsec_nanos() > 0));
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response.extensions_mut().insert(rejected);
    response
}

/// A problem that says no more than its status.
pub(crate) fn status_only<B: From<String>>(status: StatusCode) -> Response<B> {
    let title = status.canonical_reason().unwrap_or_default();
    let code = status.as_u16();
    let body = format!(r#"{{"type":"about:blank","title":"{title}","status":{code}}}"#);
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::LayerKind;

    #[test]
    fn a_refusal_is_a_503_that_says_when_and_nothing_else() {
        let rejected = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen)
            .retry_after(Duration::from_millis(1_200));
        let response: Response<String> = problem(rejected);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(
            response.body(),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503}"#
        );
        let seen = Refuse::<_, ()>::rejection(&AsResponse, Ok(&response));
        assert_eq!(seen, Some(rejected));
    }
}
