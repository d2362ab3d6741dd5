#!/usr/bin/env python3
"""The demo's target: some hundred MB of state that changes, and a record of what its pages hold at each generation.

demo_target.py RECORDS_DIR [--mib N]: prints "ready 1 PID"; each line read from standard input makes one more generation,
answered by "ready N PID". Between two such lines the recorded buffers stand still, whatever else goes on: a thread
changes other memory all the time, so the process is never idle. RECORDS_DIR/generation-N.json says address, length and
SHA-256 of every buffer, in whole and per MiB, as the process itself saw them.
"""
import argparse
import ctypes
import hashlib
import json
import mmap
import os
import random
import sys
import threading

PAGE = 4096
MIB = 1 << 20


class Buffer:
    """Private anonymous memory at an address that is known."""

    def __init__(self, name, length):
        self.name = name
        self.length = length
        self.memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def page(self, number, content):
        self.memory[number * PAGE : (number + 1) * PAGE] = content

    def record(self):
        view = memoryview(self.memory)
        return {
            "name": self.name,
            "address": f"0x{self.address:x}",
            "length": self.length,
            "sha256": hashlib.sha256(view).hexdigest(),
            "sha256_per_mib": [hashlib.sha256(view[at : at + MIB]).hexdigest() for at in range(0, self.length, MIB)],
        }


def log_page(rng, number):
    """Text as a server's buffers hold: compresses well, no two pages alike."""
    lines, length = [], 0
    while length < PAGE:
        line = b"2026-11-21T07:%02d:%02d worker-%d request id=%016x path=/item/%d status=200 bytes=%d\n" % (
            rng.randrange(60), rng.randrange(60), rng.randrange(16), rng.getrandbits(64), number, rng.randrange(100000))
        lines.append(line)
        length += len(line)
    return b"".join(lines)[:PAGE]


class State:
    """What changes from generation to generation."""

    def __init__(self, mib, seed):
        self.rng = random.Random(seed)
        self.generation = 1
        self.text = Buffer("text", mib * MIB * 2 // 5)
        self.noise = Buffer("noise", mib * MIB * 2 // 5)
        self.sparse = Buffer("sparse", mib * MIB // 5)
        self.buffers = [self.text, self.noise, self.sparse]
        # One log page in ten is written out, the others vary it: quick to build, still all different.
        templates = [log_page(self.rng, n) for n in range(256)]
        for n in range(self.text.length // PAGE):
            self.text.page(n, b"%016d" % n + templates[n % 256][16:])
        for at in range(0, self.noise.length, MIB):
            self.noise.memory[at : at + MIB] = self.rng.randbytes(MIB)
        for n in range(0, self.sparse.length // PAGE, 8):
            self.sparse.page(n, self.rng.randbytes(PAGE))
        # Ordinary Python objects: they are captured like the rest, and nobody records them.
        self.sessions = {n: {"user": f"user-{n}", "visits": n % 97, "cart": list(range(n % 11))} for n in range(120_000)}

    def step(self):
        self.generation += 1
        rng = self.rng
        for n in rng.sample(range(self.text.length // PAGE), self.text.length // PAGE // 25):
            self.text.page(n, log_page(rng, n))
        noise_pages = self.noise.length // PAGE
        for n in rng.sample(range(noise_pages), noise_pages // 50):
            self.noise.page(n, rng.randbytes(PAGE))
        for n in rng.sample(range(noise_pages), noise_pages // 100):  # moved about: dedup finds these
            source = rng.randrange(noise_pages)
            self.noise.page(n, self.noise.memory[source * PAGE : (source + 1) * PAGE])
        sparse_pages = self.sparse.length // PAGE
        for n in rng.sample(range(sparse_pages), sparse_pages // 50):  # emptied again
            self.sparse.page(n, bytes(PAGE))
        start = rng.randrange(0, sparse_pages - 64)
        self.sparse.memory.madvise(mmap.MADV_DONTNEED, start * PAGE, 64 * PAGE)
        for n in rng.sample(range(len(self.sessions)), 2000):
            self.sessions[n]["visits"] += 1
            self.sessions[n]["last"] = f"generation {self.generation}"

    def write_record(self, directory):
        path = os.path.join(directory, f"generation-{self.generation}.json")
        record = {"generation": self.generation, "pid": os.getpid(), "buffers": [b.record() for b in self.buffers]}
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.rename(path + ".new", path)


def churn(scratch, stop):
    """Never idle: memory that changes during every capture."""
    turn = 0
    while not stop.wait(0.002):
        turn += 1
        at = (turn * 7919 % (len(scratch) // PAGE)) * PAGE
        scratch[at : at + 8] = turn.to_bytes(8, "little")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("records")
    parser.add_argument("--mib", type=int, default=240)
    parser.add_argument("--seed", type=int, default=20261121)
    arguments = parser.parse_args()

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, 15, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGTERM: do not outlive the demo
    libc.prctl(0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0)  # PR_SET_PTRACER_ANY: yama's level 1 lets crstore in

    os.closerange(3, 1024)  # whatever the shell had open: a restart would have to bring it back

    state = State(arguments.mib, arguments.seed)
    stop = threading.Event()
    threading.Thread(target=churn, args=(bytearray(8 * MIB), stop), daemon=True, name="churn").start()
    while True:
        state.write_record(arguments.records)
        print("ready", state.generation, os.getpid(), flush=True)
        if not sys.stdin.readline():
            break
        state.step()
    stop.set()


if __name__ == "__main__":
    main()
