use mainstay::saga::{Cx, Saga, StepError};

async fn notify(_: Cx<(), ()>, _: ()) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").then("notify", notify);
}
