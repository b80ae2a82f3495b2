"""The HTTP side of WHIP (RFC 9725) for the encoders that leave it to their application, and how the
tests talk with an encoder: one word per line on its standard input."""

import sys
import urllib.error
import urllib.request


class Session:
    """What POST has made."""

    def __init__(self, url, token, offer):
        self.token = token
        answer = self._ask("POST", url, offer, {"Content-Type": "application/sdp"})
        self.answer = answer.read().decode()
        self.tag = answer.headers["ETag"]
        self.url = urllib.request.urljoin(url, answer.headers["Location"])

    def trickle(self, fragment):
        headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": self.tag}
        return self._ask("PATCH", self.url, fragment, headers).status

    def end(self):
        return self._ask("DELETE", self.url, None, {}).status

    def _ask(self, method, url, body, headers):
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        body = body.encode() if body is not None else None
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} was answered {error.code}: {error.read().decode()}")


def credentials(sdp):
    """The lines of a description that a fragment begins with."""
    wanted = ("a=ice-ufrag:", "a=ice-pwd:")
    lines = [line for line in sdp.splitlines() if line.startswith(wanted)]
    return "".join(f"{line}\r\n" for line in lines[:2])


def say(*words):
    print(*words, flush=True)


def wait_for_the_end():
    """Returns when the test says so, or is gone."""
    sys.stdin.readline()
