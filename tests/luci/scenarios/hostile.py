"""Names, reasons and values that want to be HTML: they stay text, wherever they come from."""
import base64

from .rights import PAGES, none

IMAGE = "<img src=x onerror=window.pwned=1>"
NASTY = (IMAGE, "\"><script>window.pwned=1</script>", "'-alert(1)-'", "&lt;img src=x onerror=window.pwned=1&gt;",
         "\u202eevil.exe\u202c", "x" * 250, "%s%h%d", "</td></tr></table><h1>pwned</h1>", "javascript:window.pwned=1")
# The app has no such elements of its own.
HARM = """const found = [ ...document.querySelectorAll('#view *, .alert-message *, .modal *, .cbi-tooltip *') ]
	.filter((node) => node.matches('img, script, h1, iframe, [onerror]')).map((node) => node.outerHTML.slice(0, 200));
	if (window.pwned)
		found.push('a script has run');
	return found;"""


def from_the_network(world):
    """Hostile names from DHCP leases, requests and announcements"""
    world.write("/tmp/dhcp.leases", "".join(
        f"1900000000 02:00:00:00:02:{i:02x} 192.168.1.{100 + i} {name.replace(' ', '/')} *\n" for i, name in enumerate(NASTY)))
    keys = dict(line.split()[:3:2] for line in world.router("cat", "/etc/natf/keys").splitlines())
    key = base64.urlsafe_b64decode(keys["isp"] + "=").hex()
    for name in NASTY:
        world.on("isp", "natf-bench", "notify", "203.0.113.2", "192.0.3.53", key, "4720", name[:60], "198.51.102.10")
    page = world.page()
    for name in ("hosts", "why", "live", "overview", "peers"):
        page.open(name)
        if name == "hosts":
            page.shows("192.168.1.100", "#natf-seen", 20)
        world.check(f"{name}: all of it is text", lambda: none(page.run(HARM)))
    world.write("/tmp/dhcp.leases", "")


def from_the_file(world):
    """Hostile values in the configuration"""
    original = {name: world.config(name) for name in ("natf", "tsn-dnsd")}
    for nasty in (NASTY[3], " ".join((*NASTY[:3], *NASTY[4:], "\\"))):
        value = "'" + nasty.replace("'", "'\\''") + "'"
        world.write("/etc/config/natf", f"""
config router 'router'
	list domain {value}
config host
	option name {value}
	option ip {value}
	option access 'allow'
	list service {value}
	list peer {value}
	list peer 'anyone'
	option until {value}
config peer 'laptop'
	option id {value}
	option role {value}
	list host {value}
config ddns 'provider'
	list server {value}
	list zone {value}
""")
        world.write("/etc/config/tsn-dnsd", f"""
config server 'server'
	list listen {value}
config router 'home'
	list domain {value}
	option without {value}
config record
	option name {value}
	option type {value}
	option value {value}
""")
        page = world.page()
        for name in PAGES:
            page.open(name)
            world.check(f"{name} with {nasty[:12]}…: all of it is text", lambda: none(page.run(HARM)))
            if name in ("hosts", "settings", "tsn"):
                world.check(f"{name}: and it can be read", lambda: nasty in page.run(
                    "return document.querySelector('#maincontent').textContent + [ ...document.querySelectorAll('input') ].map((i) => i.value).join(' ')"))
            for number in range(page.ask("return all('#maincontent button').filter((b) => nameOf(b) == 'Edit').length")):
                page.ask("all('#maincontent button').filter((b) => nameOf(b) == 'Edit')[args[0]].click()", number)
                page.until("return document.querySelector('.modal-overlay-active .modal .cbi-map')")
                world.check(f"{name}: so it is in the dialogue of row {number + 1}", lambda: none(page.run(HARM)))
                page.press("Escape")
                page.modal_closed()
        page.open("peers").click("Enrol a peer")
        page.until("return top_() !== document && document.querySelector('.modal input')")
        world.check("and in the dialogue of enrolling", lambda: none(page.run(HARM)))
        page.problems[:] = [problem for problem in page.problems if "stand-in" in problem]
    for name, text in original.items():
        world.write(f"/etc/config/{name}", text)
    world.configure(original["natf"])


def from_the_daemon(world):
    """A daemon whose every word is hostile"""
    plugin = "/usr/libexec/rpcd/natf"
    flow = world.hold("alice.home.example.net", 80)
    world.ping("mallory.home.example.net:80")
    world.router("cp", plugin, "/tmp/plugin")
    for nasty in (" ".join(NASTY),):
        world.write(plugin, f"""#!/bin/sh
/usr/bin/jq --arg nasty {shell_quoted(nasty)} '
	def spoil: walk(if type == "string" then $nasty else . end);
	if .error then .error = $nasty else spoil end' <<-ANSWER
	$(/bin/sh /tmp/plugin "$@")
ANSWER
""")
        page = world.page()
        for name in ("overview", "hosts", "peers", "live", "why", "tsn", "status/overview"):
            page.open(name)
            world.check(f"{name} with {nasty[:12]}…: all of it is text, the page lives", lambda: none(page.run(HARM)) and page.text("#view"))
            if name in ("overview", "hosts", "live", "why", "tsn"):
                world.check(f"{name}: and it can be read", page.until, "return document.querySelector('#maincontent').textContent.includes(args[0])",
                            8, nasty[:40])
        page.open("why").fill("Name", IMAGE).click("Explain")
        page.until("return document.querySelector('#natf-steps').children.length")
        world.check("why: so is an explanation", lambda: none(page.run(HARM)))
        page.open("live")
        page.ask("all('#natf-mappings button')[0]?.click()")
        page.run("await new Promise((done) => setTimeout(done, 300))")
        world.check("live: so is an answer to End", lambda: none(page.run(HARM)))
        page.problems.clear()
    world.write(plugin, world.router("cat", "/tmp/plugin"))
    flow.kill()
    world.router("natf-routerd", "end", "all")


def shell_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"
