using System.Buffers.Binary;
using System.Globalization;
using System.Text.RegularExpressions;
using Crstore.Restore;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restore;

/// <summary>Cores of real processes, as gdb sees them, with gdb's own gcore of the same stopped process as the witness.</summary>
public class GdbTests
{
    private static string Export(TargetProcess target, TempDir directory, ulong excluded = 0)
    {
        var pid = target.Pid;
        WaitUntilItReads(pid);
        target.Signal(19); // SIGSTOP
        WaitUntilStopped(pid);
        using var image = LiveCapture.Take(pid);
        if (excluded != 0)
            image.SetExcluded(0, excluded);
        var path = directory.File("core");
        var result = new CoreExporter().Export(image, new ExportOptions(path, null, false), null, default);
        Assert.Empty(result.Warnings);
        return path;
    }

    // Having said that it is ready, it may still be on its way back from saying so.
    private static void WaitUntilItReads(int pid)
    {
        const string readOfStdin = "0 0x0 "; // read(2) is system call 0; proc_pid_syscall(5)
        while (!File.ReadAllText($"/proc/{pid}/syscall").StartsWith(readOfStdin, StringComparison.Ordinal)) Thread.Sleep(1);
    }

    private static void WaitUntilStopped(int pid)
    {
        while (!Directory.EnumerateDirectories($"/proc/{pid}/task").All(t => StateOf(t) is 'T' or 't'))
            Thread.Sleep(1);

        static char StateOf(string task)
        {
            var stat = File.ReadAllText(Path.Combine(task, "stat"));
            return stat[stat.LastIndexOf(')') + 2];
        }
    }

    private static string Gdb(string program, string core, params string[] commands) =>
        Run.Command(Requires.Gdb(), ["-nx", "-batch", "-iex", "set debuginfod enabled off", .. commands.SelectMany(c => new[] { "-ex", c }), program, core]) is { } r ? r.Output + r.Error : "";

    [Fact]
    public void Gdb_shows_the_right_backtrace_of_every_thread()
    {
        Requires.Gdb();
        using var directory = new TempDir();
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        var core = Export(target, directory);
        var output = Gdb(Targets.Path("threads_backtrace"), core, "thread apply all bt");
        var threads = Regex.Split(output, @"^Thread \d+ ", RegexOptions.Multiline).Skip(1).ToList();
        Assert.Equal(5, threads.Count);
        AssertStack(threads, "pipe_reader_inner", "pipe_reader_outer");
        AssertStack(threads, "condition_waiter_inner", "condition_waiter_outer");
        AssertStack(threads, "sleep", "sleeper_outer");
        AssertStack(threads, "avx_spinner_inner", "avx_spinner_outer");
        AssertStack(threads, "next_command", "main_conversation", "main ()");
        Assert.DoesNotContain("Backtrace stopped", output);
        Assert.DoesNotContain("warning", output, StringComparison.OrdinalIgnoreCase);
        Assert.Contains($"LWP {target.Pid}", threads[^1]); // the leader is thread 1, which gdb lists last
    }

    [Fact]
    public void Gdb_reads_variables_from_every_kind_of_page()
    {
        Requires.Gdb();
        using var directory = new TempDir();
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        var core = Export(target, directory);
        var output = Gdb(Targets.Path("threads_backtrace"), core,
            "p modified_data + 4096", "p (char*)modified_data", "p zero_data[0]", "p zero_data[5000]", "p (char*)constant_data", "x/2i main");
        Assert.Contains("\"modified\"", output);
        Assert.Contains("\"in the data segment\"", output);
        Assert.Contains("7 '\\a'", output);
        Assert.Contains("0 '\\000'", output);
        Assert.Contains("\"in the read-only segment\"", output);
        Assert.DoesNotContain("Cannot access memory", output);
    }

    [Fact]
    public void A_page_that_was_not_saved_is_inaccessible_in_gdb_not_zero()
    {
        Requires.Gdb();
        using var directory = new TempDir();
        using var target = TargetProcess.Start("threads_backtrace");
        var heap = target.Expect("ready") is not null
            ? ulong.Parse(File.ReadLines($"/proc/{target.Pid}/maps").Single(l => l.EndsWith("[heap]", StringComparison.Ordinal)).Split('-')[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            : 0;
        var core = Export(target, directory, heap);
        var output = Gdb(Targets.Path("threads_backtrace"), core, $"x/gx {heap}", $"x/gx {heap + 4096}");
        Assert.Contains($"Cannot access memory at address 0x{heap:x}", output);
        Assert.Matches($"0x{heap + 4096:x}:\t0x", output);
    }

    [Fact]
    public void Gdb_shows_mappings_auxv_libraries_and_vector_registers()
    {
        Requires.Gdb();
        using var directory = new TempDir();
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        var core = Export(target, directory);
        var program = Targets.Path("threads_backtrace");
        var output = Gdb(program, core, "info proc mappings", "info auxv", "info sharedlibrary");
        Assert.Contains(program, output);
        Assert.Matches(@"AT_ENTRY +Entry point of program +0x[0-9a-f]+", output);
        Assert.Matches(@"0x[0-9a-f]+ +0x[0-9a-f]+ +Yes .*libc\.so\.6", output);
        Requires.That(File.ReadAllText("/proc/cpuinfo").Contains(" avx "), "a CPU with AVX");
        var registers = Gdb(program, core, "thread apply all -q -s p $ymm0.v4_int64", "thread apply all -q -s p/x $ymm1.v4_int64");
        Assert.Contains("{-1, -1, -1, -1}", registers);
        Assert.Contains("{0x1122334455667788, 0x0, 0x1122334455667788, 0x0}", registers);
    }

    [Fact]
    public void Gcore_of_the_same_stopped_process_has_the_same_memory_and_registers()
    {
        var gcore = Requires.Program("gcore", "gdb");
        using var directory = new TempDir();
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        var ours = new ElfReader(Export(target, directory));
        Run.Command(gcore, ["-o", directory.File("gcore"), target.Pid.ToString(CultureInfo.InvariantCulture)]).MustSucceed();
        var theirs = new ElfReader(directory.File($"gcore.{target.Pid}"));
        AssertSameMemory(ours, theirs, atLeast: 200_000);
        AssertSameNotes(ours, theirs);
    }

    private static string[] Frames(string output) => [.. output.Split('\n').Where(line => Regex.IsMatch(line, @"^(#\d|Thread \d)"))];

    [Fact]
    public void Python_with_threads_opens_in_gdb_and_equals_its_gcore()
    {
        Requires.Gdb();
        using var directory = new TempDir();
        using var target = TargetProcess.Python("""
            import threading, time, sys
            data = [str(i) * 20 for i in range(50000)]
            threads = [threading.Thread(target=time.sleep, args=(1000,), daemon=True) for _ in range(2)]
            for t in threads: t.start()
            print("ready")
            sys.stdin.readline()
            """);
        target.Expect("ready");
        var core = Export(target, directory);
        var output = Gdb(Requires.Python(), core, "thread apply all bt");
        Assert.Equal(3, Regex.Count(output, @"^Thread \d+ ", RegexOptions.Multiline));
        Assert.Contains("_start ()", output);
        Run.Command(Requires.Program("gcore", "gdb"), ["-o", directory.File("gcore"), target.Pid.ToString(CultureInfo.InvariantCulture)]).MustSucceed();
        var gcore = directory.File($"gcore.{target.Pid}");
        // Down to the last frame, whatever symbols this machine has.
        Assert.Equal(Frames(Gdb(Requires.Python(), gcore, "thread apply all bt")), Frames(output));
        var ours = new ElfReader(core);
        var theirs = new ElfReader(gcore);
        AssertSameMemory(ours, theirs, atLeast: 5_000_000);
        AssertSameNotes(ours, theirs);
    }

    [Fact]
    public void Readelf_understands_every_note()
    {
        var readelf = Requires.Program("readelf", "binutils");
        using var directory = new TempDir();
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        var core = Export(target, directory);
        var notes = Run.Command(readelf, ["-n", core]).MustSucceed();
        Assert.Empty(notes.Error);
        foreach (var name in new[] { "NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE", "NT_FPREGSET", "NT_X86_XSTATE" })
            Assert.Contains(name, notes.Output);
        Assert.DoesNotContain("Unknown note", notes.Output);
        Assert.Empty(Run.Command(readelf, ["-lW", core]).MustSucceed().Error);
    }

    private static void AssertStack(List<string> threads, params string[] functions) =>
        Assert.True(threads.Any(t => functions.All(t.Contains)), $"no thread has {string.Join(" under ", functions)}:\n{string.Join("\n", threads)}");

    private static void AssertSameMemory(ElfReader ours, ElfReader theirs, long atLeast)
    {
        long compared = 0;
        foreach (var load in theirs.Loads.Where(l => l.FileSize > 0))
        {
            for (ulong at = 0; at < load.FileSize; at += 4096)
            {
                var want = theirs.Memory(load.Address + at, 4096);
                var have = ours.Memory(load.Address + at, 4096);
                if (want is null || have is null)
                    continue;
                if (!want.AsSpan().SequenceEqual(have))
                    Assert.Fail(Difference(load.Address + at, want, have));
                compared += 4096;
            }
        }
        Assert.True(compared >= atLeast, $"only {compared} bytes were compared");
        // Everything writable that the witness has, we have.
        foreach (var load in theirs.Loads.Where(l => l.FileSize > 0 && (l.Flags & 2) != 0))
            Assert.NotNull(ours.Memory(load.Address, 4096));
    }

    private static string Difference(ulong address, byte[] want, byte[] have)
    {
        var first = want.AsSpan().CommonPrefixLength(have);
        var last = Enumerable.Range(0, want.Length).Last(i => want[i] != have[i]);
        return $"page {address:x} differs from byte {first} to {last}: gcore has {Convert.ToHexString(want.AsSpan(first & ~7, 16))}, we have {Convert.ToHexString(have.AsSpan(first & ~7, 16))}";
    }

    private static void AssertSameNotes(ElfReader ours, ElfReader theirs)
    {
        var have = ThreadNotes(ours);
        var want = ThreadNotes(theirs);
        Assert.Equal(want.Keys.Order(), have.Keys.Order());
        foreach (var (tid, notes) in want)
        {
            Assert.Equal(Convert.ToHexString(notes[1].AsSpan(112, 216)), Convert.ToHexString(have[tid][1].AsSpan(112, 216)));
            // gdb builds these anew from the registers it knows; it leaves out MXCSR's mask (bytes 28 to 31) and what is reserved.
            // Control words, x87 and SSE registers; in the XSAVE area behind its header the upper halves of the AVX ones.
            foreach (var part in new[] { 0..28, 32..416 })
                Assert.Equal(Convert.ToHexString(notes[2].AsSpan(part)), Convert.ToHexString(have[tid][2].AsSpan(part)));
            foreach (var part in new[] { 0..28, 32..416, 576..832 })
                Assert.Equal(Convert.ToHexString(notes[0x202].AsSpan(part)), Convert.ToHexString(have[tid][0x202].AsSpan(part)));
        }
        Assert.Equal(theirs.Single(6).Content, ours.Single(6).Content); // auxv
    }

    // Notes by thread: those behind an NT_PRSTATUS belong to it.
    private static Dictionary<int, Dictionary<uint, byte[]>> ThreadNotes(ElfReader core)
    {
        var threads = new Dictionary<int, Dictionary<uint, byte[]>>();
        Dictionary<uint, byte[]> current = [];
        foreach (var note in core.Notes)
        {
            if (note.Type == 1)
                threads.Add(BinaryPrimitives.ReadInt32LittleEndian(note.Content.AsSpan(32)), current = []);
            current[note.Type] = note.Content;
        }
        return threads;
    }
}
