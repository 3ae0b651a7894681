use mainstay::saga::{Cx, Saga, StepError};

async fn post(_: Cx<(), ()>, _: ()) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").pivot("post", post).step("pay", post);
}
