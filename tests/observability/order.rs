//! What is told late does not outlive what was told before it.

use std::sync::{Arc, Mutex};

use mainstay::breaker::{BreakerHandle, BreakerLayer, Order, State, Trip};
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// A gauge that is slow to show that a circuit has closed: it opens meanwhile.
struct Laggard {
    circuit: BreakerHandle,
    shown: Mutex<f64>,
}

impl GaugeFn for Laggard {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        if value == 0.0 {
            self.circuit.open(order());
        }
        *self.shown.lock().unwrap() = value;
    }
}

struct Shows(Arc<Laggard>);

impl Recorder for Shows {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(&self.0))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn order() -> Order {
    Order::new("test", "drill")
}

#[test]
fn the_gauge_of_a_circuit_shows_its_state_whoever_was_last_to_tell() {
    let circuit = BreakerLayer::new("order", Trip::consecutive(1)).handle();
    let laggard = Arc::new(Laggard {
        circuit: circuit.clone(),
        shown: Mutex::new(-1.0),
    });
    metrics::with_local_recorder(&Shows(Arc::clone(&laggard)), || {
        circuit.open(order());
        circuit.reset(order());
    });
    assert_eq!(circuit.state(), State::Open);
    assert!((*laggard.shown.lock().unwrap() - 2.0).abs() < f64::EPSILON);
}
