"""The router's own settings."""
from world import matches


def settings(world):
    """Settings: bounds are checked and saved"""
    page = world.page().open("settings")
    page.click("Ports and bounds")
    page.fill("UDP port", "70000")
    world.check("a port that is none is marked", lambda: page.invalid("UDP port"))
    page.click("Save")
    world.check("and not saved", page.shows, "Save error", ".modal")
    page.click("Dismiss")
    page.problems.clear()
    page.fill("UDP port", "4450")
    page.save_and_apply()
    world.check("a good one gets into the file", lambda: matches("option udp_port '4450'", world.config()))
    world.check("and the daemon catches what comes there", lambda: matches("4450", world.on("router1", "nft", "list", "table", "ip", "natf")))
    page.click("Ports and bounds")
    page.fill("UDP port", "")
    page.save_and_apply()
    world.check("an empty field takes the option out", lambda: "udp_port" not in world.config())
