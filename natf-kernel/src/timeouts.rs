//! The kernel's own timeouts of idle flows, which a mapping gets with its first packet (N8).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::KernelError;

const FOLDER: &str = "/proc/sys/net/netfilter";

/// How long an idle flow stays in the connection tracking table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP before an answer was seen (default 30 s).
    pub udp: Duration,
    /// UDP with packets in both directions (default 120 s).
    pub udp_stream: Duration,
    /// Open TCP connection (default 5 days; OpenWrt 7440 s).
    pub tcp_established: Duration,
}

impl Timeouts {
    /// Reads them from /proc/sys.
    pub fn read() -> Result<Self, KernelError> {
        Self::read_from(Path::new(FOLDER))
    }

    fn read_from(folder: &Path) -> Result<Self, KernelError> {
        Ok(Self {
            udp: seconds(folder.join("nf_conntrack_udp_timeout"))?,
            udp_stream: seconds(folder.join("nf_conntrack_udp_timeout_stream"))?,
            tcp_established: seconds(folder.join("nf_conntrack_tcp_timeout_established"))?,
        })
    }
}

fn seconds(path: PathBuf) -> Result<Duration, KernelError> {
    let read = fs::read_to_string(&path).and_then(|text| {
        text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    match read {
        Ok(number) => Ok(Duration::from_secs(number)),
        Err(source) => Err(KernelError::File { path, module: "nf_conntrack", source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_that_is_missing() {
        let error = Timeouts::read_from(Path::new("/nowhere")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/nf_conntrack_udp_timeout") && text.contains("nf_conntrack loaded"));
    }

    #[test]
    fn names_the_file_that_holds_no_number() {
        let path = std::env::temp_dir().join(format!("natf-timeouts-{}", std::process::id()));
        fs::write(&path, "soon\n").unwrap();
        let error = seconds(path.clone()).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(error.to_string().contains("invalid digit"), "{error}");
    }
}
