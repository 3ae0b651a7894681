//! What the gRPC health protocol says: its two messages, of one field each.
//!
//! 1. Fields that are not known are passed over, as the wire format asks; of one that is there twice the last counts; one that
//!    is not there is its zero.
//! 2. A status that is none of the protocol's is [`Unknown`](Serving::Unknown): a later version may have more of them.
//! 3. What breaks off, has no known wire type, or is longer than 1 KiB is no message. Groups, which the protocol never had,
//!    are none either.

use super::sample::{Sample, Why};

/// The longest message that is read, in bytes. A service's name is far below that.
pub(super) const LONGEST: usize = 1_024;

/// The field of both messages: the name of the service, or the status.
const FIELD: u64 = 1;

/// What a server says of a service, in the words of the gRPC health protocol.
///
/// # Example
///
/// ```
/// use mainstay::health::{Serving, Verdict};
///
/// let serving = Serving::decode(&[0x08, 0x01]);
/// assert_eq!(serving, Some(Serving::Serving));
/// assert_eq!(Serving::Serving.sample().verdict(), Verdict::Up);
/// assert_eq!(Serving::ServiceUnknown.sample().verdict(), Verdict::Unknown);
/// ```
///
/// # Source
///
/// The gRPC health checking protocol, `grpc.health.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol's own, and what it adds is unknown"
)]
pub enum Serving {
    /// The server does not know.
    #[default]
    Unknown,
    /// It serves.
    Serving,
    /// It does not.
    NotServing,
    /// The server has no such service. Watches say so; a check ends with `NOT_FOUND`.
    ServiceUnknown,
}

impl Serving {
    /// What the look is worth. No service, and a server that does not know, are neither up nor down.
    #[must_use]
    pub const fn sample(self) -> Sample {
        match self {
            Self::Serving => Sample::UP,
            Self::NotServing => Sample::down(Why::NotServing),
            Self::Unknown => Sample::unknown(Why::NotTold),
            Self::ServiceUnknown => Sample::unknown(Why::UnknownService),
        }
    }

    /// Reads a `HealthCheckResponse`; `None` where it is none.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        let mut status = 0;
        read(message, |value| {
            if let Value::Number(number) = value {
                status = number;
            }
        })?;
        Some(match status {
            1 => Self::Serving,
            2 => Self::NotServing,
            3 => Self::ServiceUnknown,
            _ => Self::Unknown,
        })
    }

    /// Writes a `HealthCheckResponse`.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let status = match self {
            // A zero is left out.
            Self::Unknown => return Vec::new(),
            Self::Serving => 1,
            Self::NotServing => 2,
            Self::ServiceUnknown => 3,
        };
        vec![0x08, status]
    }

    /// Reads a `HealthCheckRequest`: the name of the service; `None` where it is none.
    #[must_use]
    pub fn decode_request(message: &[u8]) -> Option<&str> {
        let mut name: &[u8] = &[];
        read(message, |value| {
            if let Value::Bytes(bytes) = value {
                name = bytes;
            }
        })?;
        std::str::from_utf8(name).ok()
    }

    /// Writes a `HealthCheckRequest`.
    #[must_use]
    pub fn encode_request(service: &str) -> Vec<u8> {
        if service.is_empty() {
            return Vec::new();
        }
        let mut message = vec![0x0a];
        let mut left = service.len();
        loop {
            // Seven bits at a time, the lowest first; the eighth says that there are more.
            let bits = u8::try_from(left & 0x7f).unwrap_or_default();
            left >>= 7;
            if left == 0 {
                message.push(bits);
                break;
            }
            message.push(bits | 0x80);
        }
        message.extend_from_slice(service.as_bytes());
        message
    }
}

enum Value<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

/// Tells each value of the one field that is known; `None` where this is no message.
fn read<'m>(message: &'m [u8], mut known: impl FnMut(Value<'m>)) -> Option<()> {
    if message.len() > LONGEST {
        return None;
    }
    let mut rest = message;
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        // Field numbers begin at 1 and have 29 bits.
        if field == 0 || field >= 1 << 29 {
            return None;
        }
        let value = match wire_type {
            0 => Value::Number(number(&mut rest)?),
            1 => Value::Bytes(bytes(&mut rest, 8)?),
            2 => {
                let length = number(&mut rest)?;
                Value::Bytes(bytes(&mut rest, usize::try_from(length).ok()?)?)
            }
            5 => Value::Bytes(bytes(&mut rest, 4)?),
            _ => return None,
        };
        // A fixed number is no text.
        if field == FIELD && matches!(wire_type, 0 | 2) {
            known(value);
        }
    }
    Some(())
}

/// A number of at most ten bytes.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn bytes<'m>(rest: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Serving; 4] = [
        Serving::Unknown,
        Serving::Serving,
        Serving::NotServing,
        Serving::ServiceUnknown,
    ];

    #[test]
    fn what_is_written_can_be_read() {
        for serving in ALL {
            assert_eq!(Serving::decode(&serving.encode()), Some(serving));
        }
        for length in [0, 1, 127, 128, 1_000] {
            let name = "n".repeat(length);
            assert_eq!(
                Serving::decode_request(&Serving::encode_request(&name)),
                Some(&*name)
            );
        }
        // As protoc's own output has it.
        assert_eq!(Serving::NotServing.encode(), [0x08, 0x02]);
        assert_eq!(Serving::encode_request("ledger"), *b"\x0a\x06ledger");
    }

    /// Rules 1 and 2.
    #[test]
    fn what_is_not_known_is_passed_over() {
        let reads = |message: &[u8]| Serving::decode(message);
        assert_eq!(reads(&[]), Some(Serving::Unknown));
        assert_eq!(reads(&[0x08, 9]), Some(Serving::Unknown), "a later status");
        assert_eq!(reads(&[0x08, 1, 0x08, 2]), Some(Serving::NotServing));
        // Field 2 as a number, a fixed one of eight bytes, a text, a fixed one of four; then the status.
        let others = b"\x10\x07\x11........\x12\x03abc\x15....\x08\x01";
        assert_eq!(reads(others), Some(Serving::Serving));
        // A negative status of ten bytes.
        let negative = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(reads(negative), Some(Serving::Unknown));
        // The field in another wire type is another one.
        assert_eq!(reads(b"\x0a\x01\x01\x08\x01"), Some(Serving::Serving));
    }

    /// Rule 3.
    #[test]
    fn what_is_no_message_is_none() {
        let broken: [&[u8]; 9] = [
            b"\x08",                                             // breaks off
            b"\x08\x80",                                         // as well
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",     // above 64 bits
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // eleven bytes
            b"\x12\x05abc",                                      // shorter than it says
            b"\x0b\x0c",                                         // a group
            b"\x0e",                                             // no wire type
            b"\x00\x01",                                         // no field
            b"\x15...",                                          // a short fixed number
        ];
        for message in broken {
            assert_eq!(Serving::decode(message), None, "{message:?}");
            assert_eq!(Serving::decode_request(message), None, "{message:?}");
        }
        assert_eq!(Serving::decode_request(b"\x0a\x01\xff"), None, "no text");
        let long = Serving::encode_request(&"n".repeat(LONGEST));
        assert_eq!(Serving::decode_request(&long), None);
    }

    #[test]
    fn only_what_is_said_is_a_verdict() {
        let said: Vec<_> = ALL.map(|serving| serving.sample().to_string()).into();
        assert_eq!(
            said,
            [
                "unknown: does not know itself",
                "up",
                "down: does not serve",
                "unknown: does not know the service"
            ]
        );
    }
}
