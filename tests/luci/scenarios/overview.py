"""The overview, the tile on LuCI's status page, and the service's buttons."""
from world import eventually, matches


def overview(world):
    """Overview: the state of the router"""
    page = world.page().open("overview")
    world.check("the service is shown as running", page.shows, "Running")
    world.check("the home's names are shown", page.shows, "home.example.net, cname.example.net, multi.example.net")
    world.check("hosts are counted", page.shows, "2 allowed of 3")
    world.check("the WAN's address is, and no other", lambda: matches(r"WAN address\s+203\.0\.113\.2\n", page.text()))
    world.ping("alice.home.example.net:80")
    world.ping("mallory.home.example.net:80")
    world.check("requests are counted while one looks", page.shows, "Requests: 2")
    world.check("and so are refusals", page.shows, "Refusals: 1")
    world.check("the line is drawn", page.until,
                "return new Set(document.querySelector('polyline').getAttribute('points').split(' ').map((p) => p.split(',')[1])).size > 1")


def tile(world):
    """The tile on LuCI's status overview"""
    page = world.page().open("status/overview")
    world.check("it says that the service runs", page.shows, "Running")
    world.check("it has the numbers", lambda: matches(r"Enrolled peers\s+4", page.text()))
    page.ask("named('a', 'Overview', scope('#maincontent')).click()")  # the tile is drawn anew all the time
    world.check("it leads to the overview", page.shows, "Lets the nodes you trust reach hosts")


def warnings(world):
    """Overview: what is wrong, and what to do about it"""
    original = world.config()

    def shows(sentence, text, configuration):
        world.configure(configuration)
        world.check(sentence, page.shows, text, "#natf-warnings")

    page = world.page().open("overview")
    bare = "config router 'router'\n\toption domain 'home.example.net'\n"
    shows("no peer is enrolled", "No peer is enrolled", bare)
    world.check("no host is allowed", page.shows, "No host is allowed", "#natf-warnings")
    shows("the home has no name", "The home has no name yet", "config router 'router'\n")
    shows("a host is open to anyone", "Open to anyone on the internet, without a key: alice",
          bare + "config host 'alice'\n\toption ip '192.168.1.10'\n\toption access 'allow'\n\tlist peer 'anyone'\n")
    world.configure(bare.replace("home.example.net", "plain.example.net"))
    page.open("overview")
    world.check("a name leads elsewhere", page.shows, "leads to 203.0.115.2", "#natf-warnings")
    world.configure(original)
    for address, words in (("100.64.0.5", "belongs to the provider's NAT"), ("10.9.8.7", "another router with NAT stands in front")):
        world.on("router1", "sh", "-c", f"ip addr flush dev wan && ip addr add {address}/24 dev wan")
        world.check(f"the address {address} on the WAN is one that nobody reaches", page.shows, words, "#natf-warnings", 20)
    world.on("router1", "sh", "-c", "ip addr flush dev wan")
    world.check("the WAN has no address", page.shows, "The WAN has no IPv4 address", "#natf-warnings", 20)
    world.on("router1", "sh", "-c", "ip addr add 203.0.113.2/24 dev wan && ip route add default via 203.0.113.1")
    firewall = world.config("firewall")
    world.write("/etc/config/firewall", firewall.replace("option output 'ACCEPT'", "option output 'DROP'"))
    page.open("overview")
    world.check("the firewall keeps answers back", page.shows, "The firewall does not let this router answer", "#natf-warnings")
    world.write("/etc/config/firewall", firewall)
    world.write("/etc/config/natf", original + "\nconfig host 'bad'\n\toption ip '999.1.1.1'\n\toption acess 'deny'\n")
    world.check("a wrong configuration is told line by line", page.shows, "acess", "#natf-problems", 20)
    world.configure(original)
    world.check("with nothing wrong nothing is shown", page.hides, "Wrong in the configuration")


def service(world):
    """The service stops, the page lives on, the service starts again"""
    page = world.page().open("overview")
    page.click("Stop")
    world.check("after Stop it is shown as not running", page.shows, "Not running")
    world.check("it says what that means and what to do", page.shows, "natf-routerd is not running")
    world.check("the daemon is gone", lambda: eventually(10, lambda: "no natf-routerd answers" in world.rpc("status")["error"]))
    for name, words in (("hosts", "Access control table"), ("peers", "Enrol a peer"), ("live", "natf-routerd"), ("why", "Name"),
                        ("settings", "Name of the home")):
        other = world.page().open(name)
        world.check(f"{name} is drawn without it", other.shows, words)
        if name not in ("why", "settings"):
            world.check(f"and {name} says clearly why something is missing", other.shows, "natf-routerd is not running")
    page.click("Start")
    world.check("after Start it runs", page.shows, "Running", "#natf-state", 15)
    world.check("the daemon answers", lambda: eventually(10, lambda: world.rpc("status")["version"]))
    world.check("the page of live flows has recovered by itself", other.open("live").hides, "natf-routerd is not running")
    page.click("Enable")
    world.check("after Enable it starts at boot", page.shows, "starts at boot")
    world.check("init's link is there", lambda: "S18natf" in world.router("ls", "/etc/rc.d"))
    page.click("Disable")
    world.check("after Disable it does not", page.hides, "starts at boot")
    world.check("init's link is gone", lambda: "S18natf" not in world.router("ls", "/etc/rc.d"))
