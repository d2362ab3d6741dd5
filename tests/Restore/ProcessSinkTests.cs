using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restore;

/// <summary>Filling a process's memory by UFFDIO_COPY, where something else is there than was expected.</summary>
public sealed class ProcessSinkTests
{
    private const int Pages = 16;

    // Sixteen empty pages and a userfaultfd; page 2 is touched and page 5 mapped anew when it is told to.
    private const string Target = """
        import ctypes, sys
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        at = libc.mmap(None, 16 * 4096, 3, 0x22, -1, 0)
        print("ready", libc.syscall(323, 0x80801), at)
        sys.stdin.readline()
        libc.mmap(at + 5 * 4096, 4096, 3, 0x32, -1, 0)
        print("mapped")
        sys.stdin.readline()
        print("sum", sum(ctypes.string_at(at, 16 * 4096)))
        sys.stdin.readline()
        """;

    [Fact]
    public void Pages_that_are_there_and_mappings_that_are_others_are_written_the_other_way()
    {
        using var target = TargetProcess.Python(Target);
        using var sink = Open(target, out var at);
        var content = new byte[Pages * VirtualPage.Size];
        new Random(1).NextBytes(content);
        sink.Write(new byte[VirtualPage.Size], at + 2 * VirtualPage.Size); // then it is there
        target.Ask("map"); // and what is there is not registered
        sink.Write(content, at);
        sink.Close();
        Assert.Equal($"sum {content.Sum(b => (long)b)}", target.Ask("sum"));
    }

    [Fact]
    public void A_process_that_has_ended_is_named_with_the_address()
    {
        using var target = TargetProcess.Python(Target);
        using var sink = Open(target, out var at);
        target.Signal(9);
        target.WaitForExit();
        var error = Assert.Throws<EnvironmentException>(() => sink.Write(new byte[VirtualPage.Size], at));
        Assert.Equal($"process {target.Pid}: its memory at {at:x} can't be filled: it has ended", error.Message);
    }

    private static ProcessSink Open(TargetProcess target, out ulong at)
    {
        var said = target.Expect("ready ").Split(' ');
        Requires.That(said[0] != "-1", "userfaultfd");
        at = ulong.Parse(said[1], CultureInfo.InvariantCulture);
        using var process = PidFd.Open(target.Pid);
        var made = new Userfaultfd(process.GetFd(int.Parse(said[0], CultureInfo.InvariantCulture)));
        Assert.Equal(0, made.Enable());
        var sink = new ProcessSink();
        sink.Open(target.Pid, made, [new Vma { Start = at, End = at + Pages * VirtualPage.Size }]);
        return sink;
    }
}
