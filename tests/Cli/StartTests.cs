using System.Runtime.Intrinsics.X86;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>What is published is compiled ahead, together with the framework: what the JIT is left to do, each start waits for.</summary>
public sealed class StartTests
{
    // Measured: 10, 40 and 118. Without the profile of the runtime pack (Crstore.Cli.csproj): 76, 247 and 296. A restore: 30.
    private const int Few = 30, FewInRestart = 80, FewInCapture = 180, FewInRestore = 60;

    [Fact]
    public void Little_is_compiled_at_the_start()
    {
        RequireWhatItIsCompiledFor();
        using var store = new CliStore();
        AssertFew(Few, store, "--version");
    }

    [Fact]
    public void Little_is_compiled_in_a_small_capture_and_a_lazy_restart()
    {
        RequireWhatItIsCompiledFor();
        Requires.Root();
        using var store = new CliStore();
        int pid;
        using (var target = TargetProcess.Start(new TargetStart(Targets.Path("first_instruction"), "8", "1", store.File("gaps")).AsDaemon("/dev/null", store.File("out"), "/dev/null")))
        {
            Until(() => File.Exists(store.File("out")) && File.ReadAllText(store.File("out")).StartsWith("ready", StringComparison.Ordinal));
            store.Capture(pid = target.Pid, "--series", "s");
            AssertFew(FewInCapture, store, "capture", $"{pid}", "--series", "s", "--quiet");
            Signals.Kill(pid, Signals.SIGKILL);
            Until(() => !Directory.Exists($"/proc/{pid}"));
        }

        try
        {
            AssertFew(FewInRestart, store, "restart", "s", "--detach", "--lazy", "--quiet");
        }
        finally
        {
            Signals.TryKill(pid, Signals.SIGKILL);
        }
    }

    // What hashes sixteen pages side by side needs AVX-512, and took the JIT 8 to 120 ms. A processor without it compiles nothing instead.
    [Theory]
    [InlineData("1")]
    [InlineData("0")]
    public void Little_is_compiled_in_a_restore_whatever_the_processor_has(string avx512)
    {
        RequireWhatItIsCompiledFor();
        using var store = new CliStore();
        string crid;
        using (var target = TargetProcess.Start("pattern_writer", "2", "1"))
            crid = store.Capture(target.Pid);
        var compiled = Compiled(store, new() { ["DOTNET_EnableAVX512"] = avx512 }, "restore", crid, "--to", store.File("image"), "--format", "raw", "--quiet");
        AssertFew(FewInRestore, compiled);
        Assert.Contains(compiled, l => l.Contains("WideSha256:", StringComparison.Ordinal) || l.Contains("WidePageHash:", StringComparison.Ordinal)); // it is asked for
        Assert.DoesNotContain(compiled, l => l.Contains("WideSha256:Of", StringComparison.Ordinal));
    }

    // It is loaded when the first pages are hashed: a serving crstore may have run for long by then.
    [Fact]
    public void What_is_gone_since_another_version_was_installed_is_done_without()
    {
        using var store = new CliStore();
        Run.Command("cp", ["-r", Path.GetDirectoryName(CrstoreProgram.Path)!, store.File("program")]).MustSucceed();
        File.WriteAllText(store.File("hook"), $"#!/bin/sh\nrm -f {store.File("program")}/Crstore.Wide.dll\n");
        File.SetUnixFileMode(store.File("hook"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        using var target = TargetProcess.Start("pattern_writer", "2", "1");
        Run.Command(Path.Combine(store.File("program"), "crstore"), ["capture", $"{target.Pid}", "--store", store.Path, "--hook", store.File("hook")], environment: CrstoreProgram.Clean).MustSucceed();
        Assert.False(File.Exists(Path.Combine(store.File("program"), "Crstore.Wide.dll")));
        store.Do("verify");
    }

    private static void AssertFew(int limit, CliStore store, params string[] arguments) => AssertFew(limit, Compiled(store, [], arguments));

    private static void AssertFew(int limit, List<string> compiled) =>
        Assert.True(compiled.Count <= limit, $"{compiled.Count} methods are compiled, more than {limit}:\n{string.Join('\n', compiled)}");

    // Methods that are compiled again since they are called often (Tier1) are nobody's wait.
    private static List<string> Compiled(CliStore store, Dictionary<string, string?> environment, params string[] arguments)
    {
        var list = store.File("compiled");
        File.Delete(list);
        store.RunWith(new Dictionary<string, string?>(environment) { ["DOTNET_JitStdOutFile"] = list, ["DOTNET_JitDisasmSummary"] = "1" }, arguments).MustSucceed();
        var compiled = File.ReadLines(list).Where(l => !l.Contains("Tier1", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(compiled); // the list is what it seems to be
        return compiled;
    }

    private static void RequireWhatItIsCompiledFor() => Requires.That(Avx2.IsSupported && Bmi2.IsSupported && Fma.IsSupported, "what the program is compiled for (x86-64-v3)");

    private static void Until(Func<bool> condition) => Patience.Until(condition, "a process to come or go");
}
