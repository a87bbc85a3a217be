"""A signal at each stage of a run with a started server: documented exit status, no crash, nothing left running.

Signals: INT, TERM, HUP, QUIT, KILL, and a terminal that closes. Stages: start-up, load of the model, between load and
test (`sut` sends no warm-up requests; it scrapes and checks the server then), test, drain (Offline: everything is
issued and outstanding), writing of the results, and a second signal while the first is obeyed.
"""

import fcntl
import os
import pty
import signal
import termios
import time

import common

STAGES = ["start-up", "loading", "ready", "test", "drain", "writing", "twice"]
SIGNALS = ["INT", "TERM", "HUP", "QUIT", "KILL", "terminal"]
LOADING_SECONDS = 1
LONGEST = 60


def cases(tools, count, random):
    """Every pair of a signal and a stage, again and again, each time at another moment of the stage."""
    pairs = [(stage, name) for stage in STAGES for name in SIGNALS]
    random.shuffle(pairs)
    made = []
    for number in range(count):
        stage, name = pairs[number % len(pairs)]
        made.append((f"{number:03}-{stage}-{name}", lambda place, s=stage, n=name, r=random.random(): run(place, s, n, r)))
    return made


def run(place, stage, name, share):
    port = common.free_port()
    conf = place.write("user.conf", common.USER_CONF)
    server = (f"sh -c 'sleep {LOADING_SECONDS}; exec {place.tools.sut} sim --preset tiny-cpu --no-enable-prefix-caching"
              f" --served-model-name m --speed {0.05 if stage == 'drain' else 1} --host {{host}} --port {{port}} # {{model}}'")
    yaml = place.write("server.yaml", f"model: m\nport: {port}\ncommand: [sh, -c, {server[len('sh -c '):]!s}]\n")
    words = ["--server-config", yaml, "--user-conf", conf, "--metrics-collection-interval", "200ms",
             "--num-samples", "32", "--target-qps", "16"]
    words += ["--scenario", "Offline" if stage == "drain" else "Server", "--duration", "1s" if stage == "writing" else "3s"]
    if stage != "writing":
        words.append("--no-plots")
    terminal = None
    if name == "terminal":
        process, terminal = on_terminal(place, words)
    else:
        process = place.sut(*words, group=True)
    arrived = moment(place, process, stage, share)
    if not arrived:
        status = common.wait(process, LONGEST)
        return [f"the stage was never reached, exit status {status}: {place.said()[-400:]}"]
    send(process, name, terminal, share < 0.5)
    if stage == "twice" and name not in ("KILL", "terminal"):
        time.sleep(0.3 * share)
        send(process, name, None, False)
    begin = time.monotonic()
    status = common.wait(process, LONGEST)
    place.figure("seconds until the end", time.monotonic() - begin)
    said = place.said()
    faults = common.crashed(status, said, place.folder)
    if status is not None:
        faults += judged(stage, name, status)
    faults += common.orphans(place)
    if common.is_open(port):
        faults.append(f"port {port} is still open")
    if stage in ("test", "drain") and status == 4 and not (
            os.path.exists(place.path("mlperf_logs", "NO_SUMMARY.txt")) or os.path.exists(place.path("mlperf_logs", "sut_run.json"))):
        faults.append("an aborted run left neither sut_run.json nor NO_SUMMARY.txt")
    return faults


def on_terminal(place, words):
    """Starts the run with a terminal of its own; closing our end is what a lost connection does."""
    ours, theirs = pty.openpty()

    def adopt():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = place.sut(*words, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=adopt)
    os.close(theirs)
    os.set_blocking(ours, False)
    return process, ours


def moment(place, process, stage, share):
    """Waits for the stage and a random time within it."""
    log = place.path("mlperf_logs", "vllm_server.log")
    lines = {"start-up": None, "loading": lambda: os.path.exists(log), "ready": lambda: filled(log),
             "test": lambda: began(place), "twice": lambda: began(place), "drain": lambda: began(place),
             "writing": lambda: filled(place.path("mlperf_logs", "mlperf_log_summary.txt"))}
    condition = lines[stage]
    if condition is None:
        time.sleep(0.08 * share)
        return process.poll() is None
    if not common.wait_for(lambda: condition() or process.poll() is not None, LONGEST, 0.005) or process.poll() is not None:
        return False
    time.sleep(share * {"loading": 0.8 * LOADING_SECONDS, "ready": 0.1, "test": 1.5, "twice": 1, "drain": 1.5, "writing": 1.5}[stage])
    return process.poll() is None or stage == "writing"


def filled(path):
    return os.path.exists(path) and os.path.getsize(path) > 0


def began(place):
    """LoadGen creates its trace file when the test begins; a request is recorded a moment later."""
    folder = place.path("metrics_output")
    return os.path.isdir(folder) and any(name.startswith("requests_") for name in os.listdir(folder))


def send(process, name, terminal, group):
    try:
        if terminal is not None:
            os.close(terminal)
        elif group:
            os.killpg(process.pid, getattr(signal, "SIG" + name))
        else:
            os.kill(process.pid, getattr(signal, "SIG" + name))
    except ProcessLookupError:
        pass


def judged(stage, name, status):
    """Statuses of sut/src/exit.rs: 4 for a signal; a run whose test is over may still end as 0 or 1."""
    number = signal.SIGHUP if name == "terminal" else getattr(signal, "SIG" + name)
    if name == "KILL":
        allowed = {-number}
    elif stage == "start-up":
        # Before the handlers are there, the signal ends the process as it would any other.
        allowed = {4, -number}
    else:
        allowed = {4}
    if stage == "writing":
        allowed |= {0, 1}
    return [] if status in allowed else [f"exit status {status}, expected {sorted(allowed)}"]
