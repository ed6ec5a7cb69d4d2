//! What both uses need: an interface, a socket, the pattern of the octets.

use std::sync::atomic::{AtomicU32, Ordering};

use smoltcp::iface::{Config, Interface};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// As the timestamp option has it; smoltcp asks for it without an argument.
static MILLISECONDS: AtomicU32 = AtomicU32::new(0);

pub fn set_clock(now: Instant) {
    MILLISECONDS.store(now.total_millis() as u32, Ordering::Relaxed);
}

fn timestamp() -> u32 {
    MILLISECONDS.load(Ordering::Relaxed)
}

pub fn interface(device: &mut impl Device, addresses: &[IpAddress], seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, device, Instant::ZERO);
    interface.update_ip_addrs(|list| {
        for &address in addresses {
            let prefix = if address.version() == smoltcp::wire::IpVersion::Ipv4 { 24 } else { 64 };
            list.push(IpCidr::new(address, prefix)).expect("room for an address");
        }
    });
    interface
}

/// With timestamps and CUBIC, as the other side has them, and without Nagle's algorithm.
pub fn socket(receive: usize, send: usize) -> tcp::Socket<'static> {
    let mut socket = tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; receive]),
        tcp::SocketBuffer::new(vec![0; send]),
    );
    socket.set_tsval_generator(Some(timestamp));
    socket.set_congestion_control(tcp::CongestionControl::Cubic);
    socket.set_nagle_enabled(false);
    socket
}

/// A prime, so that no segment size divides it.
pub const PERIOD: usize = 65_521;

/// Octets of both streams: a block over and over.
pub struct Pattern {
    /// Twice, so that any `PERIOD` octets of the stream lie in one piece.
    block: Vec<u8>,
}

impl Pattern {
    pub fn new(seed: u32) -> Pattern {
        let mut x = seed;
        let once: Vec<u8> = (0..PERIOD)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                (x >> 8) as u8
            })
            .collect();
        Pattern { block: [once.as_slice(), once.as_slice()].concat() }
    }

    /// The stream from place `at` on, at least `PERIOD` octets.
    pub fn from(&self, at: u64) -> &[u8] {
        &self.block[(at % PERIOD as u64) as usize..]
    }

    pub fn matches(&self, octets: &[u8], at: u64) -> bool {
        let mut place = at;
        octets.chunks(PERIOD).all(|chunk| {
            let same = &self.from(place)[..chunk.len()] == chunk;
            place += chunk.len() as u64;
            same
        })
    }
}
