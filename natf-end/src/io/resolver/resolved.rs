//! systemd-resolved: a drop-in file sends the names of the homes to us.
//!
//! The domains are *routing* domains (`~home.example.net`): only names below them come to us, and nothing is
//! appended to what users type. With `~.` all names do.
//!
//! Servers that its configuration names itself (`DNS=`) are global like us, and any of them might be asked for a
//! home: the drop-in takes their place, and we ask them. Servers of a link stay with their link.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use log::debug;

use super::{Paths, ResolverError, Served, failed, read, resolv_conf, with_port};

/// The configuration of systemd-resolved, while it names us.
#[derive(Debug)]
pub(super) struct Resolved {
    paths: Paths,
    listen: SocketAddr,
    dropin: String,
    servers: Option<Vec<SocketAddr>>,
}

impl Resolved {
    pub fn new(paths: Paths, listen: SocketAddr, served: &Served) -> Self {
        Self { paths, listen, dropin: dropin(listen, served), servers: None }
    }

    pub fn serve(&mut self, served: &Served) {
        self.dropin = dropin(self.listen, served);
    }

    /// Writes the drop-in if it is not there. The upstream servers, unless nothing changed.
    pub fn apply(&mut self) -> Result<Option<Vec<SocketAddr>>, ResolverError> {
        let path = &self.paths.resolved_dropin;
        let is_there = read(path)?.as_ref() == Some(&self.dropin);
        if !is_there {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory).map_err(failed("make directory", directory))?;
            }
            fs::write(path, &self.dropin).map_err(failed("write", path))?;
        }
        // One left by a killed daemon may never have been read, or we were given up in the meantime.
        if !is_there || self.servers.is_none() {
            self.reload()?;
        }
        let servers = self.learned()?;
        if self.servers.as_ref() == Some(&servers) {
            return Ok(None);
        }
        self.servers = Some(servers.clone());
        Ok(Some(servers))
    }

    /// The servers of the configuration, then those of the links.
    fn learned(&self) -> Result<Vec<SocketAddr>, ResolverError> {
        let mut servers = self.configured()?;
        let links = read(&self.paths.resolved_servers)?.unwrap_or_default();
        servers.extend(resolv_conf::nameservers(&links));
        let mut seen = Vec::new();
        for server in servers {
            // It asks us: asking it would go round in circles.
            let is_circle = is_stub(server.ip()) || server.ip() == self.listen.ip();
            if !is_circle && !seen.contains(&server) {
                seen.push(server);
            }
        }
        Ok(seen)
    }

    /// What `DNS=` says without our drop-in (resolved.conf(5): drop-ins in the order of their names).
    fn configured(&self) -> Result<Vec<SocketAddr>, ResolverError> {
        let mut files: Vec<_> =
            self.paths.resolved_configuration.iter().flat_map(|path| dropins(path)).collect();
        files.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
        files.retain(|file| *file != self.paths.resolved_dropin);
        let mut servers = Vec::new();
        for file in self.paths.resolved_configuration.iter().chain(&files) {
            for line in read(file)?.unwrap_or_default().lines() {
                let Some((_, list)) = line.split_once('=').filter(|(key, _)| key.trim() == "DNS") else {
                    continue;
                };
                if list.trim().is_empty() {
                    servers.clear();
                }
                servers.extend(list.split_whitespace().filter_map(server));
            }
        }
        Ok(servers)
    }

    /// Removes the drop-in.
    pub fn restore(self) -> Result<(), ResolverError> {
        let path: &Path = &self.paths.resolved_dropin;
        if read(path)?.is_none() {
            return Ok(());
        }
        fs::remove_file(path).map_err(failed("remove", path))?;
        self.reload()
    }

    fn reload(&self) -> Result<(), ResolverError> {
        run(&self.paths.resolved_reload)?;
        // Addresses learned without us are wrong now, but only for their TTL.
        if let Err(error) = run(&self.paths.resolved_flush) {
            debug!("{error}");
        }
        Ok(())
    }
}

fn dropin(listen: SocketAddr, served: &Served) -> String {
    let route = |domain: &String| if domain == "*" { "~.".to_owned() } else { format!("~{domain}") };
    let routes: Vec<String> = served.domains.iter().map(route).collect();
    format!(
        "# Names of NAT-f homes are asked for at natf-endd; removed when it stops.\n\
         [Resolve]\nDNS=\nDNS={}\nDomains={}\n",
        with_port(listen),
        routes.join(" ")
    )
}

/// Whether this is where systemd-resolved itself answers.
pub(super) fn is_stub(address: IpAddr) -> bool {
    [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)].iter().any(|stub| address == *stub)
}

/// The `.conf` files in the directory `PATH.d`.
fn dropins(path: &Path) -> Vec<PathBuf> {
    let mut directory = path.as_os_str().to_owned();
    directory.push(".d");
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
    entries.flatten().map(|entry| entry.path()).filter(is_conf).collect()
}

/// `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:5353`, each perhaps with `%interface` and `#server-name`.
fn server(word: &str) -> Option<SocketAddr> {
    let word = word.split(['#', '%']).next()?;
    let with_port = word.parse().ok();
    with_port.or_else(|| Some(SocketAddr::new(word.parse().ok()?, 53)))
}

fn run(command: &[String]) -> Result<(), ResolverError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let failed = |reason: String| ResolverError::Reload { command: command.join(" "), reason };
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}, {}", output.status, said.trim())))
}
