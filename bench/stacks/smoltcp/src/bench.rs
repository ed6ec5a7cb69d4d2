//! Two interfaces in one process, joined by two queues in memory: see ../README.md.

use std::time::Instant as Wall;

use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpAddress, Ipv4Address};

use crate::common::{self, Pattern};
use crate::queue::{Port, Queue};

/// Packets handed over at a time.
const BATCH: usize = 32;
/// Virtual time that passes with each turn.
const STEP: Duration = Duration::from_micros(100);
const SMALL: usize = 64;

extern "C" {
    fn clock() -> i64;
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    (unsafe { clock() }) as f64 / 1e6
}

struct Side {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Side {
    fn new(address: Ipv4Address, window: usize, queues: (&mut Queue, &mut Queue), seed: u64) -> Side {
        let mut port = Port { incoming: queues.0, outgoing: queues.1 };
        let interface = common::interface(&mut port, &[IpAddress::from(address)], seed);
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(common::socket(window, window));
        Side { interface, sockets, handle }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut::<Socket>(self.handle)
    }
}

struct World {
    a: Side,
    b: Side,
    ab: Queue,
    ba: Queue,
    now: Instant,
    packets: u64,
    began: (f64, Wall),
}

const A: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const B: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

impl World {
    fn new(window: usize) -> World {
        let (mut ab, mut ba) = (Queue::new(BATCH), Queue::new(BATCH));
        let a = Side::new(A, window, (&mut ba, &mut ab), 1);
        let b = Side::new(B, window, (&mut ab, &mut ba), 2);
        World { a, b, ab, ba, now: Instant::ZERO, packets: 0, began: (cpu(), Wall::now()) }
    }

    /// A takes what has come and sends what it can.
    fn poll_a(&mut self) {
        let mut port = Port { incoming: &mut self.ba, outgoing: &mut self.ab };
        while self.a.interface.poll(self.now, &mut port, &mut self.a.sockets) == PollResult::SocketStateChanged {
        }
    }

    fn poll_b(&mut self) {
        let mut port = Port { incoming: &mut self.ab, outgoing: &mut self.ba };
        while self.b.interface.poll(self.now, &mut port, &mut self.b.sockets) == PollResult::SocketStateChanged {
        }
    }

    /// Both sides once; time passes, and where nothing moved it jumps to the next time-out.
    fn turn(&mut self) {
        self.now += STEP;
        common::set_clock(self.now);
        self.poll_a();
        let sent = self.ab.len();
        self.poll_b();
        let answered = self.ba.len();
        self.packets += (sent + answered) as u64;
        if sent + answered == 0 {
            let next = [
                self.a.interface.poll_at(self.now, &self.a.sockets),
                self.b.interface.poll_at(self.now, &self.b.sockets),
            ];
            if let Some(at) = next.into_iter().flatten().min() {
                self.now = self.now.max(at);
            }
        }
    }

    fn open(&mut self, port: u16) {
        self.b.socket().listen(80).expect("a closed socket");
        let Side { interface, sockets, handle } = &mut self.a;
        sockets
            .get_mut::<Socket>(*handle)
            .connect(interface.context(), (IpAddress::from(B), 80), port)
            .expect("a closed socket");
        while !(self.a.socket().may_send() && self.b.socket().may_send()) {
            self.turn();
        }
    }

    fn begin(&mut self) {
        self.packets = 0;
        self.began = (cpu(), Wall::now());
    }

    /// Every so many turns; a look at the clock costs something too.
    fn is_over(&self, turns: u64, seconds: f64) -> bool {
        turns % 256 == 0 && cpu() - self.began.0 >= seconds
    }

    fn print(&self, count: u64) {
        println!(
            "{{\"count\":{count},\"packets\":{},\"cpu\":{},\"wall\":{}}}",
            self.packets,
            cpu() - self.began.0,
            self.began.1.elapsed().as_secs_f64()
        );
    }
}

/// Octets of one stream; those of the first `checked` are compared.
pub fn bulk(window: usize, seconds: f64, checked: u64) {
    let mut world = World::new(window);
    let pattern = Pattern::new(7);
    world.open(5000);
    let (mut sent, mut received, mut turns) = (0u64, 0u64, 0u64);
    world.begin();
    loop {
        let socket = world.a.socket();
        while socket.can_send() {
            sent += socket.send_slice(&pattern.from(sent)[..common::PERIOD]).expect("room") as u64;
        }
        world.turn();
        let socket = world.b.socket();
        while socket.can_recv() {
            let n = socket
                .recv(|octets| {
                    if received < checked {
                        assert!(pattern.matches(octets, received), "wrong octets");
                    }
                    (octets.len(), octets.len())
                })
                .expect("octets");
            received += n as u64;
        }
        turns += 1;
        if world.is_over(turns, seconds) && received >= checked {
            break;
        }
    }
    world.print(received);
}

/// Segments of 64 octets, each of a write of its own.
pub fn small(window: usize, seconds: f64) {
    let mut world = World::new(window);
    let pattern = Pattern::new(7);
    world.open(5000);
    let (mut received, mut segments, mut turns) = (0u64, 0u64, 0u64);
    world.begin();
    loop {
        world.now += STEP;
        common::set_clock(world.now);
        world.poll_a();
        while world.ab.len() < BATCH {
            let before = world.ab.len();
            world.a.socket().send_slice(&pattern.from(0)[..SMALL]).expect("room");
            world.poll_a();
            if world.ab.len() == before {
                break;
            }
        }
        segments += world.ab.len() as u64;
        world.packets += world.ab.len() as u64;
        world.poll_b();
        world.packets += world.ba.len() as u64;
        let socket = world.b.socket();
        while socket.can_recv() {
            received += socket.recv(|octets| (octets.len(), octets.len())).expect("octets") as u64;
        }
        turns += 1;
        if world.is_over(turns, seconds) {
            break;
        }
    }
    assert!(received >= (segments - BATCH as u64) * SMALL as u64, "the segments carried the octets");
    world.print(segments);
}

/// Connections, one after the other: an octet each way, then both close.
pub fn connect(window: usize, seconds: f64) {
    let mut world = World::new(window);
    let (mut count, mut port) = (0u64, 1024u16);
    world.begin();
    loop {
        world.open(port);
        port = if port == u16::MAX { 1024 } else { port + 1 };
        let mut octet = [0];
        world.a.socket().send_slice(&[1]).expect("room");
        while world.b.socket().recv_slice(&mut octet).expect("an open connection") == 0 {
            world.turn();
        }
        world.b.socket().send_slice(&octet).expect("room");
        while world.a.socket().recv_slice(&mut octet).expect("an open connection") == 0 {
            world.turn();
        }
        world.a.socket().close();
        while world.b.socket().state() != State::CloseWait {
            world.turn();
        }
        world.b.socket().close();
        // The next connect takes the socket out of TIME-WAIT.
        while world.a.socket().state() != State::TimeWait || world.b.socket().state() != State::Closed {
            world.turn();
        }
        count += 1;
        if world.is_over(count, seconds) {
            break;
        }
    }
    world.print(count);
}
