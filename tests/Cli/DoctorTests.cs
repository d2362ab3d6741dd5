using System.Text.Json;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>doctor and untrack.</summary>
public sealed class DoctorTests
{
    [Fact]
    public void Doctor_tells_by_trial_what_works_here()
    {
        using var store = new CliStore();
        var checks = store.Json("doctor").GetProperty("checks").EnumerateArray().ToDictionary(check => check.GetProperty("name").GetString()!);
        foreach (var name in new[] { "kernel", "store", "ptrace", "process_vm_readv", "soft-dirty", "PAGEMAP_SCAN", "uffd write-protect",
            "CAP_SYS_PTRACE", "yama ptrace_scope", "RocksDB", "zstd" })
        {
            Assert.True(checks.ContainsKey(name), name);
        }
        Assert.Equal("works", checks["ptrace"].GetProperty("verdict").GetString());
        Assert.Equal("works", checks["process_vm_readv"].GetProperty("verdict").GetString());
        Assert.Matches(@"^\d+\.\d+", checks["RocksDB"].GetProperty("verdict").GetString());
        Assert.Matches(@"^\d+\.\d+\.\d+$", checks["zstd"].GetProperty("verdict").GetString());
        Assert.Equal(File.ReadAllText("/proc/sys/kernel/osrelease").Trim(), checks["kernel"].GetProperty("verdict").GetString());
        Assert.False(Directory.Exists(store.Path));
    }

    [Fact]
    public void Another_users_process_is_refused_by_every_verb_with_who_may()
    {
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var home = new TempDir().OpenToAll();
        foreach (string[] verb in new string[][] { ["capture", "--quiet"], ["untrack"], ["check", "--pid"], ["doctor"] })
        {
            var result = OtherUser.Run(OtherUser.Nobody, [], [.. verb, $"{target.Pid}", "--store", home.File("store")]);
            Assert.Equal((int)ExitCode.Target, result.ExitCode);
            Assert.Contains($"process {target.Pid} (sleep) runs as uid 0, crstore as uid {OtherUser.Nobody}", result.Output + result.Error);
            Assert.Contains("CAP_SYS_PTRACE", (result.Output + result.Error).Split("runs as uid")[1]);
        }
    }

    [Fact]
    public void Doctor_says_what_to_do_about_a_store_that_does_not_open()
    {
        using var store = new CliStore();
        Directory.CreateDirectory(store.Path);
        File.WriteAllText(Path.Combine(store.Path, "letter"), "");
        var check = store.Json("doctor").GetProperty("checks").EnumerateArray().Single(c => c.GetProperty("name").GetString() == "store");
        Assert.Equal("no", check.GetProperty("verdict").GetString());
        Assert.EndsWith("name another directory with --store", check.GetProperty("detail").GetString());
    }

    [Fact]
    public void Doctor_works_where_there_is_no_home_directory()
    {
        var result = OtherUser.Run(65533, [], "doctor");
        Assert.Contains("no home directory", result.MustSucceed().Output);
    }

    [Fact]
    public void Doctor_of_a_process_names_the_tracker_that_a_capture_then_uses()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var doctor = store.Json("doctor", $"{target.Pid}").GetProperty("target");
        Assert.True(doctor.GetProperty("capturable").GetBoolean());
        Assert.False(doctor.GetProperty("tracked_already").GetBoolean());
        Assert.Equal(doctor.GetProperty("tracker").GetString(), store.Json("capture", $"{target.Pid}").GetProperty("tracker").GetString());
        Patience.Until(() => StateOf(target.Pid) == 'S', "it to sleep on");
    }

    [Fact]
    public void Doctor_says_why_another_users_process_cannot_be_captured()
    {
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var home = new TempDir().OpenToAll();
        var result = OtherUser.Run(OtherUser.Nobody, [], "doctor", $"{target.Pid}", "--json", "--store", home.File("store"));
        Assert.Equal((int)ExitCode.Target, result.ExitCode);
        var doctor = JsonDocument.Parse(result.Output).RootElement.GetProperty("target");
        Assert.False(doctor.GetProperty("capturable").GetBoolean());
        Assert.NotEmpty(doctor.GetProperty("gaps").EnumerateArray());
    }

    [Fact]
    public void Records_that_others_could_change_are_not_used_and_it_is_said_whose_fault_that_is()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var root = new TempDir();
        var environment = new Dictionary<string, string?> { ["CRSTORE_RUNTIME_ROOT"] = root.Path };
        store.RunWith(environment, "doctor", $"{target.Pid}").MustSucceed();
        var directory = Path.GetDirectoryName(Directory.GetDirectories(root.Path, "targets", SearchOption.AllDirectories).Single())!; // whoever we are
        Run.Command("chmod", ["o+w", directory]).MustSucceed();

        var doctor = JsonDocument.Parse(store.RunWith(environment, "doctor", $"{target.Pid}", "--json").MustSucceed().Output).RootElement.GetProperty("target");
        Assert.True(doctor.GetProperty("capturable").GetBoolean(), $"{doctor}");
        Assert.Equal("hash", doctor.GetProperty("tracker").GetString());
        Assert.Contains($"{directory}, which belongs to uid", doctor.GetProperty("reason").GetString());
        var capture = JsonDocument.Parse(store.RunWith(environment, "capture", $"{target.Pid}", "--json").MustSucceed().Output).RootElement;
        Assert.Equal("hash", capture.GetProperty("tracker").GetString());
        var untrack = store.RunWith(environment, "untrack", $"{target.Pid}");
        Expect.Failure(untrack, ExitCode.Environment, $"{directory}, which belongs to uid");
        Assert.DoesNotContain("may not be traced", untrack.Error);
    }

    [Fact]
    public void Untrack_takes_the_userfaultfd_out_and_the_next_capture_reads_everything()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var capture = store.Json("capture", $"{target.Pid}", "--series", "demo");
        Requires.That(capture.GetProperty("tracker").GetString() == "uffd", "a kernel with userfaultfd write-protect in async mode");
        Assert.Equal(1, Userfaultfds(target.Pid));
        Assert.True(store.Json("doctor", $"{target.Pid}").GetProperty("target").GetProperty("tracked_already").GetBoolean());

        Assert.NotEmpty(store.Json("untrack", $"{target.Pid}").GetProperty("closed_fds").EnumerateArray());
        Assert.Equal(0, Userfaultfds(target.Pid));
        Assert.Empty(store.Json("untrack", $"{target.Pid}").GetProperty("closed_fds").EnumerateArray());

        target.Next();
        store.Capture(target.Pid, "--series", "demo");
        Assert.False(store.Json("show", "demo").GetProperty("tracking")[0].GetProperty("continuous").GetBoolean());
        store.Do("restore", "demo", "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));

    }

    [Fact]
    public void Untrack_of_a_dead_process_is_told() =>
        Expect.Failure(CrstoreProgram.Start("untrack", "99999999"), ExitCode.Target, "there is no process 99999999");

    private static int Userfaultfds(int pid) =>
        Directory.EnumerateFileSystemEntries($"/proc/{pid}/fd").Count(fd => new FileInfo(fd).LinkTarget == "anon_inode:[userfaultfd]");

    private static char StateOf(int pid)
    {
        var stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[stat.LastIndexOf(')') + 2];
    }
}
