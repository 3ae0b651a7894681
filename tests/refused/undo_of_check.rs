use mainstay::saga::{Cx, Saga, StepError};

async fn look(_: Cx<(), ()>, _: ()) -> Result<(), StepError> {
    Ok(())
}

async fn undo(_: Cx<(), ()>, _: Option<()>) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").check("look", look).undo(undo);
}
