//! `with_postgres COMMAND [ARGUMENT..]`: runs a command with a PostgreSQL server of its own, whose address is in
//! `DATABASE_URL`, and exits as the command does. The server and its data are gone afterwards.

#![expect(
    clippy::disallowed_methods,
    reason = "a program that starts programs lives in real time"
)]

use std::process::{Command, ExitCode};

use mainstay_test_support::postgres::Server;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: with_postgres COMMAND [ARGUMENT..]");
        return ExitCode::from(2);
    };
    let server = match Server::start(&[]) {
        Ok(server) => server,
        Err(absent) => {
            eprintln!("with_postgres: {absent}");
            return ExitCode::from(2);
        }
    };
    let ended = Command::new(&program)
        .args(words)
        .env("DATABASE_URL", server.address())
        .status();
    drop(server);
    match ended {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            ExitCode::from(code.unwrap_or(1))
        }
        Err(error) => {
            eprintln!("with_postgres: {}: {error}", program.display());
            ExitCode::from(2)
        }
    }
}
