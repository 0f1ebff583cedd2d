"""Enrolling, renaming, revoking: the key from the page is used by a real natf-endd."""
import json
import re
import time

from world import eventually, matches


def enrol(world):
    """Peers: enrol one, take the key from the page, use it"""
    page = world.page().open("peers")
    page.click("Enrol a peer")
    for text in ("a b", "laptop", "anyone", ""):
        page.fill("Name", text)
        page.click("Enrol")
        world.check(f"the name '{text}' is refused where it was typed", lambda: page.is_modal() and page.invalid("Name"))
    page.fill("Name", "phone")
    page.click("Enrol")
    world.check("the key is shown, and that it is shown once", page.shows, "This key is shown once", ".modal")
    uri = page.run("return document.querySelector('#natf-key').value")
    key = re.search(r"key=([\w-]{43})", uri)[1]
    world.check("the text is one for enrolling", lambda: matches(r"^natf://home\.example\.net/\?id=\d+&key=[\w-]{43}&peer=phone", uri))
    world.check("its QR code is drawn module by module as the daemon gave it", lambda: drawn_modules(page) == answered_modules(page, uri))
    page.click("By a command")
    world.check("the command has it", lambda: uri in page.run("return document.querySelector('#natf-command').value"))
    page.click("As a configuration")
    sections = page.run("return document.querySelector('#natf-config').value")
    world.check("the ready configuration has section and key", lambda: matches(r"config home .*\n(.*\n)*.*option id '\d+'", sections)
                and key in sections)
    page.click("I have the key: close")
    page.modal_closed()
    world.check("closed, the key is nowhere in the page", lambda: key not in page.run("return document.documentElement.outerHTML"))
    world.check("the row is there", page.row, "phone")
    world.check("the router has the key in its file", lambda: key in world.router("cat", "/etc/natf/keys"))
    world.on("en", "cp", "/etc/config/natf", "/etc/natf/config.before")
    world.on("en", "cp", "/etc/natf/keys", "/etc/natf/keys.before")
    world.on("en", "sh", "-c", f"natf-endd enroll '{uri}' --force || natf-endd enroll '{uri}'")
    world.on("en", "natf-endd", "reload")
    world.check("a real natf-endd gets in with it", lambda: matches("mapped to", world.ping("alice.home.example.net:80")))
    world.check("the page says when it was seen", page.until,
                "return all('#maincontent tr').some((row) => row.innerText.includes('phone') && !row.innerText.includes('never'))", 15)
    for place, text in key_places(world, page):
        world.check(f"the key does not stand in {place}", lambda text=text: key not in text)


def key_places(world, page):
    """Where a key must never be, with what stands there."""
    yield "the addresses that the browser called", "\n".join(page.urls)
    yield "the browser's console", "\n".join(page.console)
    yield "the web server's log", world.on("router1", "cat", f"{world.root}/../../web.log")
    yield "the daemon's log", world.router("cat", "/tmp/log")
    yield "the configuration", world.config()
    yield "what may be read by ubus", "".join(str(world.rpc(method)) for method in
                                              ("status", "peers", "mappings", "hosts", "check", "counters", "names", "guide"))
    yield "the browser's storage", page.run("return JSON.stringify([ { ...localStorage }, { ...sessionStorage } ])")


def drawn_modules(page):
    """The dark modules of the QR code on the page: (row, column); its quiet zone is 4 modules wide (ISO 18004)."""
    path = page.run("return document.querySelector('#natf-qr path:last-child').getAttribute('d')")
    return {(int(y) - 4, int(x) - 4) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path)}


def answered_modules(page, uri):
    """The same in the daemon's answer, as it came over the wire with the enrol text."""
    rows = next(answer["result"][1]["qr"] for body in page.bodies("/ubus") if uri in body
                for answer in [json.loads(body)] if isinstance(answer, dict))
    assert len(rows) > 20, rows
    return {(y, x) for y, row in enumerate(rows) for x, module in enumerate(row) if module == "1"}


def rename(world):
    """Peers: rename one"""
    page = world.page().open("peers")
    page.click("Rename phone")
    page.fill("New name", "laptop")
    page.click("Rename")
    world.check("a name that is there already is refused", lambda: page.is_modal() and page.invalid("New name"))
    page.fill("New name", "mobile")
    page.click("Rename")
    world.check("the dialogue closes", page.modal_closed)
    world.check("the row has the new name", page.row, "mobile")
    world.check("the file has it", lambda: matches("config peer 'mobile'", world.config()) and "phone" not in world.config())
    world.check("the device gets in as before", lambda: matches("mapped to", world.ping("alice.home.example.net:80")))


def revoke(world):
    """Peers: revoke one that has live flows"""
    flow = world.hold("alice.home.example.net", 80)
    page = world.page().open("peers")
    name = "mobile" if "mobile" in world.config() else "phone"
    page.click(f"Revoke {name}")
    world.check("it asks first, and says how many flows live", page.shows, "at present: 1", ".modal")
    page.click("Cancel")
    world.check("Cancel changes nothing", lambda: page.modal_closed() and name in world.config())
    page.click(f"Revoke {name}")
    page.click("Revoke", within=".modal .button-row")
    world.check("it says how many flows ended", page.shows, "live flows that ended: 1")
    world.check("the row is gone", page.until,
                "return !all('#maincontent table tr').some((row) => row.innerText.includes(args[0]))", 15, name)
    world.check("section and key are gone", lambda: name not in world.config() and name not in world.router("cat", "/etc/natf/keys"))
    world.check("the flow is dead", lambda: eventually(10, lambda: not world.alive(flow)))
    world.check("the device is refused", lambda: "mapped to" not in world.ping("alice.home.example.net:80"))
    world.on("en", "mv", "/etc/natf/config.before", "/etc/config/natf")
    world.on("en", "mv", "/etc/natf/keys.before", "/etc/natf/keys")
    world.on("en", "natf-endd", "reload")
    time.sleep(0.3)
    world.check("other devices are not", lambda: matches("mapped to", world.ping("alice.home.example.net:80")))
