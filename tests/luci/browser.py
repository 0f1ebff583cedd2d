"""A headless Chromium, spoken to over two pipes with the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).

No driver and no library: one JSON message, ended by a NUL, is a request, an answer or an event.
"""
import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --disable-extensions --mute-audio --hide-scrollbars
--no-default-browser-check --force-color-profile=srgb --lang=en-US --remote-debugging-pipe""".split()
# The keys that the tests press: name -> code, key number.
KEYS = {"Escape": 27, "Enter": 13, "Tab": 9, " ": 32, "ArrowDown": 40, "ArrowUp": 38}


class BrowserError(Exception):
    """The browser refused a command, or a script in the page threw."""


class Browser:
    """One Chromium with a fresh profile. `prefix` is put before its command line: where it runs."""

    def __init__(self, prefix=()):
        self.profile = tempfile.mkdtemp(prefix="natf-browser-")
        to_browser, self.out = os.pipe()
        self.inp, from_browser = os.pipe()

        def descriptors():
            # Chromium reads its commands from 3 and answers on 4; move both out of the way first.
            ends = os.dup(to_browser), os.dup(from_browser)
            high = [os.dup2(end, 60 + i) for i, end in enumerate(ends)]
            for target, end in zip((3, 4), high):
                os.dup2(end, target)

        command = [*prefix, "chromium", *FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        self.log = open(os.path.join(self.profile, "log"), "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        close_fds=False, preexec_fn=descriptors, start_new_session=True)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.last_id = 0
        self.pages = {}

    def close(self):
        """Ends the browser and what it started, and removes its profile."""
        try:
            self.call("Browser.close", timeout=3)
            self.process.wait(5)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.out)
        os.close(self.inp)
        self.log.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def page(self, factory=None, **options):
        """A new page in a context of its own: no cookie, storage or cache of another. `factory`: a class to mix in."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        kind = type("Page", (factory, Page), {}) if factory else Page
        page = kind(self, session, context, **options)
        self.pages[session] = page
        return page

    def call(self, method, parameters=None, session=None, timeout=20):
        """One command and its answer; events that arrive meanwhile go to their pages."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        wanted, end = self.last_id, time.monotonic() + timeout
        while True:
            answer = self.receive(end - time.monotonic())
            if answer is None:
                raise BrowserError(f"no answer to {method} in {timeout} s")
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def receive(self, seconds):
        """The next message, or None when there is none for so long."""
        while b"\0" not in self.buffer:
            if seconds <= 0 or not select.select([self.inp], [], [], seconds)[0]:
                return None
            data = os.read(self.inp, 1 << 20)
            if not data:
                raise BrowserError("the browser has ended: " + open(self.log.name, errors="replace").read()[-2000:])
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(message)
        page = self.pages.get(message.get("sessionId"))
        if page and "method" in message:
            page.handle_event(message["method"], message["params"])
        return message


class Page:
    """One page: what a user sees and does, and what went wrong in it (`problems`)."""

    def __init__(self, browser, session, context, width=1200, height=900, dark=False, language="en"):
        self.browser, self.session, self.context = browser, session, context
        self.problems, self.console, self.urls, self.answers = [], [], [], []
        browser.pages[session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(width, height)
        self.theme(dark)
        self.send("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}})

    def send(self, method, parameters=None, timeout=20):
        return self.browser.call(method, parameters, self.session, timeout)

    def close(self):
        del self.browser.pages[self.session]
        self.browser.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    def handle_event(self, method, event):
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled":
            text = " ".join(str(a.get("value", a.get("description", a["type"]))) for a in event["args"])
            self.console.append(text)
            if event["type"] in ("error", "warning", "assert"):
                self.problems.append(f"console.{event['type']}: {text}")
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.problems.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.urls.append(event["request"]["url"])
        elif method == "Network.responseReceived":
            self.answers.append((event["response"]["url"], event["requestId"]))

    # --- what the page is told ----------------------------------------------------------------------------------

    def resize(self, width, height, scale=1, mobile=False):
        self.send("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile})

    def theme(self, dark):
        self.send("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def goto(self, url):
        self.send("Page.navigate", {"url": url})

    def press(self, key, shift=False):
        """A key of KEYS, or a letter."""
        code = KEYS.get(key, ord(key[0].upper()))
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        if key == "Enter":
            event["text"] = "\r"
        elif len(key) == 1:
            event["text"] = key
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", **event})
        event.pop("text", None)
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def insert(self, text):
        """Text at the cursor, as pasted."""
        self.send("Input.insertText", {"text": text})

    def click_at(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    # --- what the page says -------------------------------------------------------------------------------------

    def run(self, script, *arguments, timeout=20):
        """The value of a JavaScript function body, called with the arguments; promises are awaited."""
        call = f"(async (...args) => {{ {script} }})({', '.join(json.dumps(a) for a in arguments)})"
        call += ".then((value) => value instanceof Node ? true : value)"
        answer = self.send("Runtime.evaluate", {
            "expression": call, "awaitPromise": True, "returnByValue": True, "userGesture": True}, timeout)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def bodies(self, end):
        """What came from addresses with this end, the latest first."""
        for url, request in reversed(self.answers):
            if url.endswith(end):
                try:
                    yield self.send("Network.getResponseBody", {"requestId": request})["body"]
                except BrowserError:  # of a page that was left
                    continue

    def png(self, whole=False):
        parameters = {"format": "png"}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            parameters.update(captureBeyondViewport=True, clip={
                "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1})
        return base64.b64decode(self.send("Page.captureScreenshot", parameters)["data"])
