use mainstay::saga::{Cx, Saga, StepError};

async fn pay(_: Cx<(), ()>, _: ()) -> Result<u32, StepError> {
    Ok(1)
}

// An undo must cope with a step of which nothing is known, so it is given an `Option`.
async fn void(_: Cx<(), ()>, _: u32) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").step("pay", pay).undo(void);
}
