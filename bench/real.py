"""real.py SEED MIB REDIS_SOCKET PART...: real process memory for the bench. A tree of python3 (this) and what PART names, out of redis, node,
python (this process itself), sqlite (a database in memory, in a python3 of its own) and managed (DOTNET_PROGRAM, a .NET application). Each gets
an equal share of MIB, filled with records made of words, numbers and random ids. Says "ready"; each "change"
changes about a tenth: "changed"."""
import gc
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time

seed, mebibytes, path, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
rng = random.Random(seed)
gc.disable()
WORDS = ["".join(rng.choices("aeioulnrstdkmpgbhv", k=rng.randint(2, 11))) for _ in range(4000)]
share = mebibytes * 1048576 // len(names)


def text(words):
    return " ".join(rng.choices(WORDS, k=words))


class Redis:
    """Keys with JSON values of some hundred bytes."""

    def __init__(self):
        subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.keys = share // 1100
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
    """A list of dicts."""

    def __init__(self):
        self.records = [self.record(i) for i in range(share // 1290)]

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


class Child:
    """A program that fills itself and changes when it is told so."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process.stdout.readline()

    def change(self):
        self.process.stdin.write("change\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


class Sqlite:
    """A table in memory with an index, in a process of its own."""

    def __init__(self):
        self.base = sqlite3.connect(":memory:")
        self.base.execute("create table users (id integer primary key, token blob, name text, score real, about text)")
        self.base.execute("create index names on users (name)")
        self.rows = share // 850
        self.base.executemany("insert into users values (?, ?, ?, ?, ?)", (self.row(i) for i in range(self.rows)))
        self.base.commit()

    def row(self, number):
        return number, rng.randbytes(16), text(2), rng.random(), text(rng.randint(40, 150))

    def change(self):
        start = rng.randrange(self.rows)
        self.base.executemany("replace into users values (?, ?, ?, ?, ?)", (self.row((start + i) % self.rows) for i in range(self.rows // 12)))
        self.base.executemany("update users set score = score + 1 where id = ?", ((i,) for i in rng.sample(range(self.rows), self.rows // 500)))
        self.base.commit()


here = os.path.dirname(os.path.abspath(__file__))
MAKERS = {
    "redis": Redis,
    "node": lambda: Child("node", "--max-old-space-size=4096", os.path.join(here, "real.js"), str(seed), str(share)),
    "managed": lambda: Child(os.environ["DOTNET_PROGRAM"], "managed", str(seed), str(share)),
    "sqlite": lambda: Child(sys.executable, os.path.abspath(__file__), str(seed), str(share // 1048576), path, "own-sqlite"),
    "own-sqlite": Sqlite,
    "python": Python,
}
parts = [MAKERS[name]() for name in names]
print("ready", flush=True)
for line in sys.stdin:
    for part in parts:
        part.change()
    print("changed", flush=True)
