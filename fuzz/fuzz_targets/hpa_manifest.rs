//! Any text as an autoscaler's manifest, and as a quantity: it is refused with reasons, or it means something that can
//! decide.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay::autoscale::hpa::{Manifest, Observation, Quantity, Reading, State};
use mainstay::time::Timestamp;

fuzz_target!(|text: &str| {
    for read in [Manifest::from_yaml(text), Manifest::from_json(text)] {
        match read {
            Ok(manifest) => check(&manifest),
            Err(errors) => {
                assert!(errors.iter().next().is_some(), "refused for a reason");
                for error in errors.iter() {
                    assert!(!error.field().is_empty() && !error.expected().is_empty());
                    assert!(error.field().len() + error.value().len() < 10_000);
                }
            }
        }
    }
    if let Ok(quantity) = text.parse::<Quantity>() {
        let again = quantity.to_string().parse();
        assert_eq!(Ok(quantity), again, "what is written can be read");
    }
});

fn check(manifest: &Manifest) {
    let hpa = manifest.hpa();
    let bounds = hpa.bounds();
    assert!(0 <= bounds.min() && bounds.min() <= bounds.max() && bounds.max() >= 1);
    let readings = vec![Reading::Values(&[i64::MAX]); hpa.metrics().len()];
    let seen = Observation::new(bounds.min().max(1)).readings(&readings);
    let decision = hpa.decide(State::unknown(), &seen, Timestamp::from_millis(0));
    assert!((bounds.min()..=bounds.max()).contains(&decision.replicas()));
    assert!(!decision.to_string().is_empty());
}
