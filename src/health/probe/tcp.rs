use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use tokio::net::TcpStream;

use super::one::One;
use super::{Probe, Seen};
use crate::health::sample::{Sample, Why};

/// Looks whether something accepts connections over TCP.
///
/// That it accepts says little: a process that hangs has a kernel that accepts for it. Use another probe where the
/// component speaks a protocol that has one.
///
/// The connection is closed at once. Several addresses of a name are tried one after the other, within the time of the look.
/// Names are resolved by the system, at each look; that cannot be cancelled, so while one hangs for more than a second the next
/// looks are bad without another one. Clones share that: of two looks at the same moment the second says nothing.
///
/// # Cancel safety
///
/// A look that is dropped leaves no connection behind, and at most one name that is being resolved.
///
/// # Example
///
/// ```
/// use mainstay::health::{TcpProbe, Watch};
///
/// let watch = Watch::new("mail", TcpProbe::new("mail.internal", 25));
/// # drop(watch);
/// ```
#[derive(Clone)]
pub struct TcpProbe {
    host: Host,
    port: u16,
    one: One,
}

#[derive(Clone)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl TcpProbe {
    /// At this name or address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(host),
        };
        Self {
            host,
            port,
            one: One::default(),
        }
    }
}

impl From<SocketAddr> for TcpProbe {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Address(address.ip()),
            port: address.port(),
            one: One::default(),
        }
    }
}

impl Probe for TcpProbe {
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
        let Self { host, port, one } = self.clone();
        async move {
            let connected = match host {
                Host::Address(address) => TcpStream::connect((address, port)).await,
                Host::Name(name) => match one.run(move || resolve(&name, port)).await {
                    Ok(Some(Ok(addresses))) => TcpStream::connect(&*addresses).await,
                    Ok(_) => return Sample::down(Why::Unreachable),
                    Err(busy) => return busy.sample(),
                },
            };
            match connected {
                Ok(stream) => {
                    drop(stream);
                    Sample::UP
                }
                Err(_) => Sample::down(Why::Unreachable),
            }
        }
    }
}

fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((name, port).to_socket_addrs()?.collect())
}

impl fmt::Debug for TcpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpProbe");
        match &self.host {
            Host::Address(address) => debug.field("host", address),
            Host::Name(name) => debug.field("host", name),
        };
        debug.field("port", &self.port).finish_non_exhaustive()
    }
}
