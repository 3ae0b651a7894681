use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;
use tonic_types::StatusExt;

use crate::error::{AsRejected, LayerKind, Reason, Rejected};
use crate::rt;

/// A generated client makes its `Status` of headers alone, so the refusal travels in one as far as the caller.
const HEADER: HeaderName = HeaderName::from_static("mainstay-refused");

/// Tells the refusals of this process from what a callee says, which may run the same code.
fn process() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    *PROCESS.get_or_init(rt::entropy)
}

pub(super) fn write(rejected: &Rejected, headers: &mut HeaderMap) {
    let process = process();
    let (layer, reason) = (rejected.layer().as_str(), rejected.reason().as_str());
    let untried = rejected.is_untried();
    let told = HeaderValue::from_str(&format!("{process:016x} {layer} {reason} {untried}"));
    // Names are ASCII, so there is always a value.
    if let Ok(told) = told {
        headers.insert(HEADER, told);
    }
}

/// The refusal that a generated client returned as a `Status`, when it was made by a stack of this process.
///
/// `None` for every word of the callee, its own refusals included. A call whose refusal
/// [is untried](Rejected::is_untried) surely had no effect.
///
/// # Example
///
/// ```
/// use mainstay::grpc::refusal;
/// use tonic::Status;
///
/// let status = Status::unavailable("the callee's own word");
/// assert_eq!(refusal(&status), None);
/// ```
#[must_use]
pub fn refusal(status: &Status) -> Option<Rejected> {
    if let Some(rejected) = status.as_rejected() {
        return Some(rejected);
    }
    let told = status.metadata().get(HEADER.as_str())?.to_str().ok()?;
    let mut words = told.split(' ');
    let from = u64::from_str_radix(words.next()?, 16).ok()?;
    if from != process() {
        return None;
    }
    let (layer, reason) = (words.next()?, words.next()?);
    let layer = LayerKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == layer)?;
    let reason = Reason::ALL.into_iter().find(|why| why.as_str() == reason)?;
    let mut rejected = Rejected::new(layer, reason);
    if let Some(after) = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
    {
        rejected = rejected.retry_after(after);
    }
    match words.next()? {
        "true" => Some(rejected),
        _ => Some(rejected.tried()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Response;

    use super::*;
    use crate::grpc::AsResponse;
    use crate::reject::Refuse;

    fn seen(rejected: Rejected) -> Status {
        let response: Response<()> = Refuse::<_, ()>::refuse(&AsResponse, rejected).unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }

    #[test]
    fn every_refusal_is_read_back_from_the_headers() {
        for layer in LayerKind::ALL {
            for reason in Reason::ALL {
                let plain = Rejected::new(layer, reason);
                let hinted = plain.retry_after(Duration::from_millis(1_250));
                for rejected in [plain, hinted, plain.tried(), hinted.tried()] {
                    assert_eq!(refusal(&seen(rejected)), Some(rejected));
                }
            }
        }
    }

    #[test]
    fn another_process_does_not_speak_for_this_one() {
        let mut status = seen(Rejected::new(LayerKind::Breaker, Reason::CircuitOpen));
        for forged in ["", "0 breaker circuit_open true", "breaker", "é"] {
            let value = tonic::metadata::MetadataValue::try_from(forged.as_bytes());
            status
                .metadata_mut()
                .insert("mainstay-refused", value.unwrap());
            assert_eq!(refusal(&status), None, "{forged}");
        }
    }
}
