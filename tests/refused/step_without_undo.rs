use mainstay::saga::{Cx, Saga, StepError};

async fn pay(_: Cx<(), ()>, _: ()) -> Result<(), StepError> {
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").step("pay", pay).step("again", pay);
}
