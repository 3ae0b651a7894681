//! SHA-256, for idempotency keys and fingerprints.
//!
//! Both must be the same in every version of every program that ever reads a journal, so the function is fixed. It
//! guards no secret.

use sha2::{Digest as _, Sha256};

/// A digest of a list of fields. Each is preceded by its length, so that no two lists read alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub(crate) fn field(mut self, field: &[u8]) -> Self {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
        self
    }

    /// The first `bytes` bytes of the digest, two hexadecimal letters each.
    pub(crate) fn hex(&self, bytes: usize) -> String {
        const LETTERS: [char; 16] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
        ];
        let digest = self.0.clone().finalize();
        let mut hex = String::with_capacity(bytes.saturating_mul(2));
        for byte in digest.iter().take(bytes) {
            for half in [byte >> 4, byte & 15] {
                // Four bits are below sixteen.
                hex.push(LETTERS.get(usize::from(half)).copied().unwrap_or('0'));
            }
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned, since a change would give every saga under way other keys: the first is the digest of NIST's own
    /// empty message, the second of one field as it is laid out here.
    #[test]
    fn the_layout_is_pinned() {
        assert_eq!(Digest::new().hex(4), "e3b0c442");
        assert_eq!(Digest::new().field(b"abc").hex(8), "c3494ca1a2cf8eeb");
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let one = Digest::new().field(b"ab").field(b"c").hex(16);
        let other = Digest::new().field(b"a").field(b"bc").hex(16);
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
    }
}
