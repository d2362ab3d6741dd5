using System.Text;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Proc;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Linux;

/// <summary>The parsers of /proc on odd, damaged and real input.</summary>
public class ProcParserTests
{
    private const string Fields = " S 7 8 9 0 -1 4194560 5 6 7 8 250 130 -3 12 20 -5 3 0 4242 1000 10 18446744073709551615 "
        + "26 27 28 0 0 0 0 0 0 0 0 0 17 1 33 2 0 0 0 45 46 47 48 49 50 51 256\n";

    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [Theory]
    [InlineData(8, 34816, 8, true)]
    [InlineData(8, 34816, 7, false)]
    [InlineData(8, 0, -1, false)]   // no terminal
    [InlineData(8, 34816, -1, false)] // nobody's
    public void A_process_is_in_the_foreground_if_its_group_has_the_terminal(int group, int terminal, int foreground, bool expected) =>
        Assert.Equal(expected, StatLine.Parse(Bytes($"1 (sh){Fields.Replace(" S 7 8 9 0 -1 ", $" S 7 {group} 9 {terminal} {foreground} ", StringComparison.Ordinal)}")).IsInForeground);

    [Theory]
    [InlineData("sh")]
    [InlineData("a) (b")]
    [InlineData(") S 1 1 (")]
    [InlineData("two\nlines")]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("ünï")]
    public void A_command_name_may_hold_anything(string name)
    {
        var stat = StatLine.Parse(Bytes($"42 ({name}){Fields}"));
        Assert.Equal(name, stat.Comm);
        Assert.Equal((42, 'S', 7, 8, 9), (stat.Id, stat.State, stat.Ppid, stat.Pgrp, stat.Session));
    }

    [Fact]
    public void Every_field_comes_from_its_place()
    {
        var stat = StatLine.Parse(Bytes($"42 (x){Fields}"));
        Assert.Equal((250UL, 130UL), stat.Time);
        Assert.Equal(unchecked((ulong)-3), stat.ChildTime.User);
        Assert.Equal((-5, 3, 4242UL), (stat.Nice, stat.Threads, stat.StartTime));
        Assert.Equal((26UL, 27UL, 28UL), stat.Code);
        Assert.Equal((17, 1, 33, 2), (stat.ExitSignal, stat.Processor, stat.RtPriority, stat.Policy));
        Assert.Equal((45UL, 46UL, 47UL), stat.Data);
        Assert.Equal((48UL, 49UL, 50UL, 51UL), stat.Arguments);
        Assert.Equal(256, stat.ExitCode);
        Assert.False(stat.IsZombie);
    }

    private const string Sched = "cat (25575, #threads: 1)\n-----\nse.exec_start   :      69240029.237209\nse.sum_exec_runtime   :   0.000042\n"
        + "nr_switches      :    18\nnr_voluntary_switches   :   1\n";

    [Fact]
    public void A_sched_file_gives_nanoseconds() =>
        Assert.Equal(new SchedLines(69_240_029_237_209, 42, 18), SchedLines.TryParse(Bytes(Sched)));

    [Theory]
    [InlineData("se.exec_start")]
    [InlineData("se.sum_exec_runtime")]
    [InlineData("nr_switches")]
    [InlineData(".237209")]
    public void A_sched_file_of_another_form_gives_nothing(string lost) => Assert.Null(SchedLines.TryParse(Bytes(Sched.Replace(lost, ""))));

    [Fact]
    public void The_kernel_at_hand_gives_one_of_that_form()
    {
        var sched = SchedLines.TryParse(TaskFile.ReadBytes("/proc/self/sched"));
        Assert.True(sched is { LastRunNs: > 0 });
    }

    [Fact]
    public void A_syscall_line_gives_the_call_and_its_arguments()
    {
        var call = SyscallLine.TryParse(Bytes("230 0x1 0x0 0x7fff0ed014d0 0x0 0x5 0x6 0x7fff0ed014b8 0x7f88454ed503\n"));
        Assert.NotNull(call);
        Assert.Equal((230UL, 0x7fff0ed014b8UL), (call.Number, call.StackPointer));
        Assert.Equal([1UL, 0, 0x7fff0ed014d0, 0, 5, 6], call.Arguments);
    }

    [Theory]
    [InlineData("running\n")]
    [InlineData("-1 0x7fff0ed014b8 0x7f88454ed503\n")]
    [InlineData("")]
    public void A_thread_in_no_call_gives_none(string line) => Assert.Null(SyscallLine.TryParse(Bytes(line)));

    [Fact]
    public void A_stat_line_cut_anywhere_is_an_error()
    {
        var line = Bytes($"42 (a) (b){Fields}");
        for (var length = 0; length < line.Length - 4; length++) // the last field may look whole when only its end is missing
            Assert.Throws<InvalidDataException>(() => StatLine.Parse(line.AsSpan(0, length)));
    }

    [Theory]
    [InlineData("x (y) S 7")]
    [InlineData("42 y S 7 8")]
    [InlineData(") (")]
    public void What_is_no_stat_line_is_an_error(string line) =>
        Assert.Throws<InvalidDataException>(() => StatLine.Parse(Bytes(line)));

    [Fact]
    public void A_number_that_is_none_is_named() =>
        Assert.Contains("22", Assert.Throws<InvalidDataException>(() => StatLine.Parse(Bytes($"42 (x){Fields}".Replace("4242", "many")))).Message);

    [Fact]
    public void The_real_files_of_this_process_parse_and_agree()
    {
        using var proc = ProcDirectory.Open(Environment.ProcessId);
        var stat = StatLine.Parse(proc.Read("stat", 65536));
        Assert.Equal(Environment.ProcessId, stat.Id);
        var status = StatusLines.Parse(proc.Read("status", 65536));
        Assert.Equal(0, status.TracerPid);
        Assert.Equal(4, status.Uids.Count);
        Assert.NotNull(status.Umask);
        Assert.Contains(Environment.ProcessId, status.NamespacePids);
        Assert.NotEqual(0UL, status.SignalsCaught);
        var limits = ProcLimits.Parse(proc.Read("limits", 65536));
        Assert.Equal(Run.Shell("ulimit -n").Output.Trim(), limits[(int)ProcLimits.OpenFiles].Soft.ToString());
        var auxv = proc.Read("auxv", 65536).ToArray();
        Assert.NotEqual(0UL, AuxVector.Find(auxv, AuxVector.AtRandom));
        Assert.Null(AuxVector.Find(auxv, 12345));
        Assert.True(NamespaceLink.Inode(proc.ReadLink("ns/pid")) > 0);
        Assert.Equal(0, proc.TryStat("exe", out var exe));
        Assert.Equal(FileStatus.Of(proc.ReadLink("exe")), exe);
        Assert.Contains(Environment.ProcessId, proc.Numbers("task"));
    }

    [Fact]
    public void Status_is_read_by_key_whatever_the_name_holds()
    {
        const string text = "Name:\tx\\nUid:\t9\nUmask:\t0137\nTracerPid:\t5\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n"
            + "SigIgn:\t0000000000001000\nSigCgt:\t8000000000000001\nCapInh:\t1\nCapPrm:\t2\nCapEff:\t3\nCapBnd:\t4\nCapAmb:\t5\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        var status = StatusLines.Parse(Bytes(text));
        Assert.Equal([1u, 2, 3, 4], status.Uids);
        Assert.Equal([10u, 20], status.Groups);
        Assert.Equal((0x1000UL, 0x8000000000000001UL), (status.SignalsIgnored, status.SignalsCaught));
        Assert.Equal((1UL, 2UL, 3UL, 4UL, 5UL), status.Capabilities);
        Assert.Equal((5, 95u, true, 2u), (status.TracerPid, status.Umask!.Value, status.NoNewPrivileges, status.Seccomp));
    }

    [Fact]
    public void Speculation_is_what_the_kernel_says_and_empty_where_it_says_nothing()
    {
        const string text = "Name:\tx\nTracerPid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t \nSigIgn:\t0\nSigCgt:\t0\nCapInh:\t1\nCapPrm:\t2\nCapEff:\t3\nCapBnd:\t4\nCapAmb:\t5\n";
        var status = StatusLines.Parse(Bytes(text + "Speculation_Store_Bypass:\tthread force mitigated\nSpeculationIndirectBranch:\tconditional disabled\n"));
        Assert.Equal(("thread force mitigated", "conditional disabled"), (status.StoreBypass, status.IndirectBranch));
        Assert.Equal(("", ""), (StatusLines.Parse(Bytes(text)).StoreBypass, StatusLines.Parse(Bytes(text)).IndirectBranch));
    }

    [Theory]
    [InlineData("Name:\tVmLck:\nVmLck:\t    1234 kB\nVmPin:\t 5 kB\n", 1234)]
    [InlineData("Name:\tx\nVmPin:\t 5 kB\n", 0)]
    [InlineData("Name:\tx\nVmLck:\t 7", 7)]
    [InlineData("", 0)]
    public void Locked_memory_is_read_from_its_line(string status, ulong expected) => Assert.Equal(expected, LockedMemory.KiB(Bytes(status)));

    [Theory]
    [InlineData("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t00000003000344fe\nCapInh:\t0\n", 0x3000344fe)]
    [InlineData("Name:\tSigCgt:\nSigCgt:\tfffffffe7ffbfeff\n", 0xfffffffe7ffbfeff)]
    [InlineData("Name:\tx\n", 0)]
    public void A_mask_is_read_from_its_line(string status, ulong expected) => Assert.Equal(expected, StatusNumber.Hex(Bytes(status), "\nSigCgt:"u8));

    [Theory]
    [InlineData("ksm_rmap_items 0\nksm_merge_any: yes\nksm_mergeable: no\n", true)]
    [InlineData("ksm_rmap_items 0\nksm_merge_any: no\nksm_mergeable: yes\n", false)]
    [InlineData("ksm_rmap_items 0\n", null)]
    public void Merging_is_read_where_the_kernel_tells_it(string file, bool? expected) => Assert.Equal(expected, KsmStat.MergesAny(Bytes(file)));

    [Theory]
    [InlineData("00400000 default file=/bin/x mapped=1 N0=1 kernelpagesize_kB=4\n7f00 default\n", "")]
    [InlineData("00400000 default file=/bin/x\n7f00 bind:1 anon=3\n7f01 interleave:0-1\n", "bind:1")]
    [InlineData("00400000 prefer (many):0 file=/bin/x\n", "prefer")]
    [InlineData("", "")]
    public void The_first_policy_that_is_not_the_default_is_found(string file, string expected) => Assert.Equal(expected, NumaMaps.FirstPolicy(Bytes(file)));

    [Fact]
    public void Timer_slack_of_a_thread_is_its_own()
    {
        using var proc = ProcDirectory.Open(Environment.ProcessId);
        foreach (var tid in new[] { Environment.ProcessId, ThisProcess.ThreadId() })
            Assert.Equal(ulong.Parse(File.ReadAllText($"/proc/{tid}/timerslack_ns")), TimerSlack.Get(proc, tid));
        Assert.Null(TimerSlack.Get(proc, int.MaxValue));
    }

    [Theory]
    [InlineData("")]
    [InlineData("Name:\tx\n")]
    [InlineData("Name:\tx\nTracerPid:\t0\nUid:\t1\t2\n")]
    [InlineData("Name:\tx\nTracerPid:\tzero\nUid:\t1\t2\t3\t4\n")]
    public void A_status_without_its_lines_is_an_error(string text) =>
        Assert.Throws<InvalidDataException>(() => StatusLines.Parse(Bytes(text)));

    [Fact]
    public void A_status_or_limits_file_cut_in_a_line_is_an_error()
    {
        var status = File.ReadAllBytes("/proc/self/status");
        Assert.Throws<InvalidDataException>(() => StatusLines.Parse(status.AsSpan(0, status.Length - 3)));
        var limits = File.ReadAllBytes("/proc/self/limits");
        Assert.Throws<InvalidDataException>(() => ProcLimits.Parse(limits.AsSpan(0, limits.Length - 3)));
        Assert.Throws<InvalidDataException>(() => ProcLimits.Parse(limits.AsSpan(0, limits.Length / 2)));
        Assert.Throws<InvalidDataException>(() => ProcLimits.Parse(Bytes(Encoding.ASCII.GetString(limits).Replace("unlimited", "a lot"))));
    }

    [Fact]
    public void An_auxiliary_vector_without_its_end_is_an_error_and_an_empty_one_is_not()
    {
        var auxv = File.ReadAllBytes("/proc/self/auxv");
        Assert.Throws<InvalidDataException>(() => AuxVector.Find(auxv.AsSpan(0, 24), 99));
        Assert.Null(AuxVector.Find([], AuxVector.AtRandom));
    }

    [Theory]
    [InlineData("pid:4026531836")]
    [InlineData("pid:[x]")]
    [InlineData("pid:[")]
    [InlineData("")]
    public void What_is_no_namespace_link_is_an_error(string link) =>
        Assert.Throws<InvalidDataException>(() => NamespaceLink.Inode(link));

    [Fact]
    public void A_proc_directory_reads_files_of_any_size_and_refuses_beyond_the_limit()
    {
        var argument = new string('x', 100_000);
        using var target = TargetProcess.Start("/bin/sh", "-c", "echo ready; read x", argument);
        target.Expect("ready");
        using var proc = ProcDirectory.Open(target.Pid);
        Assert.EndsWith(argument + "\0", Encoding.ASCII.GetString(proc.Read("cmdline", 1 << 20)));
        Assert.Throws<InvalidDataException>(() => proc.Read("cmdline", 50_000));
        Assert.Equal(Errno.ENOENT, Assert.Throws<LinuxException>(() => proc.Read("no-such-file", 100)).ErrorNumber);
    }

    [Fact]
    public void A_proc_directory_of_a_process_that_ended_says_so_even_if_the_pid_is_taken_again()
    {
        ProcDirectory proc;
        using (var target = TargetProcess.Start("/bin/sleep", "1000"))
            proc = ProcDirectory.Open(target.Pid);
        using (proc)
        {
            Assert.Contains(Assert.Throws<LinuxException>(() => proc.Read("stat", 65536)).ErrorNumber, new[] { Errno.ESRCH, Errno.ENOENT });
            Assert.NotEqual(0, proc.TryReadLink("exe", out _));
            Assert.NotEqual(0, proc.TryStat("exe", out _));
        }
    }

    [Fact]
    public void Build_ids_agree_with_readelf_and_odd_files_have_none()
    {
        using var directory = new TempDir();
        using (var libc = File.OpenHandle("/proc/self/exe"))
            Assert.InRange(BuildId.Read(libc).Length, 8, 64);
        if (Requires.Has("readelf"))
        {
            using var shell = File.OpenHandle("/bin/sh");
            Assert.Contains(Convert.ToHexStringLower(BuildId.Read(shell)), Run.Command("readelf", ["-n", "/bin/sh"]).Output);
        }
        var elf = File.ReadAllBytes("/bin/sh");
        var random = Seeds.Random();
        for (var i = 0; i < 200; i++)
        {
            // Headers damaged at random, and files cut short: never an exception.
            var damaged = elf.AsSpan(0, random.Next(0, 4096)).ToArray();
            for (var n = random.Next(0, 8); n > 0 && damaged.Length > 0; n--)
                damaged[random.Next(Math.Min(damaged.Length, 1200))] = (byte)random.Next(256);
            File.WriteAllBytes(directory.File("damaged"), damaged);
            using var file = File.OpenHandle(directory.File("damaged"));
            Assert.InRange(BuildId.Read(file).Length, 0, 64);
        }
    }
}
