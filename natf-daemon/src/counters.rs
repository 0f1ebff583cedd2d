//! Named counters that a user can read.

use std::cell::Cell;

/// A counter that many parts of one thread raise.
#[derive(Clone, Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// Counts one.
    pub fn up(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, number: usize) {
        self.0.set(self.0.get().wrapping_add(u64::try_from(number).unwrap_or(0)));
    }

    /// How many there were.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// As [`counters!`](crate::counters!), with a [`Count`] for each name, so that a shared reference is enough to count.
#[macro_export]
macro_rules! shared_counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// How often each thing happened since the start.
        #[derive(Clone, Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: $crate::counters::Count,)+
        }

        impl Counters {
            /// Name and value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name.value())),+].into_iter()
            }
        }
    };
}

/// Makes a struct `Counters` with a field for each documented name, and `iter` with names and values in that order.
#[macro_export]
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// How often each thing happened since the start.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Name and value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }
    };
}
