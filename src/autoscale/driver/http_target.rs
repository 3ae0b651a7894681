use std::fmt;

use ::reqwest::header::CONTENT_TYPE;
use ::reqwest::{Client, Error, Method};
use tower::BoxError;

use super::Target;

/// What stands for the count in a body.
const PLACE: &str = "{replicas}";

/// A target that is scaled by a request.
///
/// Any status of success is one. The client is the caller's, with its TLS and its credentials. What may hold a secret, which
/// is the client, the address and the body, is neither in its `Debug` nor in its errors.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::driver::HttpTarget;
///
/// // As the scale of a Kubernetes deployment is changed, which is the default form.
/// let scale = "http://127.0.0.1:8001/apis/apps/v1/namespaces/erp/deployments/llm/scale";
/// let target = HttpTarget::new(reqwest::Client::new(), scale);
/// // Or as something of one's own wants it.
/// let own = HttpTarget::new(reqwest::Client::new(), "http://127.0.0.1:8080/nodes")
///     .method(reqwest::Method::PUT)
///     .body("application/json", r#"{"count": {replicas}}"#);
/// # let _ = (target, own);
/// ```
pub struct HttpTarget {
    client: Client,
    url: String,
    method: Method,
    kind: String,
    body: String,
}

impl HttpTarget {
    /// The address that a count is sent to.
    #[must_use]
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
            method: Method::PATCH,
            kind: "application/merge-patch+json".into(),
            body: format!(r#"{{"spec":{{"replicas":{PLACE}}}}}"#),
        }
    }

    /// How it is sent. Defaults to PATCH.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// What is sent: its media type, and the body with `{replicas}` where the count belongs.
    #[must_use]
    pub fn body(mut self, kind: impl Into<String>, body: impl Into<String>) -> Self {
        self.kind = kind.into();
        self.body = body.into();
        self
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget")
            .field("method", &self.method)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Target for HttpTarget {
    async fn apply(&mut self, replicas: u32) -> Result<(), BoxError> {
        let body = self.body.replace(PLACE, &replicas.to_string());
        let request = self.client.request(self.method.clone(), &self.url);
        let request = request.header(CONTENT_TYPE, &self.kind).body(body);
        let response = request.send().await.map_err(Error::without_url)?;
        response.error_for_status().map_err(Error::without_url)?;
        Ok(())
    }
}
