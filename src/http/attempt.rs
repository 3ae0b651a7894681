use http::{HeaderMap, HeaderName, HeaderValue};

use crate::scope::Scope;

/// The header in which the number of an attempt travels to the next process.
///
/// # Example
///
/// ```
/// use mainstay::http::{AttemptHeader, DeadlineHeader};
///
/// // On the client, next to the transport; on the server only behind callers that are trusted.
/// let carry = DeadlineHeader::default().carry().attempt(AttemptHeader::default());
/// let honour = DeadlineHeader::default().honour().attempt(AttemptHeader::default());
/// # let _ = (carry, honour);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptHeader {
    name: HeaderName,
    /// What the header says of a first attempt.
    first: u32,
}

impl AttemptHeader {
    /// The number of the attempt, counted from 1, in a header of this name.
    #[must_use]
    pub const fn number(name: HeaderName) -> Self {
        Self { name, first: 1 }
    }

    /// gRPC's own `grpc-previous-rpc-attempts`, which counts the attempts before.
    #[must_use]
    pub const fn grpc() -> Self {
        Self {
            name: HeaderName::from_static("grpc-previous-rpc-attempts"),
            first: 0,
        }
    }

    /// The scope with the number that `headers` tell; a header that cannot be read says nothing.
    pub(super) fn read(&self, headers: &HeaderMap, scope: Scope) -> Scope {
        let value = headers
            .get(&self.name)
            .and_then(|value| value.to_str().ok());
        let told =
            value.filter(|value| value.len() <= 9 && value.bytes().all(|b| b.is_ascii_digit()));
        match told.and_then(|value| value.parse::<u32>().ok()) {
            Some(told) => scope.attempt(told.saturating_sub(self.first).saturating_add(1)),
            None => scope,
        }
    }

    /// Writes the number of an attempt after the first.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let attempt = Scope::current().attempt_number();
        if attempt > 1 {
            let told = attempt.saturating_sub(1).saturating_add(self.first);
            headers.insert(self.name.clone(), HeaderValue::from(told));
        }
    }
}

/// `x-request-attempt`: there is no standard header.
impl Default for AttemptHeader {
    fn default() -> Self {
        Self::number(HeaderName::from_static("x-request-attempt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for header in [AttemptHeader::default(), AttemptHeader::grpc()] {
            for attempt in [0, 1, 2, 7, u32::MAX] {
                let mut headers = HeaderMap::new();
                let scope = Scope::current().attempt(attempt);
                scope.enter(|| header.write(&mut headers));
                assert_eq!(headers.is_empty(), attempt <= 1);
                let read = header.read(&headers, Scope::current()).attempt_number();
                let expected = if (2..1_000_000_000).contains(&attempt) {
                    attempt
                } else {
                    0
                };
                assert_eq!(read, expected, "{header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_says_nothing() {
        let header = AttemptHeader::grpc();
        for bad in ["", "-1", "+1", "1.0", "x", "9999999999"] {
            let mut headers = HeaderMap::new();
            headers.insert(header.name.clone(), HeaderValue::from_static(bad));
            let scope = Scope::current().attempt(5);
            assert_eq!(header.read(&headers, scope), scope, "{bad:?}");
        }
    }
}
