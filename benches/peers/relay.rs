//! A link of a chosen length: what comes in goes out later, in order, and is counted.
//!
//! It is short until it is told to stretch, so that preparations do not take as long as what is
//! measured. It has no bandwidth limit, but holds only so much on its way: behind that, the sender waits, as
//! it would behind a real link's buffers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

const CHUNK: usize = 64 << 10;

/// What a direction holds on its way: at 20 ms enough for some 400 MB/s.
const ON_ITS_WAY: usize = 8 << 20;

/// Ends with all its connections when dropped.
pub struct Relay {
    address: SocketAddr,
    length: Length,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// How long something is on its way, one way.
#[derive(Clone)]
struct Length {
    delay: Duration,
    stretched: Arc<AtomicBool>,
}

impl Length {
    fn now(&self) -> Duration {
        if self.stretched.load(Relaxed) { self.delay } else { Duration::ZERO }
    }
}

/// Both ways, all connections.
#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    /// How often something was sent up behind something that came down, or first of all.
    turns: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub connections: u64,
    pub open: u64,
    pub turns: u64,
    pub up: u64,
    pub down: u64,
}

impl Relay {
    /// `delay` is added each way, once it is stretched.
    pub async fn start(target: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let length = Length { delay, stretched: Arc::default() };
        let task = tokio::spawn(accept(listener, target, length.clone(), Arc::clone(&counts)));
        Ok(Self { address, length, counts, task })
    }

    /// From now on the delay holds, for connections that are open as well.
    pub fn stretch(&self) {
        self.length.stretched.store(true, Relaxed);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn traffic(&self) -> Traffic {
        let Counts { connections, open, turns, up, down } = &*self.counts;
        Traffic {
            connections: connections.load(Relaxed),
            open: open.load(Relaxed),
            turns: turns.load(Relaxed),
            up: up.load(Relaxed),
            down: down.load(Relaxed),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Traffic {
    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            open: self.open,
            turns: self.turns - before.turns,
            up: self.up - before.up,
            down: self.down - before.down,
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, length: Length, counts: Arc<Counts>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Relaxed);
        counts.open.fetch_add(1, Relaxed);
        let (length, counts) = (length.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            // A connection that breaks is the contenders' affair.
            let _ = join(near, target, &length, &counts).await;
            counts.open.fetch_sub(1, Relaxed);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn join(near: TcpStream, target: SocketAddr, length: &Length, counts: &Counts) -> io::Result<()> {
    // The handshake crosses the link as well: SYN, its answer, and the ACK behind which the server
    // says its greeting.
    tokio::time::sleep(3 * length.now()).await;
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let asked = AtomicBool::new(false);
    let up = |octets: usize| {
        counts.up.fetch_add(octets as u64, Relaxed);
        if !asked.swap(true, Relaxed) {
            counts.turns.fetch_add(1, Relaxed);
        }
    };
    let down = |octets: usize| {
        counts.down.fetch_add(octets as u64, Relaxed);
        asked.store(false, Relaxed);
    };
    tokio::try_join!(carry(near_in, far_out, length, up), carry(far_in, near_out, length, down))?;
    Ok(())
}

async fn carry(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    length: &Length,
    count: impl Fn(usize),
) -> io::Result<()> {
    if length.delay.is_zero() { at_once(from, to, count).await } else { later(from, to, length, count).await }
}

async fn at_once(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let octets = from.read(&mut buffer).await?;
        if octets == 0 {
            return to.shutdown().await;
        }
        count(octets);
        to.write_all(&buffer[..octets]).await?;
    }
}

struct Piece {
    due: Instant,
    octets: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

async fn later(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    length: &Length,
    count: impl Fn(usize),
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(ON_ITS_WAY));
    let (sender, mut receiver) = mpsc::unbounded_channel::<Piece>();
    let take = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let octets = from.read(&mut buffer).await?;
            let due = Instant::now() + length.now();
            count(octets);
            let needed = u32::try_from(octets).expect("not more than a chunk");
            let room = Arc::clone(&room).acquire_many_owned(needed).await.map_err(io::Error::other)?;
            // An empty piece is the end of the stream, which takes its time as well.
            let piece = Piece { due, octets: buffer[..octets].to_vec(), _room: room };
            if sender.send(piece).is_err() || octets == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let deliver = async move {
        while let Some(piece) = receiver.recv().await {
            // A sleep takes a millisecond also where there is nothing to wait for.
            if piece.due > Instant::now() {
                sleep_until(piece.due).await;
            }
            if piece.octets.is_empty() {
                break;
            }
            to.write_all(&piece.octets).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take, deliver)?;
    Ok(())
}
