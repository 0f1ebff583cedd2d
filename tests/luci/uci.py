"""UCI files and what rpcd's `uci` object does with them: changes are staged for each session, apply writes and reloads."""
import itertools
import os
import shlex
import subprocess
import threading


def parse(text):
    """{section: {".type": ..., option: value or list}}, in the order of the file."""
    sections, options = {}, None
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "config":
            name = words[2] if len(words) > 2 else f"cfg{len(sections) + 1:02x}{hash_of(words[1], len(sections)):04x}"
            options = sections[name] = {".type": words[1], ".name": name, ".anonymous": len(words) < 3,
                                        ".index": len(sections)}
        elif words[0] == "list":
            options.setdefault(words[1], []).append(words[2])
        else:
            options[words[1]] = words[2]
    return sections


def hash_of(kind, index):
    """Names of sections without one are made of their type and place; any four hex digits will do."""
    return (sum(kind.encode()) * 31 + index * 7919) & 0xFFFF


def emit(sections):
    def quoted(value):
        return "'" + value.replace("'", "'\\''") + "'"

    lines = []
    for options in sections.values():
        name = "" if options[".anonymous"] else " " + quoted(options[".name"])
        lines.append(f"config {options['.type']}{name}")
        for key, value in options.items():
            if key.startswith("."):
                continue
            if isinstance(value, list):
                lines.extend(f"\tlist {key} {quoted(item)}" for item in value)
            else:
                lines.append(f"\toption {key} {quoted(value)}")
        lines.append("")
    return "\n".join(lines)


class Uci:
    """One session's view of the files in a directory."""

    def __init__(self, directory, reload):
        self.directory, self.reload = directory, reload
        self.staged, self.log, self.number = {}, {}, itertools.count(1)

    def path(self, config):
        return os.path.join(self.directory, os.path.basename(config))

    def sections(self, config):
        if config not in self.staged:
            with open(self.path(config)) as file:
                return parse(file.read())
        return self.staged[config]

    def change(self, config, *change):
        self.staged.setdefault(config, self.sections(config))
        self.log.setdefault(config, []).append([str(word) for word in change])
        return self.staged[config]

    # --- methods of the ubus object; each gives a reply, or raises KeyError or OSError for "not found" -------------

    def get(self, config, section=None, option=None, **_):
        sections = self.sections(config)
        if section is None:
            return {"values": sections}
        if option is None:
            return {"values": sections[section]}
        return {"value": sections[section][option]}

    def add(self, config, type, name=None, values=None, **_):
        name_or_new = name or f"cfg{next(self.number):02x}f00d"
        sections = self.change(config, "add", name_or_new, type)
        sections[name_or_new] = {".type": type, ".name": name_or_new, ".anonymous": not name, ".index": len(sections)}
        if values:
            self.set(config, name_or_new, values)
        return {"section": name_or_new}

    def set(self, config, section, values, **_):
        for key, value in values.items():
            new = [str(item) for item in value] if isinstance(value, list) else str(value)
            self.change(config, "set", section, key, new)[section][key] = new
        return {}

    def delete(self, config, section, option=None, options=None, **_):
        gone = options or ([option] if option else [])
        for key in gone:
            self.change(config, "remove", section, key)[section].pop(key)
        if not gone:
            self.change(config, "remove", section).pop(section)
        return {}

    def rename(self, config, section, name, **_):
        sections = self.change(config, "rename", section, name)
        self.staged[config] = {name if key == section else key: value for key, value in sections.items()}
        self.staged[config][name].update({".name": name, ".anonymous": False})
        return {}

    def order(self, config, sections, **_):
        staged = self.change(config, "order", *sections)
        rest = [name for name in staged if name not in sections]
        self.staged[config] = {name: staged[name] for name in [*sections, *rest]}
        return {}

    def changes(self, config=None, **_):
        return {"changes": self.log if config is None else self.log.get(config, [])}

    def revert(self, config, **_):
        self.staged.pop(config, None)
        self.log.pop(config, None)
        return {}

    def apply(self, rollback=False, timeout=30, **_):
        """Writes what is staged; with `rollback` the files come back unless confirm is called in time."""
        if not self.log:
            raise LookupError("no changes")
        before = {}
        for config, sections in self.staged.items():
            with open(self.path(config)) as file:
                before[config] = file.read()
            self.write(config, emit(sections))
        self.staged, self.log = {}, {}
        self.reload(list(before))
        if rollback:
            Uci.waiting = threading.Timer(timeout, self.restore, [before])
            Uci.waiting.daemon = True
            Uci.waiting.start()
        return {}

    def confirm(self, **_):
        if not Uci.waiting:
            raise LookupError("nothing to confirm")
        Uci.waiting.cancel()
        Uci.waiting = None
        return {}

    waiting = None

    def restore(self, before):
        for config, text in before.items():
            self.write(config, text)
        self.reload(list(before))

    def write(self, config, text):
        """As libuci: a new file in the place of the old one, of the same mode."""
        path = self.path(config)
        new = path + ".uci-new"
        with open(new, "w") as file:
            file.write(text)
        os.chmod(new, os.stat(path).st_mode & 0o777)
        os.replace(new, path)


def reloader(root):
    """What procd does at a change: each service that named the file as a reload trigger."""
    services = {"natf": ["natf"], "tsn-dnsd": ["tsn-dnsd"]}

    def reload(configs):
        for config in configs:
            for service in services.get(config, []):
                subprocess.run(["chroot", root, f"/etc/init.d/{service}", "reload"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False)
    return reload
