"""Languages, sizes, themes, keyboards, screen readers."""
import glob
import os
import re

from .rights import PAGES, none

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../luci-app-natf")
# Tables of forms are LuCI's own, and have none.
ROLES = {"button", "textbox", "checkbox", "combobox", "link", "searchbox", "listbox", "radio", "img", "switch", "dialog"}
CONTRAST = """const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
	const light = ([ r, g, b ]) => [ r, g, b ].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [ .2126, .7152, .0722 ][i], 0);
	const behind = (node) => {
		for (; node; node = node.parentElement) {
			const color = parse(getComputedStyle(node).backgroundColor);
			if (color.length == 3 || color[3] > .9)
				return color;
		}
		return matchMedia('(prefers-color-scheme: dark)').matches ? [ 0, 0, 0 ] : [ 255, 255, 255 ];
	};
	return all('#maincontent *').filter((node) => [ ...node.childNodes ].some((c) => c.nodeType == 3 && c.data.trim()) && !node.closest('[disabled]'))
		.map((node) => {
			const [ a, b ] = [ light(parse(getComputedStyle(node).color)), light(behind(node)) ];
			return [ (Math.max(a, b) + .05) / (Math.min(a, b) + .05), node.outerHTML.slice(0, 120) ];
		}).filter(([ contrast ]) => contrast < 4.5).map(([ contrast, html ]) => `${contrast.toFixed(1)}: ${html}`);"""


def fill_the_pages(world):
    """So that tables have rows."""
    world.write("/tmp/dhcp.leases", "1900000000 02:00:00:00:01:77 192.168.1.77 a-printer-with-a-rather-long-name *\n")
    world.ping("mallory.home.example.net:80")
    return world.hold("alice.home.example.net", 80)


OVERFLOW = """return document.documentElement.scrollWidth <= args[0] ? [] : [ `${document.documentElement.scrollWidth} px`,
	...all('body *').filter((node) => node.getBoundingClientRect().right > args[0] + 1).map((node) => node.outerHTML.slice(0, 120)) ]"""


def looks(world):
    """In the light, in the dark, on a phone, with a screen reader"""
    flow = fill_the_pages(world)
    page = world.page()
    for name in (*PAGES, "status/overview"):
        page.resize(1200, 900)
        page.theme(dark=False)
        page.open(name)
        world.check(f"{name}: every control has a name", lambda: none(names_of(page)))
        world.check(f"{name}: contrast in the light", lambda: none(page.ask(CONTRAST)))
        page.theme(dark=True)
        world.check(f"{name}: contrast in the dark", lambda: none(page.ask(CONTRAST)))
        for width in (400, 320):
            page.resize(width, 740, mobile=True)
            world.check(f"{name} fits into {width} pixels", lambda: none(page.ask(OVERFLOW, width)))
    page.open("hosts").click("Add a host")
    world.check("so does a dialogue", page.until, "return document.documentElement.scrollWidth <= 320 && document.querySelector('.modal').scrollWidth <= 320")
    flow.kill()


def names_of(page):
    """Controls without a name, as a screen reader finds them."""
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    return [f"{node['role']['value']}: {page.describe(node)}" for node in nodes
            if not node["ignored"] and node["role"]["value"] in ROLES and not node.get("name", {}).get("value", "").strip()]


def keyboard(world):
    """Without a mouse"""
    page = world.page()
    for name, button in (("hosts", "Add a host"), ("peers", "Enrol a peer"), ("peers", "Rename laptop"), ("peers", "Revoke laptop")):
        page.open(name)
        page.ask("named('button', args[0]).focus()", button)
        page.press("Enter")
        page.until("return document.body.classList.contains('modal-overlay-active') && document.querySelector('.modal button')")
        world.check(f"{button}: Enter opens its dialogue, every control has a name", lambda: none(names_of(page)))
        page.press("Tab")
        world.check(f"{button}: Tab gets into the dialogue", page.run, "return document.querySelector('#modal_overlay').contains(document.activeElement)")
        page.press("Escape")
        world.check(f"{button}: Escape closes it", page.modal_closed)


def japanese(world):
    """In Japanese"""
    words = used_words()
    template, translated = read_po("templates/natf.pot"), read_po("ja/natf.po")
    world.check("the template has every sentence of the views", lambda: none(sorted(words - set(template))))
    world.check("and no other", lambda: none(sorted(set(template) - words)))
    world.check("Japanese has all of them", lambda: none(sorted(word for word in template if not translated.get(word))))
    world.check("with the same places for values", lambda: none(sorted(
        word for word in template if sorted(re.findall(r"%[\d.]*[a-zA-Z%]", word)) != sorted(re.findall(r"%[\d.]*[a-zA-Z%]", translated.get(word, ""))))))
    page = world.page(language="ja")
    for name in PAGES:
        page.open(name)
        world.check(f"{name} is in Japanese", page.ask, "return /[\\u3040-\\u30ff\\u4e00-\\u9fff]/.test(scope('#maincontent').innerText)")
        world.check(f"{name}: no sentence is left in English", lambda: none(sorted(
            word for word in words if " " in word and "%" not in word and word in page.text())))


def used_words():
    """What the sources hand to the translation."""
    found = set()
    for path in glob.glob(f"{APP}/htdocs/**/*.js", recursive=True):
        with open(path, encoding="utf-8") as file:
            found.update(text.replace("\\'", "'") for text in re.findall(r"\b_\('((?:[^'\\]|\\.)*)'", file.read()))
    for path in glob.glob(f"{APP}/root/usr/share/luci/menu.d/*.json") + glob.glob(f"{APP}/root/usr/share/rpcd/acl.d/*.json"):
        with open(path, encoding="utf-8") as file:
            found.update(re.findall(r'"(?:title|description)": "([^"]*)"', file.read()))
    return found


def read_po(name):
    """{message: translation} of a .po file."""
    with open(f"{APP}/po/{name}", encoding="utf-8") as file:
        text = re.sub(r'"\n"', "", file.read())
    unquoted = [(a.replace('\\"', '"'), b.replace('\\"', '"')) for a, b in re.findall(r'^msgid "(.*)"\nmsgstr "(.*)"', text, re.M)]
    return {message: translation for message, translation in unquoted if message}
