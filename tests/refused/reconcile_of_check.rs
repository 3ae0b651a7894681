use mainstay::saga::{Cx, Reconciled, Saga, StepError};

async fn look(_: Cx<(), ()>, (): ()) -> Result<u32, StepError> {
    Ok(1)
}

async fn found(_: Cx<(), ()>, (): ()) -> Result<Reconciled<u32>, StepError> {
    Ok(Reconciled::Applied(1))
}

fn main() {
    // A check has no effect that could be asked about.
    let _ = Saga::builder("refused").check("look", look).reconcile(found);
}
