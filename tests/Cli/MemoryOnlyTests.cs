using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`capture --memory-only`, `commit` and `discard` on a real process: each image is what was there, wherever it is kept.</summary>
public sealed class MemoryOnlyTests : IDisposable
{
    private const int SigKill = 9;
    private readonly string _memory = Directory.CreateDirectory($"/dev/shm/crstore-cli-{Guid.NewGuid():N}", (UnixFileMode)0b111_000_000).FullName;
    private readonly CliStore _store = new();

    [Fact]
    public void Images_in_memory_committed_ones_and_those_captured_behind_them_are_what_was_there()
    {
        using var target = new DemoTarget();
        var known = new List<(string Crid, int Generation)>();
        foreach (var inMemory in new[] { false, true, true, false, true })
        {
            string[] options = inMemory ? ["--memory-only"] : [];
            known.Add((Do(["capture", $"{target.Pid}", "--series", "demo", "--quiet", .. options]), target.Generation));
            target.Next();
        }

        Assert.Equal([known[1].Crid, known[2].Crid, known[4].Crid], Do("list", "--quiet").Split('\n')
            .Where(crid => Do("show", crid).Contains("in memory only", StringComparison.Ordinal)));
        AllAreRight();
        Expect.Failure(Run("wait", known[2].Crid), ExitCode.Busy, "kept in memory only", $"crstore commit {known[2].Crid}");

        // Killed right behind the commit: committed, and in memory too. It can be called again.
        Assert.Equal(128 + SigKill, DyingAt("adopt.committed", "commit", known[2].Crid).ExitCode);
        AllAreRight();
        Assert.Equal($"CRID {known[2].Crid} was committed already", Do("commit", known[2].Crid));
        // Killed in it: in memory.
        Assert.Equal(128 + SigKill, DyingAt("commit.frames-ingested", "commit", known[1].Crid).ExitCode);
        Expect.Failure(Run("wait", known[1].Crid), ExitCode.Busy, "kept in memory only");
        Assert.StartsWith($"CRID {known[1].Crid} is committed: ", Do("commit", known[1].Crid), StringComparison.Ordinal);
        Expect.Failure(Run("discard", known[1].Crid), ExitCode.Usage, $"CRID {known[1].Crid} is committed", $"crstore forget {known[1].Crid}");

        // What is captured now builds on what was committed last, whatever it was.
        known.Add((Do("capture", $"{target.Pid}", "--series", "demo", "--quiet"), target.Generation));
        AllAreRight();
        Do("discard", known[4].Crid);
        Expect.Failure(Run("restore", known[4].Crid, "--to", _store.File("none")), ExitCode.Usage, $"there is no CRID {known[4].Crid}");
        Do("verify", "--all", "--read-data");
        Assert.DoesNotContain(Directory.GetDirectories(_memory, "*", SearchOption.AllDirectories), d => d.EndsWith("db", StringComparison.Ordinal));

        void AllAreRight()
        {
            foreach (var (crid, generation) in known)
            {
                Do("restore", crid, "--to", _store.File("core"), "--force");
                Assert.True(target.IsIn(_store.File("core"), generation), $"CRID {crid} is not generation {generation}");
            }
        }
    }

    [Fact]
    public void A_process_restarts_from_memory()
    {
        Requires.That(Environment.IsPrivilegedProcess, "root: a restart with the old process ids");
        var target = TargetProcess.Start("/bin/sleep", "1000");
        var crid = Do("capture", $"{target.Pid}", "--memory-only", "--quiet");
        var pid = target.Pid;
        target.Dispose();
        Assert.Equal($"{pid}", Do("restart", crid, "--detach"));
        try
        {
            Assert.Equal("sleep\n", File.ReadAllText($"/proc/{pid}/comm"));
        }
        finally
        {
            Support.Run.Command("kill", ["-9", $"{pid}"]).MustSucceed();
        }
    }

    [Fact]
    public void Memory_only_and_lazy_exclude_each_other() =>
        Expect.Failure(Run("capture", "1", "--memory-only", "--lazy"), ExitCode.Usage, "--memory-only and --lazy exclude each other");

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_memory, recursive: true);
    }

    private string Do(params string[] arguments) => Run(arguments).MustSucceed().Output.TrimEnd('\n');

    private CommandResult Run(params string[] arguments) => _store.RunWith(new Dictionary<string, string?> { ["CRSTORE_MEMORY"] = _memory }, arguments);

    private CommandResult DyingAt(string point, params string[] arguments) =>
        _store.RunWith(new Dictionary<string, string?> { ["CRSTORE_MEMORY"] = _memory, ["CRSTORE_FAULT"] = point }, arguments);
}
