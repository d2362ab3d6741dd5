using System.Globalization;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>What capture can be asked for, shown on real processes by what a core holds afterwards.</summary>
public sealed class CaptureOptionsTests
{
    // A parent with a child that holds its own copy of a buffer, shared memory of both, and a zombie.
    private const string Tree = """
        import ctypes, hashlib, mmap, os, sys
        shared = mmap.mmap(-1, 1 << 20)
        own = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        zombie = os.fork()
        if zombie == 0: os._exit(7)
        down, up = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            own[:] = os.urandom(4 << 20); shared[4096:8192] = os.urandom(4096)
        else:
            own[:] = os.urandom(4 << 20); shared[0:4096] = os.urandom(4096)
        def tell():
            at = lambda m: ctypes.addressof(ctypes.c_char.from_buffer(m))
            return f"{os.getpid()} {at(own):x} {hashlib.sha256(own).hexdigest()} {at(shared):x}"
        if child == 0:
            os.write(up[1], tell().encode()); os.read(down[0], 1); os._exit(0)
        theirs = os.read(up[0], 1000).decode()
        print("ready", tell(), hashlib.sha256(shared).hexdigest(), theirs, zombie, flush=True)
        sys.stdin.readline()
        """;

    private const int SigCont = 18;

    [Fact]
    public void A_tree_is_one_CRID_with_each_process_its_own_memory_and_a_zombie_does_no_harm()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Python(Tree);
        var told = target.Expect("ready ").Split(' ');
        string[][] processes = [told[..4], told[5..9]];
        var shared = told[4];
        var crids = new[] { store.Capture(target.Pid, "--tree"), store.Capture(target.Pid, "--tree") };
        foreach (var crid in crids)
        {
            var shown = store.Json("show", crid).GetProperty("process_list").EnumerateArray().ToList();
            Assert.Equal([processes[0][0], told[9], processes[1][0]], shown.OrderBy(p => p.GetProperty("pid").GetInt32()).Select(p => $"{p.GetProperty("pid")}"));
            Assert.Equal(told[9], $"{shown.Single(p => p.GetProperty("zombie").GetBoolean()).GetProperty("pid")}");
            var cores = store.File($"cores-{crid}");
            store.Do("restore", crid, "--to", cores);
            foreach (var process in processes)
            {
                var core = Path.Combine(cores, $"core.{process[0]}");
                Assert.Equal(process[2], CoreMemory.Hash(core, Hex(process[1]), 4 << 20));
                Assert.Equal(shared, CoreMemory.Hash(core, Hex(process[3]), 1 << 20));
            }
        }
    }

    [Fact]
    public void What_was_excluded_is_named_and_is_back_in_the_next_checkpoint()
    {
        using var store = new CliStore();
        using var target = new Holder();
        var whole = store.Capture(target.Pid, "--series", "s");
        var without = store.Capture(target.Pid, "--series", "s", "--exclude", $"0x{target.Address:x}+1M");
        var again = store.Capture(target.Pid, "--series", "s");
        var exclusion = Assert.Single(store.Json("show", without).GetProperty("exclusions").EnumerateArray());
        Assert.Equal($"0x{target.Address + (1 << 20):x}", exclusion.GetProperty("end").GetString());
        foreach (var crid in new[] { whole, again })
        {
            store.Do("restore", crid, "--to", store.File("core"), "--force");
            Assert.Equal(target.Hash, CoreMemory.Hash(store.File("core"), target.Address, Holder.Bytes));
        }

        store.Do("restore", without, "--to", store.File("core"), "--force");
        Assert.Null(CoreMemory.Hash(store.File("core"), target.Address, Holder.Bytes));
        Assert.NotNull(CoreMemory.Hash(store.File("core"), target.Address + (1 << 20), Holder.Bytes - (1 << 20)));
    }

    [Fact]
    public void An_exclusion_that_fits_nothing_is_a_warning_and_one_that_fits_is_none()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var slip = store.Run("capture", $"{target.Pid}", "--exclude", "/no/such/file", "--exclude", "0x1000-0x2000").MustSucceed();
        Assert.Contains("crstore: warning: --exclude /no/such/file left nothing out", slip.Error);
        Assert.Contains("crstore: warning: --exclude 0x1000-0x2000 left nothing out", slip.Error);
        var right = store.Json("capture", $"{target.Pid}", "--exclude", "[stack]", "--exclude", "*/sleep");
        Assert.Empty(right.GetProperty("warnings").EnumerateArray());
        Assert.True(right.GetProperty("incomplete").GetBoolean());
    }

    [Fact]
    public void A_capture_larger_than_its_buffer_is_still_whole()
    {
        using var store = new CliStore();
        using var target = new DemoTarget(mib: 40);
        var crid = store.Capture(target.Pid, "--buffer", "1M");
        store.Do("restore", crid, "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));
        target.Next();
    }

    [Theory]
    [InlineData("always", true)]
    [InlineData("never", false)]
    public void It_may_be_saved_from_the_running_target_first(string policy, bool inTwoRounds)
    {
        using var store = new CliStore();
        using var target = new DemoTarget(mib: 20);
        var crid = store.Capture(target.Pid, "--series", "s", "--tree", "--pre-copy", policy);
        var shown = store.Json("show", crid);
        Requires.That(shown.GetProperty("tracker").GetString() == "uffd", "a kernel with userfaultfd write-protect in async mode");
        Assert.Equal("base", shown.GetProperty("kind").GetString());
        Assert.Equal(inTwoRounds, shown.GetProperty("phases").EnumerateArray().Any(p => p.GetProperty("name").GetString() == "round 1 pre-copy"));
        Assert.False(shown.GetProperty("tracking")[0].GetProperty("continuous").GetBoolean());
        var generation = target.Generation;
        target.Next();
        var next = store.Capture(target.Pid, "--series", "s", "--tree", "--pre-copy", policy);
        shown = store.Json("show", next);
        Assert.Equal(inTwoRounds, shown.GetProperty("phases").EnumerateArray().Any(p => p.GetProperty("name").GetString() == "round 1 pre-copy"));
        Assert.True(shown.GetProperty("tracking")[0].GetProperty("continuous").GetBoolean());

        store.Do("gc");
        store.Do("verify", "--all", "--read-data");
        store.Do("restore", crid, "--to", store.File("core.1"));
        Assert.True(target.IsIn(store.File("core.1"), generation));
        store.Do("restore", next, "--to", store.File("core.2"));
        Assert.True(target.IsIn(store.File("core.2"), target.Generation));
        target.Next();
    }

    [Fact]
    public void Kept_stopped_it_stays_stopped_until_it_is_continued()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        store.Capture(target.Pid, "--keep-stopped");
        Patience.Until(() => State(target.Pid) == 'T', "it to be stopped");
        store.Capture(target.Pid); // what is stopped stays stopped
        Patience.Until(() => State(target.Pid) == 'T', "it to be stopped again");
        target.Process.Signal(SigCont);
        target.Next();
    }

    [Fact]
    public void Past_the_limit_on_frozen_time_the_target_is_let_go_and_the_next_capture_is_right()
    {
        using var store = new CliStore();
        using var target = new DemoTarget(mib: 60);
        store.Capture(target.Pid, "--series", "s");
        target.Next();
        Expect.Failure(store.Run("capture", $"{target.Pid}", "--series", "s", "--tracker", "hash", "--max-frozen", "1ms"), ExitCode.FrozenTooLong, "slowest phase");
        target.Next();
        var crid = store.Capture(target.Pid, "--series", "s");
        store.Do("restore", crid, "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));
        Assert.Equal(2, store.Do("list", "--quiet").Split('\n').Length);
    }

    [Fact]
    public void After_exec_the_same_series_goes_on_with_a_full_reading_and_every_CRID_is_right()
    {
        using var store = new CliStore();
        using var target = new Holder();
        var before = (Crid: store.Capture(target.Pid, "--series", "s"), target.Address, target.Hash);
        target.Exec();
        var after = (Crid: store.Capture(target.Pid, "--series", "s"), target.Address, target.Hash);
        var proof = store.Json("show", after.Crid).GetProperty("tracking")[0];
        Assert.False(proof.GetProperty("continuous").GetBoolean());
        foreach (var (crid, address, hash) in new[] { before, after })
        {
            store.Do("restore", crid, "--to", store.File("core"), "--force");
            Assert.Equal(hash, CoreMemory.Hash(store.File("core"), address, Holder.Bytes));
        }
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static char State(int pid)
    {
        var stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[stat.LastIndexOf(')') + 2];
    }

    /// <summary>python3 with 4 MiB of random bytes at a known address; can exec itself anew.</summary>
    private sealed class Holder : IDisposable
    {
        public const int Bytes = 4 << 20;
        private const string Script = """
            import ctypes, hashlib, mmap, os, sys
            m = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            m[:] = os.urandom(4 << 20)
            print("ready", "%x" % ctypes.addressof(ctypes.c_char.from_buffer(m)), hashlib.sha256(m).hexdigest(), flush=True)
            sys.stdin.readline()
            os.execv(sys.executable, sys.orig_argv)
            """;

        private readonly TargetProcess _process = TargetProcess.Python(Script);

        public Holder() => Await();

        public int Pid => _process.Pid;

        public ulong Address { get; private set; }

        public string Hash { get; private set; } = "";

        public void Exec()
        {
            _process.Send("exec");
            Await();
        }

        public void Dispose() => _process.Dispose();

        private void Await()
        {
            var told = _process.Expect("ready ").Split(' ');
            (Address, Hash) = (Hex(told[0]), told[1]);
        }
    }
}
