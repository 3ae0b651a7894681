//! How settings are read: everything is looked at, and everything that is wrong is noted with its path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::given::{Given, LONGEST, NONE, quoted, table};
use crate::error::{ConfigError, ConfigErrors};

/// Something that a file can set.
pub(crate) trait Setting: Sized {
    /// What a file may say, in words: the end of "expected …".
    fn expected() -> Cow<'static, str> {
        Cow::Borrowed("a table")
    }

    /// What holds where a file says nothing at all, if anything does.
    fn base() -> Option<Self> {
        None
    }

    /// The same, of what a file has under this name.
    fn base_of(_name: &str) -> Option<Self> {
        Self::base()
    }

    /// What a file says; what it leaves out is as in `base`. `None` when something was wrong, which is noted.
    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self>;

    /// What a file says that means this.
    fn write(&self) -> Given;
}

/// The whole of a file, or everything that is wrong with it.
pub(crate) fn check<T: Setting>(given: Given) -> Result<T, ConfigErrors> {
    let mut errors = Vec::new();
    let place = Place {
        path: String::new(),
        or_none: false,
        errors: &mut errors,
    };
    let read = T::read(given, T::base(), place);
    ConfigErrors::check(errors)?;
    // Nothing is refused without a note; should one ever be missing, it is still an error and no panic.
    read.ok_or_else(|| ConfigError::new("settings", "something else", T::expected()).into())
}

/// Where in a file a setting stands, and where what is wrong with it is noted.
pub(crate) struct Place<'e> {
    path: String,
    /// Whether it can be switched off.
    or_none: bool,
    errors: &'e mut Vec<ConfigError>,
}

impl Place<'_> {
    /// Notes that `given` cannot be.
    pub(crate) fn refuse(&mut self, given: &Given, expected: impl Into<Cow<'static, str>>) {
        let mut expected = expected.into();
        if self.or_none {
            expected = format!("{expected}, or \"{NONE}\"").into();
        }
        self.note(self.path.clone(), given.to_string(), expected);
    }

    fn note(&mut self, path: String, value: impl Into<String>, expected: Cow<'static, str>) {
        let path = if path.is_empty() {
            "settings".into()
        } else {
            path
        };
        let value = value.into();
        self.errors.push(ConfigError::new(path, value, expected));
    }

    /// `read`, or a note that it is not what is expected.
    pub(crate) fn found<T: Setting>(mut self, given: &Given, read: Option<T>) -> Option<T> {
        if read.is_none() {
            self.refuse(given, T::expected());
        }
        read
    }

    /// One of `words`.
    pub(crate) fn choice<T: Copy>(mut self, given: &Given, words: &[(&str, T)]) -> Option<T> {
        let chosen = words
            .iter()
            .find(|(word, _)| matches!(given, Given::Text(text) if text == word));
        if chosen.is_none() {
            self.refuse(given, one_of(words));
        }
        chosen.map(|(_, value)| *value)
    }

    /// What `read` makes of a table's keys. It must ask for every key there is: any other is an error.
    pub(crate) fn table<T>(
        mut self,
        given: Given,
        expected: impl Into<Cow<'static, str>>,
        read: impl FnOnce(&mut Keys<'_>) -> Option<T>,
    ) -> Option<T> {
        let Given::Table(entries) = given else {
            self.refuse(&given, expected);
            return None;
        };
        let before = self.errors.len();
        let mut keys = Keys {
            place: self,
            before,
            entries,
            known: Vec::new(),
        };
        let value = read(&mut keys);
        keys.close();
        value.filter(|_| keys.place.errors.len() == before)
    }

    /// The place of the value under `key`.
    pub(crate) fn under(&mut self, key: &str) -> Place<'_> {
        Place {
            path: join(&self.path, key),
            or_none: false,
            errors: self.errors,
        }
    }

    /// What `read` makes of each value of a list.
    pub(crate) fn list<T>(
        mut self,
        given: Given,
        expected: impl Into<Cow<'static, str>>,
        mut read: impl FnMut(Given, Place<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Given::List(values) = given else {
            self.refuse(&given, expected);
            return None;
        };
        let before = self.errors.len();
        let mut list = Vec::new();
        for (i, value) in values.into_iter().enumerate() {
            let place = Place {
                path: format!("{}[{i}]", self.path),
                or_none: false,
                errors: self.errors,
            };
            list.extend(read(value, place));
        }
        (self.errors.len() == before).then_some(list)
    }
}

/// `whole.key`, with quotes where the key is no plain word or no short one.
pub(super) fn join(whole: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if (1..=LONGEST).contains(&key.len()) && key.chars().all(plain) {
        key.to_owned()
    } else {
        quoted(key)
    };
    if whole.is_empty() {
        key
    } else {
        format!("{whole}.{key}")
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of<T>(words: &[(&str, T)]) -> String {
    let quoted = words.iter().map(|(word, _)| format!("\"{word}\""));
    let mut quoted: Vec<_> = quoted.collect();
    match (quoted.pop(), quoted.join(", ")) {
        (Some(last), first) if !first.is_empty() => format!("{first} or {last}"),
        (last, _) => last.unwrap_or_default(),
    }
}

/// The keys of a table, each to be asked for.
pub(crate) struct Keys<'e> {
    place: Place<'e>,
    /// How much was wrong before the table.
    before: usize,
    entries: Vec<(String, Given)>,
    known: Vec<&'static str>,
}

impl Keys<'_> {
    /// Whether the table is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the table has it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(known, _)| known == key)
    }

    fn take(&mut self, key: &'static str) -> Option<Given> {
        self.known.push(key);
        let index = self.entries.iter().position(|(known, _)| known == key)?;
        Some(self.entries.remove(index).1)
    }

    /// The value under `key`, as in `base` if there is none.
    pub(crate) fn set<T: Setting + Clone>(&mut self, key: &'static str, base: T) -> T {
        match self.take(key) {
            Some(given) => {
                let place = self.place.under(key);
                T::read(given, Some(base.clone()), place).unwrap_or(base)
            }
            None => base,
        }
    }

    /// The value under `key`, as in `base` if there is none; an error if there is no base either.
    pub(crate) fn needs<T: Setting>(&mut self, key: &'static str, base: Option<T>) -> Option<T> {
        match self.take(key) {
            Some(given) => T::read(given, base.or_else(T::base), self.place.under(key)),
            None if base.is_some() => base,
            None => {
                let path = join(&self.place.path, key);
                self.place.note(path, "nothing", T::expected());
                None
            }
        }
    }

    /// The value under `kind`, on which it depends what other keys there are. Where it is wrong nobody knows about them,
    /// so nothing is said of them.
    pub(crate) fn kind<T: Setting>(&mut self, base: Option<T>) -> Option<T> {
        let kind = self.needs("kind", base);
        if kind.is_none() {
            self.entries.clear();
        }
        kind
    }

    /// The value under `key`, if there is one.
    pub(crate) fn maybe<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let given = self.take(key)?;
        T::read(given, T::base(), self.place.under(key))
    }

    /// What `read` makes of the value under `key`, if there is one.
    pub(crate) fn maybe_with<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Given, Place<'_>) -> Option<T>,
    ) -> Option<T> {
        let given = self.take(key)?;
        read(given, self.place.under(key))
    }

    /// A table of any names.
    pub(super) fn map<T: Setting>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let mut map = BTreeMap::new();
        let Some(given) = self.take(key) else {
            return map;
        };
        let mut place = self.place.under(key);
        let Given::Table(entries) = given else {
            place.refuse(&given, "a table of names");
            return map;
        };
        for (name, given) in entries {
            if let Some(value) = T::read(given, T::base_of(&name), place.under(&name)) {
                map.insert(name, value);
            }
        }
        map
    }

    /// Refuses `value`, which was read from under `key`, for a reason that only the whole table knows.
    pub(crate) fn refuse(
        &mut self,
        key: &'static str,
        value: impl std::fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) {
        let path = join(&self.place.path, key);
        self.place.note(path, value.to_string(), expected.into());
    }

    /// Refuses parts of the table for what only the whole of it shows; their paths begin here.
    pub(crate) fn refuse_parts(&mut self, errors: &ConfigErrors) {
        for error in errors.iter().cloned() {
            let path = &self.place.path;
            let error = if path.is_empty() {
                error
            } else {
                error.within(path)
            };
            self.place.errors.push(error);
        }
    }

    /// Whether anything in the table was refused so far, keys that nobody asked for aside.
    pub(crate) const fn is_wrong(&self) -> bool {
        self.place.errors.len() > self.before
    }

    /// Refuses the table as a whole.
    pub(crate) fn refuse_all(&mut self, value: &str, expected: impl Into<Cow<'static, str>>) {
        self.place
            .note(self.place.path.clone(), value, expected.into());
    }

    fn close(&mut self) {
        for (key, given) in std::mem::take(&mut self.entries) {
            let path = join(&self.place.path, &key);
            let known = format!("one of the keys {}", self.known.join(", "));
            self.place.note(path, given.to_string(), known.into());
        }
    }
}

/// What may be switched off.
impl<T: Setting> Setting for Option<T> {
    fn expected() -> Cow<'static, str> {
        format!("{}, or \"{NONE}\"", T::expected()).into()
    }

    fn base() -> Option<Self> {
        Some(T::base())
    }

    fn read(given: Given, base: Option<Self>, mut place: Place<'_>) -> Option<Self> {
        if matches!(&given, Given::Text(text) if text == NONE) {
            return Some(None);
        }
        place.or_none = true;
        T::read(given, base.flatten().or_else(T::base), place).map(Some)
    }

    fn write(&self) -> Given {
        match self {
            Some(value) => value.write(),
            None => Given::Text(NONE.to_owned()),
        }
    }
}

/// The entries of a map, to be written.
pub(super) fn write_map<T: Setting>(map: &BTreeMap<String, T>) -> Given {
    let entries = map
        .iter()
        .map(|(name, value)| (name.clone(), value.write()));
    Given::Table(entries.collect())
}

/// A table with the entries of another in front.
pub(crate) fn joined<const N: usize>(first: Given, rest: [(&str, Given); N]) -> Given {
    let (mut entries, rest) = match (first, table(rest)) {
        (Given::Table(first), Given::Table(rest)) => (first, rest),
        (other, _) => return other,
    };
    entries.extend(rest);
    Given::Table(entries)
}

/// Serialises and deserialises settings by what a file says of them.
macro_rules! as_data {
    ($($setting:ty),+ $(,)?) => {$(
        impl serde::Serialize for $setting {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$crate::settings::Setting::write(self), serializer)
            }
        }

        /// An error names everything that is wrong.
        impl<'de> serde::Deserialize<'de> for $setting {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let given = <$crate::settings::Given as serde::Deserialize>::deserialize(deserializer)?;
                $crate::settings::check(given).map_err(<D::Error as serde::de::Error>::custom)
            }
        }
    )+};
}
pub(crate) use as_data;
