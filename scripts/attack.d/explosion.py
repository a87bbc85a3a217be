"""Metrics pages that explode: memory stays below 1.5 GiB, and the console reports what exceeds a limit.

A server of this program answers with a million series, with new labels at every scrape, with labels of a megabyte, or
without end; `sut collect` and `vllm-monitor` read it.
"""

import http.server
import re
import threading
import time

import common

MEMORY = 1536 << 20
SECONDS = 6
# A debug build needs minutes to derive 200,000 series.
LONGEST = 420


def cases(tools, count, random):
    kinds = [("long-labels", long), ("endless", None), ("new-labels", fresh), ("a-million", million)]
    made = [(f"collect-{name}", lambda place, p=page: run(place, p, "collect")) for name, page in kinds]
    made += [(f"monitor-{name}", lambda place, p=page: run(place, p, "monitor")) for name, page in kinds]
    return made[:count]


# One at a time: each needs much memory and a core.
JOBS = 1

HEAD = "# HELP vllm:num_requests_running Requests.\n# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n"


def million(_scrape):
    return HEAD + "# TYPE explosion gauge\n" + "".join(f'explosion{{id="{n}"}} {n}\n' for n in range(1_000_000))


def fresh(scrape):
    return HEAD + "# TYPE fresh gauge\n" + "".join(f'fresh{{id="{scrape}-{n}"}} {n}\n' for n in range(150_000))


def long(scrape):
    return HEAD + "# TYPE long gauge\n" + "".join(f'long{{id="{scrape}-{n}{"x" * 1_000_000}"}} {n}\n' for n in range(10))


def serve(page):
    """A server of one page; None is a page without an end. Returns it with its port."""
    made = {"scrape": 0, "page": None}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if "/metrics" not in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            made["scrape"] += 1
            try:
                if page is None:
                    number = 0
                    while number < 100_000_000:
                        self.wfile.write("".join(f'endless{{id="{number + n}"}} 1\n' for n in range(10_000)).encode())
                        number += 10_000
                else:
                    if page is not million or made["page"] is None:
                        made["page"] = page(made["scrape"]).encode()
                    self.wfile.write(made["page"])
            except OSError:
                pass

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def run(place, page, program):
    server, port = serve(page)
    try:
        if program == "collect":
            process = place.sut("collect", "--url", f"http://127.0.0.1:{port}", "--interval", "1s", "--duration",
                                f"{SECONDS}s", "--no-plots")
        else:
            if not place.tools.has_monitor:
                raise common.Skipped("there is no vllm-monitor")
            process = place.start([place.tools.monitor, "attach", "--url", f"http://127.0.0.1:{port}", "--no-gpus",
                                   "--listen", f"127.0.0.1:{common.free_port()}", "--state-file", "off"])
        most, end = 0, time.monotonic() + (LONGEST if program == "collect" else SECONDS)
        while process.poll() is None and time.monotonic() < end:
            most = max(most, peak(process.pid))
            time.sleep(0.05)
        place.figure(f"{program}: peak MiB", most / 2**20)
        if program == "monitor":
            process.terminate()
        status = common.wait(process, 30)
    finally:
        server.shutdown()
    said = place.said()
    faults = common.crashed(status, said, place.folder)
    if most > MEMORY:
        faults.append(f"{most >> 20} MiB of memory, at most {MEMORY >> 20} are allowed")
    # A few hundred long labels are within the limits.
    if program == "collect" and page is not long and not re.search(r"more series than|no complete answer|too many series|larger than|more than \d+ bytes|over the limit", said):
        faults.append(f"nothing is said of it: {said[-400:]}")
    return faults


def peak(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) << 10
    except (OSError, AttributeError):
        return 0
