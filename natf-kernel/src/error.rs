//! The one error type of the kernel layer.
//!
//! A message says what was attempted, with which values, what the kernel answered, and what the
//! operator can do about it: more rights, a kernel module, a package.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What failed between the daemon and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A system call failed.
    #[error("{action}: {source}{}", advice(.source, .module))]
    System {
        /// What was attempted, with its values.
        action: String,
        /// Kernel module that provides the function; empty if it is built into every kernel.
        module: &'static str,
        /// The kernel's errno.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a netlink message.
    #[error("{action}: the kernel answers: {source}{}{}", in_brackets(.remark), advice(.source, .module))]
    Refused {
        /// What was attempted, with its values.
        action: String,
        /// Kernel module that provides the function; empty if unknown.
        module: &'static str,
        /// The kernel's own words, where it sends some (extended ack).
        remark: Option<String>,
        /// The kernel's errno.
        #[source]
        source: io::Error,
    },
    /// The kernel did not answer a netlink request.
    #[error("{action}: no answer from the kernel within {} ms", .waited.as_millis())]
    NoAnswer {
        /// What was attempted, with its values.
        action: String,
        /// How long the answer was awaited.
        waited: Duration,
    },
    /// The kernel's answer does not have the form that its interface promises.
    #[error("{action}: cannot read the kernel's answer ({detail})")]
    Malformed {
        /// What was attempted, with its values.
        action: String,
        /// What is wrong with the answer.
        detail: &'static str,
    },
    /// A program that is needed is not installed.
    #[error("cannot run `{program}`: {source}; install the package `{package}`")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// Name of the package that holds it, on Debian and on OpenWrt.
        package: &'static str,
        /// Why it could not be started.
        #[source]
        source: io::Error,
    },
    /// `nft` refused a ruleset.
    #[error("nft {action}: {output}{}", missing(.output))]
    Nft {
        /// What `nft` was asked to do.
        action: String,
        /// The last lines that it printed.
        output: String,
    },
    /// A table was applied, and another program removed it at once.
    #[error("table {table} is not there after it was applied: another program removes it")]
    Missing {
        /// The table, with its family.
        table: String,
    },
    /// A file of /proc or /sys cannot be read or holds no number.
    #[error("cannot read {}: {source}; is the kernel module {module} loaded?", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Kernel module that makes it.
        module: &'static str,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
    /// A value cannot be expressed in the kernel's interface.
    #[error("{what} {value} is not accepted: {accepted}")]
    Value {
        /// What the value is.
        what: &'static str,
        /// The value.
        value: String,
        /// What is accepted.
        accepted: &'static str,
    },
}

impl KernelError {
    /// Wraps the errno of a failed system call.
    pub(crate) fn system(action: impl Into<String>, module: &'static str, source: io::Error) -> Self {
        Self::System { action: action.into(), module, source }
    }

    /// The kernel's errno, if it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } | Self::Refused { source, .. } | Self::File { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }
}

fn in_brackets(remark: &Option<String>) -> String {
    remark.as_deref().map(|words| format!(" ({words})")).unwrap_or_default()
}

/// What the operator can do about an errno.
fn advice(error: &io::Error, module: &str) -> String {
    match error.raw_os_error() {
        // The kernel answers EPERM also to the second reader of a queue.
        Some(libc::EPERM | libc::EBUSY) if module == "nfnetlink_queue" => {
            "; another process serves this queue number (option queue), or CAP_NET_ADMIN is missing (needs root)"
                .into()
        }
        Some(libc::EPERM | libc::EACCES) => "; needs root or CAP_NET_ADMIN and CAP_NET_RAW".into(),
        Some(
            libc::EPROTONOSUPPORT
            | libc::EOPNOTSUPP
            | libc::ENOPROTOOPT
            | libc::EINVAL
            | libc::EAFNOSUPPORT
            // nf_tables says so of an expression that it does not have.
            | libc::ENOENT,
        ) if !module.is_empty() => {
            format!("; is the kernel module {module} there (OpenWrt: package kmod-{})?", package(module))
        }
        _ => String::new(),
    }
}

/// What is missing where `nft` has the kernel's "No such file or directory" for a rule or chain of ours.
fn missing(output: &str) -> &'static str {
    if !output.contains("No such file") {
        ""
    } else if output.contains("fib ") {
        "; is the kernel module nft_fib_ipv4 there (OpenWrt: package kmod-nft-fib)?"
    } else {
        "; is the kernel module nft_chain_nat there (OpenWrt: package kmod-nft-nat)?"
    }
}

/// The OpenWrt package that holds a kernel module.
fn package(module: &str) -> String {
    match module {
        "nf_conntrack_netlink" => "nf-conntrack-netlink".into(),
        "nfnetlink_queue" => "nfnetlink-queue".into(),
        "nft_queue" => "nft-queue".into(),
        "nf_tables" => "nft-core".into(),
        "nf_conntrack" => "nf-conntrack".into(),
        "nfnetlink" => "nfnetlink".into(),
        other => other.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_right() {
        let error = KernelError::system("open x", "", io::Error::from_raw_os_error(libc::EPERM));
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        assert_eq!(error.errno(), Some(libc::EPERM));
    }

    #[test]
    fn names_the_missing_kernel_module() {
        let source = io::Error::from_raw_os_error(libc::EPROTONOSUPPORT);
        let error = KernelError::system("open x", "nfnetlink_queue", source);
        assert!(error.to_string().contains("kmod-nfnetlink-queue"), "{error}");
    }

    #[test]
    fn names_the_module_of_an_expression_that_the_kernel_does_not_have() {
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        let (action, remark) = ("find a way".into(), None);
        let error = KernelError::Refused { action, module: "nft_queue", remark, source };
        assert!(error.to_string().ends_with("(OpenWrt: package kmod-nft-queue)?"), "{error}");
        let nft =
            |output: &str| KernelError::Nft { action: "apply x".into(), output: output.into() }.to_string();
        assert!(
            nft("Error: Could not process rule: No such file or directory\n fib daddr")
                .contains("kmod-nft-fib")
        );
        assert!(
            nft("Error: Could not process rule: No such file or directory\n chain").contains("kmod-nft-nat")
        );
        assert!(nft("Error: syntax error").ends_with("syntax error"));
    }

    #[test]
    fn names_the_program_and_its_package() {
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        let error = KernelError::Program { program: "nft", package: "nftables", source };
        assert!(error.to_string().contains("install the package `nftables`"), "{error}");
    }
}
