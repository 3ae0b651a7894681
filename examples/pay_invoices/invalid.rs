//! What is said when something that the user gave cannot be used.

use std::fmt;

/// A flag, a file or a state that cannot be used: what it is, what it holds, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) expected: String,
}

impl Invalid {
    pub(crate) fn new(
        field: impl Into<String>,
        value: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: found {:?}, expected {}",
            self.field, self.value, self.expected
        )
    }
}

impl std::error::Error for Invalid {}
