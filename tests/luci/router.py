#!/usr/bin/env python3
"""The router's web server for tests: LuCI's stand-in, the real views, and ubus over HTTP. To be run on the router.

    router.py --root DIR --port PORT [--log FILE] [--lifetime SECONDS] [--tick MS]

DIR is the router's root directory with the packages installed, see tests/openwrt/lib.sh; a session ends after SECONDS without
a call; what a view does every n seconds is done every n ticks.
"""
import argparse
import html
import http.cookies
import http.server
import json
import os
import re
import signal
import sys
import threading
import urllib.parse

from ubus import Ubus

HERE = os.path.dirname(os.path.abspath(__file__))
APP = os.path.join(HERE, "../../luci-app-natf")
RESOURCES = [os.path.join(APP, "htdocs/luci-static/resources"), os.path.join(HERE, "standin")]
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
BASE = "/cgi-bin/luci"

PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>OpenWrt - {title} - LuCI</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/luci-static/resources/style.css">
<script src="/luci-static/resources/luci.js"></script>
<script src="{base}/admin/translations/{language}"></script>
</head>
<body>
<header><a class="brand" href="{base}">OpenWrt</a><div id="indicators"></div></header>
<div id="tabmenu"><ul class="tabs">{menu}</ul></div>
<main id="maincontent"><div id="view"></div></main>
<script>new LuCI({env}).start({view});</script>
</body>
</html>
"""
LOGIN = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Login</title><link rel="icon" href="data:,"></head><body>
<form method="post"><label>User <input name="luci_username"></label>
<label>Password <input name="luci_password" type="password"></label><button>Log in</button></form></body></html>
"""


def translations(language):
    """A .po file as {message: [translation of each plural form]}; a context stands before U+0001."""
    path = os.path.join(APP, "po", language, "natf.po")
    if not re.fullmatch(r"[a-zA-Z_]+", language) or not os.path.exists(path):
        return {}
    found, entry, key = {}, {}, None
    with open(path, encoding="utf-8") as file:
        lines = [*file.read().splitlines(), ""]
    for line in lines:
        match = re.match(r'(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?)?\s*(".*")$', line)
        if match:
            key = match[1] or key
            entry[key] = entry.get(key, "") + json.loads(match[2])
        elif not line.strip():
            forms = [text for name, text in entry.items() if name.startswith("msgstr") and text]
            if entry.get("msgid") and forms:
                message = " ".join(entry["msgid"].split())
                found[f"{entry['msgctxt']}\u0001{message}" if "msgctxt" in entry else message] = forms
            entry = {}
    return found


class Menu:
    """The app's menu file, as LuCI's dispatcher reads it."""

    def __init__(self, root):
        self.root = root
        self.nodes = {"admin/status/overview": {"title": "Status", "action": {"type": "view", "path": "status/index"}}}
        for name in os.listdir(os.path.join(APP, "root/usr/share/luci/menu.d")):
            with open(os.path.join(APP, "root/usr/share/luci/menu.d", name)) as file:
                self.nodes.update(json.load(file))

    def view(self, path):
        """(path of the page, its view) for a path, or None."""
        node = self.nodes.get(path)
        if node and node["action"]["type"] == "firstchild":
            children = [name for name in self.nodes if name.startswith(path + "/")]
            return self.view(min(children, key=lambda name: self.nodes[name].get("order", 0)))
        return (path, node["action"]["path"]) if node else None

    def satisfied(self, path):
        """The files of the configuration that a page depends on are there."""
        files = self.nodes[path].get("depends", {}).get("uci", {})
        return all(os.path.exists(os.path.join(self.root, "etc/config", name)) for name in files)

    def spec(self, path, session):
        groups = [group for parent in self.parents(path) for group in parent.get("depends", {}).get("acl", [])]
        may = {kind: all(session.may("access-group", group, kind) for group in groups) for kind in ("read", "write")}
        return {"satisfied": may["read"] or may["write"], "readonly": not may["write"]}

    def parents(self, path):
        parts = path.split("/")
        return [self.nodes[name] for i in range(len(parts)) if (name := "/".join(parts[:i + 1])) in self.nodes]

    def pages(self):
        return [path for path, node in sorted(self.nodes.items(), key=lambda item: item[1].get("order", 0))
                if node["action"]["type"] == "view" and self.satisfied(path)]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A browser that goes to another page lets its calls go; all else is worth a line."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ubus = menu = log_line = tick = None

    def log_message(self, format, *args):
        self.log_line(f"{self.command} {self.path}")

    def reply(self, status, body, kind="text/html; charset=utf-8", **headers):
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), "Cache-Control": "no-cache", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def sid(self):
        cookie = http.cookies.SimpleCookie(self.headers.get("Cookie"))
        return cookie["sysauth_http"].value if "sysauth_http" in cookie else None

    def language(self):
        wanted = self.headers.get("Accept-Language", "en")[:2]
        return wanted if wanted in os.listdir(os.path.join(APP, "po")) else "en"

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path.startswith("/luci-static/resources/"):
            self.resource(path.removeprefix("/luci-static/resources/"))
        elif path.startswith(f"{BASE}/admin/translations/"):
            words = translations(path.rsplit("/", 1)[1])
            self.reply(200, f"window.TR = {json.dumps(words)};", TYPES[".js"])
        elif path.startswith(BASE):
            self.page(path.removeprefix(BASE).strip("/") or "admin/status/overview")
        else:
            self.reply(404, "no such page")

    def resource(self, name):
        for top in RESOURCES:
            file = os.path.join(top, name)
            if ".." not in name and os.path.isfile(file):
                with open(file, "rb") as content:
                    self.reply(200, content.read(), TYPES.get(os.path.splitext(name)[1], "text/plain"))
                return
        self.reply(404, "no such file")

    def page(self, path):
        session = self.ubus.session(self.sid())
        if not session:
            self.reply(403, LOGIN, X_LuCI_Login_Required="yes")
            return
        found = self.menu.view(path)
        if not found:
            self.reply(404, "no such page")
            return
        path, view = found
        env = {
            "scriptname": BASE, "resource": "/luci-static/resources", "media": "/luci-static/standin", "ubuspath": "/ubus",
            "requestpath": path.split("/"), "dispatchpath": path.split("/"), "sessionid": self.sid(), "token": "",
            "pollinterval": 5, "polltick": self.tick, "rpctimeout": 20, "apply_rollback": 90, "nodespec": self.menu.spec(path, session),
        }
        entries = "".join(f'<li class="{"active" if name == path else ""}"><a href="{BASE}/{name}"'
                          f'{" aria-current=page" if name == path else ""}>{html.escape(self.menu.nodes[name]["title"])}</a></li>'
                          for name in self.menu.pages())
        self.reply(200, PAGE.format(base=BASE, language=self.language(), title=self.menu.nodes[path]["title"], menu=entries,
                                    env=json.dumps(env), view=json.dumps(view)))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urllib.parse.urlsplit(self.path).path
        if path == "/ubus":
            self.reply(200, json.dumps(self.ubus.answer(json.loads(body))), "application/json")
        elif path.startswith(BASE):
            form = dict(urllib.parse.parse_qsl(body.decode()))
            sid = self.ubus.login(form.get("luci_username", ""), form.get("luci_password", ""))
            if sid:
                self.reply(302, "", Location=self.path, Set_Cookie=f"sysauth_http={sid}; path={BASE}; HttpOnly; SameSite=strict")
            else:
                self.reply(403, LOGIN)
        else:
            self.reply(404, "no such page")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", default="/dev/stderr")
    parser.add_argument("--lifetime", type=float, default=3600)
    parser.add_argument("--tick", type=int, default=1000)
    options = parser.parse_args()
    log, lock = open(options.log, "a"), threading.Lock()

    def log_line(text):
        with lock:
            print(text, file=log, flush=True)

    Handler.log_line = staticmethod(log_line)
    Handler.ubus = Ubus(options.root, RESOURCES, log_line, options.lifetime)
    Handler.tick = options.tick
    Handler.menu = Menu(options.root)
    # As when rpcd starts anew: whoever was logged in no longer is.
    signal.signal(signal.SIGHUP, lambda *_: Handler.ubus.sessions.clear())
    Server(("", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
