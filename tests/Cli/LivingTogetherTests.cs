using System.Diagnostics;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Several at once, interruption, other users, cron's bare environment.</summary>
public sealed class LivingTogetherTests
{
    private const int SigInt = 2;
    private const int SigTerm = 15;

    [Fact]
    public async Task Two_captures_at_once_into_one_store_both_land()
    {
        using var store = new CliStore();
        using var first = new DemoTarget();
        using var second = new DemoTarget();
        for (var round = 0; round < 3; round++)
        {
            var captures = new[] { first, second }.Select(target => Task.Run(() => store.Capture(target.Pid, "--series", $"p{target.Pid}", "--lock-timeout", "5m"))).ToArray();
            var crids = await Task.WhenAll(captures);
            Assert.NotEqual(crids[0], crids[1]);
            foreach (var (target, crid) in new[] { (first, crids[0]), (second, crids[1]) })
            {
                store.Do("restore", crid, "--to", store.File("core"), "--force");
                Assert.True(target.IsIn(store.File("core"), target.Generation));
                target.Next();
            }
        }
        Assert.Equal(6, store.Do("list", "--quiet").Split('\n').Length);
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public async Task Readers_and_gc_work_beside_captures()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var crids = RoundTripTests.CaptureChain(store, target, 2);
        var captures = Task.Run(() =>
        {
            for (var i = 0; i < 4; i++)
            {
                target.Next();
                store.Capture(target.Pid, "--series", "demo", "--lock-timeout", "5m");
            }
        });
        var turns = 0;
        for (; !captures.IsCompleted || turns == 0; turns++)
        {
            store.Do("list");
            store.Do("show", crids[0]);
            store.Do("gc", "--wait", "300", "--lock-timeout", "5m");
            store.Do("verify", crids[0]);
        }
        await captures;
        store.Do("verify", "--all", "--read-data");
        Assert.Equal(6, store.Do("list", "--quiet").Split('\n').Length);
    }

    [Fact]
    public void A_gc_that_waits_in_vain_says_for_whom_and_exits_busy()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Do("forget", store.Capture(target.Pid));
        // .NET takes flock(2) for FileShare.None: a session of a capture that never ends.
        using (var session = new FileStream(Path.Combine(store.Path, "sessions", "999"), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None))
        {
            session.Write("77 0"u8);
            session.Flush();
            Expect.Failure(store.Run("gc", "--quiet", "--wait", "0"), ExitCode.Busy, "capture of CRID 999 (pid 77)");
            store.Do("gc", "--dry-run");
        }
        store.Do("gc", "--wait", "0");
    }

    [Theory]
    [InlineData(SigInt)]
    [InlineData(SigTerm)]
    public void Interrupted_in_the_middle_of_a_capture_the_target_goes_on_and_the_store_is_fine(int signal)
    {
        using var store = new CliStore();
        using var target = new DemoTarget(mib: 60);
        var before = store.Capture(target.Pid, "--series", "demo");
        var longest = 900;
        var seed = Seeds.Next();
        var random = new Random(seed);
        for (var round = 0; round < 8; round++)
        {
            target.Next();
            // --full: long enough to be hit in its middle.
            using var capture = store.Begin("capture", $"{target.Pid}", "--series", "demo", "--full", "--quiet");
            System.Threading.Thread.Sleep(random.Next(100, longest));
            if (!capture.HasExited) Run.Command("/bin/kill", [$"-{signal}", $"{capture.Id}"]);
            Assert.True(capture.WaitForExit(Patience.Limit), "it does not end when it is asked to");
            var said = capture.StandardError.ReadToEnd();
            // Hit while the runtime was starting, before it had done anything: it ends by the signal itself.
            var tooEarly = capture.ExitCode == 128 + signal && said.Length == 0;
            Assert.True(capture.ExitCode is 0 or (int)ExitCode.Interrupted || tooEarly, $"exit code {capture.ExitCode}, seed {seed}: {said}");
            // Toward the middle of what a capture takes here.
            longest = tooEarly ? Math.Min(20_000, longest * 3 / 2) : capture.ExitCode == 0 ? Math.Max(200, longest * 2 / 3) : longest;
            if (capture.ExitCode != 0 && !tooEarly)
            {
                Assert.Equal("crstore: interrupted\n", said);
                Assert.Equal("", capture.StandardOutput.ReadToEnd());
            }
            Assert.NotEqual('T', State(target.Pid));
        }

        // Once for certain: it has begun, and can't be done while somebody else has the store.
        target.Next();
        var earlier = Sessions();
        using (Hold(store))
        {
            using var capture = store.Begin("capture", $"{target.Pid}", "--series", "demo", "--full", "--quiet", "--lock-timeout", "10m");
            Patience.Until(() => Sessions().Except(earlier).Any(), "a capture to begin");
            Run.Signal(capture.Id, signal);
            Assert.True(capture.WaitForExit(Patience.Limit), "it does not end when it is asked to");
            Assert.Equal((int)ExitCode.Interrupted, capture.ExitCode);
            Assert.EndsWith("crstore: interrupted\n", capture.StandardError.ReadToEnd());
        }

        Assert.NotEqual('T', State(target.Pid));
        target.Next();
        var after = store.Capture(target.Pid, "--series", "demo");
        store.Do("restore", after, "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));
        store.Do("gc");
        store.Do("verify", "--all", "--read-data");
        Assert.Contains(before, store.Do("list", "--quiet").Split('\n'));

        string[] Sessions() => Directory.GetFiles(Path.Combine(store.Path, "sessions"));
    }

    [Theory]
    [InlineData("capture")]
    [InlineData("forget")]
    [InlineData("gc")]
    public void Interrupted_while_it_waits_for_another_writer_it_ends_and_does_nothing(string verb)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var crid = store.Capture(target.Pid);
        string[] words = verb switch { "capture" => ["capture", $"{target.Pid}"], "forget" => ["forget", crid], _ => ["gc"] };
        using (Hold(store))
        {
            using var waiting = store.Begin([.. words, "--lock-timeout", "10m"]);
            Assert.StartsWith("crstore: waiting for ", waiting.StandardError.ReadLine());
            Run.Command("/bin/kill", [$"-{SigTerm}", $"{waiting.Id}"]);
            Assert.True(waiting.WaitForExit(Patience.Limit), "it does not end when it is asked to");
            Assert.Equal("crstore: interrupted\n", waiting.StandardError.ReadToEnd());
            Assert.Equal((int)ExitCode.Interrupted, waiting.ExitCode);
            Expect.Failure(store.Run([.. words, "--lock-timeout", "100ms"]), ExitCode.Busy, "did not finish within 0.1 s", "--lock-timeout");
        }

        Assert.Equal(crid, store.Do("list", "--quiet"));
    }

    [Fact]
    public void Another_user_captures_a_process_of_his_own()
    {
        Requires.Root();
        using var home = new TempDir().OpenToAll();
        using var target = new DemoTarget(uid: OtherUser.Nobody);
        var capture = AsNobody(home, "capture", $"{target.Pid}", "--series", "mine").MustSucceed();
        Assert.Contains("created store", capture.Error);
        var store = Path.Combine(home.Path, "state", "crstore");
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(store));
        target.Next();
        AsNobody(home, "capture", $"{target.Pid}", "--series", "mine").MustSucceed();
        for (var generation = 1; generation <= 2; generation++)
        {
            AsNobody(home, "restore", $"mine@{generation}", "--to", home.File($"core{generation}")).MustSucceed();
            Assert.True(target.IsIn(home.File($"core{generation}"), generation));
        }
        AsNobody(home, "verify", "--all", "--read-data").MustSucceed();
    }

    [Fact]
    public void Another_user_is_told_all_of_the_settings_of_a_process_of_his_own()
    {
        Requires.Root();
        using var home = new TempDir().OpenToAll();
        using var target = new DemoTarget(uid: OtherUser.Nobody);
        var check = AsNobody(home, "check", $"{target.Pid}", "--all");
        Assert.Contains($"settings of process {target.Pid}", check.Output);
        Assert.DoesNotContain("timer slack", check.Output);
    }

    [Fact]
    public void Another_user_may_not_capture_roots_process_and_is_told_why()
    {
        Requires.Root();
        using var home = new TempDir().OpenToAll();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var result = AsNobody(home, "capture", $"{target.Pid}");
        Assert.True(result.ExitCode == (int)ExitCode.Target, result.ToString());
        Assert.Contains($"{target.Pid}", result.Error);
        Assert.Contains("hint: ", result.Error);
        Patience.Until(() => State(target.Pid) == 'S', "it to sleep");
    }

    [Fact]
    public void It_works_in_crons_bare_environment_from_an_installed_prefix()
    {
        using var prefix = new TempDir("crstore prefix ");
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        Run.Command(Repository.Path("tools", "install.sh"), ["--prefix", prefix.Path], timeout: TimeSpan.FromMinutes(30)).MustSucceed();
        foreach (var file in new[] { "share/man/man1/crstore.1", "share/bash-completion/completions/crstore" })
            Assert.True(new FileInfo(prefix.File(file)).Length > 0, file);

        var pidFile = store.File("service.pid");
        File.WriteAllText(pidFile, $"{target.Pid}\n");
        var result = Run.Command("env", ["-i", "PATH=/usr/bin:/bin", prefix.File("bin/crstore"), "capture", "--pidfile", pidFile,
            "--series", "cron", "--store", store.Path, "--quiet"], directory: "/").MustSucceed();
        Assert.Matches(@"^\d+\n$", result.Output);
        Assert.Contains("cron", store.Do("series", "--quiet"));
    }

    [Fact]
    public void A_store_of_another_user_is_refused_and_not_harmed()
    {
        Requires.Root();
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Capture(target.Pid);
        using var home = new TempDir().OpenToAll();
        var result = AsNobody(home, "list", "--store", store.Path);
        Expect.Failure(result, ExitCode.Environment, store.Path);
        store.Do("verify", "--all");
    }

    // Whoever writes to the store waits.
    private static TargetProcess Hold(CliStore store)
    {
        var holder = TargetProcess.Start(Requires.Program("flock", "util-linux"), "--no-fork", Path.Combine(store.Path, "lock"), "/bin/sh", "-c", "echo ready; exec sleep 1000");
        holder.Expect("ready");
        return holder;
    }

    private static CommandResult AsNobody(TempDir home, params string[] arguments) =>
        OtherUser.Run(OtherUser.Nobody, [$"HOME={home.Path}", $"XDG_STATE_HOME={home.File("state")}"], arguments);

    private static char State(int pid)
    {
        var stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[stat.LastIndexOf(')') + 2];
    }
}
