//! The loop of a daemon's one thread: it waits itself, by poll(2), for the few descriptors on which every
//! microsecond counts, and runs everything else (DNS, control socket, timers of tasks) as futures.
//!
//! ```text
//!   poll ──▶ queue, echo, UDP readable ──▶ source.take()         held packet -> request, answer -> release
//!     ▲ └──▶ signal ──▶ future polled                            signal: written by wakers, from any thread
//!     └── until source.deadline()
//! ```
//!
//! An executor's own reactor hands every event through a second thread or polls all futures for it: measured, that
//! costs more than the whole negotiation.

use std::{
    future::Future,
    os::fd::{BorrowedFd, OwnedFd},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::Error;

/// What is waited for directly.
pub trait Source {
    /// The descriptors; they are the same in every turn.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// When there is something to do without an event.
    fn deadline(&self) -> Option<Instant>;
}

/// Runs `future` to its end. In between, `turn` is called after every event and whenever the future did something:
/// it gets what is readable, in the order of [`Source::descriptors`], and must take everything that waits there.
///
/// # Errors
/// Those of `turn`, and where the operating system cannot wait.
pub fn drive<T, E: From<Error>>(
    future: impl Future<Output = T>,
    with_source: impl Fn(&mut dyn FnMut(&dyn Source) -> Result<Vec<bool>, Error>) -> Result<Vec<bool>, Error>,
    mut turn: impl FnMut(&[bool]) -> Result<(), E>,
) -> Result<T, E> {
    let signal = Arc::new(Signal::new()?);
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if signal.take() {
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                return Ok(result);
            }
            // What the future asked of the source is not to wait for the next event.
            turn(&[])?;
        }
        let ready = with_source(&mut |source| wait(source, &signal))?;
        turn(&ready)?;
    }
}

/// Waits for an event, the deadline or the signal; says what is readable.
fn wait(source: &dyn Source, signal: &Signal) -> Result<Vec<bool>, Error> {
    let descriptors = source.descriptors();
    let mut polled: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
    polled.push(PollFd::new(&signal.descriptor, PollFlags::IN));
    let left = source.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = if signal.announce_sleep() { left } else { Some(Duration::ZERO) };
    // A timeout that does not fit is for ever.
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    let polled_to = poll(&mut polled, timeout.as_ref());
    signal.end_sleep();
    match polled_to {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Error::Wait(error.into())),
    }
    let mut ready: Vec<bool> = polled.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
    if ready.pop() == Some(true) {
        signal.empty();
    }
    Ok(ready)
}

/// Says that the future wants to be polled. The descriptor is written only while the loop sleeps: most wakes come from
/// the loop's own turns.
#[derive(Debug)]
struct Signal {
    wanted: AtomicBool,
    sleeping: AtomicBool,
    descriptor: OwnedFd,
}

impl Signal {
    fn new() -> Result<Self, Error> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let descriptor = descriptor.map_err(|error| Error::Wait(error.into()))?;
        Ok(Self { wanted: AtomicBool::new(true), sleeping: AtomicBool::new(false), descriptor })
    }

    /// From here on wakes write to the descriptor; false where one has come already, which did not.
    fn announce_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        !self.wanted.load(Ordering::SeqCst)
    }

    fn end_sleep(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Whether somebody woke since the last call.
    fn take(&self) -> bool {
        self.wanted.swap(false, Ordering::SeqCst)
    }

    /// Empties the descriptor after it was seen readable.
    fn empty(&self) {
        let _emptied = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.wanted.swap(true, Ordering::SeqCst) && self.sleeping.load(Ordering::SeqCst) {
            // It cannot be full: it counts to 2^64 and is written once per turn.
            let _written = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        io::Write as _,
        os::{fd::AsFd as _, unix::net::UnixStream},
    };

    use super::*;

    struct Pipe(UnixStream, Instant);

    impl Source for Pipe {
        fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
            vec![self.0.as_fd()]
        }

        fn deadline(&self) -> Option<Instant> {
            Some(self.1)
        }
    }

    #[test]
    fn descriptors_deadlines_and_futures_are_all_served() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let source = RefCell::new(Pipe(reader, start + Duration::from_millis(20)));
        let (readable, due) = (Cell::new(0), Cell::new(0));
        let future = async {
            smol::Timer::after(Duration::from_millis(60)).await;
            writer.write_all(b"x").unwrap();
            smol::Timer::after(Duration::from_millis(60)).await;
            7
        };
        let turn = |ready: &[bool]| {
            let mut source = source.borrow_mut();
            if ready == [true] {
                readable.set(readable.get() + 1);
                std::io::Read::read(&mut source.0, &mut [0; 8]).unwrap();
            } else if Instant::now() >= source.1 {
                due.set(due.get() + 1);
                source.1 = start + Duration::from_secs(60);
            }
            Ok(())
        };
        let result = drive::<_, Error>(future, |wait| wait(&*source.borrow()), turn).unwrap();
        assert_eq!((result, readable.get(), due.get()), (7, 1, 1));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn wakes_of_another_thread_are_heard_whenever_they_come() {
        let source = Pipe(UnixStream::pair().unwrap().0, Instant::now() + Duration::from_secs(60));
        let (sender, receiver) = smol::channel::bounded(1);
        let writer = std::thread::spawn(move || {
            for number in 0..2000_u32 {
                sender.send_blocking(number).unwrap();
                if number % 7 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        let future = async {
            let mut heard = 0;
            while receiver.recv().await.is_ok() {
                heard += 1;
            }
            heard
        };
        let start = Instant::now();
        assert_eq!(drive::<_, Error>(future, |wait| wait(&source), |_| Ok(())).unwrap(), 2000);
        assert!(start.elapsed() < Duration::from_secs(20));
        writer.join().unwrap();
    }

    #[test]
    fn a_wake_during_the_poll_is_not_lost() {
        let source = Pipe(UnixStream::pair().unwrap().0, Instant::now() + Duration::from_secs(60));
        let mut polls = 0;
        let future = std::future::poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 100 { Poll::Ready(()) } else { Poll::Pending }
        });
        let start = Instant::now();
        drive::<_, Error>(future, |wait| wait(&source), |_| Ok(())).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
