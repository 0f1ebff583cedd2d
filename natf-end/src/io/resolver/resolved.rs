//! systemd-resolved: a drop-in file sends the names of the homes to us.
//!
//! The domains are *routing* domains (`~home.example.net`): only names below them come to us, and nothing is
//! appended to what users type. With `~.` all names do.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

use log::debug;

use super::{Paths, ResolverError, failed, read, resolv_conf, with_port, without};

/// The configuration of systemd-resolved, while it names us.
#[derive(Debug)]
pub(super) struct Resolved {
    paths: Paths,
    listen: SocketAddr,
    dropin: String,
    servers: Option<String>,
}

impl Resolved {
    pub fn new(paths: Paths, listen: SocketAddr, domains: &[&str]) -> Self {
        let domains: Vec<_> = domains
            .iter()
            .map(|domain| if *domain == "*" { "~.".into() } else { format!("~{domain}") })
            .collect();
        let dropin = format!(
            "# Names of NAT-f homes are asked for at natf-endd; removed when it stops.\n\
             [Resolve]\nDNS={}\nDomains={}\n",
            with_port(listen),
            domains.join(" ")
        );
        Self { paths, listen, dropin, servers: None }
    }

    /// Writes the drop-in if it is not there. The upstream servers, unless nothing changed.
    pub fn apply(&mut self) -> Result<Option<Vec<SocketAddr>>, ResolverError> {
        let path = &self.paths.resolved_dropin;
        if read(path)?.as_ref() != Some(&self.dropin) {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory).map_err(failed("make directory", directory))?;
            }
            fs::write(path, &self.dropin).map_err(failed("write", path))?;
            self.reload()?;
        }
        let servers = read(&self.paths.resolved_servers)?.unwrap_or_default();
        if self.servers.as_ref() == Some(&servers) {
            return Ok(None);
        }
        let mut upstreams = without(resolv_conf::nameservers(&servers), self.listen);
        // It asks us: asking it would go round in circles.
        upstreams.retain(|server| !is_stub(server.ip()) && server.ip() != self.listen.ip());
        self.servers = Some(servers);
        Ok(Some(upstreams))
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

/// Whether this is where systemd-resolved itself answers.
pub(super) fn is_stub(address: IpAddr) -> bool {
    [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)].iter().any(|stub| address == *stub)
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
