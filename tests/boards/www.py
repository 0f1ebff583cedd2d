#!/usr/bin/env python3
"""A host's web server: www.py ADDRESS NAME ENOUGH.

/        says who it is: "This is NAME."
/stream  goes on, numbered lines at 100 KB/s at most, until the file ENOUGH exists; its last line is "end". A test decides so how
         long a download takes, however slow the router between is.
"""

import http.server
import pathlib
import sys
import time

ADDRESS, NAME, ENOUGH = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
LINES_AT_ONCE = 512  # of eight bytes
PAUSE = 0.04


class Handler(http.server.BaseHTTPRequestHandler):
    # What ends too early is seen, for a chunk of length 0 is missing.
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.path == "/stream":
            try:
                self.stream()
            except OSError:
                return
        else:
            self.chunk(f"This is {NAME}.\n")
        self.chunk("")

    def stream(self):
        first = 0
        while not ENOUGH.exists():
            self.chunk("".join(f"{number:07}\n" for number in range(first, first + LINES_AT_ONCE)))
            first += LINES_AT_ONCE
            time.sleep(PAUSE)
        self.chunk("end\n")

    def chunk(self, text):
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())


http.server.ThreadingHTTPServer((ADDRESS, 80), Handler).serve_forever()
