use mainstay::saga::{Cx, Reconciled, Saga, StepError};

async fn pay(_: Cx<(), ()>, (): ()) -> Result<u32, StepError> {
    Ok(1)
}

async fn found(_: Cx<(), ()>, (): ()) -> Result<Reconciled<String>, StepError> {
    Ok(Reconciled::NotApplied)
}

fn main() {
    // The answer must be what the step itself returns.
    let _ = Saga::builder("refused").pivot("pay", pay).reconcile(found);
}
