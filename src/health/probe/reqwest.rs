use std::sync::Arc;

use ::http::Uri;
use ::reqwest::{Client, Response, Url};

use super::http::{Ask, Asking, Client as Asks, HttpProbe};
use crate::error::ConfigError;
use crate::health::sample::{Sample, Why};

impl HttpProbe {
    /// Asks by GET, over a client of reqwest's. Redirections are followed as that client does, which
    /// by default sends headers of your own to the other host too: where they are secret, give it a client that follows none.
    ///
    /// # Errors
    ///
    /// If the address is none of a server: reqwest asks absolute ones only.
    pub fn reqwest(client: Client, uri: Uri) -> Result<Self, ConfigError> {
        // The address may hold secrets, so the error does not have it.
        let refused = |given| ConfigError::new("uri", given, "an absolute address");
        let url = Url::parse(&uri.to_string()).map_err(|_| refused("another one"))?;
        if !url.has_host() {
            return Err(refused("one without a host"));
        }
        Ok(Self::by(Arc::new(ByReqwest { client, url }), uri))
    }
}

struct ByReqwest {
    client: Client,
    /// The probe's own address, read once.
    url: Url,
}

impl Asks for ByReqwest {
    fn ask(&self, ask: Ask) -> Asking {
        let request = self.client.request(ask.method, self.url.clone());
        let sending = request.headers(ask.headers).send();
        let expected = ask.expected;
        Box::pin(async move {
            let response = match sending.await {
                Ok(response) => response,
                // The client's own patience may be shorter than the look's.
                Err(error) if error.is_timeout() => return Sample::down(Why::TimedOut),
                Err(_) => return Sample::down(Why::Unreachable),
            };
            let status = response.status().as_u16();
            let Some(longest) = expected.reads(status) else {
                return expected.judge(status, None);
            };
            match read(response, longest).await {
                Ok(body) => expected.judge(status, body.as_deref()),
                Err(error) if error.is_timeout() => Sample::down(Why::TimedOut),
                Err(_) => Sample::down(Why::Malformed),
            }
        })
    }
}

/// The body, or `None` if it is longer than this.
async fn read(mut response: Response, longest: usize) -> ::reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > longest.saturating_sub(body.len()) {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
