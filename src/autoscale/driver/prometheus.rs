use std::collections::VecDeque;
use std::fmt::Write;

use ::reqwest::Client;
use ::reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use tower::BoxError;

use super::Metrics;
use crate::autoscale::{Fleet, Reading, Sample, Signal};
use crate::time::Timestamp;

/// The longest answer that is read.
const LONGEST: usize = 1 << 20;
/// Of how many starting replicas the age is remembered.
const STARTS: usize = 10_000;

/// Samples from the queries of a Prometheus server.
///
/// Each query must give one number: aggregate it. A signal whose query fails or gives nothing is missing, so a query should
/// give nothing when its metrics are old: `sum(rate(..[1m]))` does, `or vector(0)` undoes it. The client is the caller's,
/// with its TLS and its headers.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::Signal;
/// use mainstay::autoscale::driver::Prometheus;
///
/// let metrics = Prometheus::new(reqwest::Client::new(), "http://127.0.0.1:9090")
///     .ready("sum(kube_deployment_status_replicas_ready{deployment='llm'})")
///     .ordered("sum(kube_deployment_spec_replicas{deployment='llm'})")
///     .signal(Signal::Rate, "sum(rate(llm_requests_total[1m]))")
///     .signal(Signal::Backlog, "sum(llm_requests_waiting)");
/// # let _ = metrics;
/// ```
#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    url: String,
    ready: String,
    ordered: Option<String>,
    signals: Vec<(Signal, String)>,
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

    async fn ask(&self, query: &str) -> Result<(f64, Timestamp), BoxError> {
        let form = "application/x-www-form-urlencoded";
        let request = self.client.post(&self.url).header(CONTENT_TYPE, form);
        let response = request
            .body(format!("query={}", encoded(query)))
            .send()
            .await?;
        let mut response = response.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len().saturating_add(chunk.len()) > LONGEST {
                return Err("the answer is longer than a megabyte".into());
            }
            body.extend_from_slice(&chunk);
        }
        number(&body)
    }

    async fn count(&self, query: &str) -> Result<u32, BoxError> {
        let (value, _) = self.ask(query).await?;
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
}

impl Metrics for Prometheus {
    async fn observe(&mut self, now: Timestamp) -> Result<Sample, BoxError> {
        let ready = self.count(&self.ready).await?;
        let ordered = match &self.ordered {
            Some(query) => self.count(query).await?,
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
        for (signal, query) in &self.signals {
            if let Ok((value, at)) = self.ask(query).await {
                sample = sample.measured(*signal, Reading::new(value, at));
            }
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
fn number(body: &[u8]) -> Result<(f64, Timestamp), BoxError> {
    let (at, value) = match serde_json::from_slice::<Answer>(body)?.data {
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
