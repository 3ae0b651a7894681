//! What the disk can do.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::job::Outcome;

/// How many small writes a second the disk makes durable for one who waits for each.
pub fn syncs_a_second(folder: &Path, time: Duration) -> Outcome<f64> {
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    let page = [7_u8; 4_096];
    let start = Instant::now();
    let mut syncs = 0.0;
    while start.elapsed() < time {
        file.write_all(&page)?;
        file.sync_data()?;
        syncs += 1.0;
    }
    let rate = syncs / start.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(rate)
}
