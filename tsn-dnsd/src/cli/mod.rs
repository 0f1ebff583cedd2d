//! The command line: what was asked, and who does it.
