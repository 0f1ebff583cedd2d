//! `/etc/resolv.conf` with our address in front, or alone.
//!
//! ```text
//!   # natf: programs ask 127.0.0.153 first; the lines behind `# natf|` come back when natf stops
//!   nameserver 127.0.0.153
//!   nameserver 192.0.2.53            only without enrolled homes: names still work while nobody answers above
//!   search example.org
//!   # natf|nameserver 192.0.2.53     the former file, line by line: it is its own backup, and
//!   # natf|search example.org        whatever happens to us, the next start or an editor can restore it
//! ```

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
};

use super::{Paths, ResolverError, Served, failed, learned, read};

const MARKER: &str = "# natf: ";
const ASK: &str = "programs ask ";
const FORMER: &str = "# natf|";
const NO_FORMER: &str = "# natf: there was no file";
const DNS_PORT: u16 = 53;
/// Links followed to the file itself, as the kernel does.
const LINKS_MAX: usize = 40;

/// The file, while it is ours.
#[derive(Debug)]
pub(super) struct ResolvConf {
    paths: Paths,
    listen: SocketAddr,
    /// musl does not go through the list: it asks all at once, and the first answer counts.
    has_musl: bool,
    /// No other server may be asked.
    alone: bool,
    written: Option<String>,
    openwrt: Option<String>,
}

impl ResolvConf {
    pub fn new(paths: Paths, listen: SocketAddr, served: &Served) -> Self {
        let has_musl = has_musl(&paths.libraries);
        Self { paths, listen, has_musl, alone: has_musl || served.has_keys, written: None, openwrt: None }
    }

    pub fn serve(&mut self, served: &Served) {
        let alone = self.has_musl || served.has_keys;
        if alone != self.alone {
            (self.alone, self.written) = (alone, None);
        }
    }

    /// Writes the file if it is not as it should be. The upstream servers, unless nothing changed.
    pub fn apply(&mut self) -> Result<Option<Vec<SocketAddr>>, ResolverError> {
        let path = &self.paths.resolv_conf;
        let (text, openwrt) = (read(path)?, read(&self.paths.openwrt_servers)?);
        if self.written.is_some() && self.written == text && self.openwrt == openwrt {
            return Ok(None);
        }
        let former = text.as_deref().map_or(Some(String::new()), |text| former(text, self.listen));
        let had_file = text.as_deref().is_some_and(|text| !text.lines().any(|line| line == NO_FORMER));
        let former = former.unwrap_or_default();
        let ours = self.render(had_file.then_some(former.as_str()));
        if text.as_ref() != Some(&ours) {
            write(path, &ours).map_err(failed("write", path))?;
        }
        (self.written, self.openwrt) = (Some(ours), openwrt);
        learned(&former, &self.paths, self.listen).map(Some)
    }

    /// Puts the former lines back, unless somebody else wrote the file meanwhile.
    pub fn restore(self) -> Result<(), ResolverError> {
        let path = &self.paths.resolv_conf;
        let Some(text) = read(path)?.filter(|text| is_ours(text)) else { return Ok(()) };
        if text.lines().any(|line| line == NO_FORMER) {
            return fs::remove_file(behind_links(path)).map_err(failed("remove", path));
        }
        let former = former(&text, self.listen).unwrap_or_default();
        write(path, &former).map_err(failed("write", path))
    }

    fn render(&self, former: Option<&str>) -> String {
        let listen = self.listen.ip();
        let mut text = format!(
            "{MARKER}{ASK}{listen} first; the lines behind `{FORMER}` come back when natf stops\n\
             nameserver {listen}\n"
        );
        for line in former.unwrap_or_default().lines() {
            if let Some(line) = self.kept(line) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        match former {
            Some(former) => former.lines().for_each(|line| {
                text.push_str(FORMER);
                text.push_str(line);
                text.push('\n');
            }),
            None => {
                text.push_str(NO_FORMER);
                text.push('\n');
            }
        }
        text
    }

    /// A former line, as far as it goes along with ours.
    fn kept(&self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "nameserver" if self.alone || server(line) == Some(self.listen) => None,
            "nameserver" | "search" | "domain" | "sortlist" => Some(line.to_owned()),
            // `rotate` would ask the other servers as often as us.
            "options" => {
                let options: Vec<_> = words.filter(|option| *option != "rotate").collect();
                (!options.is_empty()).then(|| format!("options {}", options.join(" ")))
            }
            _ => None,
        }
    }
}

/// The servers that a resolv.conf names, in its order.
pub(super) fn nameservers(text: &str) -> Vec<SocketAddr> {
    text.lines().filter_map(server).collect()
}

/// What a resolv.conf would say without us: itself if it is not ours, else the former lines kept in it.
///
/// When it was edited while it was ours, the edited lines count instead. `None` when nothing is left of it.
pub(super) fn former(text: &str, listen: SocketAddr) -> Option<String> {
    if !is_ours(text) {
        return Some(text.to_owned());
    }
    let join = |lines: Vec<&str>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let before = asked_first(text);
    let saved: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(FORMER)).collect();
    let active: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with(MARKER) && !line.starts_with(FORMER))
        .filter(|line| server(line).is_none_or(|server| server != listen && Some(server.ip()) != before))
        .collect();
    let is_new = |line: &&str| {
        let known =
            |former: &&str| former == line || (former.starts_with("options") && line.starts_with("options"));
        !line.trim().is_empty() && !saved.iter().any(known)
    };
    let edited = active.iter().any(is_new) && active.iter().any(|line| server(line).is_some());
    match (edited, saved.is_empty() && active.is_empty()) {
        (true, _) => Some(join(active)),
        (false, true) => None,
        (false, false) if saved.is_empty() => Some(join(active)),
        (false, false) => Some(join(saved)),
    }
}

fn is_ours(text: &str) -> bool {
    text.lines().any(|line| line.starts_with(MARKER))
}

/// The address that the file was made ours for; a former run may have had another one.
fn asked_first(text: &str) -> Option<IpAddr> {
    let rest = text.lines().find_map(|line| line.strip_prefix(MARKER)?.strip_prefix(ASK))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn server(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
    match address.split_once('%') {
        // A link-local server: the interface is part of the address (RFC 4007, 11).
        Some((address, interface)) => {
            let scope = interface_index(interface)?;
            Some(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, DNS_PORT, 0, scope).into())
        }
        None => Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, DNS_PORT)),
    }
}

fn interface_index(interface: &str) -> Option<u32> {
    if let Ok(index) = interface.parse() {
        return Some(index);
    }
    let plain = !interface.contains('/') && interface != "." && interface != "..";
    let path = plain.then(|| PathBuf::from(format!("/sys/class/net/{interface}/ifindex")))?;
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn has_musl(libraries: &Path) -> bool {
    let Ok(entries) = fs::read_dir(libraries) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("ld-musl-"))
}

/// Replaces the file in one step, or writes into it where it cannot be replaced (mounted over, as containers do).
fn write(path: &Path, text: &str) -> io::Result<()> {
    let target = behind_links(path);
    replace(&target, text).or_else(|_| write_in_place(&target, text))
}

fn replace(target: &Path, text: &str) -> io::Result<()> {
    let temporary = target.with_extension("natf-new");
    let write = || -> io::Result<()> {
        fs::write(&temporary, text)?;
        if let Ok(former) = fs::metadata(target) {
            fs::set_permissions(&temporary, former.permissions())?;
        }
        fs::rename(&temporary, target)
    };
    write().inspect_err(|_| {
        // It may not exist; the caller has the error that matters.
        let _ = fs::remove_file(&temporary);
    })
}

/// Shortens the file only after writing, so that a reader finds a name server at any moment.
fn write_in_place(target: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(target)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len().try_into().unwrap_or(u64::MAX))?;
    file.sync_all()
}

/// The file that a chain of links leads to, even if it does not exist; the links stay.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or(target.clone(), |parent| parent.join(target));
    }
    path
}
