//! Writes coded video bit by bit.

/// What begins with these bytes, and goes on with bits, the first of a byte first.
pub(super) struct Bits {
    pub(super) bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    pub(super) fn behind(head: &[u8]) -> Self {
        Self { bytes: head.to_vec(), free: 0 }
    }

    pub(super) fn bits(&mut self, count: u32, value: u32) -> &mut Self {
        for place in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            *self.bytes.last_mut().unwrap() |= ((value >> place & 1) as u8) << self.free;
        }
        self
    }

    /// As they stand in the tables of standards.
    pub(super) fn code(&mut self, bits: &str) -> &mut Self {
        bits.bytes().fold(self, |written, bit| written.bits(1, u32::from(bit == b'1')))
    }

    /// Exponential Golomb code (ITU-T H.264, 9.1).
    pub(super) fn golomb(&mut self, value: u32) -> &mut Self {
        let length = 32 - (value + 1).leading_zeros();
        self.bits(length - 1, 0).bits(length, value + 1)
    }

    /// Whole bytes, behind zeros up to the next one.
    pub(super) fn raw(&mut self, bytes: impl IntoIterator<Item = u8>) -> &mut Self {
        self.free = 0;
        self.bytes.extend(bytes);
        self
    }
}
