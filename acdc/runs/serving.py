"""Serve one run to a browser on this machine alone: its report, in which names can be kept, or a job that runs.

Whoever serves binds the loopback address only, and every address holds a token that no other program of this machine's
users knows. Requests that name another host are refused, so that no page elsewhere can reach it by rebinding a name.
"""

import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.names import keep_names
from acdc.errors import InputError
from acdc.render.escaping import escape
from acdc.runs.finished import PAGE
from acdc.runs.live import is_running, live_page
from acdc.runs.page import renew_page, report_of_run

LOOPBACK, SAVE, MOST_BYTES = "127.0.0.1", "names", 2**20
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class RunServer(ThreadingHTTPServer):
    """Serves a run directory under a token of its own. `port` 0 takes any that is free."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0):
        self.folder, self.token = folder, secrets.token_urlsafe(24)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error.strerror}; leave --port out for any other") from None

    @property
    def host(self) -> str:
        return f"{LOOPBACK}:{self.server_port}"

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"http://{self.host}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: RunServer
    timeout = 30  # seconds for a request to come in

    def do_GET(self) -> None:
        place = self._place()
        if place is None:
            return
        try:
            if place == "":
                running = is_running(self.server.folder)
                self._send(live_page(self.server.folder) if running else self._report())
            elif place == PAGE:
                self._send(self._report())
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")
        except InputError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))

    def do_POST(self) -> None:
        """Keep the names that the page sends, then show the report with them."""
        place, length = self._place(), self.headers.get("Content-Length", "")
        if place is None:
            return
        if place != SAVE or not length.isascii() or not length.isdecimal() or int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.BAD_REQUEST, f"Only names can be saved, in at most {MOST_BYTES:,} bytes.")
            return
        sent = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        try:
            folder = self.server.folder
            keep_names(folder, Circuit.load(folder), "".join(sent.get(SAVE, [])))
            renew_page(folder)
        except InputError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
            return
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"{PAGE}#diagram")
        self.end_headers()

    def _place(self) -> str | None:
        """What is asked for under the token; None where the request was refused."""
        start, path = f"/{self.server.token}/", self.path
        known = secrets.compare_digest(path[: len(start)].encode(), start.encode())
        if self.headers.get("Host") != self.server.host or not known:
            self._refuse(HTTPStatus.FORBIDDEN, "The address lacks the token that 'acdc open --serve' printed.")
            return None
        return path[len(start) :].partition("?")[0]

    def _report(self) -> str:
        return report_of_run(self.server.folder, save=SAVE)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(f"<!DOCTYPE html><meta charset='utf-8'><title>acdc</title><p>{escape(sentence)}</p>", status)

    def _send(self, page: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        content = page.encode()
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": "text/html; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""
