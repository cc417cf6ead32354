#!/usr/bin/env python3
"""An example of the platform's side of poller's webhooks, with Python's own library only.

    WEBHOOK_SECRETS="whsec_… whsec_…" python3 receiver.py 127.0.0.1:9000

It verifies each webhook, keeps it once, and only then says that it has it.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 5 * 60  # seconds: what is older is a replay of what somebody overheard
MAX_BODY = 2 << 20  # more than poller ever sends


def key_of(secret):
    """The bytes of a secret."""
    if not secret.startswith("whsec_"):
        raise ValueError("a secret begins with whsec_")
    key = base64.b64decode(secret[len("whsec_"):], validate=True)
    if len(key) < 24:
        raise ValueError("a secret has 24 bytes or more")
    return key


def verified(keys, msg_id, timestamp, signatures, body, now):
    """Whether one of the keys signed this id, this time and these very bytes, within the last five minutes."""
    if not (msg_id and timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 15):
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    signed = f"{msg_id}.{timestamp}.".encode() + body
    good = False
    for key in keys:
        expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        for signature in signatures.split(" "):
            # In constant time: == would tell by its time how much of a guess is right.
            good |= hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
    return good


class Kept:
    """What was received, each message once.

    In real life this is a column with a unique index, written in the same transaction as what follows from the
    message, so that it outlives a restart and holds for all your servers.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = set()

    def keep_once(self, msg_id, message):
        with self.lock:
            if msg_id in self.seen:
                return
            print(message["type"], f'{message["store"]}-{message["number"]}', json.dumps(message["data"]), flush=True)
            self.seen.add(msg_id)


def handler(keys, kept):
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds without a byte

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit() and int(length) <= MAX_BODY):
                self.close_connection = True
                return self.answer(400)
            body = self.rfile.read(int(length))  # the bytes as they came: the signature is over them
            msg_id = self.headers.get("webhook-id", "")
            if not verified(keys, msg_id, self.headers.get("webhook-timestamp", ""),
                            self.headers.get("webhook-signature", ""), body, time.time()):
                return self.answer(401)
            try:
                kept.keep_once(msg_id, json.loads(body))
            except Exception as err:  # poller tries again
                print("not kept:", err, file=sys.stderr)
                return self.answer(503)
            self.answer(204)

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    return Handler


def main():
    host, _, port = sys.argv[1].rpartition(":")
    keys = [key_of(s) for s in os.environ.get("WEBHOOK_SECRETS", "").split()]
    if not keys:
        sys.exit("WEBHOOK_SECRETS: there is no secret")
    server = ThreadingHTTPServer((host, int(port)), handler(keys, Kept()))
    print("listening on http://%s:%d" % server.server_address[:2], file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
