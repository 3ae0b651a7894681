use mainstay::saga::{Cx, Saga, StepError};

struct Receipt;

async fn pay(_: Cx<(), ()>, _: ()) -> Result<Receipt, StepError> {
    Ok(Receipt)
}

fn main() {
    let _ = Saga::builder("saga").pivot("pay", pay);
}
