//! A queue of packets in slots that are made once: what stands for the link in both uses.

use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

pub const MTU: usize = 1400;

pub struct Queue {
    slots: Vec<[u8; MTU]>,
    lengths: Vec<usize>,
    head: usize,
    count: usize,
}

impl Queue {
    /// `slots` is a power of two.
    pub fn new(slots: usize) -> Queue {
        assert!(slots.is_power_of_two());
        Queue {
            slots: vec![[0; MTU]; slots],
            lengths: vec![0; slots],
            head: 0,
            count: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_full(&self) -> bool {
        self.count == self.slots.len()
    }

    fn tail(&self) -> usize {
        (self.head + self.count) & (self.slots.len() - 1)
    }

    pub fn put(&mut self, packet: &[u8]) {
        assert!(!self.is_full());
        let at = self.tail();
        self.slots[at][..packet.len()].copy_from_slice(packet);
        self.lengths[at] = packet.len();
        self.count += 1;
    }

    pub fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if self.count == 0 {
            return None;
        }
        let at = self.head;
        self.head = (self.head + 1) & (self.slots.len() - 1);
        self.count -= 1;
        Some(f(&self.slots[at][..self.lengths[at]]))
    }
}

/// An interface's view of two queues. Checksums are computed and verified in software.
pub struct Port<'q> {
    pub incoming: &'q mut Queue,
    pub outgoing: &'q mut Queue,
}

pub struct Incoming<'q>(&'q mut Queue);
pub struct Outgoing<'q>(&'q mut Queue);

impl Device for Port<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ip;
        c.max_transmission_unit = MTU;
        c.checksum = ChecksumCapabilities::default();
        c
    }

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        if self.incoming.len() == 0 || self.outgoing.is_full() {
            return None;
        }
        Some((Incoming(self.incoming), Outgoing(self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        if self.outgoing.is_full() {
            return None;
        }
        Some(Outgoing(self.outgoing))
    }
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        self.0.take(f).expect("receive saw a packet")
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let at = self.0.tail();
        let result = f(&mut self.0.slots[at][..len]);
        self.0.lengths[at] = len;
        self.0.count += 1;
        result
    }
}
