using Crstore.Model;
using Crstore.Restore.Restart;
using Crstore.Restore.Restart.Lazy;

namespace Crstore.Tests.Restart;

/// <summary>
/// A Python program with 16 MiB of its own at `base`, page I full of `I % 251 + 1`, that does what each line of its stdin says. It is restarted with `--lazy`, and its memory
/// is not filled in the background before <see cref="Open"/>.
/// </summary>
internal sealed class LazyRun : IDisposable
{
    public const int Pages = 4096;

    private const string Program = """
        import ctypes, os, signal, sys, threading, time
        c = ctypes.CDLL(None, use_errno=True)
        word = ctypes.c_size_t
        for f in c.mmap, c.mremap, c.munmap, c.madvise, c.mprotect: f.restype, f.argtypes = word, [word] * (6 if f is c.mmap else 5 if f is c.mremap else 3 if f in (c.madvise, c.mprotect) else 2)
        P, N, ANYWHERE = 4096, 4096, word(-1).value
        def new(pages, at=0): return c.mmap(at, pages * P, 3, 0x22 | (0x10 if at else 0), ANYWHERE, 0)
        base = new(N)
        for i in range(N): ctypes.memset(base + i * P, i % 251 + 1, P)
        def is_zero(first, count, at=None): return not any(ctypes.string_at((at or base) + first * P, count * P))
        def wrong(first=0, count=N, at=None):
            return [i for i in range(first, first + count) if ctypes.string_at((at or base) + i * P, P) != bytes([i % 251 + 1]) * P]
        def readable(address):
            r, w = os.pipe()
            n = c.write(w, ctypes.c_void_p(address), P)
            os.close(r), os.close(w)
            return n == P
        def child(look):
            pid = os.fork()
            if pid == 0: os._exit(0 if look() else 1)
            return os.waitpid(pid, 0)[1]
        def rss(): return int(open("/proc/self/statm").read().split()[1]) * P >> 20
        more = {}
        def look(k): more[k] = wrong(k * 256, 256)
        def move(k): # 100 pages, there and back; MREMAP_DONTUNMAP: nobody else's memory gets to the place meanwhile
            there, at = new(100), base + (500 + k * 500) * P
            for _ in range(30): c.mremap(at, 100 * P, 100 * P, 7, there), c.mremap(there, 100 * P, 100 * P, 7, at)
        def each(work, count):
            more["threads"] = [threading.Thread(target=work, args=(k,)) for k in range(count)]
            for t in more["threads"]: t.start()
        def join():
            for t in more["threads"]: t.join()
        def asleep(number): # the other thread is in that system call, proc_pid_syscall(5): not in that of who waits for the interpreter's lock, a futex too, but with FUTEX_WAIT_BITSET
            other = next(t for t in os.listdir("/proc/self/task") if int(t) != os.getpid())
            def there():
                words = open(f"/proc/self/task/{other}/syscall").read().split()
                return words[0] == number.strip() and (words[0] != "202" or words[2] == "0x80")
            while not there(): time.sleep(0.01)
        def blocked(call):
            import socket, struct
            a, b = more["ends"] = socket.socketpair()
            e, flag, buffer = c.epoll_create1(0), ctypes.c_int(0), ctypes.create_string_buffer(12)
            event, pollfd, four = ctypes.create_string_buffer(struct.pack("=IQ", 1, 0)), ctypes.create_string_buffer(struct.pack("ihh", a.fileno(), 1, 0)), (ctypes.c_long * 2)(4, 0)
            c.epoll_ctl(e, 1, a.fileno(), event)
            def wake(): b.send(b"x"); flag.value = 1; c.syscall(202, ctypes.byref(flag), 129, 1, 0, 0, 0)
            more["wake"] = wake
            more["result"] = {"epoll_wait": lambda: c.epoll_wait(e, buffer, 1, -1), "futex": lambda: c.syscall(202, ctypes.byref(flag), 128, 0, 0, 0, 0),
                "poll": lambda: c.poll(pollfd, 1, -1), "nanosleep": lambda: c.nanosleep(four, 0), "recv": lambda: c.recv(a.fileno(), buffer, 1, 0)}[call](), ctypes.get_errno()
        print("ready")
        for line in sys.stdin:
            try: exec(line)
            except Exception as e: print("failed", repr(e))
        """;

    private readonly Gate gate = new();

    private LazyRun(string before, bool tree)
    {
        Run = RestartRun.Python(Program);
        Run.Expect("ready");
        if (before.Length > 0) Run.Send(before);
        if (before.Length > 0) Run.Expect("done");
        Run.Capture(tree);
        Crid = Run.Capture(tree); // of mappings that the tracker has
        Run.Kill();
    }

    /// <summary>The conversation.</summary>
    public RestartRun Run { get; }

    public Crid Crid { get; }

    public RestartResult Result { get; private set; } = null!;

    public LazyFill Fill => Result.Lazy ?? throw new InvalidOperationException($"it was not lazy: {string.Join("; ", Result.Warnings)}");

    /// <summary>Captured, killed, restarted.</summary>
    /// <param name="before">What it did before the capture; says "done".</param>
    /// <param name="damaged">Reads that find damage, by the name of the thread that reads.</param>
    /// <param name="tree">Its children, too.</param>
    public static LazyRun Start(string before = "", Func<string?, IReadOnlyList<PageTarget>, bool>? damaged = null, bool tree = false)
    {
        var run = Captured(before, tree);
        try
        {
            run.Restart(damaged);
            return run;
        }
        catch
        {
            run.Dispose();
            throw;
        }
    }

    /// <summary>Captured and killed.</summary>
    public static LazyRun Captured(string before = "", bool tree = false) => new(before, tree);

    public void Restart(Func<string?, IReadOnlyList<PageTarget>, bool>? damaged = null) =>
        Result = Run.RestartLazily(Crid, image => new GatedImage(image, gate, damaged ?? ((_, _) => false)));

    /// <summary>Has one line done, and its answer.</summary>
    public string Do(string line) => Run.Ask(line);

    /// <summary>Has its memory filled.</summary>
    public void Open() => gate.Open();

    /// <summary>Has its memory filled, and waits for that.</summary>
    public void Finish()
    {
        Open();
        Fill.Wait();
    }

    public void Dispose()
    {
        Open();
        Run.Kill();
        try
        {
            Result?.Lazy?.Wait();
        }
        catch (Exception e) when (e is CrstoreException or OperationCanceledException)
        {
            // What the test was about.
        }

        Run.Dispose();
        gate.Dispose();
    }

    private sealed class Gate : IDisposable
    {
        private readonly ManualResetEventSlim open = new();

        public void Open() => open.Set();

        public void Pass() => open.Wait();

        public void Dispose() => open.Dispose();
    }

    private sealed class GatedImage(ICheckpointImage image, Gate gate, Func<string?, IReadOnlyList<PageTarget>, bool> damaged) : ICheckpointImage
    {
        public CheckpointManifest Manifest => image.Manifest;

        public IEnumerable<PageSpan> Spans(SpaceId space, PageRange within) => image.Spans(space, within);

        public void Read(SpaceId space, IReadOnlyList<PageTarget> targets)
        {
            if (Thread.CurrentThread.Name == "crstore rest") gate.Pass();
            if (damaged(Thread.CurrentThread.Name, targets)) throw new StoreDamagedException("damaged by the test");
            image.Read(space, targets);
        }

        public void Dispose()
        {
        }
    }
}
