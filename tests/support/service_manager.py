#!/usr/bin/env python3
"""A service manager in small: it keeps listening sockets, runs the server on them, and hears what it is told.

Its argument is JSON: {"argv": [...], "sockets": [{"address", "port", "type", "name"}], "watchdog": microseconds, "pid": whose sockets
they are, if not the server's, "count": how many it says there are}. Events are JSON lines on its stdout. It takes the lines "start", "signal TERM", "freeze" (every thread of the
server but its first) and "thaw"; at the end of its input it ends. Its stderr is the server's.
"""
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import tempfile

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000  # __WALL: threads of others as well
FIRST_LISTEN_FD = 3

options = json.loads(sys.argv[1])


def say(**event):
    print(json.dumps(event), flush=True)


def listening(wanted):
    made = socket.socket(socket.AF_INET6 if ":" in wanted["address"] else socket.AF_INET,
                         socket.SOCK_DGRAM if wanted.get("type") == "datagram" else socket.SOCK_STREAM)
    made.bind((wanted["address"], wanted.get("port", 0)))
    if wanted.get("type", "listening") == "listening":
        made.listen(4096)
    return made


def start(sockets, notify):
    child = os.fork()
    if child != 0:
        return child
    # Out of the way first: one may have the number that another is to get.
    for i, fd in enumerate([os.dup2(each.fileno(), 100 + i) for i, each in enumerate(sockets)]):
        os.dup2(fd, FIRST_LISTEN_FD + i, inheritable=True)
    os.closerange(FIRST_LISTEN_FD + len(sockets), 200)
    environment = {**os.environ, "NOTIFY_SOCKET": notify}
    if options.get("watchdog"):
        environment.update(WATCHDOG_USEC=str(options["watchdog"]), WATCHDOG_PID=str(os.getpid()))
    if sockets:
        environment.update(LISTEN_PID=str(options.get("pid", os.getpid())), LISTEN_FDS=str(options.get("count", len(sockets))),
                           LISTEN_FDNAMES=":".join(each.get("name", "http") for each in options["sockets"]))
    os.execve(options["argv"][0], options["argv"], environment)


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def freeze(child):
    threads = [int(name) for name in os.listdir(f"/proc/{child}/task") if int(name) != child]
    for thread in threads:
        ptrace(PTRACE_SEIZE, thread)
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
    return threads


def main():
    ended, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end)
    with tempfile.TemporaryDirectory() as directory:
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(f"{directory}/notify")
        sockets = [listening(each) for each in options["sockets"]]
        say(event="listening", ports=[each.getsockname()[1] for each in sockets])
        events = selectors.DefaultSelector()
        for source in (told, sys.stdin, ended):
            events.register(source, selectors.EVENT_READ)
        child, frozen = 0, []
        while True:
            ready = [key.fileobj for key, _ in events.select()]
            if told in ready:
                say(event="told", lines=told.recv(4096).decode())
            if ended in ready:
                os.read(ended, 4096)
                done, status = os.waitpid(child, os.WNOHANG)
                if done == child:
                    say(event="ended", status=os.waitstatus_to_exitcode(status))
                    child = 0
            if sys.stdin in ready:
                # Unbuffered: a second line that was read ahead would wait for a third.
                words = b""
                while not words.endswith(b"\n"):
                    byte = os.read(sys.stdin.fileno(), 1)
                    if not byte:
                        if child:
                            os.kill(child, signal.SIGKILL)
                        return
                    words += byte
                command, *rest = words.decode().split()
                if command == "start":
                    child = start(sockets, f"{directory}/notify")
                    say(event="started", pid=child)
                elif command == "signal":
                    os.kill(child, signal.Signals[f"SIG{rest[0]}"])
                elif command == "freeze":
                    try:
                        frozen = freeze(child)
                    except PermissionError:
                        frozen = []
                    say(event="frozen", threads=len(frozen))
                elif command == "thaw":
                    for thread in frozen:
                        ptrace(PTRACE_DETACH, thread)
                    say(event="thawed")


main()
