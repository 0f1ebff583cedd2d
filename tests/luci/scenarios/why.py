"""Why not?: the way of a decision, and what was refused lately."""
from world import matches

CASES = """
config host 'open'
	option ip '192.168.1.10'
	option access 'allow'
	list service 'tcp:80'

config host 'past'
	option ip '192.168.1.10'
	option access 'allow'
	option until '2020-01-01'

config host 'private'
	option ip '192.168.1.10'
	option access 'allow'
	list peer 'roamer'

config host 'away'
	option mac '02:00:00:00:01:99'
	option access 'allow'
"""


def why(world):
    """Why not?: each way to an answer"""
    world.configure(world.original + CASES)
    page = world.page().open("why")
    for name, service, blocked, remedy in (
            ("nobody", "ssh", "The name is known", "Add the host"),
            ("mallory", "ssh", "The host is allowed", "Switch the host to allowed"),
            ("past", "ssh", "The access has not expired", "Enter a later end"),
            ("private", "ssh", "The host is open to this peer", "Add the peer"),
            ("open", "ssh", "The service is allowed", "Add the service"),
            ("away", "ssh", "The host's address is known", "Switch the host on")):
        page.fill("Name", name).fill("Service", service).fill("Peer", "laptop").click("Explain")
        world.check(f"{name}: it is blocked at '{blocked}'", page.until,
                    "return all('#natf-steps li').find((li) => li.innerText.startsWith('blocked'))?.innerText.includes(args[0])", 15, blocked)
        world.check(f"{name}: what to do is said", page.shows, remedy, "#natf-steps")
        world.check(f"{name}: the end is 'Refused'", page.shows, "Refused", "#natf-steps")
    page.fill("Name", "open").fill("Service", "http")
    page.press("Enter")
    page.ask("document.querySelector('#natf-service').focus()")
    page.press("Enter")
    world.check("Enter asks, too; open:http is allowed", page.shows, "Allowed", "#natf-steps")
    world.check("with every step in order", lambda: page.ask(
        "return all('#natf-steps li').filter((li) => li.innerText.startsWith('ok')).length") >= 6)
    page.fill("Name", "open.home.example.net").click("Explain")
    world.check("a whole name will do", page.shows, "Allowed", "#natf-steps")
    page.fill("Service", "gopher").click("Explain")
    world.check("a service that is none is refused with what is accepted", page.shows, "well-known name, tcp:22", "#natf-steps")
    world.ping("mallory.home.example.net:443")
    world.check("a real refusal turns up", lambda: matches(r"mallory\s+https\s+laptop\s+198\.51\.100\.10",
                                                           page.text("#natf-refusals " + page.row("https"))))
    page.click("Explain", within="#natf-refusals")
    world.check("and can be explained", page.shows, "mallory · https · laptop", "#natf-steps")
    world.configure(world.original)
