"""The router's ubus as uhttpd serves it: sessions whose rights come from the real ACL files, and the objects behind them."""
import fnmatch
import glob
import json
import os
import secrets
import subprocess
import time

from uci import Uci, reloader

OK, INVALID_ARGUMENT, METHOD_NOT_FOUND, NOT_FOUND, NO_DATA, PERMISSION_DENIED = 0, 2, 3, 4, 5, 6
ACCESS_DENIED = {"code": -32002, "message": "Access denied"}
NOBODY = "0" * 32
# As /etc/config/rpcd would have it: user -> password, groups to read, groups to write.
USERS = {
    "root": ("secret", ["*"], ["*"]),
    # Somebody who may look at this app only, and who got no right to write.
    "viewer": ("looking", ["luci-base", "luci-app-natf"], []),
}
# LuCI's own group, as far as the views need it.
BASE = {
    "unauthenticated": {"read": {"ubus": {"session": ["access", "login"], "luci": ["getFeatures"]}}},
    "luci-base": {
        "read": {"ubus": {"uci": ["changes", "get"], "session": ["access", "get"], "file": ["list"]},
                 "uci": ["luci", "system"], "file": {"/www/*": ["list"]}},
        "write": {"ubus": {"uci": ["add", "apply", "confirm", "delete", "order", "rename", "revert", "set"]}},
    },
}


class Session:
    """A login: who, what may be called, until when."""

    def __init__(self, user, groups, reload, directory, lifetime):
        _, read, write = USERS.get(user, ("", ["unauthenticated"], []))
        self.user, self.rights, self.groups, self.lifetime = user, set(), set(), lifetime
        self.touch()
        for name, group in groups.items():
            for kind, patterns in (("read", read), ("write", write)):
                if name == "unauthenticated" or any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                    self.groups.add((name, kind))
                    self.take(kind, group.get(kind, {}))
        self.uci = Uci(directory, reload)

    def take(self, kind, scopes):
        for scope, objects in scopes.items():
            if isinstance(objects, list):
                self.rights.update((scope, name, kind) for name in objects)
            else:
                self.rights.update((scope, name, method) for name, methods in objects.items() for method in methods)

    def may(self, scope, name, function):
        if scope == "access-group":
            return (name, function) in self.groups
        return any(scope == s and fnmatch.fnmatch(name, o) and fnmatch.fnmatch(function, f) for s, o, f in self.rights)

    def touch(self):
        self.until = time.monotonic() + self.lifetime


class Ubus:
    """Calls come as (session id, object, method, arguments) and go out as (status, reply) or a JSON-RPC error."""

    def __init__(self, root, resources, log, lifetime):
        self.root, self.resources, self.log, self.lifetime = root, resources, log, lifetime
        self.directory = os.path.join(root, "etc/config")
        self.reload = reloader(root)
        self.sessions = {}

    def groups(self):
        found = dict(BASE)
        for path in glob.glob(os.path.join(self.root, "usr/share/rpcd/acl.d/*.json")):
            with open(path) as file:
                found.update(json.load(file))
        return found

    def login(self, user, password):
        """The id of a new session, or None."""
        if user not in USERS or not secrets.compare_digest(USERS[user][0], password):
            return None
        sid = secrets.token_hex(16)
        self.sessions[sid] = Session(user, self.groups(), self.reload, self.directory, self.lifetime)
        return sid

    def session(self, sid):
        session = self.sessions.get(sid)
        if session and session.until < time.monotonic():
            del self.sessions[sid]
            session = None
        if session:
            session.touch()
        return session

    # --- JSON-RPC ---------------------------------------------------------------------------------------------------

    def answer(self, message):
        if isinstance(message, list):
            return [self.answer(one) for one in message]
        reply = {"jsonrpc": "2.0", "id": message.get("id")}
        if message.get("method") == "list":
            return {**reply, "result": sorted(self.plugins()) + ["rc", "session", "uci"]}
        sid, name, method, arguments = message["params"]
        session = self.session(sid)
        who = session or Session(None, self.groups(), None, self.directory, 0)
        if sid != NOBODY and session is None:
            return {**reply, "error": ACCESS_DENIED}
        if not who.may("ubus", name, method):
            self.log(f"{who.user}: {name} {method}: access denied")
            return {**reply, "error": ACCESS_DENIED}
        status, data = self.call(who, sid, name, method, arguments)
        self.log(f"{who.user}: {name} {method}: {status}")
        return {**reply, "result": [status] if data is None else [status, data]}

    def call(self, session, sid, name, method, arguments):
        handler = getattr(self, f"call_{name}", None)
        if handler:
            return handler(session, method, arguments)
        plugin = self.plugins().get(name)
        if plugin:
            return self.run_plugin(plugin, method, {**arguments, "ubus_rpc_session": sid})
        return NOT_FOUND, None

    # --- objects ----------------------------------------------------------------------------------------------------

    def plugins(self):
        paths = glob.glob(os.path.join(self.root, "usr/libexec/rpcd/*"))
        return {os.path.basename(path): path[len(self.root):] for path in paths}

    def run_plugin(self, plugin, method, arguments):
        """As rpcd runs an executable plugin: JSON in, JSON out."""
        done = subprocess.run(["chroot", self.root, plugin, "call", method], input=json.dumps(arguments).encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
        if not done.stdout:
            return NO_DATA, None
        return OK, json.loads(done.stdout)

    def call_session(self, session, method, arguments):
        if method != "access":
            return METHOD_NOT_FOUND, None
        return OK, {"access": session.may(*(arguments.get(key, "") for key in ("scope", "object", "function")))}

    def call_luci(self, _session, _method, _arguments):
        return OK, {}

    def call_file(self, session, method, arguments):
        """Lists what is under /www/luci-static/resources, for LuCI's status page."""
        path = arguments.get("path", "")
        if method != "list" or not session.may("file", path, "list"):
            return PERMISSION_DENIED, None
        inside = os.path.normpath("/" + path.removeprefix("/www/luci-static/resources")).lstrip("/")
        places = [os.path.join(top, inside) for top in self.resources]
        found = sorted(name for place in places if os.path.isdir(place) for name in os.listdir(place))
        return OK, {"entries": [{"name": name, "type": "file"} for name in found]}

    def call_uci(self, session, method, arguments):
        config = arguments.get("config")
        need = "read" if method in ("get", "changes") else "write"
        if config and not session.may("uci", config, need):
            return PERMISSION_DENIED, None
        try:
            reply = getattr(session.uci, method)(**{k: v for k, v in arguments.items() if v is not None})
        except (KeyError, FileNotFoundError):
            return NOT_FOUND, None
        except LookupError:
            return NO_DATA, None
        except TypeError:
            return INVALID_ARGUMENT, None
        return OK, reply or None

    def call_rc(self, _session, method, arguments):
        """Init scripts: the real ones, with the stand-in for rc.common; `enabled` is a link as in /etc/rc.d."""
        name = os.path.basename(arguments.get("name", ""))
        script = os.path.join(self.root, "etc/init.d", name)
        links = os.path.join(self.root, "etc/rc.d")
        os.makedirs(links, exist_ok=True)
        link = os.path.join(links, f"S18{name}")
        if not name or not os.path.exists(script):
            return NOT_FOUND, None
        if method == "list":
            running = self.run_init(name, "running") == 0
            return OK, {name: {"start": 18, "stop": 90, "enabled": os.path.lexists(link), "running": running}}
        action = arguments.get("action")
        if action == "enable" and not os.path.lexists(link):
            os.symlink(f"../init.d/{name}", link)
        elif action == "disable" and os.path.lexists(link):
            os.unlink(link)
        elif action in ("start", "stop", "restart", "reload"):
            self.run_init(name, action)
        return OK, None

    def run_init(self, name, action):
        return subprocess.run(["chroot", self.root, f"/etc/init.d/{name}", action], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False).returncode
