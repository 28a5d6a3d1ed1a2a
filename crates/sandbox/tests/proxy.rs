//! The proxy that is the network of fault tests: that each fault is what its name says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tieline_sandbox::proxy::{Network, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Long enough to be told from a busy machine's own delays, which only make it longer.
const LONG: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_goes_through_is_the_same_and_takes_the_latency_both_ways() {
    let (proxy, mut client, mut server) = connected().await;
    say(&mut client, &mut server, b"good day").await;

    proxy.set(Network { latency: LONG, jitter: LONG, ..Network::default() });
    let begun = Instant::now();
    say(&mut client, &mut server, b"question").await;
    say(&mut server, &mut client, b"answer").await;
    assert!(begun.elapsed() >= LONG * 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_network_that_holds_accepts_and_says_nothing_and_goes_on_where_it_was() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Network { holds: true, ..Network::default() });
    client.write_all(b"held").await.unwrap();
    let mut heard = [0; 4];
    assert!(tokio::time::timeout(LONG, server.read_exact(&mut heard)).await.is_err());
    TcpStream::connect(proxy.address()).await.unwrap();

    proxy.set(Network::default());
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"held");
}

#[tokio::test]
async fn a_reset_is_one_for_both_sides_and_the_next_connection_is_well() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.reset_all();
    for side in [&mut client, &mut server] {
        let error = side.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    TcpStream::connect(proxy.address()).await.unwrap();
}

#[tokio::test]
async fn a_close_is_heard_of_late_and_a_narrow_way_takes_its_time() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Network { closes_late: LONG, bytes_per_second: Some(1_000), ..Network::default() });
    let begun = Instant::now();
    say(&mut client, &mut server, &[7; 300]).await;
    assert!(begun.elapsed() >= LONG, "{:?}", begun.elapsed());

    let begun = Instant::now();
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(begun.elapsed() >= LONG, "{:?}", begun.elapsed());
}

/// A proxy, and both ends of a connection through it.
async fn connected() -> (Proxy, TcpStream, TcpStream) {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any_port).await.unwrap();
    let proxy = Proxy::start(any_port, listener.local_addr().unwrap()).await.unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (proxy, client, server)
}

async fn say(from: &mut TcpStream, to: &mut TcpStream, said: &[u8]) {
    from.write_all(said).await.unwrap();
    let mut heard = vec![0; said.len()];
    to.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, said);
}
