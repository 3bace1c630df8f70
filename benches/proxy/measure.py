"""Measures our proxy, the direct way and other proxies. benches/proxy.sh runs it.

The sides of a section run one after another in blocks, forwards and backwards, so that a change of the machine's speed
meets all of them. Everything is measured twice, and a cell has the figures of both repeats. Other work on the machine can
only add time, so a goal in time or CPU time is compared with the better repeat. A goal for a ratio is compared with the
median of all pairs of blocks."""

import argparse
import contextlib
import functools
import http.client
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import processes
import sides
from bench import REPEATS, Bench, added, better, each, in_turn, quantile, ratio, table
from homes import INIT, Home
from processes import Sampler

# They get fewer requests, so that they do not take most of the time.
SLOW = {"mitmproxy", "mitmproxy, streaming", "varlock"}
CERTIFICATES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"]


def ours_with(name, **options):
    return lambda bench: sides.ours(bench, name, **options)


def ours_to_http1(bench):
    return sides.ours(bench, "ours, origin without HTTP/2", bench.origin.http1)


OURS_ONE = ours_with("ours, 1 secret", only="TOKEN_0")
OURS_SILENT = ours_with("ours, no value sent", sends_value=False)
STREAMING = functools.partial(sides.mitmproxy, streams=True)


def ms(micros):
    return micros / 1000


def median_ms(block):
    return ms(statistics.median(block.micros))


def pooled(blocks, share):
    return ms(quantile([one for block in blocks for one in block.micros], share))


def micros_of_cpu(blocks):
    """Returns the CPU time of a request."""
    return 1e6 * sum(block.cpu for block in blocks) / sum(len(block.micros) for block in blocks)


def latency(bench, http, limits):
    """Measures small requests on a warm connection."""
    starters = [sides.direct, sides.tinyproxy, sides.ours, OURS_ONE, OURS_SILENT]
    starters += [ours_to_http1, sides.mitmproxy, sides.varlock] if http == 1 else [sides.mitmproxy]
    with bench.running(*starters) as running:
        def block(side):
            count = bench.count(500, 60) // (5 if side.name in SLOW else 1)
            return bench.requests(side, path="/small", http=http, warm=bench.count(50, 10), requests=count)

        found = in_turn(running, bench.count(6, 2), block)
    rows = [(side.name, each(found[side.name], lambda blocks: pooled(blocks, 0.5)), added(found, side.name, median_ms),
             each(found[side.name], lambda blocks: pooled(blocks, 0.99)),
             each(found[side.name], micros_of_cpu) if side.address else "") for side in running]
    name = "HTTP/1.1" if http == 1 else "HTTP/2"
    table(f"small GET on a warm connection, {name}", ["median, ms", "beyond direct, ms", "99 %, ms", "CPU, us"], rows)

    bench.goal(f"{name}, warm, 100 secrets: median beyond direct", better(added(found, "ours", median_ms)), " ms",
               most=limits[0])
    tails = [each(found[side], lambda blocks: pooled(blocks, 0.99)) for side in ("ours", "direct")]
    bench.goal(f"{name}, warm, 100 secrets: 99 % beyond direct", better([one - two for one, two in zip(*tails)]), " ms",
               most=limits[1])
    cpu = {side: better(each(blocks, micros_of_cpu)) for side, blocks in found.items()}
    bench.goal(f"{name}, CPU a request, 100 secrets", cpu["ours"], " us", most=120)
    for other, most in (("mitmproxy", 0.1), ("varlock", 0.05)):
        if http == 1 or other == "mitmproxy":
            bench.goal(f"  the same, against {other}", cpu["ours"] / cpu[other] if cpu.get(other) else None, "x", most=most)


def measure_http1(bench):
    latency(bench, 1, (0.15, 1))


def measure_http2(bench):
    latency(bench, 2, (0.25, 1.5))


def measure_connect(bench):
    """Measures a request on a new connection."""
    with bench.running(sides.direct, sides.tinyproxy, sides.ours, sides.mitmproxy, sides.varlock) as running:
        def block(side):
            count = bench.count(50, 10) // (5 if side.name in SLOW else 1)
            return bench.requests(side, path="/small", cold=1, warm=2, requests=count)

        found = in_turn(running, bench.count(4, 2), block)
    rows = [(side.name, each(found[side.name], lambda blocks: pooled(blocks, 0.5)), added(found, side.name, median_ms),
             each(found[side.name], micros_of_cpu) if side.address else "") for side in running]
    table("small GET on a new connection, HTTP/1.1", ["median, ms", "beyond direct, ms", "CPU, us"], rows)
    bench.goal("new connection and request: median beyond direct", better(added(found, "ours", median_ms)), " ms", most=1.5)


def measure_concurrent(bench):
    """Measures 32 connections that send all the time."""
    with bench.running(sides.direct, sides.tinyproxy, sides.ours, sides.mitmproxy, sides.varlock) as running:
        def block(side):
            count = bench.count(100, 10) // (10 if side.name in SLOW else 1)
            return bench.requests(side, path="/small", connections=32, warm=2, requests=count)

        found = in_turn(running, bench.count(4, 2), block)
    rows = [(side.name, each(found[side.name], lambda blocks: statistics.median(len(b.micros) / b.seconds for b in blocks)),
             each(found[side.name], lambda blocks: pooled(blocks, 0.99))) for side in running]
    table("32 connections, HTTP/1.1", ["requests/s", "99 %, ms"], rows)


def megabytes(block):
    """Returns the megabytes a second of a block."""
    return block.transferred / block.seconds / 1e6


def transfer(bench, running, length, blocks, **options):
    def block(side):
        found = bench.requests(side, requests=1, warm=1, **options)
        if found:
            found.transferred = length
        return found

    return in_turn(running, blocks, block)


def speeds(blocks):
    return statistics.median(map(megabytes, blocks))


def seconds_of_cpu(blocks):
    return statistics.median(1e9 * block.cpu / block.transferred for block in blocks)


def measure_download(bench):
    """Measures a large response, in one piece and in chunks."""
    length = bench.count(200_000_000, 50_000_000)
    starters = [sides.direct, sides.tinyproxy, sides.ours, ours_to_http1, OURS_ONE, sides.mitmproxy, STREAMING,
                sides.varlock]
    for kind, http, what in (("bytes", 1, "with a length, HTTP/1.1"), ("chunked", 1, "in chunks, HTTP/1.1"),
                             ("bytes", 2, "with a length, HTTP/2")):
        usable = starters if http == 1 else starters[:3] + starters[4:7]
        with bench.running(*usable) as running:
            found = transfer(bench, running, length, bench.count(4, 2), path=f"/{kind}/{length}", http=http)
        rows = [(side.name, each(found[side.name], speeds), f"{ratio(found, side.name, 'tinyproxy', megabytes) or 0:.2f}",
                 each(found[side.name], seconds_of_cpu) if side.address else "") for side in running]
        table(f"response of {length / 1e6:.0f} MB {what}", ["MB/s", "against tinyproxy", "CPU s a GB"], rows)
        bench.goal(f"response {what}, 100 secrets: MB/s against tinyproxy", ratio(found, "ours", "tinyproxy", megabytes),
                   "x", least=0.9)


def measure_upload(bench):
    """Measures a large request, and then one of 5 GiB."""
    length = bench.count(200_000_000, 50_000_000)
    with bench.running(sides.direct, sides.tinyproxy, sides.ours, ours_to_http1, sides.mitmproxy, STREAMING,
                       sides.varlock) as running:
        found = transfer(bench, running, length, bench.count(2, 1), path="/count", upload=length)
    rows = [(side.name, each(found[side.name], speeds), f"{ratio(found, side.name, 'tinyproxy', megabytes) or 0:.2f}",
             each(found[side.name], seconds_of_cpu) if side.address else "",
             each(found[side.name], lambda blocks: max(block.peak for block in blocks)) if side.address else "")
            for side in running]
    table(f"request of {length / 1e6:.0f} MB, HTTP/1.1", ["MB/s", "against tinyproxy", "CPU s a GB", "peak memory, MiB"],
          rows)
    bench.goal("request: MB/s against tinyproxy", ratio(found, "ours", "tinyproxy", megabytes), "x", least=0.9)

    length = bench.count(5 << 30, 256 << 20)
    with bench.running(sides.tinyproxy, sides.ours) as running:
        def watched(side):
            before = side.memory("VmRSS")
            with Sampler(side.pids) as sampler:
                found = bench.requests(side, requests=1, warm=1, path="/count", upload=length)
            if found:
                found.transferred, found.samples, found.growth = length, sampler.samples, max(sampler.samples) - before
            return found

        found = in_turn(running, 1, watched)

    def memory_at(share):
        return lambda blocks: blocks[0].samples[int(share * (len(blocks[0].samples) - 1))]

    def growth(blocks):
        return blocks[0].growth

    rows = [(side.name, each(found[side.name], speeds), *(each(found[side.name], memory_at(share)) for share in (0.1, 0.5, 1)),
             each(found[side.name], growth)) for side in running]
    table(f"request of {length / 2**30:g} GiB, HTTP/1.1",
          ["MB/s", "MiB at 10 %", "MiB at 50 %", "MiB at the end", "growth, MiB"], rows)
    bench.goal(f"request of {length / 2**30:g} GiB: memory at most beyond that before",
               max(each(found["ours"], growth), default=None), " MiB", most=16)


def measure_memory(bench):
    """Measures memory with many open connections."""
    count = bench.count(1000, 100)
    for http, name in ((1, "HTTP/1.1"), (2, "HTTP/2")):
        starters = [sides.tinyproxy, sides.ours]
        starters += [ours_to_http1, sides.mitmproxy, sides.varlock] if http == 1 else [sides.mitmproxy]
        rows = []
        for starter in starters:
            # Each side alone and fresh, because memory that was freed may stay with a process.
            with bench.running(starter) as running:
                for side in running:
                    before = side.memory("VmRSS")
                    found = bench.requests(side, path="/small", http=http, connections=count, warm=1, requests=2)
                    if not found:
                        continue
                    rows.append((side.name, f"{found.opening:.1f}", f"{before:.1f}", f"{found.rss:.1f}", f"{found.peak:.1f}",
                                 f"{1024 * (found.peak - before) / count:.0f}", str(found.failures)))
                    if side.name == "ours":
                        bench.goal(f"{count} connections, {name}: memory at most", found.peak, " MiB", most=96)
                        bench.goal(f"{count} connections, {name}: failures", found.failures, most=0)
        table(f"{count} connections with two requests each, {name}",
              ["opened in, s", "MiB before", "MiB now", "MiB at most", "KiB a connection", "failures"], rows)


def measure_events(bench):
    """Measures how long server-sent events are on their way."""
    with bench.running(sides.direct, sides.tinyproxy, sides.ours, sides.mitmproxy, STREAMING, sides.varlock) as running:
        def block(side):
            count = bench.count(25, 5)
            return bench.requests(side, path="/events/3/20", requests=count, warm=2)

        found = in_turn(running, bench.count(4, 1), block)

    def delays(blocks, share, which):
        return ms(quantile([one for block in blocks for stream in block.delays for one in stream[which]], share))

    first, later = slice(0, 1), slice(1, None)
    rows = [(side.name, *(each(found[side.name], lambda blocks, args=args: delays(blocks, *args))
                          for args in ((0.5, first), (0.99, first), (0.5, later), (0.99, later)))) for side in running]
    table("server-sent events: from sent to read", ["first, median, ms", "99 %", "later, median, ms", "99 %"], rows)
    for share, text in ((0.5, "median"), (0.99, "99 %")):
        bench.goal(f"first server-sent event, {text}", better(each(found["ours"], lambda b, s=share: delays(b, s, first))),
                   " ms", most=2)


def alternately(runs, *measures):
    """Returns the figures of each measure in each repeat. All run in turn."""
    found = [[[] for _ in range(REPEATS)] for _ in measures]
    for repeat in range(REPEATS):
        for run in range(runs):
            turn = list(zip(found, measures))
            for figures, measure in turn if run % 2 == 0 else turn[::-1]:
                figures[repeat].append(measure())
    return found


def measure_commands(bench):
    """Measures whole commands. They have a token, so none of them derives a key."""
    home, runs = bench.home, bench.count(60, 8)
    url = f"https://{bench.origin.both}/small"
    system = next((path for path in CERTIFICATES if os.path.exists(path)), None)
    certificates = bench.work / "certificates.pem"
    certificates.write_bytes((pathlib.Path(system).read_bytes() if system else b"")
                             + pathlib.Path(bench.origin.ca).read_bytes())

    true, other = (Home(shutil.which(name), bench.work / name) for name in ("true", "curl"))

    def curl(ca):
        bearer = f"authorization: Bearer {bench.origin.key}"
        return lambda: other.wall(["--silent", "--fail", "--cacert", ca, "--header", bearer, url])

    def request(ca):
        return lambda: home.wall(["request", "--fail", url, "--bearer", bench.tag], SSL_CERT_FILE=ca)

    everything = str(certificates)
    names = ["run -- true", "run --proxy -- true", "curl, the origin's authority only", "request, the same",
             "curl, the system's authorities too", "request, the same", "true", "secrets --version", "secrets get"]
    found = alternately(
        runs, lambda: home.wall(["run", "--", "true"]), lambda: home.wall(["run", "--proxy", "--", "true"]),
        curl(bench.origin.ca), request(bench.origin.ca), curl(everything), request(everything),
        lambda: true.wall([]), lambda: home.wall(["--version"]), lambda: home.wall(["get", bench.tag]))

    def beyond(one, other):
        return [statistics.median(a - b for a, b in zip(*pair)) for pair in zip(found[one], found[other])]

    bases = {1: 0, 3: 2, 5: 4, 7: 6, 8: 6}
    rows = [(name, [statistics.median(figures) for figures in found[number]], [min(figures) for figures in found[number]],
             beyond(number, bases[number]) if number in bases else "") for number, name in enumerate(names)]
    table("whole commands with 100 secrets and a token, wall",
          ["median, ms", "least, ms", "beyond, ms"], rows)
    bench.goal("run --proxy -- true, beyond run -- true", better(beyond(1, 0)), " ms", most=12)
    bench.goal("request, beyond curl, the origin's authority only", better(beyond(3, 2)), " ms", most=8)
    bench.goal("request, beyond curl, the system's authorities too", better(beyond(5, 4)), " ms", most=8)


API_SECRETS = 10_000


def measure_api(bench):
    """Measures requests to `serve` with a vault of 10,000 secrets. Each has a connection of its own."""
    home = Home(os.environ["SECRETS"], bench.work / "api")
    home.run(INIT)
    secrets = bench.count(API_SECRETS, 1000)
    (home.home / "many.env").write_text("".join(f"KEY_{number}=value-{number}-abcdefgh\n" for number in range(secrets)))
    home.run(["import", "-q", "many.env"])
    home.run(["token", "create", "api", "--level", "manage", "--output", "token"])
    token = (home.home / "token").read_text().strip()
    without = {**home.environment}
    del without["SECRETS_PASSPHRASE"]
    server = subprocess.Popen([os.environ["SECRETS"], "serve", "-q", "--listen", "127.0.0.1:0", "--rate", "1000000/s"],
                              env=without, stdout=subprocess.PIPE, text=True)
    with server, contextlib.ExitStack() as stack:
        stack.callback(server.terminate)
        port = int(server.stdout.readline().rsplit(":", 1)[1])

        def ask(method, path, body=None):
            before = time.perf_counter()
            client = http.client.HTTPConnection("127.0.0.1", port)
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            client.request(method, "/api/v1/secrets" + path, body, headers)
            response = client.getresponse()
            response.read()
            client.close()
            assert response.status == 200, response.status
            return 1000 * (time.perf_counter() - before)

        numbers = itertools.count()

        def create():
            return ask("POST", "", json.dumps({"tag": f"new-{next(numbers)}", "name": "", "secret": "value"}))

        def get():
            return ask("GET", f"/key-{next(numbers) * 7919 % secrets}")

        def listed():
            return ask("GET", "?pageSize=250&page=3")

        idle = processes.memory([server.pid], "VmRSS")
        found = alternately(bench.count(300, 20), get)
        slower = alternately(bench.count(20, 3), listed, create)
    rows = [(name, [statistics.median(figures) for figures in figures_of], [quantile(f, 0.99) for f in figures_of])
            for name, figures_of in (("get", found[0]), ("list of 250", slower[0]), ("create", slower[1]))]
    table(f"the API with {secrets} secrets; idle, it has {idle:.0f} MiB", ["median, ms", "99 %, ms"], rows)
    for name, figures, most in (("get", found[0], 1), ("list of 250", slower[0], 5), ("create", slower[1], 25)):
        bench.goal(f"API {name}, {secrets} secrets, median", better([statistics.median(one) for one in figures]), " ms",
                   most=most)


SECTIONS = {"http1": measure_http1, "http2": measure_http2, "connect": measure_connect, "concurrent": measure_concurrent,
            "download": measure_download, "upload": measure_upload, "memory": measure_memory, "events": measure_events,
            "commands": measure_commands, "api": measure_api}


def versions():
    """Prints the versions of the programs."""
    for command in (["SECRETS", "--version"], ["TINYPROXY", "-v"], ["MITMDUMP", "--version"], ["VARLOCK", "--version"]):
        program = os.environ.get(command[0], "").split(" ")
        if shutil.which(program[0]):
            found = subprocess.run([*program, command[1]], capture_output=True, text=True)
            print(f"{command[0].lower():<12}{(found.stdout + found.stderr).strip().splitlines()[0]}")


def main():
    parser = argparse.ArgumentParser(prog="benches/proxy.sh", description="Measure the proxy next to other proxies.")
    parser.add_argument("--quick", action="store_true", help="take small counts, to try the script")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure only this section; can be repeated")
    options = parser.parse_args()
    versions()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(pathlib.Path(work), options.quick)
        with bench.origin:
            for name in options.only or SECTIONS:
                SECTIONS[name](bench)
    bench.print_goals()


main()
