//! Under which name a saga is started.

use crate::journal::Labels;

/// A business key with what the journal labels the saga's records with.
///
/// # Example
///
/// ```
/// use mainstay::saga::Key;
///
/// let plain: Key = "INV-1".into();
/// let of_a_tenant = Key::new("INV-1").tenant("acme").subject("customer-7");
/// ```
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) key: Box<str>,
    pub(super) labels: Labels,
    pub(super) traceparent: Option<Box<str>>,
}

impl Key {
    /// A key, unique per tenant and definition.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self {
            key: key.into(),
            labels: Labels::new(""),
            traceparent: None,
        }
    }

    /// Whose saga this is. Two tenants can have the same key and never see each other's saga.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.labels.tenant = tenant.into();
        self
    }

    /// Whose data the saga's payloads hold.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.labels.subject = Some(subject.into());
        self
    }

    /// The key under which payloads are to be sealed. The [codec](super::seal) may grant it or choose another; where
    /// nothing seals, a start that asks for a key is refused. Most callers leave the choice to the codec.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.labels.key_id = Some(key_id.into());
        self
    }

    /// From where the saga comes, as the `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/). It is
    /// written with the start, told by the span of each run, on whatever instance and after however many restarts, and
    /// given to steps ([`Cx::traceparent`](super::Cx::traceparent)). It names the saga for nobody: a second start with
    /// another one is the same saga, which keeps the first.
    ///
    /// One that is not well formed is left out, as the recommendation has it: no work fails for the sake of a trace.
    ///
    /// A program of a version that does not know this field refuses a log that has it: register the definition with
    /// programs of one version before callers send it.
    #[must_use]
    pub fn traceparent(mut self, traceparent: &str) -> Self {
        self.traceparent = is_traceparent(traceparent).then(|| traceparent.into());
        self
    }
}

/// Longer ones than that of any version so far are not kept.
const LONGEST: usize = 128;

/// Whether a text is `version-trace-parent-flags`, with whatever a later version has behind them.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let named = |part: &str, length| hex(part, length) && part.bytes().any(|b| b != b'0');
    let mut parts = text.splitn(5, '-');
    let mut part = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (part(), part(), part(), part());
    let rest = parts.next();
    let tail = |rest: &str| version != "00" && rest.bytes().all(|b| b.is_ascii_graphic());
    text.len() <= LONGEST
        && hex(version, 2)
        && version != "ff"
        && named(trace, 32)
        && named(parent, 16)
        && hex(flags, 2)
        && rest.is_none_or(tail)
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_left_out() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        for text in [good, later] {
            let key = Key::new("1").traceparent(text);
            assert_eq!(key.traceparent.as_deref(), Some(text));
        }
        let long = format!("cc{}-{}", &good[2..], "x".repeat(100));
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-a\nb",
            long.as_str(),
        ] {
            let key = Key::new("1").traceparent(text);
            assert_eq!(key.traceparent, None, "{text}");
        }
        assert_eq!(
            Key::new("1").traceparent(good).traceparent("").traceparent,
            None
        );
    }
}
