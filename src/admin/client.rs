//! The asking side, for our own commands. Blocks the calling thread, which must run no runtime.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::time::timeout;

use super::{EXPLAIN_PATH, Fault, fields};
use crate::engine::{Ask, Explanation};

/// For the connection: the daemon is mostly on this host.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// For the whole; longer than a daemon that serves others keeps anyone waiting.
const WHOLE_TIME: Duration = Duration::from_secs(15);
/// Octets of a reply. 65,535 octets of DNS hold 5,400 records of 12 octets, each of which may name
/// an owner of 1,020 characters.
const MAX_REPLY_OCTETS: usize = 8 << 20;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error(
        "the daemon at {address} does not answer: is it running, and has its configuration \
         [listen] admin?"
    )]
    Unreachable {
        /// Where it should be.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else answers.
    #[error("what answers at {address} is not privatelinkd, or one of another version: {why}")]
    NotUnderstood {
        /// Who was asked.
        address: SocketAddr,
        /// What is wrong with the reply.
        why: String,
    },
    /// The daemon does not want to.
    #[error("the daemon at {address} refuses: {why}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// What it says.
        why: String,
    },
}

/// Asks the daemon whose `listen.admin` is `address` to explain.
///
/// # Errors
/// Nobody answers there, or not with an explanation.
pub fn explain(address: SocketAddr, ask: &Ask) -> Result<Explanation, ClientError> {
    let unreachable = |source| ClientError::Unreachable { address, source };
    let not_understood = |why: String| ClientError::NotUnderstood { address, why };
    let query = fields::write(ask).map_err(|error| not_understood(error.to_string()))?;
    let path = format!("{EXPLAIN_PATH}?{query}");
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(unreachable)?.block_on(async {
        let connect = timeout(CONNECT_TIME, TcpStream::connect(address)).await;
        let stream = connect.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let reply = timeout(WHOLE_TIME, get(stream.map_err(unreachable)?, address, &path)).await;
        let reply = reply.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?;
        reply.map_err(|error| not_understood(error.to_string()))
    });
    let (status, body) = asked?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(|error| not_understood(error.to_string()));
    }
    // Debug form: text of others must not reach a terminal raw.
    Err(match serde_json::from_slice(&body) {
        Ok(Fault { error }) => ClientError::Refused { address, why: format!("{error:?}") },
        Err(_) => not_understood(format!("its status is {status}")),
    })
}

async fn get(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), axum::Error> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(axum::Error::new)?;
    // It ends with the runtime; its errors reach the request too.
    let _driven = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Body::empty())
        .map_err(axum::Error::new)?;
    let response = sender.send_request(request).await.map_err(axum::Error::new)?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), MAX_REPLY_OCTETS).await?;
    Ok((status, body))
}
