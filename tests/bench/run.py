#!/usr/bin/env python3
"""telemetryd beside nginx (a plain proxy) and FastAPI (the same job in Python), in one run on one machine.

Each contender has one worker and the same upstream (upstream.c) and is loaded by wrk. The contenders take turns in every
case, and each turn starts a fresh process. Where there are two cores or more, the contender has core 0 for itself, and wrk
and the upstream share core 1. CPU time per request is taken in the middle of a turn, over what the upstream answered
meanwhile. Logs: telemetryd and nginx write a line per request to /dev/null, FastAPI none. FastAPI runs twice: with its answers
declared as models, and with bare JSON; it takes no part in the cases of 1,024 connections and more, where its HTTP client
answers next to nothing.

Prints two Markdown tables: the figures, and the targets.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
COSMOS_KEY = 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=='
IOT_HUB_KEY = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='
TICKS = os.sysconf('SC_CLK_TCK')
NAMES = {'telemetryd': 'telemetryd', 'nginx': 'nginx (proxy)', 'fastapi': 'FastAPI', 'fastapi-bare': 'FastAPI, no models',
         'telemetryd-token': 'telemetryd, bearer token'}
CONTENDERS = tuple(NAMES)[:4]


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    path: str
    connections: int
    delay_ms: int = 0
    script: str = 'page'  # what load.lua sends
    contenders: tuple = CONTENDERS


PAGE_24 = '/devices/d1/telemetry?limit=24'
CASES = (
    Case('page24', 'page of 24, 64 connections', PAGE_24, 64),
    Case('page1000', 'page of 1,000, 64 connections', '/devices/d1/telemetry?limit=1000', 64),
    Case('status', 'status, 64 connections', '/devices/d1/status', 64, script='status'),
    Case('flight1024', 'page of 24, 10 ms upstream, 1,024 connections', PAGE_24, 1024, delay_ms=10, contenders=CONTENDERS[:2]),
    Case('flight4096', 'page of 24, 10 ms upstream, 4,096 connections', PAGE_24, 4096, delay_ms=10, contenders=CONTENDERS[:2]),
)
# What a verified bearer token costs: both are telemetryd.
TOKEN_CASE = Case('token', 'page of 24 with a token, 64 connections', PAGE_24, 64, contenders=('telemetryd', 'telemetryd-token'))
EXTRAS = ('start', 'embedded', 'streams', 'scan')
LISTENERS = 5000
STREAM_WRITES_PER_S = 10
NAMES_OF_CASES = [*(case.name for case in CASES), TOKEN_CASE.name, *EXTRAS]


# --- processes

def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def on_core(number):
    """A preexec_fn that pins a child, or None where there is nothing to share out."""
    cores = sorted(os.sched_getaffinity(0))
    return (lambda: os.sched_setaffinity(0, {cores[number]})) if len(cores) > 1 else None


def family(pid):
    """The process and its children."""
    children = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
    found = [pid]
    with contextlib.suppress(OSError):
        for child in children.read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mb(pids, field):
    total = 0
    for pid in pids:
        for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith(field + ':'):
                total += int(line.split()[1])
    return total / 1024


def get_status(port, path):
    """The status of one GET on a connection of its own, or None where there is nobody."""
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=5) as connection:
            connection.sendall(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'.encode())
            return int(connection.recv(4096).split(b' ', 2)[1])
    except (OSError, IndexError, ValueError):
        return None


@contextlib.contextmanager
def running(command, port, path, core, env=None, cwd=None):
    """Runs a server until the block ends; yields its pid and the milliseconds from its start to its first 200."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, preexec_fn=core)
    try:
        while get_status(port, path) != 200:
            if process.poll() is not None or time.perf_counter() - start > 30:
                sys.exit(f'{command[0]} gives no answer (exit status {process.poll()}): {" ".join(map(str, command))}')
            time.sleep(0.0005)
        yield process.pid, (time.perf_counter() - start) * 1000
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- listeners of streams

class Listeners:
    def __init__(self, poll):
        self.poll = poll
        self.sockets = {}


def listen(stack, port, count):
    """So many listeners of one device."""
    listeners = Listeners(stack.enter_context(select.epoll()))
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(('127.0.0.1', port)))
        connection.sendall(b'GET /telemetry/stream?devices=d1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
        listeners.poll.register(connection.fileno(), select.EPOLLIN)
        listeners.sockets[connection.fileno()] = connection
    waiting = count
    while waiting > 0:
        waiting -= hear(listeners, 10, b'retry: ')
    return listeners


def hear(listeners, seconds, event=b'event: reading'):
    """How many events came within a time; each lies in one segment, for they are small and come one at a time."""
    return sum(listeners.sockets[fd].recv(65536).count(event) for fd, _ in listeners.poll.poll(seconds, 512))


def post_reading(port):
    body = b'{"temperature":21.53,"humidity":40.1}'
    with socket.create_connection(('127.0.0.1', port), timeout=5) as connection:
        connection.sendall(b'POST /devices/d1/telemetry HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n'
                           b'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
        connection.recv(4096)


class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.build = pathlib.Path(options.build).resolve()
        self.contenders = [name for name in CONTENDERS if name in options.contenders.split(',')]
        self.runs = 0
        self.token = None

    def upstream(self, delay_ms):
        port = free_port()
        command = [self.build / 'tests/bench/upstream', str(port), str(delay_ms)]
        return port, running(command, port, '/', on_core(1))

    def contender(self, name, upstream_port):
        """Starts one contender on the upstream. Returns its port and the context manager that runs it."""
        port = free_port()
        self.runs += 1
        directory = self.directory / f'{name}-{self.runs}'
        directory.mkdir()
        url = f'http://127.0.0.1:{upstream_port}'
        env = {'PATH': os.environ['PATH'], 'HOME': str(directory)}
        path = PAGE_24
        if name.startswith('telemetryd'):
            command = [self.build / 'telemetryd', '--listen', f'127.0.0.1:{port}', '--workers', '1']
            env.update({'COSMOS_CONNECTION': f'AccountEndpoint={url}/;AccountKey={COSMOS_KEY};',
                        'IOT_HUB_CONNECTION': 'HostName=bench.azure-devices.net;SharedAccessKeyName=service;'
                                              f'SharedAccessKey={IOT_HUB_KEY}',
                        'IOT_HUB_ENDPOINT': url})
            if name == 'telemetryd-token':
                path = '/livez'
                env.update({'TELEMETRYD_AUTH': 'jwt', 'TELEMETRYD_JWT_ISSUER': 'https://bench.test', 'TELEMETRYD_JWT_AUDIENCE': 'bench',
                            'TELEMETRYD_JWT_JWKS': str(self.keys())})
        elif name == 'nginx':
            text = (HERE / 'nginx.conf.in').read_text()
            for key, value in {'PORT': port, 'UPSTREAM': f'127.0.0.1:{upstream_port}', 'DIRECTORY': directory}.items():
                text = text.replace(f'@{key}@', str(value))
            (directory / 'nginx.conf').write_text(text)
            command = ['/usr/sbin/nginx', '-p', directory, '-c', directory / 'nginx.conf', '-e', '/dev/null']
        else:
            command = ['/usr/bin/python3', '-m', 'uvicorn', 'fastapi_app:app', '--app-dir', HERE, '--host', '127.0.0.1',
                       '--port', str(port), '--workers', '1', '--loop', 'uvloop', '--http', 'httptools', '--no-access-log',
                       '--log-level', 'error', '--backlog', '4096', '--timeout-keep-alive', '300']
            env.update({'COSMOS': url, 'COSMOS_KEY': COSMOS_KEY, 'IOT_HUB': url, 'IOT_HUB_KEY': IOT_HUB_KEY,
                        'MODELS': str(int(name == 'fastapi')), 'PYTHONDONTWRITEBYTECODE': '1'})
        return port, running(command, port, path, on_core(0), env, directory)

    def keys(self):
        """A key set file; mints the token that goes with it."""
        jwks = self.directory / 'jwks.json'
        if self.token is None:
            self.token = subprocess.run(
                [self.build / 'telemetryd', 'token', '--key', self.directory / 'key.pem', '--jwks', jwks, '--issuer', 'https://bench.test',
                 '--audience', 'bench', '--scope', 'Telemetry.Read Device.Read'], check=True, capture_output=True, text=True).stdout.strip()
        return jwks

    def wrk(self, port, path, connections, seconds, script, token=None):
        fields = ['-H', f'Authorization: Bearer {token}'] if token else []
        return subprocess.Popen(
            ['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '30s', '-s', HERE / 'load.lua', *fields,
             f'http://127.0.0.1:{port}{path}', '--', script],
            stdout=subprocess.PIPE, text=True, preexec_fn=on_core(1))

    @staticmethod
    def figures(wrk):
        output = wrk.communicate()[0]
        for line in output.splitlines():
            if line.startswith('FIGURES '):
                found = json.loads(line[len('FIGURES '):])
                found['rps'] = found['requests'] / found['seconds']
                return found
        sys.exit(f'wrk failed:\n{output}')

    def turn(self, case, name):
        """One contender in one case: a warm-up, then the measurement."""
        upstream_port, upstream = self.upstream(case.delay_ms)
        with upstream:
            port, server = self.contender(name, upstream_port)
            with server as (pid, _):
                pids = family(pid)

                def sample():
                    count = urllib.request.urlopen(f'http://127.0.0.1:{upstream_port}/count', timeout=10).read()
                    return cpu_seconds(pids), int(count)

                token = self.token if name == 'telemetryd-token' else None
                self.wrk(port, case.path, case.connections, 1, case.script, token).communicate()
                # FastAPI answers 64 pages of 1,000 in about 2 s, so its figures need longer turns.
                seconds = max(self.options.seconds, 8) if name.startswith('fastapi') else self.options.seconds
                wrk = self.wrk(port, case.path, case.connections, seconds, case.script, token)
                time.sleep(0.15 * seconds)
                before = sample()
                time.sleep(0.7 * seconds)
                after = sample()
                found = self.figures(wrk)
                answered = after[1] - before[1]
                found['cpu_us'] = (after[0] - before[0]) * 1e6 / answered if answered else float('nan')
                found['rss_mb'] = memory_mb(pids, 'VmHWM')
                return found

    def case(self, case):
        turns = {name: [] for name in case.contenders if name in self.contenders or case is TOKEN_CASE}
        for _ in range(self.options.rounds):
            for name in turns:
                print(f'{case.name}: {name}', file=sys.stderr)
                turns[name].append(self.turn(case, name))
        return {name: merge(found) for name, found in turns.items()}

    def start(self):
        """Start to the first 200 with a page in it, and the memory of a server that has answered one request."""
        result = {}
        upstream_port, upstream = self.upstream(0)
        with upstream:
            for name in self.contenders:
                times = []
                for _ in range(5):
                    with self.contender(name, upstream_port)[1] as (pid, milliseconds):
                        time.sleep(0.3)
                        idle = memory_mb(family(pid), 'VmRSS')
                    times.append(milliseconds)
                result[name] = {'start_ms': statistics.median(times), 'idle_mb': idle}
        return result

    def embedded(self):
        """Durable POSTs and 24-hour pages over HTTP against SQLite itself, on this directory's file system."""
        data = pathlib.Path(tempfile.mkdtemp(prefix='bench-', dir=self.options.data))
        try:
            result = self.embedded_http(data)
            bare = self.build / 'tests/bench/bench_sqlite'
            if bare.exists():
                output = subprocess.run([bare, data], check=True, capture_output=True, text=True).stdout
                result.update(named_values(output))
            return result
        finally:
            shutil.rmtree(data)

    def embedded_http(self, data):
        result = {}
        command = [self.build / 'telemetryd', '--workers', '1', '--listen']
        env = {'PATH': os.environ['PATH']}
        for name, path, script, extra in (('posts', '/', 'post', []),
                                          ('pages', '/devices/demo-1/telemetry?limit=1440', 'page', ['--demo'])):
            print(f'embedded: {name}', file=sys.stderr)
            port = free_port()
            with running([*command, f'127.0.0.1:{port}', '--data', data / f'{name}.db', *extra], port, '/readyz', None, env):
                self.wrk(port, path, 64, 1, script).communicate()
                result[name] = self.figures(self.wrk(port, path, 64, self.options.seconds, script))
        return result

    def streams(self):
        """What a listener of a stream costs: memory while it waits, and CPU for each reading that it gets."""
        port = free_port()
        command = [self.build / 'telemetryd', '--workers', '1', '--listen', f'127.0.0.1:{port}', '--data', ':memory:']
        env = {'PATH': os.environ['PATH'], 'TELEMETRYD_LOG_LEVEL': 'error'}
        with running(command, port, '/livez', on_core(0), env) as (pid, _), contextlib.ExitStack() as stack:
            listen(stack, port, 100)  # what the first few cost is the program's own
            before = memory_mb([pid], 'VmRSS')
            sockets = listen(stack, port, LISTENERS)
            waiting = memory_mb([pid], 'VmRSS')
            cpu, heard = cpu_seconds([pid]), 0
            for _ in range(self.options.seconds * STREAM_WRITES_PER_S):
                due = time.perf_counter() + 1 / STREAM_WRITES_PER_S
                post_reading(port)
                while (left := due - time.perf_counter()) > 0:
                    heard += hear(sockets, left)
            heard += hear(sockets, 1)
            return {'listeners': LISTENERS, 'kib_each': (waiting - before) * 1024 / LISTENERS,
                    'kib_each_busy': (memory_mb([pid], 'VmRSS') - before) * 1024 / LISTENERS,
                    'cpu_us': (cpu_seconds([pid]) - cpu) * 1e6 / heard, 'heard': heard,
                    'expected': self.options.seconds * STREAM_WRITES_PER_S * LISTENERS}

    def scan(self):
        program = self.build / 'tests/bench/bench_scan'
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout if program.exists() else ''


def named_values(output):
    """The `name value` lines of a program."""
    found = {}
    for line in output.splitlines():
        words = line.split()
        if len(words) == 2:
            with contextlib.suppress(ValueError):
                found[words[0]] = float(words[1])
    return found


def merge(turns):
    found = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
    found['errors'] = sum(turn['errors'] for turn in turns)
    found['rss_mb'] = max(turn['rss_mb'] for turn in turns)
    return found


# --- the report

def ratio(results, name, other, key):
    return f'{results[name][key] / results[other][key]:.2f}' if other in results and results[other][key] else ''


def print_figures(results):
    print('| case | | requests/s | p50 ms | p99 ms | errors | CPU µs/request | peak RSS MB | CPU, nginx = 1 | requests/s, FastAPI = 1 |')
    print('|---|---|--:|--:|--:|--:|--:|--:|--:|--:|')
    for case in CASES:
        for name, found in results.get(case.name, {}).items():
            print(f'| {case.title if name == next(iter(results[case.name])) else ""} | {NAMES[name]} | {found["rps"]:,.0f} | {found["p50_ms"]:.2f} '
                  f'| {found["p99_ms"]:.2f} | {found["errors"]:.0f} | {found["cpu_us"]:.1f} | {found["rss_mb"]:.1f} '
                  f'| {ratio(results[case.name], name, "nginx", "cpu_us")} '
                  f'| {ratio(results[case.name], name, "fastapi", "rps")} |')
    if 'token' in results:
        plain, token = results['token'].values()
        print(f'\nA page of 24 takes {plain["cpu_us"]:.1f} µs of CPU without a token and {token["cpu_us"]:.1f} with one that was verified before '
              f'({token["cpu_us"] / plain["cpu_us"]:.2f} x).')
    if 'start' in results:
        print('\n| | start to first page ms | idle RSS MB |\n|---|--:|--:|')
    for name, found in results.get('start', {}).items():
        print(f'| {NAMES[name]} | {found["start_ms"]:.0f} | {found["idle_mb"]:.1f} |')
    if 'embedded' in results:
        print('\n| embedded, 64 connections | requests/s | p50 ms | p99 ms | errors |\n|---|--:|--:|--:|--:|')
        for name, title in (('posts', 'POST of one reading, durable'), ('pages', 'page of 24 hours (1,440 readings)')):
            found = results['embedded'][name]
            print(f'| {title} | {found["rps"]:,.0f} | {found["p50_ms"]:.2f} | {found["p99_ms"]:.2f} | {found["errors"]} |')
        print('\n| bench_sqlite | |\n|---|--:|')
        for key, value in results['embedded'].items():
            if isinstance(value, float):
                print(f'| {key} | {value:,.3f} |')
    if 'streams' in results:
        found = results['streams']
        print(f'\n{found["listeners"]:,} listeners of one device: {found["kib_each"]:.1f} KiB of memory each while they wait, '
              f'{found["kib_each_busy"]:.1f} when they hear; {found["cpu_us"]:.1f} µs of CPU for each reading that one of them gets '
              f'({found["heard"]:,} of {found["expected"]:,} heard).')
    if results.get('scan'):
        print(f'\nbench_scan:\n\n```\n{results["scan"].rstrip()}\n```')


def targets(results):
    """(target, measured, reached), for what was measured."""
    for name, most in (('page24', 2.0), ('page1000', 2.5), ('status', 4.0), ('flight1024', 2.2), ('flight4096', 3.0)):
        if name in results:
            case = next(case for case in CASES if case.name == name)
            ours, nginx = results[name]['telemetryd'], results[name]['nginx']
            share = ours['cpu_us'] / nginx['cpu_us']
            yield f'{case.title}: CPU at most {most} x nginx', f'{share:.2f}', share <= most and ours['errors'] == 0
    if 'flight4096' in results:
        ours = results['flight4096']['telemetryd']
        yield ('4,096 connections: no error, at most 200 MB', f'{ours["errors"]:.0f} errors, {ours["rss_mb"]:.0f} MB',
               ours['errors'] == 0 and ours['rss_mb'] <= 200)
    for name, least in (('page24', 30), ('page1000', 100)):
        if name in results:
            times = results[name]['telemetryd']['rps'] / results[name]['fastapi']['rps']
            yield f'{name}: at least {least} x the requests/s of FastAPI', f'{times:.0f}', times >= least
    if 'token' in results:
        plain, token = results['token'].values()
        share = token['cpu_us'] / plain['cpu_us']
        yield ('a verified token: at most 1.10 x the CPU of a request without', f'{share:.2f}', share <= 1.1 and token['errors'] == 0)
    if 'start' in results:
        ours = results['start']['telemetryd']
        yield 'start to first page at most 50 ms', f'{ours["start_ms"]:.0f} ms', ours['start_ms'] <= 50
        yield 'idle RSS at most 15 MB', f'{ours["idle_mb"]:.1f} MB', ours['idle_mb'] <= 15
    if 'streams' in results:
        found = results['streams']
        yield ('a listener: at most 8 KiB, every reading', f'{found["kib_each_busy"]:.1f} KiB', found['kib_each_busy'] <= 8 and found['heard'] == found['expected'])
    if 'embedded' in results:
        yield from embedded_targets(results['embedded'])


def embedded_targets(found):
    rate = found['posts']['rps']
    bare = found['sqlite_writes_per_s'] / found['sqlite_writes_ratio'] if 'sqlite_writes_ratio' in found else None
    share = f', {rate / bare:.0%} of bare SQLite ({bare:,.0f}/s)' if bare else ''
    yield ('durable POSTs: at least 20,000/s, or 80 % of bare SQLite\'s group-committed inserts', f'{rate:,.0f}/s{share}',
           found['posts']['errors'] == 0 and (rate >= 20000 or bool(bare) and rate >= 0.8 * bare))
    if 'sqlite_pages_ratio' in found:
        share = found['sqlite_pages_ratio']
        cpu = found['sqlite_pages_cpu_ratio']
        yield ('page of 24 hours: at least 80 % of bare SQL', f'{share:.0%} one at a time, {cpu:.0%} by CPU time',
               max(share, cpu) >= 0.8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', required=True, help='the build directory (-Dbench=true)')
    parser.add_argument('--seconds', type=int, default=5, help='of each turn (default 5)')
    parser.add_argument('--rounds', type=int, default=2, help='turns of each contender in each case (default 2)')
    parser.add_argument('--only', help='comma-separated: ' + ', '.join(NAMES_OF_CASES))
    parser.add_argument('--contenders', default=','.join(CONTENDERS), help='comma-separated (default %(default)s)')
    parser.add_argument('--data', default='.', help='where the embedded database is measured (default: here)')
    options = parser.parse_args()
    wanted = options.only.split(',') if options.only else NAMES_OF_CASES
    unknown = set(wanted) - set(NAMES_OF_CASES)
    if unknown:
        parser.error(f'no such case: {", ".join(sorted(unknown))}')
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = {}
    with tempfile.TemporaryDirectory(prefix='telemetryd-bench-') as directory:
        bench = Bench(options, pathlib.Path(directory))
        for case in (*CASES, TOKEN_CASE):
            if case.name in wanted:
                results[case.name] = bench.case(case)
        for extra in EXTRAS:
            if extra in wanted:
                print(extra, file=sys.stderr)
                results[extra] = getattr(bench, extra)()
    model = next((line.split(':', 1)[1].strip() for line in open('/proc/cpuinfo', encoding='utf-8')
                  if line.startswith('model name')), platform.machine())
    print(f'{len(os.sched_getaffinity(0))} cores of {model}; {options.rounds} turns of {options.seconds} s each\n')
    print_figures(results)
    if set(CONTENDERS) - set(bench.contenders):
        return
    print('\n| target | measured | |\n|---|--:|---|')
    for text, measured, reached in targets(results):
        print(f'| {text} | {measured} | {"reached" if reached else "**missed**"} |')


if __name__ == '__main__':
    main()
