//! Generates `../pb.rs` from `../ledger.proto`; with `--check`, says whether the committed file is what would be
//! generated (exit code 1 if not).

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let check = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "--check");
    let ledger = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let committed = ledger.join("pb.rs");

    let output = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .out_dir(output.path())
        .compile_fds(protox::compile(["ledger.proto"], [&ledger])?)?;
    let generated = std::fs::read_to_string(output.path().join("ledger.v1.rs"))?;

    if !check {
        std::fs::write(&committed, generated)?;
        println!("wrote pb.rs");
    } else if std::fs::read_to_string(&committed)? != generated {
        eprintln!("pb.rs is not what ledger.proto generates; run this command without --check");
        return Ok(ExitCode::FAILURE);
    } else {
        println!("pb.rs is what ledger.proto generates");
    }
    Ok(ExitCode::SUCCESS)
}
