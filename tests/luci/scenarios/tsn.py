"""tsn-dnsd on the router: its state, its settings, its counters."""
from world import eventually, matches

CONFIG = """config server 'server'
	option enabled '1'
	list listen '192.168.1.1#5353'
	list upstream '192.0.2.53'
	list allow '192.168.1.0/24'
	list allow '203.0.112.0/20'
"""


def tsn(world):
    """TSN: a real tsn-dnsd"""
    page = world.page().open("tsn")
    world.check("while it does not run the page says so", page.shows, "Not running", "#natf-dnsd-state")
    world.check("and why", page.shows, "tsn-dnsd is not running")
    world.write("/etc/config/tsn-dnsd", CONFIG)
    added = world.rpc("peer_add", name="own", role="tsn", domain="home.example.net")
    world.router("tsn-dnsd", "enroll", added["uri"])
    page.click("Start")
    world.check("once it runs the page says so", page.shows, "Running", "#natf-dnsd-state", 20)
    page.open("tsn")
    world.check("where it listens is shown", page.shows, "192.168.1.1", "#natf-dnsd-state")
    world.check("whom it asks is shown", page.shows, "192.0.2.53", "#natf-dnsd-state")
    world.check("the enrolled router is shown", page.shows, "home.example.net", "#natf-dnsd-routers")

    def ask(name):
        return world.on("alice", "dig", "-p", "5353", "+short", "+time=1", "+tries=1", "@192.168.1.1", name)

    ask("plain.example.net")
    world.check("an answer gets into the cache, and is counted", lambda: page.until(
        "return /Cache\\s+[1-9]/.test(scope('#natf-dnsd').innerText)"))
    page.click("Empty the cache")
    world.check("the cache can be emptied", lambda: page.shows("The cache is empty")
                and page.until("return /Cache\\s+0 /.test(scope('#natf-dnsd').innerText)"))
    page.click("Counters")
    world.check("counters are shown", lambda: matches(r"\w+\s+[1-9]", page.text("details")))
    page.click("Add a record")
    page.fill("Name", "nas home").click("Save")
    world.check("a record's name is checked", lambda: page.is_modal() and page.invalid("Name"))
    page.fill("Name", "nas.example.org").fill("Type", "A").fill("Value", "192.168.1.30").fill("Lifetime", "-1")
    world.check("and its lifetime", lambda: page.invalid("Lifetime"))
    page.fill("Lifetime", "60").click("Save")
    world.check("a good one closes the dialogue", page.modal_closed)
    page.save_and_apply()
    world.check("the file has the record", lambda: matches("option value '192.168.1.30'", world.config("tsn-dnsd")))
    world.check("and the server answers with it", lambda: eventually(10, lambda: "192.168.1.30" in ask("nas.example.org")))
    page.fill("Who may ask", "192.168.1.0/40")
    world.check("a network that is none is marked", lambda: page.invalid("Who may ask"))
    page.fill("Who may ask", "")
    page.ask("all('.item button').find((b) => nameOf(b).includes('192.168.1.0/24')).click()")
    page.save_and_apply()
    world.check("taken off the list, a network may no longer ask", lambda: eventually(10, lambda: ask("nas.example.org").strip() == ""
                                                                                    or "timed out" in ask("nas.example.org")))
    key = added["uri"].split("key=")[1].split("&")[0]
    world.check("the page does not have the router's key", lambda: key not in page.run("return document.documentElement.outerHTML"))
    page.click("Stop")
    world.check("stopped, the page lives on", page.shows, "Not running", "#natf-dnsd-state", 20)
    page.problems.clear()
    world.rpc("peer_remove", name="own")
