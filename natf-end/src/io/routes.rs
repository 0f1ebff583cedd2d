//! Routes for virtual addresses. The kernel chooses a flow's source address by the route to V, long before anybody
//! knows that the flow goes to G2: where the two routes differ, V gets a route of its own that is like the one to G2.

use std::{collections::BTreeMap, net::Ipv4Addr};

use natf_kernel::address::{Addresses, Network, Route};

use crate::error::Error;

/// Virtual addresses whose route is remembered.
const ALIGNED_MAX: usize = 4096;

/// The routes of our own.
#[derive(Debug)]
pub struct Routes {
    kernel: Addresses,
    aligned: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

impl Routes {
    /// Starts without routes; those of a former run are removed.
    ///
    /// # Errors
    /// Where the kernel's routes cannot be read or written.
    pub fn open() -> Result<Self, Error> {
        let mut routes = Self { kernel: Addresses::open()?, aligned: BTreeMap::new() };
        routes.clear()?;
        Ok(routes)
    }

    /// Makes sure that packets to a virtual address take the way to the router. Costs nothing where that was done
    /// before.
    pub fn align(&mut self, address: Ipv4Addr, router: Ipv4Addr) {
        if self.aligned.get(&address) == Some(&router) {
            return;
        }
        if self.aligned.len() >= ALIGNED_MAX {
            self.aligned.clear();
        }
        self.aligned.insert(address, router);
        if let Err(error) = self.try_align(address, router) {
            log::warn!("route for {address} as for {router}: {error}");
        }
    }

    /// Removes all routes of ours: the network changed, or the node stops.
    ///
    /// # Errors
    /// Where the kernel's routes cannot be read or written.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.aligned.clear();
        for network in self.kernel.own_routes()? {
            self.kernel.remove_route(network)?;
        }
        Ok(())
    }

    fn try_align(&mut self, address: Ipv4Addr, router: Ipv4Addr) -> Result<(), Error> {
        // Without a way to the router there is nothing to be like; to ourselves no packet leaves.
        let Some(wanted) = self.kernel.route_to(router)?.filter(|route| !route.local) else { return Ok(()) };
        let found = self.kernel.route_to(address)?;
        if found.is_some_and(|found| is_same(&found, &wanted)) {
            return Ok(());
        }
        log::debug!("route for {address} as for {router}");
        self.kernel.add_route(Network { address, prefix_len: 32 }, &wanted)?;
        Ok(())
    }
}

fn is_same(one: &Route, other: &Route) -> bool {
    (one.oif, one.prefsrc) == (other.oif, other.prefsrc)
}
