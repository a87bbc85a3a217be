"""Every port that the programs open: half-open connections, foreign names, requests of other sites, odd requests.

Ports: the simulator (`sut sim`), the page of the recorder (`sut collect --metrics-serve`), and `vllm-monitor`.
"""

import re
import socket
import time

import common

HALF_OPEN = 200
# A program may keep its places occupied this long.
SECONDS = 8


def cases(tools, count, random):
    attacks = [half_open, foreign_host, other_site, no_host, long_header, long_line, smuggled, traversal]
    ports = [("sim", simulator, "/health"), ("recorder", recorder, "/metrics"), ("monitor", monitor, "/livez")]
    made = [(f"{name}-{attack.__name__}", lambda place, s=start, p=path, a=attack: run(place, s, p, a))
            for attack in attacks for name, start, path in ports]
    return made[:count]


def run(place, start, path, attack):
    process, port = start(place)
    if not common.wait_for(lambda: common.get(port, path, seconds=2)[0] in (200, 503), 30, 0.2):
        return [f"{path} does not answer: {common.get(port, path, seconds=2)}; {place.said()[-300:]}"]
    faults = list(attack(port, path))
    status, answer = common.get(port, path)
    if status not in (200, 503):
        faults.append(f"afterwards, {path} answers {answer[:200]}")
    if process.poll() is not None:
        faults.append(f"it ended with status {process.returncode}: {place.said()[-300:]}")
    return faults


def simulator(place):
    process, url = place.simulator()
    return process, int(url.rsplit(":", 1)[1])


def recorder(place):
    _, url = place.simulator()
    port = common.free_port()
    return place.sut("collect", "--url", url, "--metrics-serve", f"127.0.0.1:{port}", "--no-plots"), port


def monitor(place):
    if not place.tools.has_monitor:
        raise common.Skipped("there is no vllm-monitor")
    _, url = place.simulator()
    port = common.free_port()
    return place.start([place.tools.monitor, "attach", "--url", url, "--no-gpus", "--state-file", "off",
                        "--listen", f"127.0.0.1:{port}"]), port


def half_open(port, path):
    """Half a request on many connections; a whole one must be answered meanwhile."""
    held = []
    try:
        for number in range(HALF_OPEN):
            stream = socket.create_connection(("127.0.0.1", port), 5)
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ".encode() if number % 2 else b"G")
            held.append(stream)
        begin = time.monotonic()
        while time.monotonic() - begin < SECONDS:
            if common.get(port, path, seconds=2)[0] in (200, 503):
                return []
        return [f"no answer for {SECONDS} s while {HALF_OPEN} connections are half open"]
    except OSError as error:
        # Refusing connections is fine as long as it answers again, which the caller checks.
        return [] if common.wait_for(lambda: common.get(port, path, seconds=2)[0] in (200, 503), SECONDS) else [str(error)]
    finally:
        for stream in held:
            stream.close()


def foreign_host(port, path):
    """A name that an attacker's DNS points to this machine."""
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example"):
        status, answer = common.get(port, path, host=host)
        if status is None or not 400 <= status < 500:
            yield f"Host {host} is answered with {answer[:120]}"


def other_site(port, path):
    """A page of another site: it may not change anything, and gets no CORS headers."""
    for headers in (["Origin: http://evil.example"], ["Origin: null"], ["Sec-Fetch-Site: cross-site"]):
        for method, where in (("POST", "/sim/faults"), ("POST", "/v1/completions"), ("PUT", path), ("DELETE", path), ("POST", path)):
            status, answer = common.get(port, where, headers=[*headers, "Content-Type: text/plain"], method=method, body=b"die")
            if status is None or not 400 <= status < 500:
                yield f"{method} {where} with {headers} is answered with {answer[:120]}"
        status, answer = common.get(port, path, headers=headers)
        if re.search(rb"access-control-allow-origin", answer, re.IGNORECASE):
            yield f"{path} allows other sites to read it"


def no_host(port, path):
    """HTTP/1.1 without a name, and with two."""
    status, answer = common.get(port, path, host=None)
    if status is not None and status >= 500:
        yield f"without a Host: {answer[:120]}"
    status, answer = common.get(port, path, host="127.0.0.1", headers=["Host: evil.example"])
    if status == 200 and b"evil.example" in answer:
        yield f"with two Hosts: {answer[:120]}"


def long_header(port, path):
    """A header of 8 MB, and 100,000 headers."""
    for headers in ([f"X-Long: {'x' * (8 << 20)}"], [f"X-{n}: y" for n in range(100_000)]):
        status, answer = common.get(port, path, headers=headers)
        if status is not None and not 400 <= status < 500:
            yield f"it takes {sum(map(len, headers))} bytes of headers: {answer[:120]}"


def long_line(port, path):
    """An address of 8 MB, and a line that never ends."""
    status, answer = common.get(port, path + "?" + "x" * (8 << 20))
    if status is not None and not 400 <= status < 500:
        yield f"it takes an address of 8 MB: {answer[:120]}"
    common.ask(port, b"x" * (8 << 20), 3)


def smuggled(port, path):
    """Two lengths, a length and chunks, a huge length, and a TLS greeting."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    for rest in (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"Content-Length: 18446744073709551616\r\n\r\n", b"Content-Length: -1\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"):
        answer = common.ask(port, head + rest, 3)
        if answer.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
            yield f"{rest[:40]} is answered with {answer[:120]}"
    common.ask(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, 3)


def traversal(port, path):
    """Files of the machine."""
    for where in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", f"{path}/../../etc/passwd", "/\0", "/%00"):
        _, answer = common.get(port, where)
        if b"root:" in answer:
            yield f"{where} is answered with a file"
