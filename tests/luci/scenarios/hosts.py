"""The access control table: what is clicked gets into the file, and the daemon decides by it."""
from world import eventually, matches


def allow_and_deny(world):
    """Hosts: allow one, deny another"""
    page = world.page().open("hosts")
    world.check("the rows are there", lambda: all(page.row(name) for name in ("alice", "bob", "mallory")))
    world.check("before, mallory is refused", lambda: matches("refused", world.ping("mallory.home.example.net:80")))
    page.fill("Allow mallory", True)
    page.fill("Allow bob", False)
    page.save_and_apply()
    world.check("the file says so", lambda: matches(r"host 'mallory'\n\toption ip '192.168.1.12'\n\toption access 'allow'", world.config())
                and matches(r"host 'bob'\n\toption ip '192.168.1.11'\n\toption access 'deny'", world.config()))
    world.check("a request for mallory is granted", lambda: matches("mapped to", world.ping("mallory.home.example.net:80")))
    world.check("one for bob is refused", lambda: matches("access to this host is denied", world.ping("bob.home.example.net:80")))
    world.check("nothing waits to be applied", page.hides, "Unsaved Changes")
    page.fill("Allow mallory", False).fill("Allow bob", True)
    page.save_and_apply()
    world.check("and back again", lambda: matches("refused", world.ping("mallory.home.example.net:80"))
                and matches("mapped to", world.ping("bob.home.example.net:80")))


def add_and_delete(world):
    """Hosts: add one, edit it, delete it"""
    page = world.page().open("hosts")
    page.click("Add a host")
    page.fill("Name", "web").fill("Allowed", True).fill("Found by", "ip").fill("IPv4 address", "192.168.1.11").add("Services", "tcp:80").add("Services", "udp:7")
    page.click("Save")
    world.check("the dialogue closes", page.modal_closed)
    world.check("the new row is shown with its services", lambda: matches(r"http, udp:7", page.text(page.row("web"))))
    world.check("it waits to be applied", page.shows, "Unsaved Changes")
    world.check("until then the file is as it was", lambda: "web" not in world.config())
    page.save_and_apply()
    world.check("then it has the row", lambda: matches(
        r"config host\n(\t.*\n)*\tlist service 'tcp:80'\n\tlist service 'udp:7'", world.config()))
    world.check("its service can be reached", lambda: matches("mapped to", world.ping("web.home.example.net:80")))
    world.check("no other can", lambda: matches("service is not allowed|not allow", world.ping("web.home.example.net:22")))
    page.click("Edit", within=page.row("web"))
    page.fill("Until", "2020-01-01")
    page.click("Save")
    page.modal_closed()
    world.check("an end that is past is marked", page.shows, "expired")
    page.save_and_apply()
    world.check("and the daemon refuses because of it", lambda: matches("expired", world.ping("web.home.example.net:80")))
    page.click("Edit", within=page.row("web"))
    page.fill("Until", "").add("Who", "anyone")
    world.check("\"anyone\" comes with a warning in the form", page.shows, "everybody on the internet, without a key", ".modal")
    page.click("Save")
    page.modal_closed()
    world.check("and in the table", lambda: matches("anyone", page.text(page.row("web"))))
    page.save_and_apply()
    world.check("the file has it", lambda: matches(r"list peer 'anyone'", world.config()))
    page.click("Delete", within=page.row("web"))
    page.until("return !all('#maincontent tr').some((row) => row.innerText.includes('web'))")
    page.save_and_apply()
    world.check("after Delete the file has no such row", lambda: "web" not in world.config())
    world.check("and the daemon knows it no more", lambda: matches("knows no host", world.ping("web.home.example.net:80")))


def refuse_wrong_input(world):
    """Hosts: wrong input is refused where it was typed"""
    before = world.config()
    page = world.page().open("hosts")
    page.click("Add a host")
    for label, kind, bad, good, words in (
            ("Name", None, ["ALICE", "a b", "-", "x" * 65, "a..b"], "web2", "already|Letters|characters"),
            ("IPv4 address", "ip", ["192.168.1", "192.168.1.256", "alice", "127.0.0.1", "0.0.0.0"], "192.168.1.30", "address"),
            ("MAC address", "mac", ["00:11:22:33:44", "0g:11:22:33:44:55", "ff:ff:ff:ff:ff:ff"], "00:11:22:33:44:55", "address"),
            ("Until", None, ["tomorrow", "2026-13-01", "2026-02-30", "2026-12-31 25:00"], "2026-12-31 18:00", "UTC"),
            ("Services", None, ["tcp:0", "tcp:70000", "sctp:22", "gopher", "tcp:90-80"], "ssh", "tcp:22"),
            ("Who", None, ["nobody_known"], "laptop", "No peer")):
        if kind:
            page.fill("Found by", kind)
        for text in bad:
            page.fill(label, text)
            if text == "-" and not page.invalid(label):
                continue
            world.check(f"{label} '{text[:20]}' is marked, with what is accepted", lambda: matches(words, page.invalid(label)))
        page.click("Save")
        world.check(f"the dialogue stays open with a wrong {label}", page.is_modal)
        page.fill(label, good)
        world.check(f"{label} '{good}' is not marked", lambda: page.invalid(label) == "")
    page.fill("Name", "bob")
    page.click("Save")
    world.check("a name that another host has is refused", lambda: matches("already", page.invalid("Name")))
    page.click("Dismiss")
    world.check("dismissing leaves nothing behind", lambda: page.modal_closed() and page.hides("Unsaved Changes")
                and world.config() == before)
    page.click("Add a host")
    page.until("return top_() !== document && document.querySelector('.modal input')")
    page.press("Escape")
    world.check("Escape dismisses, too", page.modal_closed)


def allow_discovered(world):
    """Hosts: one click allows who was seen on the LAN"""
    world.write("/tmp/dhcp.leases", "1900000000 02:00:00:00:01:12 192.168.1.12 tablet *\n"
                "1900000000 02:00:00:00:01:77 192.168.1.77 printer *\n")
    page = world.page().open("hosts")
    world.check("a host with a lease is listed", page.shows, "printer", "#natf-seen", 20)
    page.click("Allow printer")
    world.check("one click puts it into the table", page.shows, "printer", "#cbi-natf-host")
    world.check("and says so", page.shows, "counts after \"Save & Apply\"")
    world.check("nothing is open before that", lambda: "printer" not in world.config())
    page.save_and_apply()
    world.check("the file has it by its MAC address, allowed", lambda: matches(
        r"config host 'printer'\n(\toption (mac '02:00:00:00:01:77'|access 'allow')\n?){2}", world.config()))
    world.check("the daemon has it, too", lambda: eventually(10, lambda: any(
        row["name"] == "printer" and row["access"] == "allow" for row in world.rpc("hosts")["hosts"])))
    world.check("it is not offered again", page.until,
                "return all('#natf-seen button').some((b) => nameOf(b) == 'Allow printer' && b.disabled)")
    world.write("/tmp/dhcp.leases", "")
    world.configure(world.original)
