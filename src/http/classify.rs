use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};

use super::end::ClassifyEnd;
use crate::outcome::{Classify, Failure, Outcome};
use crate::rt;
use crate::time::Timestamp;

/// Counts an HTTP answer by its status.
///
/// | answer | outcome |
/// |---|---|
/// | 429; 503 with Retry-After | overload, with the hint in either of its forms |
/// | 503, 502 | failure: unavailable |
/// | 504, 408 | failure: timeout |
/// | other 5xx except 501 and 505 | failure: error |
/// | everything else | success: the callee works, whatever it thinks of the request |
/// | no answer | failure: unavailable |
///
/// # Source
///
/// RFC 9110 §10.2.3 and §15, RFC 6585 §4.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct ByStatus;

impl<B, E> Classify<Response<B>, E> for ByStatus {
    fn classify(&self, result: Result<&Response<B>, &E>) -> Outcome {
        match result {
            Ok(response) => of_head(response.status(), response.headers()),
            Err(_) => Outcome::Failure(Failure::Unavailable),
        }
    }
}

/// A body that ends in order says nothing new.
impl ClassifyEnd for ByStatus {
    fn at_end(&self, _trailers: Option<&HeaderMap>) -> Outcome {
        Outcome::Success
    }
}

/// How an answer with this head counts.
pub(crate) fn of_head(status: StatusCode, headers: &HeaderMap) -> Outcome {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Overload {
            retry_after: hint(headers),
        },
        StatusCode::SERVICE_UNAVAILABLE => match hint(headers) {
            Some(after) => Outcome::Overload {
                retry_after: Some(after),
            },
            None => Outcome::Failure(Failure::Unavailable),
        },
        StatusCode::BAD_GATEWAY => Outcome::Failure(Failure::Unavailable),
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => {
            Outcome::Failure(Failure::Timeout)
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Success,
        status if status.is_server_error() => Outcome::Failure(Failure::Error),
        _ => Outcome::Success,
    }
}

fn hint(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    // The callee's own clock where it tells: a date is meant by the clock that wrote it.
    let date = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(parse_date);
    parse_retry_after(value, date.unwrap_or_else(rt::wall))
}

/// Reads the value of a Retry-After header, in seconds or as a date; `None` for anything else.
///
/// # Inputs
///
/// - `now`: the moment a date is counted from.
///
/// # Result
///
/// Zero for a date that is past.
///
/// # Example
///
/// ```
/// use mainstay::http::parse_retry_after;
/// use mainstay::time::Timestamp;
/// use std::time::Duration;
///
/// let now = Timestamp::from_millis(1_767_323_045_000); // 2026-01-02T03:04:05Z
/// assert_eq!(parse_retry_after("7", now), Some(Duration::from_secs(7)));
/// assert_eq!(
///     parse_retry_after("Fri, 02 Jan 2026 03:04:35 GMT", now),
///     Some(Duration::from_secs(30)),
/// );
/// assert_eq!(parse_retry_after("1.5", now), None);
/// assert_eq!(parse_retry_after("-5", now), None);
/// ```
#[must_use]
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds still mean "not soon".
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let at = parse_date(value)?.as_millis();
    let left = at.saturating_sub(now.as_millis()).max(0);
    Some(Duration::from_millis(left.unsigned_abs()))
}

fn parse_date(value: &str) -> Option<Timestamp> {
    let at: SystemTime = httpdate::parse_http_date(value).ok()?;
    let millis = at.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some(Timestamp::from_millis(i64::try_from(millis).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut response = Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response
                .header(DATE, "Fri, 02 Jan 2026 03:04:05 GMT")
                .header(RETRY_AFTER, value);
        }
        ByStatus.classify(Ok::<_, &()>(&response.body(()).unwrap()))
    }

    #[test]
    fn overload_carries_the_hint_in_both_forms() {
        for status in [429, 503] {
            for (value, secs) in [
                ("7", 7),
                ("Fri, 02 Jan 2026 03:04:35 GMT", 30),
                ("Fri, 02 Jan 2026 03:00:00 GMT", 0),
            ] {
                let retry_after = Some(Duration::from_secs(secs));
                assert_eq!(
                    classify(status, Some(value)),
                    Outcome::Overload { retry_after }
                );
            }
        }
        assert_eq!(
            classify(429, Some("soon")),
            Outcome::Overload { retry_after: None }
        );
        assert_eq!(
            classify(503, Some("soon")),
            Outcome::Failure(Failure::Unavailable)
        );
    }

    #[test]
    fn a_wrong_request_says_nothing_against_the_callee() {
        for status in [200, 204, 301, 400, 401, 404, 409, 422, 501] {
            assert_eq!(classify(status, Some("7")), Outcome::Success, "{status}");
        }
        for status in [500, 507, 502, 503, 504] {
            assert!(classify(status, None).is_failure(), "{status}");
        }
    }

    #[test]
    fn a_hint_beyond_counting_is_long() {
        let now = Timestamp::from_millis(0);
        assert_eq!(
            parse_retry_after("99999999999999999999", now),
            Some(Duration::MAX)
        );
    }
}
