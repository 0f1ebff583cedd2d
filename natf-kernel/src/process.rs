//! How a program of natf ends.

use crate::sys;

/// Lets this program end when nobody reads its output any more, as `status | head -1` makes it: silently, by SIGPIPE.
///
/// Rust starts every program with SIGPIPE ignored, and then printing panics. That is right for a daemon, which must
/// outlive whoever takes its log; so only commands call this.
pub fn end_with_reader() {
    sys::end_on_broken_pipe();
}
