//! Bytes read as a script: each step is a number and what it needs. So any input is a valid story, and a changed byte
//! changes one word of it.

/// Most steps of one script.
const STEPS_MAX: usize = 150;

/// What is left of the bytes.
#[derive(Debug)]
pub struct Script<'a> {
    bytes: &'a [u8],
    steps: usize,
}

impl<'a> Script<'a> {
    /// A script of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, steps: 0 }
    }

    /// The next step's number; `None` at the end.
    pub fn step(&mut self) -> Option<u8> {
        self.steps += 1;
        (!self.bytes.is_empty() && self.steps <= STEPS_MAX).then(|| self.byte())
    }

    /// A byte; 0 behind the end.
    pub fn byte(&mut self) -> u8 {
        self.bytes.split_off_first().copied().unwrap_or(0)
    }

    /// Two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let length = length.min(self.bytes.len());
        self.bytes.split_off(..length).unwrap_or_default()
    }

    /// Changes a byte of a message, three times in four not.
    pub fn spoil(&mut self, message: &mut [u8]) {
        let (place, value) = (self.byte(), self.byte());
        if place >= 192 && !message.is_empty() {
            let at = usize::from(place) * 7 % message.len();
            message[at] ^= value;
        }
    }
}

/// Scripts that play each step a few times, with different words.
pub fn seeds(steps: u8) -> Vec<Vec<u8>> {
    let story = |salt: u8| -> Vec<u8> {
        let step = |step: u8| {
            let words = (1..=9_u8)
                .map(move |place| step.wrapping_mul(31).wrapping_add(place.wrapping_mul(salt)) & 0x3f);
            [step].into_iter().chain(words)
        };
        (0..4).flat_map(|_| (0..steps).flat_map(step)).collect()
    };
    [1, 7, 13].map(story).to_vec()
}
