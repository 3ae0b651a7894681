//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::backends::{SERVE, Service};
use crate::faults::Level;
use crate::invalid::Invalid;
use crate::mutant::Mutant;
use crate::saga::Order;

pub(crate) const USAGE: &str = "\
Pays invoices through services that fail, and proves that the books are right.

usage: pay_invoices [FILE] [options]

  FILE                       invoices as CSV or JSON Lines [default: examples/data/invoices.csv]
  --faults none|mild|severe  how much goes wrong [default: mild]
  --seed N                   decides what goes wrong [default: 1]
  --saga standard|documented the order of the steps [default: standard]
  --state DIR                journal, ledger.sqlite, rejects.csv [default: pay_invoices/ in the target folder]
  --fresh                    start over: forget what is in DIR
  --report FILE              write the final table as JSON
  --in-flight N              invoices at once [default: 64]
  --help

The exit code is 0 if the audit holds, 1 if it does not, 2 if there was nothing to audit.
The same command again finishes what an interrupted one has left.
";

const IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// What the user wants.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Pay(PayArgs),
    /// Hidden: run one backend.
    Serve(ServeArgs),
}

#[derive(Debug)]
pub(crate) struct PayArgs {
    pub(crate) input: PathBuf,
    pub(crate) faults: Level,
    pub(crate) seed: u64,
    pub(crate) order: Order,
    pub(crate) state: PathBuf,
    pub(crate) fresh: bool,
    pub(crate) report: Option<PathBuf>,
    pub(crate) in_flight: NonZeroUsize,
    /// Hidden: break the engine on purpose, so that the tests can show that they would notice.
    pub(crate) mutant: Option<Mutant>,
}

#[derive(Debug)]
pub(crate) struct ServeArgs {
    pub(crate) service: Service,
    pub(crate) state: PathBuf,
    pub(crate) port: u16,
    pub(crate) faults: Level,
    pub(crate) seed: u64,
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, Invalid> {
    let mut words = Words::new(arguments)?;
    if words.peek() == Some(SERVE) {
        words.next();
        return serve(&mut words).map(Command::Serve);
    }
    let mut args = PayArgs {
        input: PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/data/invoices.csv"
        )),
        faults: Level::Mild,
        seed: 1,
        order: Order::Standard,
        state: default_state(),
        fresh: false,
        report: None,
        in_flight: IN_FLIGHT,
        mutant: None,
    };
    let mut input = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--faults" => args.faults = words.value(&word, "none, mild or severe")?,
            "--seed" => args.seed = words.value(&word, "a whole number from 0 to 2^64 - 1")?,
            "--saga" => args.order = words.value(&word, "standard or documented")?,
            "--state" => args.state = words.value(&word, "a folder")?,
            "--fresh" => args.fresh = true,
            "--report" => args.report = Some(words.value(&word, "a file to write")?),
            "--in-flight" => {
                let expected = "a whole number from 1 to 1000";
                args.in_flight = words.value(&word, expected)?;
                // The ledger's queue is as long.
                if args.in_flight.get() > 1_000 {
                    return Err(Invalid::new(word, args.in_flight.to_string(), expected));
                }
            }
            "--mutant" => args.mutant = Some(words.value(&word, "ack-early or no-unwind")?),
            flag if flag.starts_with('-') => {
                return Err(Invalid::new("arguments", flag, "a flag that --help lists"));
            }
            _ if input.is_some() => {
                return Err(Invalid::new("arguments", word, "one file of invoices"));
            }
            _ => input = Some(PathBuf::from(word)),
        }
    }
    args.input = input.unwrap_or(args.input);
    Ok(Command::Pay(args))
}

fn serve(words: &mut Words) -> Result<ServeArgs, Invalid> {
    let service = words.value(SERVE, "assistant, ledger or notification")?;
    let mut args = ServeArgs {
        service,
        state: default_state(),
        port: 0,
        faults: Level::None,
        seed: 0,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--state" => args.state = words.value(&word, "a folder")?,
            "--port" => args.port = words.value(&word, "a port")?,
            "--faults" => args.faults = words.value(&word, "none, mild or severe")?,
            "--seed" => args.seed = words.value(&word, "a whole number")?,
            _ => return Err(Invalid::new("arguments", word, "a flag of a backend")),
        }
    }
    Ok(args)
}

/// `pay_invoices` in the target folder that this binary was built into, or else in the folder `target`.
fn default_state() -> PathBuf {
    let program = std::env::current_exe().ok();
    // target / profile / examples / program
    let target = program
        .as_deref()
        .and_then(|program| program.ancestors().nth(3));
    target.unwrap_or(Path::new("target")).join("pay_invoices")
}

/// The arguments as words, where `--flag=value` is two.
struct Words {
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
}

impl Words {
    fn new(arguments: impl Iterator<Item = OsString>) -> Result<Self, Invalid> {
        let mut words = Vec::new();
        for argument in arguments {
            let word = argument.into_string().map_err(|raw| {
                Invalid::new("arguments", raw.to_string_lossy(), "arguments in UTF-8")
            })?;
            match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => {
                    words.extend([flag.to_owned(), value.to_owned()])
                }
                _ => words.push(word),
            }
        }
        Ok(Self {
            words: words.into_iter().peekable(),
        })
    }

    fn peek(&mut self) -> Option<&str> {
        self.words.peek().map(String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        self.words.next()
    }

    /// The value of a flag, or what was expected instead.
    fn value<T: FromStr>(&mut self, flag: &str, expected: &str) -> Result<T, Invalid> {
        let value = self
            .next()
            .ok_or_else(|| Invalid::new(flag, "nothing", expected))?;
        value
            .parse()
            .map_err(|_| Invalid::new(flag, value, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pay(line: &str) -> Result<PayArgs, Invalid> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Command::Pay(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_take_their_value_in_both_forms() {
        let args =
            pay("in.csv --faults=severe --seed 7 --saga documented --fresh --state s").unwrap();
        assert_eq!(
            (args.input, args.faults, args.seed),
            ("in.csv".into(), Level::Severe, 7)
        );
        assert_eq!(
            (args.order, args.fresh, args.state),
            (Order::Documented, true, "s".into())
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (line, field, value) in [
            ("--faults hot", "--faults", "hot"),
            ("--seed -1", "--seed", "-1"),
            ("--seed", "--seed", "nothing"),
            ("--in-flight 0", "--in-flight", "0"),
            ("--fast", "arguments", "--fast"),
            ("a.csv b.csv", "arguments", "b.csv"),
        ] {
            let error = pay(line).err().unwrap();
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
            assert!(!error.expected.is_empty());
        }
    }
}
