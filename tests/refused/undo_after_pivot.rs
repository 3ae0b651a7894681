use mainstay::saga::{Cx, Saga, StepError};

async fn post(_: Cx<(), ()>, _: ()) -> Result<(), StepError> {
    Ok(())
}

async fn undo(_: Cx<(), ()>, _: Option<()>) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").pivot("post", post).then("notify", post).undo(undo);
}
