//! Pointing the system's resolver at the DNS proxy, and back.
//!
//! | mode         | what is written                                    | where the upstream servers are read     |
//! |--------------|----------------------------------------------------|-----------------------------------------|
//! | `resolvconf` | `/etc/resolv.conf`: our address first or alone     | from what that file said before         |
//! | `resolved`   | `/run/systemd/resolved.conf.d/zz-natf.conf`: domains | `/run/systemd/resolve/resolv.conf`, `DNS=` |
//! | `none`       | nothing                                            | `/etc/resolv.conf`, or OpenWrt's own    |
//! | `auto`       | as `resolved` where systemd-resolved serves `/etc/resolv.conf`, else as `resolvconf`        |
//!
//! [`SystemResolver::poll`] notices when somebody else (a DHCP client) writes the files.

mod resolv_conf;
mod resolved;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

use self::{resolv_conf::ResolvConf, resolved::Resolved};

/// Who is told about the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Finds out.
    #[default]
    Auto,
    /// The resolver of the C library.
    Resolvconf,
    /// systemd-resolved.
    Resolved,
    /// Nobody.
    None,
}

impl FromStr for Mode {
    type Err = ResolverError;

    fn from_str(text: &str) -> Result<Self, ResolverError> {
        match text {
            "auto" => Ok(Self::Auto),
            "resolvconf" => Ok(Self::Resolvconf),
            "resolved" => Ok(Self::Resolved),
            "none" => Ok(Self::None),
            _ => Err(ResolverError::Mode(text.to_owned())),
        }
    }
}

/// The system's resolver could not be set up or given back.
#[derive(Debug, Error)]
pub enum ResolverError {
    /// Not a mode.
    #[error("resolver {0:?} is not accepted: auto, resolvconf, resolved, none")]
    Mode(String),
    /// resolv.conf knows no ports.
    #[error("resolver resolvconf needs the proxy at port 53, not at {0}")]
    Port(SocketAddr),
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// systemd-resolved did not take its new configuration.
    #[error("cannot reload systemd-resolved by `{command}`: {reason}")]
    Reload {
        /// The command.
        command: String,
        /// What happened.
        reason: String,
    },
}

/// Files and commands of the system.
#[derive(Clone, Debug)]
pub struct Paths {
    /// What the C library reads.
    pub resolv_conf: PathBuf,
    /// OpenWrt's list of servers learned from the network; its resolv.conf names only its own dnsmasq.
    pub openwrt_servers: PathBuf,
    /// systemd-resolved's list of servers learned from the network.
    pub resolved_servers: PathBuf,
    /// The main files of systemd-resolved's configuration; each has a directory with `.d` behind its name.
    pub resolved_configuration: Vec<PathBuf>,
    /// Our configuration for systemd-resolved; its name puts it behind all others.
    pub resolved_dropin: PathBuf,
    /// Makes systemd-resolved read it.
    pub resolved_reload: Vec<String>,
    /// Makes systemd-resolved forget what it learned before.
    pub resolved_flush: Vec<String>,
    /// Where the C library's loader lies: musl asks all servers at once and takes the first answer.
    pub libraries: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        let words = |command: &str| command.split(' ').map(str::to_owned).collect();
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            openwrt_servers: "/tmp/resolv.conf.d/resolv.conf.auto".into(),
            resolved_servers: "/run/systemd/resolve/resolv.conf".into(),
            resolved_configuration: [
                "/usr/lib/systemd",
                "/usr/local/lib/systemd",
                "/run/systemd",
                "/etc/systemd",
            ]
            .map(|directory| PathBuf::from(directory).join("resolved.conf"))
            .into(),
            resolved_dropin: "/run/systemd/resolved.conf.d/zz-natf.conf".into(),
            resolved_reload: words("systemctl reload-or-restart systemd-resolved.service"),
            resolved_flush: words("resolvectl flush-caches"),
            libraries: "/lib".into(),
        }
    }
}

/// Whose names are asked for at the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Domains of the homes, `*` for all names.
    pub domains: Vec<String>,
    /// A home has a key. Its names lead to the router itself for everybody who asks another server, so that no other
    /// one may be asked: not while the proxy is slow, and not while it is dead (N10).
    pub has_keys: bool,
}

/// The system's resolver, pointed at the proxy until [`Self::stop`].
#[derive(Debug)]
pub struct SystemResolver {
    kind: Kind,
    upstreams: Vec<SocketAddr>,
}

#[derive(Debug)]
enum Kind {
    ResolvConf(ResolvConf),
    Resolved(Resolved),
    None { listen: SocketAddr, paths: Paths },
}

impl SystemResolver {
    /// Points the system at `listen`.
    pub fn start(
        mode: Mode,
        paths: Paths,
        listen: SocketAddr,
        served: &Served,
    ) -> Result<Self, ResolverError> {
        let mode = if mode == Mode::Auto { detect(&paths) } else { mode };
        let mut kind = match mode {
            Mode::Auto | Mode::Resolvconf if listen.port() != 53 => {
                return Err(ResolverError::Port(listen));
            }
            Mode::Auto | Mode::Resolvconf => Kind::ResolvConf(ResolvConf::new(paths, listen, served)),
            Mode::Resolved => Kind::Resolved(Resolved::new(paths, listen, served)),
            Mode::None => Kind::None { listen, paths },
        };
        let upstreams = kind.apply()?.unwrap_or_default();
        Ok(Self { kind, upstreams })
    }

    /// Takes other homes; the next [`Self::poll`] writes what they change.
    pub fn serve(&mut self, served: &Served) {
        match &mut self.kind {
            Kind::ResolvConf(file) => file.serve(served),
            Kind::Resolved(resolved) => resolved.serve(served),
            Kind::None { .. } => {}
        }
    }

    /// Gives back what a killed run left, where no other begins. To be called only while none runs.
    pub fn abandon(paths: Paths) -> Result<(), ResolverError> {
        // Whatever address that run had: files of ours say it themselves.
        let listen = SocketAddr::from(([0, 0, 0, 0], 53));
        ResolvConf::new(paths.clone(), listen, &Served::default()).restore()?;
        Resolved::new(paths, listen, &Served::default()).restore()
    }

    /// The mode that was chosen.
    pub fn mode(&self) -> Mode {
        match self.kind {
            Kind::ResolvConf(_) => Mode::Resolvconf,
            Kind::Resolved(_) => Mode::Resolved,
            Kind::None { .. } => Mode::None,
        }
    }

    /// The upstream servers that the system knows, without ourselves.
    pub fn upstreams(&self) -> &[SocketAddr] {
        &self.upstreams
    }

    /// Looks whether somebody else wrote the files, and sets them up again. To be called every two seconds or
    /// so. Returns whether [`Self::upstreams`] changed.
    pub fn poll(&mut self) -> Result<bool, ResolverError> {
        let Some(upstreams) = self.kind.apply()? else { return Ok(false) };
        let changed = upstreams != self.upstreams;
        self.upstreams = upstreams;
        Ok(changed)
    }

    /// Gives the system's resolver back.
    pub fn stop(self) -> Result<(), ResolverError> {
        match self.kind {
            Kind::ResolvConf(file) => file.restore(),
            Kind::Resolved(resolved) => resolved.restore(),
            Kind::None { .. } => Ok(()),
        }
    }
}

impl Kind {
    /// Makes the files what they should be. The upstream servers, unless nothing changed since the last time.
    fn apply(&mut self) -> Result<Option<Vec<SocketAddr>>, ResolverError> {
        match self {
            Self::ResolvConf(file) => file.apply(),
            Self::Resolved(resolved) => resolved.apply(),
            Self::None { listen, paths } => {
                let text = resolv_conf::former(&read(&paths.resolv_conf)?.unwrap_or_default(), *listen);
                learned(&text.unwrap_or_default(), paths, *listen).map(Some)
            }
        }
    }
}

/// systemd-resolved if programs ask it through resolv.conf (`resolv.conf` is its stub file, or names it).
fn detect(paths: &Paths) -> Mode {
    let is_resolved = |server: &SocketAddr| resolved::is_stub(server.ip());
    let by_server = read(&paths.resolv_conf)
        .ok()
        .flatten()
        .is_some_and(|text| resolv_conf::nameservers(&text).iter().any(is_resolved));
    if by_server && paths.resolved_servers.exists() { Mode::Resolved } else { Mode::Resolvconf }
}

/// The servers that `text` names, without ourselves; on OpenWrt those behind its dnsmasq, which may ask us.
fn learned(text: &str, paths: &Paths, listen: SocketAddr) -> Result<Vec<SocketAddr>, ResolverError> {
    let servers = without(resolv_conf::nameservers(text), listen);
    if servers.iter().all(|server| server.ip().is_loopback()) {
        let behind = read(&paths.openwrt_servers)?.unwrap_or_default();
        let behind = without(resolv_conf::nameservers(&behind), listen);
        if !behind.is_empty() {
            return Ok(behind);
        }
    }
    Ok(servers)
}

fn without(mut servers: Vec<SocketAddr>, listen: SocketAddr) -> Vec<SocketAddr> {
    servers.retain(|server| *server != listen);
    servers
}

/// `address`, and `address:port` where the port is not 53, as both configuration languages write it.
fn with_port(listen: SocketAddr) -> String {
    match (listen.port(), listen.ip()) {
        (53, ip) => ip.to_string(),
        (port, IpAddr::V4(ip)) => format!("{ip}:{port}"),
        (port, IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
    }
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, ResolverError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> ResolverError {
    move |source| ResolverError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
