using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>What can't be restarted is named: by `check --pid` before, by `capture --require-restartable`, which saves nothing then.</summary>
public sealed class UnrestartableTests
{
    [Fact]
    public void Huge_tlb_pages_are_refused_by_name()
    {
        using var pages = HugePages.Take(2);
        using var target = TargetProcess.Start(new TargetStart(Requires.Python(), ["-c", """
            import ctypes, sys
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            at = libc.mmap(None, 2 << 20, 3, 0x40022, -1, 0)
            if at == 2**64 - 1: print("none", flush=True)
            else: ctypes.memset(at, 1, 2 << 20); print("ready", flush=True)
            sys.stdin.read()
            """]));
        Requires.That(target.ReadLine() == "ready", "free hugetlb pages");
        Refused(target.Pid, "huge TLB pages", "huge TLB pages");
    }

    [Fact]
    public void Strict_seccomp_is_refused_by_name()
    {
        using var target = TargetProcess.Start("sandboxed", "strict");
        target.Expect("ready");
        while (!File.ReadAllText($"/proc/{target.Pid}/status").Contains("Seccomp:\t1", StringComparison.Ordinal)) Thread.Sleep(5); // it says so before
        Refused(target.Pid, "it allows itself four system calls only", "strict seccomp");
    }

    private static void Refused(int pid, string why, string first)
    {
        using var store = new CliStore();
        var check = store.Run("check", "--pid", $"{pid}", "--json");
        Assert.Equal((int)ExitCode.Target, check.ExitCode);
        Assert.Contains(why, check.Output);
        Expect.Failure(store.Run("capture", $"{pid}", "--require-restartable"), ExitCode.Target, why, "nothing was saved");
        // Without the option it is saved, and said.
        var capture = store.Run("capture", $"{pid}").MustSucceed();
        Assert.Contains("can't be restarted", capture.Error);
        Assert.Contains(first, capture.Error); // of several obstacles
        Assert.Equal("1", store.Do("list", "--quiet").Split('\n').Length.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }
}
