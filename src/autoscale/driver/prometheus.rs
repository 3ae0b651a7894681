use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use ::reqwest::header::CONTENT_TYPE;
use ::reqwest::{Client, Error};
use serde::Deserialize;
use tower::BoxError;

use super::Metrics;
use super::turn::within;
use crate::autoscale::{Fleet, Reading, Sample, Signal};
use crate::num::Period;
use crate::rt;
use crate::time::Timestamp;

/// The longest answer that is read.
const LONGEST: usize = 1 << 20;
/// Of how many starting replicas the age is remembered.
const STARTS: usize = 10_000;

/// Samples from the queries of a Prometheus server.
///
/// Each query must give one number: aggregate it. All are asked at once. A signal whose query fails, gives nothing or takes
/// longer than its patience is missing, and the [sample](Sample::failures) says why; so is the sample where the query for
/// the replicas fails.
///
/// A reading's time is when the server evaluated the query, not when something was measured, so that no policy sees from it
/// that a metric is old. By itself a server gives the last value for five minutes. So a query should give nothing when its
/// metrics are old: `sum(rate(..[1m]))` and `sum(last_over_time(..[1m]))` do, `or vector(0)` undoes it.
///
/// The client is the caller's, with its TLS and its headers. It and the address, which may hold secrets, are neither in the
/// `Debug` of this nor in its errors.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::Signal;
/// use mainstay::autoscale::driver::Prometheus;
///
/// let metrics = Prometheus::new(reqwest::Client::new(), "http://127.0.0.1:9090")
///     .ready("sum(last_over_time(kube_deployment_status_replicas_ready{deployment='llm'}[1m]))")
///     .ordered("sum(last_over_time(kube_deployment_spec_replicas{deployment='llm'}[1m]))")
///     .signal(Signal::Rate, "sum(rate(llm_requests_total[1m]))")
///     .signal(Signal::Backlog, "sum(last_over_time(llm_requests_waiting[1m]))");
/// # let _ = metrics;
/// ```
pub struct Prometheus {
    client: Client,
    url: String,
    ready: String,
    ordered: Option<String>,
    signals: Vec<(Signal, String)>,
    patience: Period,
    /// Since when each of those that are not ready has been seen starting, the oldest first.
    starts: VecDeque<Timestamp>,
}

impl Prometheus {
    /// The server at this address, without a path.
    #[must_use]
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            client,
            url: format!("{}/api/v1/query", url.trim_end_matches('/')),
            ready: "sum(up)".into(),
            ordered: None,
            signals: Vec::new(),
            patience: Period::secs(2),
            starts: VecDeque::new(),
        }
    }

    /// The query for the replicas that serve. Defaults to `sum(up)`.
    #[must_use]
    pub fn ready(mut self, query: impl Into<String>) -> Self {
        self.ready = query.into();
        self
    }

    /// The query for those that are asked for. Defaults to none: those that serve are all. Those beyond them are starting,
    /// from when they were first seen.
    #[must_use]
    pub fn ordered(mut self, query: impl Into<String>) -> Self {
        self.ordered = Some(query.into());
        self
    }

    /// The query for a signal.
    #[must_use]
    pub fn signal(mut self, signal: Signal, query: impl Into<String>) -> Self {
        self.signals.push((signal, query.into()));
        self
    }

    /// How long the query for a signal may take; less than the driver's patience, which is for the whole sample. Defaults to
    /// 2 s.
    #[must_use]
    pub const fn patience(mut self, patience: Period) -> Self {
        self.patience = patience;
        self
    }

    async fn ask(&self, query: &str) -> Answered {
        let form = "application/x-www-form-urlencoded";
        let request = self.client.post(&self.url).header(CONTENT_TYPE, form);
        let response = request
            .body(format!("query={}", encoded(query)))
            .send()
            .await
            .map_err(Error::without_url)?;
        let mut response = response.error_for_status().map_err(Error::without_url)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Error::without_url)? {
            if body.len().saturating_add(chunk.len()) > LONGEST {
                return Err("the answer is longer than a megabyte".into());
            }
            body.extend_from_slice(&chunk);
        }
        number(&body)
    }

    /// The answers to `ready` and `ordered`, and to each signal, asked at once.
    async fn ask_all(&self) -> (Answered, Option<Answered>, Vec<Answered>) {
        let until = rt::now() + self.patience.get();
        let mut all: Vec<Asking<'_>> = vec![Box::pin(self.ask(&self.ready))];
        if let Some(query) = &self.ordered {
            all.push(Box::pin(self.ask(query)));
        }
        for (_, query) in &self.signals {
            all.push(Box::pin(within(self.ask(query), until, "the query")));
        }
        let mut answers = together(all).await.into_iter();
        let ready = answers.next().unwrap_or_else(|| Err("not asked".into()));
        let ordered = self.ordered.as_ref().and_then(|_| answers.next());
        (ready, ordered, answers.collect())
    }
}

/// A value, and when it was so.
type Answered = Result<(f64, Timestamp), BoxError>;
type Asking<'a> = Pin<Box<dyn Future<Output = Answered> + Send + 'a>>;

/// What each of them gives, in their order.
async fn together(mut asking: Vec<Asking<'_>>) -> Vec<Answered> {
    let mut answers: Vec<Option<Answered>> = asking.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut outcome = Poll::Ready(());
        for (one, answer) in asking.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match one.as_mut().poll(cx) {
                    Poll::Ready(answered) => *answer = Some(answered),
                    Poll::Pending => outcome = Poll::Pending,
                }
            }
        }
        outcome
    })
    .await;
    answers.into_iter().flatten().collect()
}

fn count(value: f64) -> Result<u32, BoxError> {
    if (0.0..=f64::from(u32::MAX)).contains(&value) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked"
        )]
        Ok(value as u32)
    } else {
        Err(format!("{value} is no count of replicas").into())
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("ready", &self.ready)
            .field("ordered", &self.ordered)
            .field("signals", &self.signals)
            .field("patience", &self.patience)
            .field("starts", &self.starts.len())
            .finish_non_exhaustive()
    }
}

impl Metrics for Prometheus {
    async fn observe(&mut self, now: Timestamp) -> Result<Sample, BoxError> {
        let (ready, ordered, answers) = self.ask_all().await;
        let ready = count(ready?.0)?;
        let ordered = match ordered {
            Some(ordered) => count(ordered?.0)?,
            None => ready,
        };
        let starting = usize::try_from(ordered.saturating_sub(ready)).unwrap_or(usize::MAX);
        let starting = starting.min(STARTS);
        // Those that started first are ready first.
        while self.starts.len() > starting {
            self.starts.pop_front();
        }
        self.starts.resize(starting, now);
        let fleet = Fleet::new(ready).starting(self.starts.iter().copied());
        let mut sample = Sample::new(fleet);
        for ((signal, _), answer) in self.signals.iter().zip(answers) {
            sample = match answer {
                Ok((value, at)) => sample.measured(*signal, Reading::new(value, at)),
                Err(error) => sample.failed(*signal, error.to_string()),
            };
        }
        Ok(sample)
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((f64, String)),
    Vector(Vec<Series>),
}

#[derive(Deserialize)]
struct Series {
    value: (f64, String),
}

/// The one number of an answer.
fn number(body: &[u8]) -> Answered {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        // Without what stands there: it is of any length.
        let (line, column) = (error.line(), error.column());
        format!("the answer is not one of Prometheus, at line {line} column {column}")
    })?;
    let (at, value) = match answer.data {
        Data::Scalar(value) => value,
        Data::Vector(mut series) => match (series.pop(), series.len()) {
            (Some(one), 0) => one.value,
            (None, _) => return Err("the query gives nothing".into()),
            (_, more) => {
                let count = more.saturating_add(1);
                return Err(format!("the query gives {count} series: aggregate it").into());
            }
        },
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates"
    )]
    let at = Timestamp::from_millis((at * 1_000.0) as i64);
    Ok((value.parse()?, at))
}

/// As forms have it: everything but letters, digits and `-._~` as percent and two digits.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_and_when() {
        let vector = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"42"]}]}}"#;
        assert_eq!(
            number(vector).unwrap(),
            (42.0, Timestamp::from_millis(1_500))
        );
        let scalar = br#"{"status":"success","data":{"resultType":"scalar","result":[2,"0.5"]}}"#;
        assert_eq!(
            number(scalar).unwrap(),
            (0.5, Timestamp::from_millis(2_000))
        );
    }

    #[test]
    fn anything_else_is_an_error() {
        let none = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert!(number(none).unwrap_err().to_string().contains("nothing"));
        let two =
            br#"{"data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"1"]}]}}"#;
        assert!(number(two).unwrap_err().to_string().contains("2 series"));
        for text in ["", "{}", r#"{"data":{"resultType":"matrix","result":[]}}"#] {
            assert!(number(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded("a{b='c d'}"), "a%7Bb%3D%27c%20d%27%7D");
    }
}
