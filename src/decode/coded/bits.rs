//! Reads the bits of coded headers, the first bit of a byte first. Pure.

pub(super) struct Bits<I> {
    bytes: I,
    byte: u8,
    /// Bits of `byte` that were not read yet.
    left: u32,
    /// Bits that were read.
    read: usize,
}

impl<I: Iterator<Item = u8>> Bits<I> {
    pub(super) fn of(bytes: impl IntoIterator<IntoIter = I>) -> Self {
        Self { bytes: bytes.into_iter(), byte: 0, left: 0, read: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.read
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.bytes.next()?;
            self.left = 8;
        }
        self.left -= 1;
        self.read += 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// An unsigned number of so many bits, at most 32.
    pub(super) fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    pub(super) fn skip(&mut self, bits: u32) -> Option<()> {
        (0..bits).try_for_each(|_| self.flag().map(drop))
    }

    /// Exponential Golomb code, unsigned (ITU-T H.264, 9.1); also uvlc of AV1.
    pub(super) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.number(zeros)?)
    }

    /// The same, signed (ITU-T H.264, 9.1.1).
    pub(super) fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 1 { code / 2 + 1 } else { -(code / 2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_bit_by_bit() {
        let mut bits = Bits::of([0b1010_0110, 0xff]);
        assert_eq!((bits.flag(), bits.number(3), bits.number(6)), (Some(true), Some(2), Some(0b01_1011)));
        assert_eq!((bits.skip(6), bits.flag(), bits.number(1)), (Some(()), None, None));
    }

    #[test]
    fn golomb_codes_are_those_of_the_table() {
        // Table 9-2: 1, 010, 011, 00100, 00101.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::of(bytes);
        assert_eq!([(); 5].map(|()| bits.golomb()), [0, 1, 2, 3, 4].map(Some));
        let mut bits = Bits::of(bytes);
        assert_eq!([(); 5].map(|()| bits.signed_golomb()), [0, 1, -1, 2, -2].map(Some));
        assert_eq!(Bits::of([0; 9]).golomb(), None);
        assert_eq!(Bits::of([0, 0, 0, 1, 0, 0, 0, 0]).golomb(), Some(0x7fff_ffff));
    }
}
