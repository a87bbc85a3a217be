"""What all campaigns share: folders, processes, leftovers, crashes, pages over raw sockets."""

import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
import uuid

MARK = "ATTACK_CASE"
# Begins the mark of every case of this run.
RUN = uuid.uuid4().hex[:12]
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS}
# The longest that a guard waits for a server it ends, and some time for this machine.
ORPHAN_GRACE = 30

USER_CONF = """\
*.Offline.min_query_count = 1
*.Server.min_query_count = 16
"""


class Skipped(Exception):
    """A case that cannot run here, with the reason."""


class Tools:
    def __init__(self, args, folder):
        self.sut, self.monitor, self.seed = args.sut, args.monitor, args.seed
        self.jobs, self.readers, self.keep, self.folder = args.jobs, args.readers, args.keep, folder
        self.has_monitor = os.access(self.monitor, os.X_OK)
        self.lock = threading.Lock()
        self.memory = {}


class Place:
    """One case: its folder, and the processes that it started, found again by a variable that children inherit."""

    def __init__(self, tools, name):
        self.tools, self.figures = tools, []
        self.folder = os.path.join(tools.folder, name)
        os.makedirs(self.folder)
        self.mark = RUN + uuid.uuid4().hex
        self.started = []

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, data):
        path = self.path(name)
        with open(path, "wb" if isinstance(data, bytes) else "w") as out:
            out.write(data)
        return path

    def figure(self, key, value):
        self.figures.append((key, value))

    def start(self, words, env=None, memory=None, cwd=None, group=False, **streams):
        """Starts a program with this case's mark; output goes to out.txt and err.txt unless streams are given."""
        environment = {k: v for k, v in os.environ.items() if k not in ("RUST_BACKTRACE", "VLLM_API_KEY")}
        environment.update(env or {}, **{MARK: self.mark})
        opened = [streams.setdefault(name, open(self.path(file), "ab"))
                  for name, file in (("stdout", "out.txt"), ("stderr", "err.txt")) if name not in streams]
        streams.setdefault("stdin", subprocess.DEVNULL)
        limit = None
        if memory:
            def limit():
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        process = subprocess.Popen([str(word) for word in words], env=environment, cwd=cwd or self.folder,
                                   start_new_session=group, preexec_fn=streams.pop("preexec_fn", limit), **streams)
        for file in opened:
            file.close()
        self.started.append(process)
        return process

    def sut(self, *words, **options):
        return self.start([self.tools.sut, *words], **options)

    def simulator(self, *words, **options):
        """Starts `sut sim`; returns the process and its URL."""
        process = self.sut("sim", "--port", "0", "--preset", "tiny-cpu", *words, stdout=subprocess.PIPE, **options)
        line = process.stdout.readline().decode()
        if " at http" not in line:
            raise RuntimeError(f"the simulator did not start: {line!r}")
        return process, line.split()[-1]

    def said(self):
        text = ""
        for name in ("out.txt", "err.txt"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), "rb") as file:
                    text += file.read().decode(errors="replace")
        return text

    def alive(self, but=()):
        """Ids of the processes with this case's mark, without the given ones and without zombies."""
        return [pid for pid in marked(self.mark) if pid not in but]

    def close(self):
        """Ends what this case started itself; what stays after that is none of its children."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
            if process.stderr:
                process.stderr.close()
        end_marked(self.mark)
        return []


def marked(mark):
    """Ids of the processes whose mark begins so, without zombies."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if not any(variable.startswith(wanted) for variable in file.read().split(b"\0")):
                    continue
            with open(f"/proc/{entry}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] not in "ZX":
                    found.append(int(entry))
        except OSError:
            continue
    return found


def end_marked(mark):
    for pid in marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_for(condition, seconds, every=0.02):
    """Whether the condition became true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())


def wait(process, seconds):
    """The exit status, or None if the process had to be killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def orphans(place, but=()):
    """A fault for each process that outlives its parent."""
    wait_for(lambda: not place.alive(but), ORPHAN_GRACE, 0.1)
    faults = []
    for pid in place.alive(but):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        faults.append(f"orphan: process {pid} is still running: {line[:200]}")
    return faults


def crashed(status, text, folder):
    """Faults that a crash leaves: a fatal signal, its shell status, a panic, status 70, a core file."""
    faults = []
    if status is None:
        faults.append("it did not end in time")
    elif status < 0 and -status in CRASHES:
        faults.append(f"crash: ended by {signal.Signals(-status).name}")
    elif status == 70 or status == 101 or status >= 128:
        faults.append(f"crash: exit status {status}")
    if "panicked at" in text:
        faults.append("panic: " + re.search(r"panicked at[^\n]*\n?[^\n]*", text).group(0))
    faults += [f"core file {name}" for name in os.listdir(folder) if name == "core" or name.startswith("core.")]
    return faults


def files_under(folder):
    return sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_open(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port, request, seconds=10):
    """Sends bytes to a port and returns what is answered until the end or the deadline; empty if refused."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as stream:
            stream.sendall(request)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                stream.settimeout(max(0.05, end - time.monotonic()))
                piece = stream.recv(65536)
                if not piece:
                    break
                answer += piece
    except OSError:
        pass
    return answer


def get(port, path, host="127.0.0.1", headers=(), method="GET", body=b"", seconds=10):
    """The status code (None without an answer) and the whole answer of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host else []), "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    answer = ask(port, ("\r\n".join(lines) + "\r\n\r\n").encode() + body, seconds)
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return (int(match.group(1)) if match else None), answer


def summed_up(values):
    """Counts of texts, or the range of numbers."""
    if all(isinstance(value, (int, float)) for value in values):
        ordered = sorted(values)
        return {"n": len(ordered), "least": round(ordered[0], 3), "median": round(ordered[len(ordered) // 2], 3),
                "most": round(ordered[-1], 3)}
    counts = {}
    for value in values:
        counts[str(value)] = counts.get(str(value), 0) + 1
    return dict(sorted(counts.items()))
