"""real.py SEED MIB REDIS_SOCKET: real process memory for the bench. A tree of python3 (this), redis-server and node, about a third of
MIB each, filled with records made of words, numbers and random ids. Says "ready"; each "change" changes about a tenth: "changed"."""
import gc
import json
import os
import random
import socket
import subprocess
import sys
import time

seed, mebibytes, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = random.Random(seed)
gc.disable()
WORDS = ["".join(rng.choices("aeioulnrstdkmpgbhv", k=rng.randint(2, 11))) for _ in range(4000)]
third = mebibytes * 1048576 // 3


def text(words):
    return " ".join(rng.choices(WORDS, k=words))


class Redis:
    """About a third: keys with JSON values of some hundred bytes."""

    def __init__(self):
        subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.keys = third // 1100
        self.write(range(self.keys))

    def write(self, numbers):
        batch, pending = [], 0
        for number in numbers:
            value = json.dumps({"id": number, "token": "%032x" % rng.getrandbits(128), "name": text(2), "score": rng.random(),
                                "about": text(rng.randint(40, 200))}).encode()
            key = b"user:%08d" % number
            batch.append(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value))
            pending += 1
            if pending == 500:
                self.flush(batch, pending)
                batch, pending = [], 0
        self.flush(batch, pending)

    def flush(self, batch, pending):
        self.socket.sendall(b"".join(batch))
        left = pending * 5     # "+OK\r\n" each
        while left:
            left -= len(self.socket.recv(left))

    def change(self):
        start = rng.randrange(self.keys)
        self.write([(start + i) % self.keys for i in range(self.keys // 12)])
        self.write(rng.sample(range(self.keys), self.keys // 500))


class Python:
    """About a third: a list of dicts."""

    def __init__(self):
        self.records = [self.record(i) for i in range(third // 1290)]

    def record(self, number):
        return {"id": number, "price": rng.random() * 100, "name": text(2), "tags": text(4).split(), "stock": rng.randrange(10 ** 6),
                "text": text(rng.randint(20, 80))}

    def change(self):
        n = len(self.records)
        start = rng.randrange(n)
        for i in range(n // 12):
            self.records[(start + i) % n] = self.record(i)
        for i in rng.sample(range(n), n // 500):
            self.records[i]["stock"] += 1


class Node:
    """About a third: an array of objects."""

    def __init__(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "real.js")
        self.process = subprocess.Popen(["node", "--max-old-space-size=4096", script, str(seed), str(third)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process.stdout.readline()

    def change(self):
        self.process.stdin.write("change\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


parts = [Redis(), Node(), Python()]
print("ready", flush=True)
for line in sys.stdin:
    for part in parts:
        part.change()
    print("changed", flush=True)
