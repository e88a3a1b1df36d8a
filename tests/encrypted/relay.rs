//! Stands between client and server and can swallow what flows, without a word to either.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, tcp};
use tokio::task::spawn_local;

/// Relays TCP or UDP. Flows that begin after [`Self::swallow`] are let through again.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    flows: Flows,
}

/// Whether each flow is swallowed.
type Flows = Rc<RefCell<Vec<Rc<Cell<bool>>>>>;

fn flow(flows: &Flows) -> Rc<Cell<bool>> {
    let is_swallowed = Rc::new(Cell::new(false));
    flows.borrow_mut().push(Rc::clone(&is_swallowed));
    is_swallowed
}

impl Relay {
    /// Swallows all flows that there are now, for ever.
    pub(crate) fn swallow(&self) {
        self.flows.borrow().iter().for_each(|flow| flow.set(true));
    }

    pub(crate) async fn tcp(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, flows) = (listener.local_addr().unwrap(), Flows::default());
        let kept = Rc::clone(&flows);
        spawn_local(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server).await.unwrap();
                let is_swallowed = flow(&kept);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                spawn_local(copy(from_client, to_server, Rc::clone(&is_swallowed)));
                spawn_local(copy(from_server, to_client, is_swallowed));
            }
        });
        Self { address, flows }
    }

    pub(crate) async fn udp(server: SocketAddr) -> Self {
        let outside = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let (address, flows) = (outside.local_addr().unwrap(), Flows::default());
        let kept = Rc::clone(&flows);
        spawn_local(async move {
            let mut clients = HashMap::new();
            let mut buffer = [0; 65_536];
            loop {
                let (octets, client) = outside.recv_from(&mut buffer).await.unwrap();
                let (inside, is_swallowed) = match clients.entry(client) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let inside = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                        inside.connect(server).await.unwrap();
                        let is_swallowed = flow(&kept);
                        let (from, to) = (Rc::clone(&inside), Rc::clone(&outside));
                        spawn_local(back(from, to, client, Rc::clone(&is_swallowed)));
                        new.insert((inside, is_swallowed))
                    }
                };
                if !is_swallowed.get() {
                    // The server may be away.
                    let _lost = inside.send(&buffer[..octets]).await;
                }
            }
        });
        Self { address, flows }
    }
}

async fn copy(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    is_swallowed: Rc<Cell<bool>>,
) -> io::Result<()> {
    let mut buffer = [0; 65_536];
    loop {
        let octets = from.read(&mut buffer).await?;
        if octets == 0 {
            return to.shutdown().await;
        }
        if !is_swallowed.get() {
            to.write_all(&buffer[..octets]).await?;
        }
    }
}

async fn back(
    inside: Rc<UdpSocket>,
    outside: Rc<UdpSocket>,
    client: SocketAddr,
    is_swallowed: Rc<Cell<bool>>,
) {
    let mut buffer = [0; 65_536];
    loop {
        let Ok(octets) = inside.recv(&mut buffer).await else { continue };
        if !is_swallowed.get() {
            outside.send_to(&buffer[..octets], client).await.unwrap();
        }
    }
}
