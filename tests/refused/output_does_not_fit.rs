use mainstay::saga::{Cx, Saga, StepError};

async fn count(_: Cx<(), ()>, _: ()) -> Result<u32, StepError> {
    Ok(1)
}

async fn name(_: Cx<(), ()>, _: String) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").check("count", count).pivot("name", name);
}
