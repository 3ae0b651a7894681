//! gRPC over tonic: what a status means, and how a refusal becomes one.
//!
//! A tonic channel's error type cannot be made from outside, so refusals leave as trailers-only responses: the
//! generated client returns a `Status` with the right code and RetryInfo. (Mapping a channel's error to a boxed one
//! compiles as well, and every refusal then surfaces as UNKNOWN: do not.)
//!
//! # Example
//!
//! ```
//! use mainstay::standard::Stack;
//! use tonic::transport::Endpoint;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
//! let channel: mainstay::grpc::GrpcChannel = Stack::standard("ledger").grpc(channel);
//! // let client = LedgerClient::new(channel);
//! # let _ = channel;
//! # }
//! ```

use std::any::Any;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{AsRejected, Reason, Rejected, TimedOut, find, rejection};
use crate::http::ClassifyEnd;
use crate::outcome::{Classify, Failure, Outcome, Pushback};
use crate::reject::{GiveUp, Refuse};
use crate::rt;
use crate::time::Tick;

mod body;
mod refusal;

#[doc(inline)]
pub use crate::standard::{Grpc, GrpcChannel};
pub use body::{BodyDeadlineLayer, BodyDeadlineService, DeadlineTrailers, ResponseFuture};
pub use refusal::refusal;

/// Counts a gRPC answer by its status, wherever it stands.
///
/// At the head it sees the status of a trailers-only answer; together with [`AtEnd`](crate::http::AtEnd) it sees the
/// trailers after a body too.
///
/// | status | outcome |
/// |---|---|
/// | `RESOURCE_EXHAUSTED`; `UNAVAILABLE` with RetryInfo | overload, with RetryInfo's delay |
/// | `UNAVAILABLE` | failure: unavailable |
/// | `DEADLINE_EXCEEDED` | failure: timeout |
/// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS`; no status at the end | failure: error |
/// | `CANCELLED` | ignored |
/// | any of the above but `CANCELLED`, with `grpc-retry-pushback-ms` | [pushback](Outcome::Pushback): exactly then, or never |
/// | everything else | success: the callee works, whatever it thinks of the request |
/// | no answer | failure: unavailable |
///
/// # Source
///
/// The gRPC protocol over HTTP/2, "Responses"; `google.rpc.RetryInfo`; gRPC proposal A6 for pushback.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct ByStatus;

impl<B, E> Classify<Response<B>, E> for ByStatus {
    fn classify(&self, result: Result<&Response<B>, &E>) -> Outcome {
        let Ok(response) = result else {
            return Outcome::Failure(Failure::Unavailable);
        };
        match Status::from_header_map(response.headers()) {
            Some(status) => of_status(&status),
            None if response.status() == StatusCode::OK => Outcome::Success,
            // A proxy in between speaks HTTP only.
            None => crate::http::of_head(response.status(), response.headers()),
        }
    }
}

impl ClassifyEnd for ByStatus {
    fn at_end(&self, trailers: Option<&HeaderMap>) -> Outcome {
        match trailers.and_then(Status::from_header_map) {
            Some(status) => of_status(&status),
            None => Outcome::Failure(Failure::Error),
        }
    }

    fn in_trailers(&self) -> bool {
        true
    }

    /// A trailers-only answer has its status in the head, and a proxy's own answer has none at all.
    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        status != StatusCode::OK || headers.contains_key(Status::GRPC_STATUS)
    }
}

/// How a call counts that ended with this status.
#[must_use]
pub fn of_status(status: &Status) -> Outcome {
    let outcome = of_code(status);
    if !outcome.is_failure() {
        return outcome;
    }
    let values = status.metadata().get_all(PUSHBACK).into_iter();
    // What is no text is no number either.
    let values = values.map(|value| value.to_str().unwrap_or_default());
    Pushback::parse(values).map_or(outcome, Outcome::Pushback)
}

/// In a trailers-only head, or in the trailers.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

fn of_code(status: &Status) -> Outcome {
    let hint = || {
        status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
    };
    match status.code() {
        Code::ResourceExhausted => Outcome::Overload {
            retry_after: hint(),
        },
        Code::Unavailable => match hint() {
            Some(after) => Outcome::Overload {
                retry_after: Some(after),
            },
            None => Outcome::Failure(Failure::Unavailable),
        },
        Code::DeadlineExceeded => Outcome::Failure(Failure::Timeout),
        Code::Unknown | Code::Internal | Code::DataLoss => Outcome::Failure(Failure::Error),
        Code::Cancelled => Outcome::Ignored,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Outcome::Success,
    }
}

/// Refusals leave as trailers-only responses, which a generated client returns as a `Status`.
///
/// `UNAVAILABLE` with RetryInfo for an open circuit, `DEADLINE_EXCEEDED` when time is over. The message says no more
/// than the code does; the caller in this process asks [`refusal()`] whether a status is the callee's word or the
/// stack's. For every service whose body has a default: tonic's channel and server.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct AsResponse;

impl<B: Default, E> Refuse<Response<B>, E> for AsResponse {
    fn refuse(&self, rejected: Rejected) -> Result<Response<B>, E> {
        let mut response = Status::from(rejected).into_http();
        refusal::write(&rejected, response.headers_mut());
        response.extensions_mut().insert(rejected);
        Ok(response)
    }

    fn rejection(&self, result: Result<&Response<B>, &E>) -> Option<Rejected> {
        result.ok()?.extensions().get().copied()
    }
}

impl<B: Default, E: 'static> GiveUp<Response<B>, E> for AsResponse {
    fn give_up(&self, timed_out: TimedOut) -> Result<Response<B>, E> {
        Ok(Status::from(timed_out).into_http())
    }

    /// A tonic channel reads `grpc-timeout` itself and then fails with a `TimeoutExpired`; a tonic server answers
    /// `CANCELLED`. Both would reach the caller as CANCELLED, which says nothing about the callee.
    fn is_expiry(&self, result: Result<&Response<B>, &E>, at: Tick) -> bool {
        match result {
            Err(error) => {
                let error = (error as &dyn Any).downcast_ref::<tonic::transport::Error>();
                error.is_some_and(|error| find::<TimeoutExpired>(error).is_some())
            }
            Ok(response) => {
                let status = response.headers().get(Status::GRPC_STATUS);
                let cancelled = status.is_some_and(|code| code == "1");
                cancelled && rt::now() + TIMER_SLACK >= at
            }
        }
    }
}

/// A timer ticks in milliseconds, and `grpc-timeout` of more than 100 s is told in them: so much earlier may a callee's
/// clock say that time is over.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// For services whose error is a `Status`; the [`Rejected`] is its source.
impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        let (code, message) = match rejected.reason() {
            Reason::CircuitOpen
            | Reason::Degraded
            | Reason::FailedOver
            | Reason::ForcedOpen
            | Reason::ProbesBusy
            | Reason::Readmitting => (Code::Unavailable, "not available now"),
            Reason::ConcurrencyLimit | Reason::QueueTimeout => {
                (Code::ResourceExhausted, "too many calls at once")
            }
            Reason::RateLimit => (Code::ResourceExhausted, "too many calls"),
            Reason::DeadlineExceeded => (Code::DeadlineExceeded, "the deadline has passed"),
        };
        let mut status = match rejected.hint() {
            Some(after) => {
                let details = ErrorDetails::with_retry_info(Some(after));
                Self::with_error_details(code, message, details)
            }
            None => Self::new(code, message),
        };
        status.set_source(std::sync::Arc::new(rejected));
        status
    }
}

impl From<TimedOut> for Status {
    fn from(timed_out: TimedOut) -> Self {
        let mut status = Self::deadline_exceeded("no answer in time");
        status.set_source(std::sync::Arc::new(timed_out));
        status
    }
}

impl AsRejected for Status {
    fn as_rejected(&self) -> Option<Rejected> {
        rejection(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LayerKind;

    #[test]
    fn a_refusal_becomes_a_status_with_retry_info_and_back() {
        let after = Duration::from_millis(1_250);
        let rejected = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen).retry_after(after);
        let response: Response<()> = Refuse::<_, ()>::refuse(&AsResponse, rejected).unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            of_status(&status),
            Outcome::Overload {
                retry_after: Some(after)
            }
        );
        assert_eq!(
            Refuse::<_, ()>::rejection(&AsResponse, Ok(&response)),
            Some(rejected)
        );
        assert_eq!(Status::from(rejected).as_rejected(), Some(rejected));
    }

    #[test]
    fn the_status_is_found_in_head_and_trailers() {
        let head: Response<()> = Status::internal("x").into_http();
        let failure = Outcome::Failure(Failure::Error);
        assert_eq!(ByStatus.classify(Ok::<_, &()>(&head)), failure);
        assert_eq!(ByStatus.at_end(Some(head.headers())), failure);
        assert_eq!(
            ByStatus.at_end(None),
            failure,
            "an answer without a status broke off"
        );
        let ok: Response<()> = Status::ok("").into_http();
        assert_eq!(ByStatus.at_end(Some(ok.headers())), Outcome::Success);
    }

    #[test]
    fn pushback_comes_with_failures_only_and_in_head_and_trailers() {
        let answer = |mut status: Status, values: &[&'static str]| -> Response<()> {
            for value in values {
                status
                    .metadata_mut()
                    .append(PUSHBACK, value.parse().unwrap());
            }
            status.into_http()
        };
        let never = Outcome::Pushback(Pushback::Never);
        for (values, outcome) in [
            (
                &["250"][..],
                Outcome::Pushback(Pushback::After(Duration::from_millis(250))),
            ),
            (&["-1"], never),
            (&["1", "2"], never),
            (&[], Outcome::Failure(Failure::Unavailable)),
        ] {
            let head = answer(Status::unavailable("x"), values);
            assert_eq!(ByStatus.classify(Ok::<_, &()>(&head)), outcome);
            assert_eq!(ByStatus.at_end(Some(head.headers())), outcome);
        }
        let fine = answer(Status::not_found("x"), &["250"]);
        assert_eq!(ByStatus.classify(Ok::<_, &()>(&fine)), Outcome::Success);
    }

    #[test]
    fn resource_exhausted_is_overload() {
        let delay = Some(Duration::from_secs(3));
        let details = ErrorDetails::with_retry_info(delay);
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        assert_eq!(of_status(&status), Outcome::Overload { retry_after: delay });
    }
}
