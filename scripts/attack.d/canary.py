"""A marker in every place where a secret may be given: it must appear in no output, file, page or child's command line.

Places: flags, keys of the configuration file, environment variables, headers, parts of URLs, the server's YAML file, bad
values that errors quote, and a server that sends the key back. What the program must be able to read (its own
configuration, its own command line for flags without a safer form, the request to the server) is not looked at. A
secret in the path of a URL cannot be recognised and is documented as shown.
"""

import http.server
import os
import subprocess
import threading
import time

import common
import records

SECONDS = 30
OFFLINE = ["--scenario", "Offline", "--num-samples", "16", "--target-qps", "100", "--duration", "500ms", "--no-plots",
           "--enable-metrics-collection", "--log-level", "DEBUG"]
FLAG_NAMES = ["api-key", "hf-token", "auth", "bearer", "pat", "passphrase", "pwd", "password", "secret", "aws-secret-access-key"]
URL_FLAGS = ["url", "metrics-url", "metrics-endpoint", "metrics-pushgateway", "metrics-remote-write", "metrics-upload"]


def cases(tools, count, random):
    forms = []

    def form(name, make):
        forms.append((name, lambda place, m=make: run(place, m)))

    # Running against a server; {u} is its address without the scheme.
    form("flag", lambda c, u, p: ["--url", "http://" + u, "--api-key", c])
    form("flag-equals", lambda c, u, p: ["--url", "http://" + u, f"--api-key={c}"])
    form("flag-debug", lambda c, u, p: ["--url", "http://" + u, "--api-key", c, "--metrics-debug"])
    form("flag-both", lambda c, u, p: ["--url", "http://" + u, "--api-key", c, "--test-mode", "both"])
    for name in ("VLLM_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HTTP_PROXY_PASSWORD"):
        form(f"env-{name}", lambda c, u, p, n=name: (["--url", "http://" + u], {n: c}))
    form("file-api-key", lambda c, u, p: config(p, f'api-key = "{c}"\nurl = "http://{u}"\n'))
    for name in ("metrics-endpoint", "metrics-pushgateway", "metrics-remote-write"):
        table = "[[metrics-endpoint]]" if name == "metrics-endpoint" else f"[{name}]"
        form(f"file-authorization-{name}", lambda c, u, p, t=table: config(
            p, f'url = "http://{u}"\n{t}\nurl = "http://{u}/metrics"\nauthorization = "Bearer {c}"\n'))
        form(f"file-bad-authorization-{name}", lambda c, u, p, t=table: config(
            p, f'url = "http://{u}"\n{t}\nurl = "http://{u}/metrics"\nauthorization = ["{c}"]\n'))
        form(f"file-odd-authorization-{name}", lambda c, u, p, t=table: config(
            p, f'url = "http://{u}"\n{t}\nurl = "http://{u}/metrics"\nauthorization = "Bearer {c}\\n\\u0001"\n'))
    for flag in URL_FLAGS:
        first = [] if flag == "url" else ["--url", "http://{u}"]
        for part, text in (("user", "http://me:{c}@{u}"), ("query", "http://{u}/?token={c}"), ("fragment", "http://{u}/#{c}"),
                           ("bad-scheme", "gopher://me:{c}@{u}/?token={c}"), ("bad-host", "http://me:{c}@[bad/?token={c}"),
                           ("bad-port", "http://me:{c}@127.0.0.1:99999/?token={c}"), ("away", "http://me:{c}@127.0.0.1:9/?token={c}")):
            form(f"{flag}-{part}", lambda c, u, p, f=flag, t=text, b=first: (
                [word.format(u=u) for word in b] + [f"--{f}", t.format(c=c, u=u)]))
    form("url-twice", lambda c, u, p: ["--url", f"http://me:{c}@{u}", "--url", f"http://me:{c}@{u}"])
    form("url-https", lambda c, u, p: ["--url", f"https://me:{c}@{u}"])
    # A server that is started; it ends at once, so that its command and log are quoted.
    for name in FLAG_NAMES:
        form(f"server-args-{name}", lambda c, u, p, n=name: started(f"--{n} {c}"))
    for name in ("api_key", "password", "token", "authorization"):
        form(f"server-args-json-{name}", lambda c, u, p, n=name: started(f"--override-x '{{\"a\": {{\"{n}\": \"{c}\"}}}}'"))
    form("server-args-header", lambda c, u, p: started(f'--header "Authorization: Bearer {c}"'))
    form("server-args-url", lambda c, u, p: started(f"--kv redis://me:{c}@h:1/0"))
    form("serve-command-env", lambda c, u, p: ["--model", "m", "--serve-command", f"env HF_TOKEN={c} false"])
    form("yaml-env", lambda c, u, p: yaml(p, f"model: m\ncommand: ['false']\nenv: {{HF_TOKEN: {c}}}\n"))
    form("yaml-args", lambda c, u, p: yaml(p, f"model: m\ncommand: ['false']\nargs: {{api_key: {c}}}\n"))
    form("yaml-wrong-key", lambda c, u, p: yaml(p, f"model: m\nenv:\n  HF_TOKEN: {c}\nprot: 1\n"))
    form("yaml-wrong-type", lambda c, u, p: yaml(p, f"model: m\nenv: {{HF_TOKEN: [{c}]}}\n"))
    form("yaml-broken", lambda c, u, p: yaml(p, f"model: m\nenv: {{HF_TOKEN: {c}\nport: ]\n"))
    # Files that are wrong next to a secret.
    for name, text in (("typo", 'api_kye = "{c}"'), ("list", 'api-key = ["{c}"]'), ("number", 'api-key = "{c}"\nduration = []'),
                       ("other-spelling", 'authorisation = "{c}"'), ("unclosed", 'api-key = "{c}'), ("twice", 'api-key = "{c}"\napi-key = "{c}"'),
                       ("table", '[api-key]\nkey = "{c}"'), ("no-equals", "api-key {c}"), ("bad-escape", 'api-key = "{c}\\q"')):
        form(f"file-{name}", lambda c, u, p, t=text: config(p, t.format(c=c) + "\n"))
    # The server repeats the key in its errors.
    form("echo-401", lambda c, u, p: ["--url", "http://" + echo(p, 401), "--api-key", c])
    form("echo-500", lambda c, u, p: ["--url", "http://" + echo(p, 500), "--api-key", c])
    form("redirect", lambda c, u, p: ["--url", "http://" + echo(p, 302), "--api-key", c])
    # Other commands.
    form("collect-user", lambda c, u, p: ["collect", "--url", f"http://me:{c}@{u}", "--duration", "1s"])
    form("collect-query", lambda c, u, p: ["collect", "--url", f"http://{u}/metrics?token={c}", "--duration", "1s"])
    form("collect-away", lambda c, u, p: ["collect", "--url", f"http://me:{c}@127.0.0.1:9/?t={c}", "--duration", "1s"])
    form("doctor-user", lambda c, u, p: ["doctor", "--url", f"http://me:{c}@{u}"])
    form("doctor-away", lambda c, u, p: ["doctor", "--url", f"http://me:{c}@127.0.0.1:9/?t={c}"])
    form("sim-token-bad", lambda c, u, p: (["sim", "--port", "0", "--preset", c[:0] + "none", "--control-token", c]))
    # The monitor.
    for name, words in (
            ("user", ["--url", "http://me:{c}@{u}"]), ("query", ["--url", "http://{u}/?token={c}"]), ("bad-host", ["--url", "http://me:{c}@[bad"]),
            ("bad-scheme", ["--url", "gopher://me:{c}@{u}/?token={c}"]),
            ("webhook-user", ["--url", "http://{u}", "--webhook", "http://me:{c}@127.0.0.1:9/?token={c}"]),
            ("webhook-bad", ["--url", "http://{u}", "--webhook", "gopher://me:{c}@[bad/?token={c}"]),
            ("alertmanager", ["--url", "http://{u}", "--alertmanager", "http://me:{c}@127.0.0.1:9/?token={c}"]),
            ("print-config", ["--url", "http://me:{c}@{u}", "--webhook", "http://me:{c}@127.0.0.1:9/?token={c}", "--print-config"])):
        form(f"monitor-{name}", lambda c, u, p, w=words: ["MONITOR", *[word.format(c=c, u=u) for word in w]])
    form("monitor-key-file", lambda c, u, p: ["MONITOR", "--url", "http://" + u, "--api-key-file", p.write("key", c),
                                              "--token-file", p.write("token", c)])
    random.shuffle(forms)
    return forms[:count] if count < len(forms) else forms


def config(place, text):
    return ["--config", place.write("given.toml", text)]


def yaml(place, text):
    return ["--server-config", place.write("given.yaml", text)]


def started(arguments):
    return ["--model", "m", "--serve-command", "false", "--server-args", arguments]


def echo(place, status):
    """A server that answers everything with the request's own headers."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = f"bad key: {self.headers.get('Authorization')}".encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"http://127.0.0.1:9/?key={self.headers.get('Authorization', '').split()[-1:]}")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place.servers = [*getattr(place, "servers", []), server]
    return f"127.0.0.1:{server.server_address[1]}"


def run(place, make):
    canary = "CANARY" + os.urandom(6).hex()
    _, url = place.simulator("--no-enable-prefix-caching")
    made = make(canary, url.split("//")[1], place)
    words, env = made if isinstance(made, tuple) else (made, {})
    port = common.free_port()
    if words[0] == "MONITOR":
        if not place.tools.has_monitor:
            raise common.Skipped("there is no vllm-monitor")
        process = place.start([place.tools.monitor, "attach", *words[1:], "--no-gpus", "--listen", f"127.0.0.1:{port}",
                               "--log-file", place.path("events.jsonl"), "--state-file", place.path("state.json")], env=env)
        pages = ["/status", "/metrics", "/events", "/livez"]
    elif words[0].startswith("--"):
        process = place.sut(*words, *OFFLINE, "--metrics-serve", f"127.0.0.1:{port}", env=env)
        pages = ["/metrics", "/federate"]
    else:
        process = place.sut(*words, env=env)
        pages = []
    shown = watch(place, process, port, pages, words)
    for server in getattr(place, "servers", []):
        server.shutdown()
    faults = common.crashed(process.returncode, place.said(), place.folder)
    path = records.find(place.path("metrics_output"))
    if path:
        subprocess.run([place.tools.sut, "convert", path, "--to", "csv", "--output-dir", place.path("converted")], capture_output=True)
    given = {"given.toml", "given.yaml", "key", "token"}
    for file in common.files_under(place.folder):
        if os.path.basename(file) not in given:
            with open(file, "rb") as content:
                if canary.encode() in content.read():
                    faults.append(f"leak: {os.path.relpath(file, place.folder)} contains it: {quoted(file, canary)}")
    faults += [f"leak: {where}" for where, text in shown.items() if canary in text]
    place.figure("exit status", str(process.returncode))
    return faults


def quoted(file, canary):
    with open(file, "rb") as content:
        for line in content:
            if canary.encode() in line:
                at = line.index(canary.encode())
                return line[max(0, at - 80):at + 30].decode(errors="replace")
    return ""


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def watch(place, process, port, pages, words):
    """Reads pages and command lines while the program runs; ends it if it would go on for ever."""
    shown, end = {}, time.monotonic() + SECONDS
    begun = time.monotonic()
    simulator = place.started[0].pid
    while process.poll() is None and time.monotonic() < end:
        own = command_line(process.pid)
        for pid in place.alive({simulator}):
            # Its own command line is the user's; --api-key is taken off it at once.
            if pid == process.pid and not ("--api-key" in " ".join(words) and time.monotonic() - begun > 1):
                continue
            line = command_line(pid)
            # The started server gets its arguments as given; a process that is about to become another
            # program still has the command line of its parent.
            if line.split("\0")[0] in (place.tools.sut, place.tools.monitor) and (pid == process.pid or line != own):
                shown[f"command line of process {pid}"] = line
        for page in pages:
            answer = common.get(port, page, seconds=1)[1] if common.is_open(port) else b""
            shown[f"page {page}"] = shown.get(f"page {page}", "") + answer.decode(errors="replace")
        time.sleep(0.1)
        if words[0] == "MONITOR" and time.monotonic() - begun > 4:
            break
    if process.poll() is None:
        process.terminate()
        common.wait(process, 15)
    return shown
