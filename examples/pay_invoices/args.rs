//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::backends::{SERVE, Service};
use crate::crew::CARRY;
use crate::erp::Addresses;
use crate::faults::Level;
use crate::invalid::Invalid;
use crate::mutant::Mutant;
use crate::saga::Order;
use crate::stores::{ADDRESS, Store};

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
  --in-flight N              invoices at once, in each instance [default: 64]
  --store sqlite|memory|postgres
                             where the journal is [default: sqlite]; memory forgets, so it always starts over
  --postgres ADDRESS         the database, as postgres://user@host/database [default: $DATABASE_URL]
  --instances N              so many processes share the journal in PostgreSQL [default: 1]
  --kill N                   kill -9 an instance so many times on the way [default: 0]
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
    /// Hidden: run one instance.
    Carry(CarryArgs),
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
    pub(crate) store: Store,
    /// The address of the database; there may be a password in it, so it is shown nowhere.
    pub(crate) postgres: Option<String>,
    pub(crate) instances: usize,
    pub(crate) kills: u32,
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

#[derive(Debug)]
pub(crate) struct CarryArgs {
    pub(crate) input: PathBuf,
    pub(crate) order: Order,
    /// Which share of the invoices, from 0, of how many.
    pub(crate) share: usize,
    pub(crate) of: usize,
    pub(crate) in_flight: NonZeroUsize,
    pub(crate) schema: String,
    pub(crate) addresses: Addresses,
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, Invalid> {
    let mut words = Words::new(arguments)?;
    if words.peek() == Some(SERVE) {
        words.next();
        return serve(&mut words).map(Command::Serve);
    }
    if words.peek() == Some(CARRY) {
        words.next();
        return carry(&mut words).map(Command::Carry);
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
        store: Store::Sqlite,
        postgres: None,
        instances: 1,
        kills: 0,
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
                if args.in_flight.get() > 1_000 {
                    return Err(Invalid::new(word, args.in_flight.to_string(), expected));
                }
            }
            "--store" => args.store = words.value(&word, "sqlite, memory or postgres")?,
            "--postgres" => {
                let expected = "the address of a database, as postgres://user@host/database";
                args.postgres = Some(words.value(&word, expected)?);
            }
            "--instances" => {
                let expected = "a whole number from 1 to 9";
                args.instances = words.value(&word, expected)?;
                if !(1..=9).contains(&args.instances) {
                    return Err(Invalid::new(word, args.instances.to_string(), expected));
                }
            }
            "--kill" => args.kills = words.value(&word, "a whole number")?,
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
    checked(args).map(Command::Pay)
}

/// What does not go together is refused before anything is started.
fn checked(mut args: PayArgs) -> Result<PayArgs, Invalid> {
    if args.store == Store::Postgres {
        args.postgres = args.postgres.or_else(|| std::env::var(ADDRESS).ok());
        if args.postgres.is_none() {
            let expected = format!(
                "a database: --postgres postgres://user@host/database or {ADDRESS} says where one is (with Docker: \
                 docker run --rm -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres, and \
                 --postgres postgres://postgres@localhost/postgres)"
            );
            return Err(Invalid::new("--store", "postgres", expected));
        }
    }
    let instances = args.instances.to_string();
    if args.instances > 1 && args.store != Store::Postgres {
        let expected = format!(
            "1 with --store {}: several need --store postgres",
            args.store
        );
        return Err(Invalid::new("--instances", instances, expected));
    }
    if args.instances > 1 && args.mutant.is_some() {
        return Err(Invalid::new("--instances", instances, "1 with --mutant"));
    }
    if args.kills > 0 && args.instances == 1 {
        let expected = "0 with one instance: nobody would carry on what it had";
        return Err(Invalid::new("--kill", args.kills.to_string(), expected));
    }
    // The ledger's queue is as long.
    if args.instances * args.in_flight.get() > 1_000 {
        let expected = format!(
            "at most {} with {instances} instances",
            1_000 / args.instances
        );
        return Err(Invalid::new(
            "--in-flight",
            args.in_flight.to_string(),
            expected,
        ));
    }
    args.fresh |= args.store == Store::Memory;
    Ok(args)
}

fn carry(words: &mut Words) -> Result<CarryArgs, Invalid> {
    let mut args = CarryArgs {
        input: PathBuf::new(),
        order: Order::Standard,
        share: 0,
        of: 1,
        in_flight: IN_FLIGHT,
        schema: String::new(),
        addresses: Addresses::default(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--input" => args.input = words.value(&word, "a file")?,
            "--saga" => args.order = words.value(&word, "standard or documented")?,
            "--share" => args.share = words.value(&word, "a whole number")?,
            "--instances" => args.of = words.value::<NonZeroUsize>(&word, "a whole number")?.get(),
            "--in-flight" => args.in_flight = words.value(&word, "a whole number")?,
            "--schema" => args.schema = words.value(&word, "a schema")?,
            "--ledger" => args.addresses.ledger = words.value(&word, "an address")?,
            "--notification" => args.addresses.notification = words.value(&word, "an address")?,
            "--assistant" => args.addresses.assistant = words.value(&word, "an address")?,
            _ => return Err(Invalid::new("arguments", word, "a flag of an instance")),
        }
    }
    Ok(args)
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
            ("--store paper", "--store", "paper"),
            ("--instances 3", "--instances", "3"),
            ("--instances 10", "--instances", "10"),
            ("--kill 1", "--kill", "1"),
            (
                "--store postgres --postgres p --instances 4 --in-flight 300",
                "--in-flight",
                "300",
            ),
        ] {
            let error = pay(line).err().unwrap();
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
            assert!(!error.expected.is_empty());
        }
    }
}
