using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects;
using Crstore.Objects.Files;
using Crstore.Objects.Processes;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Google.Protobuf;
using Xunit;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Tests.Restart;

/// <summary>What is said of settings that can't come back. Those that do are programs of tests/Targets/objects.</summary>
public class SettingsTests
{
    private const string Calls = "import ctypes, fcntl, threading\nlibc = ctypes.CDLL(None, use_errno=True)\n";

    [Fact]
    public void A_local_descriptor_table_is_refused()
    {
        // modify_ldt(1, entry 0: a 32-bit data segment, 16)
        var verdicts = Captured(Calls + "assert libc.syscall(154, 1, struct.pack('IIII', 0, 0, 0xfffff, 0x51), 16) == 0");
        Assert.Contains(verdicts, v => v.Verdict.Outcome == Restartability.Refused && v.Verdict.Why.Contains("modify_ldt", StringComparison.Ordinal));
    }

    [Fact]
    public void A_directory_that_is_watched_with_dnotify_is_refused_and_no_other()
    {
        using var directory = new TempDir("crstore-watched-");
        var refused = Captured(Calls + $"""
            watched, plain = os.open("{directory.Path}", os.O_RDONLY), os.open("{directory.Path}", os.O_RDONLY)
            fcntl.fcntl(watched, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_MULTISHOT)
            """).Where(v => v.Verdict.Outcome == Restartability.Refused);
        Assert.Contains("dnotify", Assert.Single(refused).Verdict.Why);
    }

    [Fact]
    public void Secure_bits_of_another_thread_than_the_first_are_refused()
    {
        Requires.Root();
        // PR_SET_SECUREBITS of SECBIT_NO_SETUID_FIXUP for all, and of nothing in the thread.
        var verdicts = Captured(Calls + """
            assert libc.prctl(28, 4, 0, 0, 0) == 0
            done = threading.Event()
            def own(): libc.prctl(28, 0, 0, 0, 0); done.set(); threading.Event().wait()
            threading.Thread(target=own, daemon=True).start()
            done.wait()
            """);
        Assert.Contains(verdicts, v => v.Verdict.Outcome == Restartability.Refused && v.Verdict.Why.Contains("secure bits", StringComparison.Ordinal));
    }

    [Fact]
    public void What_may_have_confined_itself_with_Landlock_comes_back_with_a_warning()
    {
        Requires.That(OfferedSettings.Landlock, "no Landlock here");
        var plain = Captured("");
        var confined = Captured(Calls + "libc.prctl(38, 1, 0, 0, 0)");
        Assert.DoesNotContain(Verdicts.Differences(plain), d => d.Contains("Landlock", StringComparison.Ordinal));
        Assert.Contains(Verdicts.Differences(confined), d => d.Contains("Landlock", StringComparison.Ordinal));
        Assert.DoesNotContain(confined, v => v.Verdict.Outcome == Restartability.Refused);
    }

    [Fact]
    public void Flags_of_a_thread_come_back_or_the_restart_says_which_can_not()
    {
        const ulong flusher = 0x180000; // PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE
        using var run = SocketTalk.Start("");
        var crid = run.Capture();
        run.Kill();
        try
        {
            run.Restart(crid, edit: manifest =>
            {
                var thread = manifest.Body.Processes[0].Threads[0];
                var flags = StatLine.Parse(thread.Stat.Span).Flags;
                thread.Stat = ByteString.CopyFromUtf8(thread.Stat.ToStringUtf8().Replace($" {flags} ", $" {flags | flusher} ", StringComparison.Ordinal));
            });
            Assert.Equal(flusher, StatLine.Parse(File.ReadAllBytes($"/proc/{run.Pid}/stat")).Flags & flusher);
        }
        catch (EnvironmentException e)
        {
            Assert.Contains("PR_SET_IO_FLUSHER", e.Message); // it takes CAP_SYS_RESOURCE
            Assert.False(Directory.Exists($"/proc/{run.Pid}"));
        }
    }

    [Fact]
    public void Of_a_thread_whose_slack_is_not_known_it_is_said()
    {
        Assert.Contains("timer slack", Assert.Single(Check(new Process { Pid = 5, Threads = { new Thread { Tid = 5 } } })).Why);
        Assert.Empty(Check(new Process { Pid = 5, Threads = { new Thread { Tid = 5, TimerSlackNs = 0 } } }));
    }

    [Fact]
    public void Policies_of_NUMA_are_a_warning()
    {
        var verdict = Assert.Single(Check(new Process { Pid = 5, MemoryPolicy = "interleave:0-1" }));
        Assert.Equal(Restartability.Restarts, verdict.Outcome);
        Assert.Contains("interleave:0-1", verdict.Why);
    }

    [Fact]
    public void The_parent_death_signal_of_the_first_process_is_said_to_be_dropped()
    {
        Assert.Contains("parent-death", Assert.Single(Check(new Process { Pid = 5, ParentDeathSignal = 9 })).Why);
        Assert.Contains("parent-death", Assert.Single(Check(new Process { Pid = 5, Threads = { new Thread { Tid = 5, TimerSlackNs = 1, ParentDeathSignal = 9 } } })).Why);
    }

    [Theory]
    [InlineData("thread vulnerable", "thread vulnerable", null)]
    [InlineData("thread mitigated", "thread vulnerable", 4)]
    [InlineData("thread force mitigated", "thread vulnerable", 8)]
    [InlineData("thread vulnerable", "thread mitigated", 2)]
    [InlineData("vulnerable", "thread vulnerable", 16)]
    [InlineData("thread vulnerable", "thread force mitigated", null)]
    [InlineData("thread mitigated", "vulnerable", null)]
    [InlineData("thread mitigated", "not vulnerable", null)]
    [InlineData("", "thread vulnerable", null)]
    [InlineData("conditional disabled", "conditional enabled", 4)]
    [InlineData("conditional force disabled", "conditional enabled", 8)]
    [InlineData("conditional enabled", "conditional disabled", 2)]
    [InlineData("conditional disabled", "always enabled", null)]
    public void Speculation_is_set_where_a_thread_may_choose_and_has_another_setting(string theirs, string mine, int? setting) =>
        Assert.Equal(setting, Speculation.Setting(theirs, mine));

    [Theory]
    [InlineData("thread mitigated", "vulnerable", true)]
    [InlineData("thread force mitigated", "vulnerable", true)]
    [InlineData("thread vulnerable", "vulnerable", false)]
    [InlineData("thread mitigated", "globally mitigated", false)]
    [InlineData("thread mitigated", "thread vulnerable", false)]
    [InlineData("conditional disabled", "always enabled", true)]
    [InlineData("conditional disabled", "always disabled", false)]
    [InlineData("vulnerable", "vulnerable", false)]
    public void Speculation_that_was_off_and_can_not_be_here_is_a_warning(string theirs, string mine, bool said) =>
        Assert.Equal(said, Speculation.WhyNot("it", theirs, mine) is not null);

    [Fact]
    public void Utilization_clamps_are_set_where_they_differ_and_said_to_be_lost_where_there_are_none()
    {
        byte[] none = Attributes(0, 0), standard = Attributes(0, 1024), own = Attributes(100, 200);
        Assert.Null(UtilizationClamps.Setting(own, own));
        Assert.Null(UtilizationClamps.Setting(own, none));
        Assert.Null(UtilizationClamps.Setting(none, standard));
        Assert.Null(UtilizationClamps.Setting(own.AsSpan(0, SchedulingAttributes.Size), standard));
        var setting = UtilizationClamps.Setting(own, standard);
        Assert.NotNull(setting);
        Assert.Equal(SchedulingAttributes.SizeWithClamps, BinaryPrimitives.ReadInt32LittleEndian(setting));
        Assert.Equal(0x78UL, BinaryPrimitives.ReadUInt64LittleEndian(setting.AsSpan(8))); // nothing but them
        Assert.Equal(own.AsSpan(SchedulingAttributes.Size), setting.AsSpan(SchedulingAttributes.Size));
        Assert.Contains("100 to 200", UtilizationClamps.WhyNot(own, none));
        Assert.Null(UtilizationClamps.WhyNot(own, standard));
        Assert.Null(UtilizationClamps.WhyNot(standard, none));
        Assert.Null(UtilizationClamps.WhyNot(none, none));
    }

    private static byte[] Attributes(uint least, uint most)
    {
        var attributes = new byte[SchedulingAttributes.SizeWithClamps];
        BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(SchedulingAttributes.Size), least);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(SchedulingAttributes.Size + 4), most);
        return attributes;
    }

    private static List<ObjectVerdict> Captured(string setup)
    {
        using var run = SocketTalk.Start(setup);
        using var scene = new RestartScene(run.Manifest(run.Capture()).Body) { Stdio = StdioPolicy.Null };
        return Verdicts.Of(scene);
    }

    private static List<Verdict> Check(Process process)
    {
        using var scene = new RestartScene(new CheckpointBody { Processes = { process } });
        return [.. new Settings().Check(process, scene).Select(v => v.Verdict)];
    }
}
