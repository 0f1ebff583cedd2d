//! The operating system's random source, fetched a block at a time.

use natf_proto::Random;

/// Bytes of one fetch; nonces of some 170 messages.
const BLOCK: usize = 4096;

/// Random bytes of the operating system, each handed out once.
pub struct SystemRandom {
    block: Box<[u8; BLOCK]>,
    used: usize,
}

impl SystemRandom {
    /// Fetches a first block.
    ///
    /// # Errors
    /// Where the operating system has no random source.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut block = Box::new([0; BLOCK]);
        getrandom::fill(block.as_mut_slice())?;
        Ok(Self { block, used: 0 })
    }

    fn fetch(&mut self) {
        // The source has answered before, so that it cannot be missing now; an interrupted call is repeated.
        while getrandom::fill(self.block.as_mut_slice()).is_err() {
            std::thread::yield_now();
        }
        self.used = 0;
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(BLOCK) {
            if self.used + part.len() > BLOCK {
                self.fetch();
            }
            if let Some(fresh) = self.block.get_mut(self.used..self.used + part.len()) {
                part.copy_from_slice(fresh);
                fresh.fill(0);
            }
            self.used += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_handed_out_twice() {
        let mut random = SystemRandom::new().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let mut nonce = [0; 24];
            random.fill(&mut nonce);
            assert!(seen.insert(nonce));
        }
    }
}
