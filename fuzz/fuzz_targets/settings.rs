//! Any text as a file of settings: it is refused with reasons, or it means something that can be written down again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay::settings::{Settings, Unchecked};

fuzz_target!(|text: &str| {
    if let Ok(read) = serde_json::from_str::<Unchecked>(text) {
        check(read, serde_json::from_str(text).map_err(|_| ()));
    }
    if let Ok(read) = toml::from_str::<Unchecked>(text) {
        check(read, toml::from_str(text).map_err(|_| ()));
    }
});

/// `at_once` is what serde's trait makes of the same text.
fn check(read: Unchecked, at_once: Result<Settings, ()>) {
    match read.check() {
        Ok(settings) => {
            assert_eq!(at_once.as_ref(), Ok(&settings));
            let json = serde_json::to_string(&settings).expect("settings are JSON");
            let again = serde_json::from_str(&json);
            assert_eq!(settings, again.expect("what is written can be read"));
            let toml = toml::to_string(&settings).expect("settings are TOML");
            let again = toml::from_str(&toml);
            assert_eq!(settings, again.expect("what is written can be read"));
        }
        Err(errors) => {
            assert!(at_once.is_err());
            assert!(errors.iter().next().is_some(), "refused for a reason");
            for error in errors.iter() {
                assert!(!error.field().is_empty() && !error.expected().is_empty());
                assert!(error.field().len() + error.value().len() < 10_000);
            }
        }
    }
}
