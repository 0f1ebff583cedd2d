"""Who may only look, who has not logged in, whose session is over."""
import json

PAGES = ("overview", "hosts", "peers", "live", "why", "tsn", "settings")
# Controls that change something: all but those that look, sort, close, copy.
CHANGING = """return all('#maincontent button, #maincontent input, #maincontent select, #maincontent textarea')
	.filter((node) => !node.disabled && !node.closest('#natf-filter, form, .alert-message')
		&& ![ 'Edit', 'Explain' ].includes(nameOf(node)) && !node.matches('#natf-filter'))
	.map((node) => node.outerHTML.slice(0, 150))"""
CALL = """const [ object, method, parameters, sid ] = args;
	const answer = await fetch('/ubus', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(
		{ jsonrpc: '2.0', id: 1, method: 'call', params: [ sid ?? L.env.sessionid, object, method, parameters ] }) });
	return await answer.json();"""


def rights(world):
    """A user who may only look"""
    before = world.config()
    flow = world.hold("alice.home.example.net", 80)
    page = world.page("viewer")
    for name in PAGES:
        page.open(name)
        if name in ("peers", "live"):
            page.row("laptop")
        if name not in ("why", "settings"):
            world.check(f"{name}: it is told that one may only look", page.shows, "may look at this, but not change it")
        world.check(f"{name}: what would change something is out of use", lambda: none(page.ask(CHANGING)))
    page.open("hosts").click("Edit", within=page.row("alice"))
    world.check("a row can be looked at, but not saved", page.until,
                "return named('button', 'Save', top_()).disabled && field('Name', top_()).disabled")
    page.press("Escape")
    world.check("he sees what is allowed by direct calls, too", lambda: page.run(CALL, "natf", "status", {})["result"][0] == 0)
    for target, method, parameters in (
            ("natf", "peer_add", {"name": "intruder"}), ("natf", "peer_remove", {"name": "laptop"}), ("natf", "end", {"id": 1}),
            ("natf", "reload", {}), ("natf", "dnsd_flush", {}), ("rc", "init", {"name": "natf", "action": "stop"}),
            ("uci", "set", {"config": "natf", "section": "alice", "values": {"access": "deny"}}),
            ("uci", "add", {"config": "natf", "type": "host"}), ("uci", "delete", {"config": "natf", "section": "alice"}),
            ("uci", "apply", {}), ("file", "read", {"path": "/etc/natf/keys"})):
        world.check(f"{target} {method} is denied to him", lambda: denied(page.run(CALL, target, method, parameters)))
    world.check("nothing has changed", lambda: world.config() == before and world.rpc("mappings")["total"] >= 1 and world.alive(flow))
    nobody = "0" * 32
    for target, method in (("natf", "status"), ("natf", "peers"), ("natf", "peer_add"), ("uci", "get"), ("luci.natf", "lookup")):
        world.check(f"without a login {target} {method} is denied", lambda: denied(page.run(CALL, target, method, {}, nobody)))
    world.check("a made-up session is no session", lambda: denied(page.run(CALL, "natf", "status", {}, "f" * 32)))
    flow.kill()
    world.router("natf-routerd", "end", "all")


def none(found):
    assert not found, "\n".join(found)
    return True


def denied(answer):
    assert answer.get("error", {}).get("code") == -32002 or answer.get("result") == [6], json.dumps(answer)
    return True


def acl(world):
    """The rights' files themselves"""
    files = world.router("sh", "-c", "cat /usr/share/rpcd/acl.d/natf.json /usr/share/rpcd/acl.d/luci-app-natf.json")
    world.check("no right to read a file stands in them", lambda: '"file"' not in files and "keys" not in files)
    groups = json.loads(world.router("cat", "/usr/share/rpcd/acl.d/luci-app-natf.json"))["luci-app-natf"]
    read, write = (set(groups[kind]["ubus"]["natf"]) for kind in ("read", "write"))
    methods = set(json.loads(world.router("/usr/libexec/rpcd/natf", "list")))
    world.check("each method is either read or written", lambda: not read & write)
    world.check("each that is named exists", lambda: none(sorted((read | write) - methods)))


def expiry(world):
    """A session that is over"""
    page = world.page().open("live")
    page.shows("No live flow")
    world.on("router1", "kill", "-HUP", str(world.web))
    world.check("the page asks for a new login", page.shows, "Session expired", ".modal")
    world.check("and asks the router for nothing more", lambda: quiet(page))
    page.problems.clear()


def quiet(page):
    page.run("await new Promise((done) => setTimeout(done, 500))")
    before = len(page.urls)
    page.run("await new Promise((done) => setTimeout(done, 2500))")
    return len(page.urls) == before
