use mainstay::saga::{Cx, Saga, StepError};

async fn pay(_: Cx<(), ()>, _: ()) -> Result<(), StepError> {
    let shared = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
    Ok(())
}

fn main() {
    let _ = Saga::builder("saga").pivot("pay", pay);
}
