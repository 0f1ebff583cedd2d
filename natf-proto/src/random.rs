//! Where unpredictable bytes come from: the daemon hands in the operating system's source, a simulation a seeded one.

/// A source of bytes that an attacker cannot guess.
pub trait Random {
    /// Fills all of `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A random 64-bit number.
    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// A random number below `bound`, as even as 64 random bits make it; 0 for a bound of 0.
    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.u64().checked_rem(u64::from(bound)).unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Random;

    /// Not random at all: 1, 2, 3 …
    pub(crate) struct Counting(pub u8);

    impl Random for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    #[test]
    fn a_bound_of_zero_gives_zero() {
        assert_eq!(Counting(0).below(0), 0);
        assert!(Counting(9).below(3) < 3);
    }
}
