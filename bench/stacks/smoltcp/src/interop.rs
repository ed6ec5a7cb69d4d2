//! One connection whose link is standard input and output and whose clock is the other side's: see ../README.md.

use std::io::{self, BufReader, BufWriter, Read, Write};

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address, Ipv6Address};

use crate::common::{self, Pattern};
use crate::queue::{Port, Queue};

const CONNECTED: u8 = 1;
const ENDED: u8 = 2;
const FINISHED: u8 = 4;
const GONE: u8 = 8;
const CORRUPT: u8 = 16;
const RESET: u8 = 32;

pub struct Options {
    pub listen: bool,
    pub six: bool,
    pub port: u16,
    pub bytes: u64,
    /// Sends only when the other side has ended.
    pub after: bool,
    /// Octets read in a millisecond; 0 is no limit.
    pub rate: u64,
    /// Milliseconds; it reads nothing before.
    pub pause: u64,
    pub window: usize,
    pub seed: u32,
}

struct Peer {
    options: Options,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    incoming: Queue,
    outgoing: Queue,
    pattern: Pattern,
    theirs: Pattern,
    sent: u64,
    received: u64,
    closing: bool,
    flags: u8,
    /// When the reader may go on.
    wake: Option<Instant>,
}

pub fn run(options: Options) -> io::Result<()> {
    let mut peer = Peer::new(options);
    let mut input = BufReader::with_capacity(1 << 20, io::stdin().lock());
    let mut output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let mut message = Vec::new();
    loop {
        let mut length = [0; 2];
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        message.resize(u16::from_be_bytes(length) as usize, 0);
        input.read_exact(&mut message)?;
        match message.split_first() {
            Some((b'P', packet)) => peer.incoming.put(packet),
            Some((b'A', _)) => peer.sockets.get_mut::<Socket>(peer.handle).abort(),
            Some((b'T', at)) => {
                let micros = u64::from_be_bytes(at.try_into().expect("eight octets of time"));
                let next = peer.turn(Instant::from_micros(micros as i64), &mut output)?;
                send(&mut output, b'S', &peer.status(next))?;
                output.flush()?;
            }
            _ => panic!("no such message"),
        }
    }
}

fn send(output: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    output.write_all(&(body.len() as u16 + 1).to_be_bytes())?;
    output.write_all(&[kind])?;
    output.write_all(body)
}

impl Peer {
    fn new(options: Options) -> Peer {
        let (mut incoming, mut outgoing) = (Queue::new(4096), Queue::new(4096));
        let addresses = [
            IpAddress::from(Ipv4Address::new(10, 0, 0, 2)),
            IpAddress::from(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
        ];
        let mut port = Port { incoming: &mut incoming, outgoing: &mut outgoing };
        let mut interface = common::interface(&mut port, &addresses, options.seed as u64);
        let mut socket = common::socket(options.window, 1 << 20);
        if options.listen {
            socket.listen(options.port).expect("the port is free");
        } else {
            let remote = if options.six {
                IpAddress::from(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))
            } else {
                IpAddress::from(Ipv4Address::new(10, 0, 0, 1))
            };
            let remote = IpEndpoint::new(remote, options.port);
            socket.connect(interface.context(), remote, 49_999).expect("an open socket");
        }
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        Peer {
            pattern: Pattern::new(options.seed),
            theirs: Pattern::new(options.seed + 1),
            options,
            interface,
            sockets,
            handle,
            incoming,
            outgoing,
            sent: 0,
            received: 0,
            closing: false,
            flags: 0,
            wake: None,
        }
    }

    /// All that happens at this instant; packets go out. Returns when something will happen again.
    fn turn(&mut self, now: Instant, output: &mut impl Write) -> io::Result<Option<Instant>> {
        common::set_clock(now);
        loop {
            let mut moved = self.application(now);
            let mut port = Port { incoming: &mut self.incoming, outgoing: &mut self.outgoing };
            while self.interface.poll(now, &mut port, &mut self.sockets)
                == smoltcp::iface::PollResult::SocketStateChanged
            {
                moved = true;
            }
            while let Some(result) = self.outgoing.take(|packet| send(output, b'P', packet)) {
                result?;
                moved = true;
            }
            if !moved {
                break;
            }
        }
        self.look();
        // What is due now was done now: poll_at may say "now" and poll then do nothing.
        let soon = now + Duration::from_millis(1);
        let next = self.interface.poll_at(now, &self.sockets).map(|at| if at <= now { soon } else { at });
        Ok([next, self.wake].into_iter().flatten().min())
    }

    fn application(&mut self, now: Instant) -> bool {
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        let mut moved = false;
        self.wake = None;
        if matches!(socket.state(), State::Established | State::CloseWait) {
            self.flags |= CONNECTED;
        }
        while socket.can_recv() {
            let clock = now.total_millis() as u64;
            if clock < self.options.pause {
                self.wake = Some(Instant::from_millis(self.options.pause as i64));
                break;
            }
            let allowed = match self.options.rate {
                0 => usize::MAX,
                rate => (clock * rate).saturating_sub(self.received) as usize,
            };
            if allowed == 0 {
                self.wake = Some(now + Duration::from_millis(1));
                break;
            }
            let (theirs, at) = (&self.theirs, self.received);
            let (n, good) = socket
                .recv(|octets| {
                    let n = octets.len().min(allowed);
                    (n, (n, theirs.matches(&octets[..n], at)))
                })
                .expect("octets to read");
            self.received += n as u64;
            if !good {
                self.flags |= CORRUPT;
            }
            moved = true;
        }
        if self.flags & CONNECTED != 0 && !socket.may_recv() && !socket.can_recv() {
            match socket.state() {
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait => self.flags |= ENDED,
                _ => {}
            }
        }
        let may_start = !self.options.after || self.flags & ENDED != 0;
        while may_start && self.sent < self.options.bytes && socket.can_send() {
            let left = (self.options.bytes - self.sent).min(common::PERIOD as u64) as usize;
            let n = socket.send_slice(&self.pattern.from(self.sent)[..left]).expect("room to send");
            self.sent += n as u64;
            moved |= n > 0;
        }
        if may_start && self.sent == self.options.bytes && !self.closing && socket.may_send() {
            socket.close();
            self.closing = true;
            moved = true;
        }
        moved
    }

    /// How far it has come; a poll without packets may have changed that too.
    fn look(&mut self) {
        let state = self.sockets.get_mut::<Socket>(self.handle).state();
        match state {
            State::TimeWait => self.flags |= FINISHED,
            // From LAST-ACK it comes here by the other side's acknowledgement, from elsewhere by a reset.
            State::Closed if self.flags & (GONE | RESET) == 0 => {
                self.flags |= GONE;
                if self.closing && self.flags & ENDED != 0 {
                    self.flags |= FINISHED;
                } else {
                    self.flags |= RESET;
                }
            }
            _ => {}
        }
    }

    fn status(&self, next: Option<Instant>) -> [u8; 25] {
        let mut s = [0; 25];
        let next = next.map_or(u64::MAX, |at| at.total_micros() as u64);
        s[0..8].copy_from_slice(&next.to_be_bytes());
        s[8..16].copy_from_slice(&self.sent.to_be_bytes());
        s[16..24].copy_from_slice(&self.received.to_be_bytes());
        s[24] = self.flags;
        s
    }
}
