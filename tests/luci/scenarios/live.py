"""Live flows: real ones, thousands of them, and announced clients."""
import base64
import time

from world import eventually, matches

MARK = """document.querySelectorAll('#natf-mappings tbody tr').forEach((row) => row.mark = true);
	return document.querySelectorAll('#natf-mappings tbody tr').length;"""
COUNT = "return all('#natf-mappings tbody tr').length"
MANY = 2000


def live(world):
    """Live: a flow is shown as it goes on, found, and ended"""
    page = world.page().open("live")
    world.check("with no flow it says so", page.shows, "No live flow", "#natf-mappings")
    flow = world.hold("alice.home.example.net", 80)
    world.check("a new flow turns up by itself", lambda: matches(
        r"alice\s+laptop\s+tcp\s+80\s+198\.51\.100\.10:\d+\s+203\.0\.113\.2:\d+\s+192\.168\.1\.10:80\s+live",
        page.text(page.row("alice"))))
    page.run(MARK)
    page.ask("all('#natf-mappings button')[0].focus()")
    age = cell(page, "age")
    world.check("its age goes on", page.until, "return scope('#natf-mappings [data-name=age]').innerText != args[0]", 15, age)
    world.check("its bytes are counted", lambda: matches(r"[1-9]", cell(page, "bytes")))
    world.check("it has a remaining life", lambda: matches(r"\d", cell(page, "remaining")))
    world.check("updates keep the row and the focus", page.run,
                "return document.querySelector('#natf-mappings tbody tr').mark && document.activeElement.closest('#natf-mappings') != null")
    page.fill("Filter", "alice laptop")
    world.check("a filter shows what has all its words", lambda: page.ask(COUNT) == 1)
    page.fill("Filter", "bob")
    world.check("and hides what has not", lambda: page.ask(COUNT) == 0 and page.shows("0 of 1 shown"))
    page.fill("Filter", "")
    page.press("Tab")
    page.ask("all('#natf-mappings th[data-sortable-row]').find((th) => th.innerText.startsWith('Age')).focus()")
    page.press("Enter")
    world.check("Enter on a heading sorts by it", lambda: page.run(
        "return document.querySelector('#natf-mappings th[aria-sort=ascending]').innerText").startswith("Age"))
    page.ask("all('#natf-mappings button')[0].click()")
    world.check("after End the row goes", page.shows, "No live flow", "#natf-mappings")
    world.check("the router has no such flow", lambda: world.rpc("mappings")["total"] == 0)
    world.check("and the flow is dead", lambda: eventually(15, lambda: not world.alive(flow)))


def cell(page, name):
    return page.ask("return scope(`#natf-mappings [data-name=${args[0]}]`)?.innerText ?? ''", name)


def announced(world):
    """Live: clients that a real TSN server announces"""
    world.lab("start", "dnsd", "isp")
    page = world.page().open("live")
    world.check("with no client it says so", page.shows, "No client is announced", "#natf-guide")
    world.on("client", "dig", "+time=2", "+tries=1", "@192.0.3.53", "bob.home.example.net")
    world.check("a client that asked is shown, with the host and the server", lambda: matches(
        r"bob\s+isp\s+198\.51\.102\.10", page.text(page.row("198.51.102.10"))))
    world.on("client", "curl", "-s", "--max-time", "4", "http://203.0.113.2/")
    world.check("its flow is among the flows", page.shows, "198.51.102.10", "#natf-mappings")
    world.lab("stop", "dnsd", "isp")


def many(world):
    """Live: 2,000 real flows"""
    world.configure(world.original.replace("config router 'router'\n", "config router 'router'\n\toption pending '120'\n"))
    keys = dict(line.split()[:3:2] for line in world.router("cat", "/etc/natf/keys").splitlines())
    key = base64.urlsafe_b64decode(keys["roamer"] + "=").hex()
    world.router("natf-routerd", "end", "all")
    page = world.page().open("live")
    # The time that the page's main thread computes, however busy the machine is with other things.
    page.send("Performance.enable", {"timeDomain": "threadTicks"})
    world.on("stranger", "natf-bench", "rate", "203.0.113.2", "198.51.101.10", key, "4712", str(MANY), "0")
    world.check(f"{MANY} flows live on the router", lambda: world.rpc("mappings")["total"] >= MANY)
    world.check("all of them are shown", page.until, f"return document.querySelectorAll('#natf-mappings tbody tr').length >= {MANY}", 20)
    shown = page.run(MARK)
    page.ask("const row = document.querySelectorAll('#natf-mappings tbody tr')[1000]; row.scrollIntoView(); row.querySelector('button').focus();")
    before = page.run("return [ scrollY, document.activeElement.closest('tr').dataset.key ]")
    busy, updates = measure(page, 3)
    print(f"        an update of {shown} rows keeps the browser busy for {busy * 1000:.0f} ms")
    world.check("an update takes less than a second", busy < 1 and updates >= 3)
    world.check("no row was built anew", page.run,
                "const rows = [ ...document.querySelectorAll('#natf-mappings tbody tr') ]; return rows.length > 0 && rows.every((row) => row.mark)")
    world.check("place and focus are where they were", lambda: page.run(
        "return [ scrollY, document.activeElement.closest('tr').dataset.key ]") == before)
    port = page.run("return document.querySelectorAll('#natf-mappings tbody tr')[1500].querySelector('[data-name=source]').textContent")
    begin = time.monotonic()
    page.fill("Filter", port)
    world.check("a filter finds one of them at once", lambda: page.ask(COUNT) == 1 and time.monotonic() - begin < 2)
    page.ask("all('#natf-mappings button')[0].click()")
    world.check("which can be ended", page.until, "return !document.querySelector('#natf-mappings tbody').textContent.includes(args[0])", 15, port)
    world.check("alone", lambda: MANY - 50 < world.rpc("mappings")["total"] < MANY)
    world.router("natf-routerd", "end", "all")
    world.check("when all have ended the table is empty", page.shows, "No live flow", "#natf-mappings", 20)
    world.configure(world.original)


def measure(page, updates):
    """Seconds that the page's main thread computes for one update, and how many updates were seen."""
    def busy():
        return next(m["value"] for m in page.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")

    page.run("""const original = window.fetch;
		window.updates = 0;
		window.fetch = (url, options) => {
			window.updates += Number(/"mappings",{"from":0}/.test(options?.body));
			return original(url, options);
		};""")
    begin = busy()
    page.until("return window.updates > args[0]", 30, updates)
    return (busy() - begin) / updates, page.run("return window.updates")
