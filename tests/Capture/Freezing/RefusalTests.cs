using System.Diagnostics;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>What can't be frozen is refused with the reason, and is not harmed.</summary>
public sealed class RefusalTests
{
    private const int NobodyUid = 65534, OtherUid = 65533;

    [Fact]
    public void A_process_that_is_not_there() =>
        Assert.Contains("no process", Assert.Throws<TargetException>(() => Frozen.During(4_194_304, _ => { })).Message);

    [Fact]
    public void A_thread_id_names_its_process()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        var tid = TaskList.Threads(target.Pid)[1];
        var error = Assert.Throws<TargetException>(() => Frozen.During(tid, _ => { }));
        Assert.Contains($"thread of process {target.Pid}", error.Message);
    }

    [Fact]
    public void A_process_that_somebody_else_traces_names_the_tracer()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        Frozen.During(target.Pid, _ =>
        {
            using var second = new PtraceThread(); // for the kernel, another thread is another tracer
            var error = Assert.Throws<TargetException>(() => second.Run(() => FrozenTree.Freeze(target.Pid, false, new FreezeOptions())));
            Assert.Contains("already traced by process", error.Message);
            Assert.Contains(Environment.ProcessId.ToString(), error.Message);
        });
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void A_zombie_has_exited()
    {
        using var target = TargetProcess.Start("fork_storm", "0", "zombie");
        target.Expect("ready");
        var zombie = TaskList.Children(target.Pid).First(p => Frozen.State(p) == 'Z');
        Assert.Contains("zombie", Assert.Throws<TargetException>(() => Frozen.During(zombie, _ => { })).Message);
    }

    [Fact]
    public void A_kernel_thread()
    {
        var kernelThread = Directory.EnumerateDirectories("/proc").Select(d => int.TryParse(Path.GetFileName(d), out var pid) ? pid : 0)
            .FirstOrDefault(p => p > 0 && TaskStat.Read(p) is { IsKernelThread: true });
        Assert.SkipWhen(kernelThread == 0, "no kernel thread is visible here (a container)");
        Assert.Contains("kernel thread", Assert.Throws<TargetException>(() => Frozen.During(kernelThread, _ => { })).Message);
    }

    [Fact]
    public void Crstore_itself() =>
        Assert.Contains("crstore itself", Assert.Throws<TargetException>(() => Frozen.During(Environment.ProcessId, _ => { })).Message);

    [Fact]
    public void A_32_bit_program()
    {
        // The smallest one: an ELF32 header, one segment, and "jmp $" (elf(5); 0x8048054 is the end of the headers).
        byte[] program = Convert.FromHexString("7f454c46010101000000000000000000" + "0200" + "0300" + "01000000" + "54800408" + "34000000"
            + "00000000" + "00000000" + "3400" + "2000" + "0100" + "0000" + "0000" + "0000"
            + "01000000" + "00000000" + "00800408" + "00800408" + "56000000" + "56000000" + "05000000" + "00100000" + "ebfe");
        using var directory = new TempDir("crstore-i386-");
        var path = directory.File("loop");
        File.WriteAllBytes(directory.File("bytes"), program);
        // Not made by us: a child of another test would have it open for writing until its exec (ETXTBSY).
        Support.Run.Command("install", ["-m", "500", directory.File("bytes"), path]).MustSucceed();
        Assert.SkipWhen(Support.Run.Shell($"timeout 0.2 {path}; test $? = 124").ExitCode != 0, "this kernel runs no 32-bit programs");
        using var target = TargetProcess.Start(path);
        Assert.Contains("32-bit", Assert.Throws<TargetException>(() => Frozen.During(target.Pid, _ => { })).Message);
        Assert.Equal('R', Frozen.WaitForState(target.Pid, "R"));
    }

    [Fact]
    public void Another_users_process_needs_root_and_ones_own_does_not()
    {
        Requires.Root();
        using var driver = new UnprivilegedDriver();
        using var own = TargetProcess.Start(new TargetStart(driver.Copy("thread_storm"), "1", "0") { Uid = NobodyUid });
        using var other = TargetProcess.Start(new TargetStart(driver.Copy("thread_storm"), "1", "0") { Uid = OtherUid });
        own.Expect("ready");
        other.Expect("ready");

        var refused = driver.Run(NobodyUid, other.Pid);
        Assert.Equal((int)ExitCode.Target, refused.ExitCode);
        Assert.Contains($"runs as uid {OtherUid}, crstore as uid {NobodyUid}", refused.Output);
        Assert.Equal("ok", other.Ask("verify"));

        var scope = TaskFile.TryReadText("/proc/sys/kernel/yama/ptrace_scope")?.Trim() ?? "0";
        var allowed = driver.Run(NobodyUid, own.Pid);
        if (scope == "0") Assert.Equal((0, "ready"), (allowed.ExitCode, allowed.Output.Trim()));
        else Assert.Contains("kernel.yama.ptrace_scope", allowed.Output);
        Assert.Equal("ok", own.Ask("verify"));
    }

    [Fact]
    public void A_process_that_is_not_dumpable_says_so_to_its_own_user()
    {
        Requires.Root();
        using var driver = new UnprivilegedDriver();
        using var target = TargetProcess.Start(new TargetStart(Requires.Python(), "-u", "-c",
            "import ctypes; ctypes.CDLL(None).prctl(4, 0); print('ready'); input()") { Uid = NobodyUid });
        target.Expect("ready");
        Assert.Contains("not dumpable", driver.Run(NobodyUid, target.Pid).Output);
    }

    /// <summary>tests/Crash/InjectDriver in a directory that other users can read, run as one of them.</summary>
    private sealed class UnprivilegedDriver : IDisposable
    {
        private readonly string _directory = Directory.CreateDirectory($"/tmp/crstore-driver-{Environment.ProcessId}-{Guid.NewGuid():n}").FullName;

        public UnprivilegedDriver()
        {
            Requires.Program("setpriv", "util-linux");
            var source = Path.GetDirectoryName(Environment.GetEnvironmentVariable("CRSTORE_INJECT_DRIVER")) is { Length: > 0 } given ? given
                : Repository.Path("tests", "Crash", "InjectDriver", "bin", AppContext.BaseDirectory.Contains("/Release/") ? "Release" : "Debug", "net10.0", "linux-x64");
            Support.Run.Command("cp", ["-t", _directory, .. Directory.GetFiles(source)]).MustSucceed(); // as above
            Support.Run.Command("chmod", ["-R", "a+rX", _directory]).MustSucceed();
        }

        /// <summary>A C target where that user can execute it.</summary>
        public string Copy(string target)
        {
            var path = Path.Combine(_directory, target);
            if (!File.Exists(path)) Support.Run.Command("install", ["-m", "755", Targets.Path(target), path]).MustSucceed();
            return path;
        }

        public CommandResult Run(int uid, int pid) => Support.Run.Command("setpriv",
            [$"--reuid={uid}", $"--regid={uid}", "--clear-groups", Path.Combine(_directory, "Crstore.InjectDriver"), pid.ToString(), "1"]);

        public void Dispose() => Directory.Delete(_directory, recursive: true);
    }
}
