using System.Buffers.Binary;
using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.State;

/// <summary>What is read of a process from outside, against what it says of itself.</summary>
public class ProcessStateTests
{
    private static Process Capture(int pid, bool inject = true)
    {
        using var reader = ProcessStateReader.Prepare(pid, new FileRefs());
        using var ptrace = new PtraceThread();
        ptrace.Run(() =>
        {
            using var tree = FrozenTree.Freeze(pid, tree: false, Freezing.Frozen.Patient);
            reader.ReadFrozen(tree.Processes[0]);
            string? whyNot = "not asked for";
            using var remote = inject ? RemoteSyscalls.TryBegin(tree.Processes[0], out whyNot) : null;
            reader.ReadInjected(remote, whyNot ?? "");
        });
        var process = reader.Build();
        Assert.Empty(reader.Warnings);
        return process;
    }

    private static TargetProcess StartTeller(out List<string[]> facts)
    {
        var target = TargetProcess.Start("state_teller");
        facts = [];
        for (var line = target.ReadLine(); line != "ready"; line = target.ReadLine())
            facts.Add(line.Split(' '));
        return target;
    }

    private static ulong U(string text) => ulong.Parse(text, CultureInfo.InvariantCulture);

    // More answers than the scratch page has room for. glibc keeps a thread's id where the kernel clears it at its end, set_tid_address(2).
    [Fact]
    public void Of_many_threads_each_has_its_own_answers()
    {
        using var target = TargetProcess.Python("""
            import sys, threading
            end = threading.Event()
            for i in range(120): threading.Thread(target=end.wait, daemon=True).start()
            print("ready", flush=True)
            sys.stdin.read()
            """);
        target.Expect("ready");
        var process = Capture(target.Pid);
        Assert.Equal("", process.StateIncomplete);
        Assert.Equal(121, process.Threads.Count);
        using var memory = ProcessMemory.Open(target.Pid);
        var id = new byte[sizeof(int)];
        foreach (var thread in process.Threads)
        {
            memory.Read(thread.TidAddress, id);
            Assert.Equal(thread.Tid, BitConverter.ToInt32(id));
            Assert.NotNull(thread.Altstack);
        }
    }

    [Fact]
    public void Signal_actions_are_those_the_process_sees()
    {
        using var target = StartTeller(out var facts);
        var process = Capture(target.Pid);
        Assert.Equal("", process.StateIncomplete);
        var told = facts.Where(f => f[0] == "action").ToDictionary(f => (uint)U(f[1]));
        Assert.True(told.Count >= 6);
        Assert.Equal(told.Keys.Order(), process.Actions.Select(a => a.Signal).Order());
        foreach (var action in process.Actions)
        {
            var fact = told[action.Signal];
            Assert.Equal(U(fact[2]), action.Handler);
            if (action.Handler == 1)
                continue; // of an ignored signal nothing else matters
            Assert.Equal((U(fact[3]), U(fact[4]), U(fact[5])), (action.Flags, action.Restorer, action.Mask));
        }
    }

    [Fact]
    public void Every_threads_tid_address_and_alternate_stack_are_those_it_sees()
    {
        using var target = StartTeller(out var facts);
        var process = Capture(target.Pid);
        Assert.Equal(4, process.Threads.Count);
        foreach (var thread in process.Threads)
        {
            var tid = thread.Tid.ToString(CultureInfo.InvariantCulture);
            Assert.Equal(U(facts.Single(f => f[0] == "tid_address" && f[1] == tid)[2]), thread.TidAddress);
            var stack = facts.Single(f => f[0] == "altstack" && f[1] == tid);
            Assert.Equal((U(stack[2]), (uint)U(stack[3]), U(stack[4])), (thread.Altstack.Sp, thread.Altstack.Flags, thread.Altstack.SizeBytes));
            Assert.False(thread.StateIncomplete);
        }
        Assert.Equal(U(facts.Single(f => f[0] == "brk")[1]), process.Layout.Brk);
    }

    [Fact]
    public void Threads_have_their_names_masks_robust_lists_and_rseq_areas()
    {
        using var target = StartTeller(out _);
        var process = Capture(target.Pid);
        Assert.Equal(target.Pid, process.Threads[0].Tid);
        Assert.Equal("state_teller", process.Threads[0].Name);
        for (var i = 0; i < 3; i++)
        {
            var thread = process.Threads.Single(t => t.Name == $"teller {i}\n)");
            var mask = 1UL << (new[] { 10, 11, 12 }[i] - 1); // SIGUSR1, SIGSEGV, SIGUSR2, added to what main blocks
            Assert.Equal(mask | (1UL << 11), thread.Sigmask);
            Assert.Equal("pause", thread.Syscall);
        }
        Assert.All(process.Threads, t =>
        {
            Assert.Equal(216, t.Registers.Length);
            Assert.True(t.Xstate.Length >= 576);
            Assert.NotEqual(0UL, t.RobustListHead);
            Assert.Equal(24UL, t.RobustListLen);
            Assert.NotEqual(0UL, t.Rseq.Address);
            Assert.Equal(0x53053053u, t.Rseq.Signature); // glibc's RSEQ_SIG of x86
            Assert.NotEqual(0, t.CpuAffinity.Length);
        });
        Assert.Equal(4, process.Threads.Select(t => t.RobustListHead).Distinct().Count());
    }

    [Fact]
    public void Pending_signals_are_kept_per_thread_and_for_the_process()
    {
        using var target = StartTeller(out _);
        var process = Capture(target.Pid);
        var shared = process.SharedPending.Span;
        Assert.Equal(128, shared.Length);
        Assert.Equal(12, BinaryPrimitives.ReadInt32LittleEndian(shared)); // SIGUSR2
        Assert.Equal(0, BinaryPrimitives.ReadInt32LittleEndian(shared[8..])); // SI_USER
        Assert.Equal(12, BinaryPrimitives.ReadInt32LittleEndian(process.Threads[0].Pending.Span));
        Assert.Equal(-6, BinaryPrimitives.ReadInt32LittleEndian(process.Threads[0].Pending.Span[8..])); // SI_TKILL
        Assert.All(process.Threads.Skip(1), t => Assert.Equal(0, t.Pending.Length));
    }

    [Fact]
    public void Timers_limits_and_umask_are_read()
    {
        using var target = StartTeller(out _);
        var process = Capture(target.Pid);
        var itimers = process.Itimers.Span;
        Assert.Equal(96, itimers.Length);
        Assert.Equal((5L, 250L), (BinaryPrimitives.ReadInt64LittleEndian(itimers), BinaryPrimitives.ReadInt64LittleEndian(itimers[8..])));
        Assert.InRange(BinaryPrimitives.ReadInt64LittleEndian(itimers[16..]), 90_000, 100_000);
        Assert.True(itimers[32..].ToArray().All(b => b == 0));
        Assert.Contains("notify: signal", process.Timers.ToStringUtf8());
        var files = process.Rlimits.Single(r => r.Resource == 7);
        Assert.Equal((777UL, 1024UL), (files.Soft, files.Hard));
        Assert.Equal(16, process.Rlimits.Count);
        Assert.Equal(0x5Fu, process.Umask); // 0137
    }

    [Fact]
    public void Open_files_have_their_links_offsets_flags_and_inodes()
    {
        using var target = StartTeller(out var facts);
        var process = Capture(target.Pid);
        var told = facts.Single(f => f[0] == "file");
        var file = process.Fds.Single(f => f.Number == (int)U(told[1]));
        Assert.Equal(U(told[3]), file.Inode);
        Assert.Equal(10UL, file.SizeBytes);
        Assert.EndsWith("(deleted)", file.Link);
        Assert.Contains("pos:\t10\n", file.Fdinfo.ToStringUtf8());
        var flags = Convert.ToInt32(file.Fdinfo.ToStringUtf8().Split("flags:\t")[1].Split('\n')[0], 8);
        Assert.Equal(0x80402, flags & 0x80403); // O_CLOEXEC | O_APPEND | O_RDWR
        var pipe = facts.Single(f => f[0] == "pipe");
        Assert.Equal(2, process.Fds.Where(f => f.Number == (int)U(pipe[1]) || f.Number == (int)U(pipe[2])).Select(f => f.Link)
            .Count(l => l.StartsWith("pipe:[", StringComparison.Ordinal)));
        Assert.Equal(Directory.EnumerateFiles($"/proc/{target.Pid}/fd").Count(), process.Fds.Count);
    }

    [Fact]
    public void The_program_its_arguments_environment_directories_and_namespaces_are_read()
    {
        using var directory = new TempDir();
        using var target = TargetProcess.Start(new TargetStart("/bin/sh", "-c", "echo ready; read x", "with space")
        {
            Directory = directory.Path,
            Environment = new Dictionary<string, string?> { ["CRSTORE_STATE_TEST"] = "some value" },
        });
        target.Expect("ready");
        var process = Capture(target.Pid);
        Assert.Equal(File.ResolveLinkTarget($"/proc/{target.Pid}/exe", false)!.FullName, process.Exe);
        Assert.Equal(process.Exe, process.ExeFile.Path);
        Assert.Equal(20, process.ExeFile.BuildId.Length);
        Assert.Equal((ulong)new FileInfo(process.Exe).Length, process.ExeFile.SizeBytes);
        Assert.EndsWith("with space\0", process.Cmdline.ToStringUtf8());
        Assert.Contains("CRSTORE_STATE_TEST=some value\0", process.Environ.ToStringUtf8());
        Assert.Equal(directory.Path, process.Cwd);
        Assert.Equal("/", process.Root);
        Assert.Contains(process.Namespaces, n => n.Kind == "pid" && n.Inode != 0);
        Assert.NotEqual(0, process.Auxv.Length);
        Assert.NotEqual(0UL, process.Layout.StartStack);
        Assert.NotEqual(0UL, process.StartTimeTicks);
        Assert.Equal(4, process.Credentials.Uid.Count);
    }

    [Fact]
    public void An_exec_between_preparation_and_freeze_is_noticed()
    {
        using var target = TargetProcess.Start("/bin/sh", "-c", "echo ready; read x; exec /bin/sleep 1000");
        target.Expect("ready");
        using var reader = ProcessStateReader.Prepare(target.Pid, new FileRefs());
        target.Send("go");
        while (File.ReadAllText($"/proc/{target.Pid}/comm") != "sleep\n")
            System.Threading.Thread.Sleep(1);
        using var ptrace = new PtraceThread();
        ptrace.Run(() =>
        {
            using var tree = FrozenTree.Freeze(target.Pid, tree: false, Freezing.Frozen.Patient);
            reader.ReadFrozen(tree.Processes[0]);
            reader.ReadInjected(null, "why");
        });
        var process = reader.Build();
        Assert.Equal("/bin/sleep\0" + "1000\0", process.Cmdline.ToStringUtf8());
        Assert.EndsWith("/sleep", process.Exe);
        Assert.Equal(File.ReadAllBytes($"/proc/{target.Pid}/auxv"), process.Auxv.ToByteArray());
    }

    [Fact]
    public void Without_injection_the_state_says_what_is_missing_and_why()
    {
        using var target = StartTeller(out _);
        var process = Capture(target.Pid, inject: false);
        Assert.Equal("not asked for", process.StateIncomplete);
        Assert.All(process.Threads, t => Assert.True(t.StateIncomplete));
        // The ignored ones are known all the same: what it ignores itself, and what it has inherited (SIGHUP of nohup, say).
        var mask = ulong.Parse(TaskStatusFile.Read(target.Pid)!["SigIgn"]!, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        var ignored = Enumerable.Range(1, 64).Where(s => (mask >> (s - 1) & 1) != 0).Select(s => (uint)s).ToArray();
        Assert.Contains(28u, ignored);
        Assert.Equal(ignored, process.Actions.Select(a => a.Signal).Order());
        Assert.Equal(16, process.Rlimits.Count);
    }

    [Fact]
    public void A_process_whose_leader_has_exited_is_read_through_a_living_thread()
    {
        using var target = TargetProcess.Start("leader_gone", "3");
        target.Expect("ready");
        var process = Capture(target.Pid);
        Assert.Equal("", process.StateIncomplete);
        Assert.Equal(target.Pid, process.Pid);
        Assert.Equal(3, process.Threads.Count);
        Assert.DoesNotContain(process.Threads, t => t.Tid == target.Pid);
        Assert.EndsWith("/leader_gone", process.Exe);
        Assert.Equal(3, process.Fds.Count(f => f.Number <= 2));
        Assert.NotEqual(0, process.Auxv.Length);
        Assert.NotEqual(0, process.Cmdline.Length);
        Assert.NotEqual("", process.Cwd);
        Assert.Equal("ok", target.Ask("check"));
    }

    [Fact]
    public void A_leader_that_exits_after_the_freeze_does_not_make_the_other_threads_different()
    {
        using var target = TargetProcess.Python("""
            import ctypes, sys, threading, time
            for _ in range(3): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            print("ready", flush=True)
            sys.stdin.readline()
            ctypes.CDLL(None).syscall(60, 0)  # exit: of this thread alone
            """);
        target.Expect("ready");
        using var reader = ProcessStateReader.Prepare(target.Pid, new FileRefs());
        using var ptrace = new PtraceThread();
        ptrace.Run(() =>
        {
            using var tree = FrozenTree.Freeze(target.Pid, tree: false, Freezing.Frozen.Patient);
            reader.ReadFrozen(tree.Processes[0]);
            reader.ReadInjected(null, "not asked for");
        });
        target.Send("go");
        while (!File.ReadAllText($"/proc/{target.Pid}/stat").Contains(") Z ", StringComparison.Ordinal)) System.Threading.Thread.Sleep(1);
        Assert.Equal(["", "", "", ""], reader.Build().Threads.Select(t => t.Differs));
    }

    [Fact]
    public void More_threads_than_fit_in_the_scratch_page_are_all_asked()
    {
        using var target = TargetProcess.Start("leader_gone", "200");
        target.Expect("ready");
        var process = Capture(target.Pid);
        Assert.Equal("", process.StateIncomplete);
        Assert.Equal(200, process.Threads.Count);
        // glibc keeps the tid at that address: each thread's own is there.
        using var memory = ProcessMemory.Open(process.Threads[0].Tid);
        var word = new byte[4];
        foreach (var thread in process.Threads)
        {
            memory.Read(thread.TidAddress, word);
            Assert.Equal(thread.Tid, BinaryPrimitives.ReadInt32LittleEndian(word));
            Assert.Equal(2u, thread.Altstack.Flags); // SS_DISABLE
        }
        Assert.Equal("ok", target.Ask("check"));
    }

    [Fact]
    public void A_zombie_has_a_status_and_neither_threads_nor_memory()
    {
        // Not a shell's child: a shell reaps those that end before its exec.
        using var parent = TargetProcess.Python("import os, time; print(os.posix_spawn('/bin/sleep', ['sleep', '0'], {}), flush=True); time.sleep(1000)");
        var pid = int.Parse(parent.ReadLine(), CultureInfo.InvariantCulture);
        while (!File.ReadAllText($"/proc/{pid}/stat").Contains(") Z "))
            System.Threading.Thread.Sleep(1);
        var process = ProcessStateReader.ReadZombie(pid);
        Assert.True(process.Zombie);
        Assert.Equal((pid, parent.Pid, "sleep"), (process.Pid, process.Ppid, process.Comm));
        Assert.Empty(process.Threads);
        Assert.Empty(process.Vmas);
    }

    [Fact]
    public void A_pid_that_does_not_exist_is_the_targets_fault() =>
        Assert.Contains("4194304", Assert.Throws<TargetException>(() => ProcessStateReader.Prepare(4194304, new FileRefs())).Message);

    [Fact]
    public void The_target_goes_on_after_its_state_was_read()
    {
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        for (var i = 0; i < 5; i++)
        {
            Capture(target.Pid);
            Assert.Equal("ok", target.Ask("check"));
        }
    }

    [Fact]
    public void The_host_is_described()
    {
        var host = HostReader.Read();
        Assert.Equal(File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim(), host.BootId);
        Assert.Equal(Run.Shell("uname -r").Output.Trim(), host.KernelRelease);
        Assert.NotEqual("", host.CpuVendorModel);
        Assert.True(host.ClockBoottimeNs >= host.ClockMonotonicNs - 1_000_000_000);
    }
}
