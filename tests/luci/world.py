"""What every scenario of the web interface has at hand: sentences that are true or not, the lab's nodes, and pages."""
import json
import os
import re
import subprocess
import sys
import time
import traceback

from browser import Browser, BrowserError

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.join(HERE, "../lab/lab.sh")
SITE = "http://192.168.1.1:8080/cgi-bin/luci"
PASSWORDS = {"root": "secret", "viewer": "looking"}

# Functions that scripts in the page have at hand. A name is the accessible one, as far as a test can guess it.
HELPERS = """
const shown = (node) => node.checkVisibility({ visibilityProperty: true });
const all = (selector, from = document) => [ ...from.querySelectorAll(selector) ].filter(shown);
const nameOf = (node) => (node.getAttribute('aria-label') || node.textContent || node.title).trim();
const scope = (selector) => all(selector)[0];
const named = (selector, name, from) => all(selector, from).find((node) => nameOf(node) == name);
const field = (name, from) => {
	const label = all('label', from).find((node) => node.textContent.trim() == name);
	const id = label?.getAttribute('for');
	return id && (document.getElementById(id) || document.querySelector(`[data-widget-id="${CSS.escape(id)}"]`)
		|| label.parentNode.querySelector('input:not([type=hidden]), select'))
		|| all('input, select, textarea', from).find((node) => node.getAttribute('aria-label') == name);
};
const top_ = () => document.body.classList.contains('modal-overlay-active') ? document.querySelector('.modal') : document;
"""


class World:
    """The lab, one browser, and the count of what was checked."""

    def __init__(self, browser, root):
        self.browser, self.root = browser, root
        self.checks = self.failures = 0
        self.opened, self.held = [], []
        self.original = self.config()

    # --- sentences ----------------------------------------------------------------------------------------------

    def check(self, sentence, test, *arguments):
        """Says whether the sentence is true: the test gives something true; if it raises, it does not."""
        self.checks += 1
        try:
            result, why = test(*arguments) if callable(test) else test, ""
        except (AssertionError, BrowserError, LookupError, ValueError, TypeError, subprocess.SubprocessError) as error:
            result, why = False, str(error) or traceback.format_exc(limit=-2)
        print(f"{'ok    ' if result else 'not ok'}  {sentence}", flush=True)
        if not result:
            self.failures += 1
            lines = (why or f"gave {result!r}").splitlines()
            print("\n".join(f"        | {line}" for line in lines[-15:]), flush=True)
        return bool(result)

    # --- nodes of the lab ---------------------------------------------------------------------------------------

    def on(self, node, *command, text=None, timeout=30):
        """What the command prints on a node."""
        done = subprocess.run([LAB, "exec", node, *command], input=text, capture_output=True, text=True, timeout=timeout,
                              check=False, stdin=subprocess.DEVNULL if text is None else None)
        self.status = done.returncode
        return done.stdout + done.stderr

    def router(self, *command, text=None):
        """The same in the root directory of router1."""
        return self.on("router1", "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "chroot", self.root, *command, text=text)

    def rpc(self, method, **arguments):
        """What the daemon says, by the project's plugin."""
        return json.loads(self.router("/usr/libexec/rpcd/natf", "call", method, text=json.dumps(arguments)))

    def config(self, name="natf"):
        return self.router("cat", f"/etc/config/{name}")

    def write(self, path, text):
        self.router("tee", path, text=text)

    def lab(self, *command):
        subprocess.run([LAB, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)

    @property
    def web(self):
        """The process of router.py."""
        with open(os.path.join(os.path.realpath(f"/run/natf-lab/{os.environ['NATF_LAB']}"), "router1/web.pid")) as file:
            return int(file.read())

    def configure(self, text):
        """Another configuration, at once."""
        self.write("/etc/config/natf", text)
        self.router("natf-routerd", "reload")

    def hold(self, host, port):
        """A TCP connection from the outside node that stays open: a process."""
        script = (f"import socket, time\ns = socket.create_connection(({host!r}, {port}), 10)\n"
                  "s.settimeout(0.5)\nprint('open', flush=True)\n"
                  "while True:\n  try:\n    if not s.recv(1): break\n  except TimeoutError: s.send(b'G')\n")
        process = subprocess.Popen([LAB, "exec", "en", "/usr/bin/python3", "-c", script], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.held.append(process)
        assert process.stdout.readline() == b"open\n", f"no connection to {host}:{port}"
        return process

    def alive(self, process):
        return process.poll() is None

    def ping(self, target):
        """natf-endd's account of one negotiation."""
        return self.on("en", "natf-endd", "ping", target)

    # --- pages --------------------------------------------------------------------------------------------------

    def page(self, user="root", **options):
        """A page of somebody who has logged in."""
        page = self.browser.page(factory=View, **options)
        page.goto(SITE)
        page.until("return document.querySelector('form')")
        page.run("""const [ user, password ] = args;
			document.querySelector('[name=luci_username]').value = user;
			document.querySelector('[name=luci_password]').value = password;
			document.querySelector('form').submit();""", user, PASSWORDS[user])
        page.until("return document.querySelector('#maincontent')")
        page.problems.clear()  # the login form comes with status 403
        self.opened.append(page)
        return page

    def finish(self):
        print(f"{self.checks - self.failures} of {self.checks} sentences are true")
        return 1 if self.failures or not self.checks else 0


def eventually(seconds, test, *arguments):
    """The first true result of the test; it has so many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            result = test(*arguments)
            if result:
                return result
        except (AssertionError, LookupError, ValueError) as error:
            result = error
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s it still gives {result!r}")
        time.sleep(0.1)


def matches(pattern, text):
    assert re.search(pattern, text), f"no match for {pattern} in:\n{text}"
    return True


class View:
    """Mixed into a page: it is used as a user would, by names, with a mouse and a keyboard."""

    def open(self, path):
        """Goes to a page of the app (or of LuCI, by its whole path) and waits until it is drawn."""
        self.goto(f"{SITE}/admin/{path if '/' in path else f'services/natf/{path}'}")
        self.until("return document.querySelector('#view > *') && !document.querySelector('#view > .spinning')", 15)
        return self

    def ask(self, script, *arguments):
        return self.run(HELPERS + script, *arguments)

    def until(self, script, seconds=15, *arguments):
        """Waits until the function body gives something true."""
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                last = self.ask(script, *arguments)
                if last:
                    return last
            except BrowserError as error:  # between two pages there is nothing to ask
                last = str(error)
            time.sleep(0.05)
        raise AssertionError(f"after {seconds} s this still gives {last!r}: {script.strip()[:300]}")

    def text(self, selector="#maincontent"):
        """What a reader sees of the first visible match."""
        return self.ask("return scope(args[0])?.innerText ?? ''", selector)

    def shows(self, text, selector="body", seconds=15):
        return self.until("return (scope(args[1])?.innerText ?? '').includes(args[0])", seconds, text, selector)

    def hides(self, text, selector="body", seconds=15):
        return self.until("return !(scope(args[1])?.innerText ?? '').includes(args[0])", seconds, text, selector)

    def click(self, name, within=None, selector="button, a, summary, .btn"):
        """Presses what has this name, in the open dialogue if there is one, at its middle, with the mouse."""
        place = self.until("""const [ name, within, selector ] = args;
			const from = within ? all(within, top_())[0] : top_();
			const node = from && named(selector, name, from);
			if (!node || node.disabled)
				return null;
			node.scrollIntoView({ block: 'center', inline: 'center' });
			const box = node.getBoundingClientRect();
			const at = [ box.left + box.width / 2, box.top + box.height / 2 ];
			const hit = document.elementFromPoint(...at);
			return hit && (node.contains(hit) || hit.contains(node)) ? at : null;""", 15, name, within, selector)
        self.click_at(*place)
        return self

    def fill(self, label, value, within=None):
        """Replaces what stands in a field, or chooses from its list; leaves the field."""
        kind = self.until("""const [ label, within ] = args;
			const node = field(label, within ? all(within, top_())[0] : top_());
			if (!node || node.disabled)
				return null;
			node.scrollIntoView({ block: 'center' });
			node.focus();
			if (node.select)
				node.select();
			return node.type || node.tagName;""", 15, label, within)
        if kind.startswith("select"):
            self.run("document.activeElement.value = args[0]; document.activeElement.dispatchEvent(new Event('change', { bubbles: true }))",
                     value)
        elif kind == "checkbox":
            if self.run("return document.activeElement.checked") != value:
                self.press(" ")
        elif value:
            self.insert(value)
        else:
            self.run("document.execCommand('delete')")
        self.run("document.activeElement.dispatchEvent(new Event('change', { bubbles: true })); document.activeElement.blur()")
        return self

    def add(self, label, value, within=None):
        """Adds a value to a list: types it and presses Enter."""
        self.fill(label, value, within)
        self.ask("const [ label, within ] = args; field(label, within ? all(within, top_())[0] : top_()).focus()", label, within)
        self.press("Enter")
        return self

    def invalid(self, label):
        """What is wrong with a field, as its mark says; empty while nothing is."""
        return self.ask("""const node = field(args[0], top_());
			return node.classList.contains('cbi-input-invalid') ? node.getAttribute('data-tooltip') || 'invalid' : '';""", label)

    def is_modal(self):
        return self.run("return document.body.classList.contains('modal-overlay-active')")

    def modal_closed(self, seconds=15):
        return self.until("return !document.body.classList.contains('modal-overlay-active')", seconds)

    def save_and_apply(self):
        """Presses the button and waits for the page that comes after it."""
        self.run("window.before = true")
        self.click("Save & Apply")
        self.until("return !window.before && document.querySelector('#view > *') && !document.querySelector('#view > .spinning')", 20)
        return self

    def describe(self, node):
        """An accessibility node as HTML."""
        remote = self.send("DOM.resolveNode", {"backendNodeId": node["backendDOMNodeId"]})["object"]["objectId"]
        return self.send("Runtime.callFunctionOn", {"objectId": remote, "returnByValue": True,
                                                    "functionDeclaration": "function() { return this.outerHTML.slice(0, 160) }"})["result"]["value"]

    def row(self, text):
        """A selector of the table row that has the text in it."""
        return self.until("""const row = all('#maincontent tr').find((one) => one.innerText.includes(args[0]));
			if (row && !row.id)
				row.id = `row-${Math.random().toString(16).slice(2)}`;
			return row && `#${CSS.escape(row.id)}`;""", 15, text)


def run(scenarios):
    """Runs the scenarios (functions of a world), those named on the command line or all."""
    wanted = sys.argv[2:]
    browser = Browser([LAB, "exec", "alice"])
    world = World(browser, sys.argv[1])
    try:
        for scenario in scenarios:
            if wanted and scenario.__name__ not in wanted:
                continue
            begin = time.monotonic()
            print(f"== {scenario.__doc__.splitlines()[0]}", flush=True)
            world.opened.clear()
            try:
                scenario(world)
            except (AssertionError, BrowserError, LookupError, ValueError, OSError, subprocess.SubprocessError):
                world.check(f"{scenario.__name__} runs to its end", False)
                print(traceback.format_exc(limit=-4), flush=True)
            for page in world.opened:
                world.check("no error stood in the browser's console", lambda page=page: not page.problems or explain(page.problems))
                page.close()
            print(f"   {time.monotonic() - begin:.1f} s", flush=True)
    finally:
        for process in world.held:
            process.kill()
        browser.close()
    sys.exit(world.finish())


def explain(lines):
    raise AssertionError("\n".join(lines))
