using System.Globalization;
using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>`restart --lazy`: programs that run before their memory is filled, and whatever they do to it meanwhile.</summary>
public class LazyTests
{
    private static void RequireRoot() => Requires.Root(); // faults of the kernel are served for those only

    [Fact]
    public void It_runs_with_little_of_its_memory_and_finds_all_of_it()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        Assert.True(int.Parse(run.Do("print(rss())"), CultureInfo.InvariantCulture) < 16 + 8, "it has not been filled first");
        Assert.Equal("[]", run.Do("print(wrong(100, 50))"));
        Assert.NotEqual(0, TaskStatusFile.Read(run.Run.Pid)!.TracerPid);
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
        Assert.Equal(0, TaskStatusFile.Read(run.Run.Pid)!.TracerPid);
        Assert.DoesNotContain("um", VmFlags(run.Run.Pid)); // no mapping is left with its userfaultfd
        Assert.DoesNotContain(run.Result.Warnings, w => w.Contains("--lazy", StringComparison.Ordinal));
    }

    [Fact]
    public void System_calls_find_what_they_are_to_read_and_may_write_anywhere()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        Assert.Equal("True", run.Do("print(readable(base + 300 * P))"));
        Assert.Equal("10000", run.Do("print(c.read(os.open('/dev/zero', 0), ctypes.c_void_p(base + 512 * P + 100), 10000))"));
        Assert.Equal("True", run.Do("print(ctypes.string_at(base + 512 * P, 100) == bytes([512 % 251 + 1]) * 100, end='\\n')"));
        Assert.Equal("True", run.Do("print(not any(ctypes.string_at(base + 512 * P + 100, 10000)))"));
        run.Finish();
        Assert.Equal("[512, 513, 514]", run.Do("print(wrong())"));
    }

    [Fact]
    public void Memory_that_it_gives_back_is_zero_from_then_on()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        Assert.Equal("0 True", run.Do("print(c.madvise(base + 100 * P, 50 * P, 4), is_zero(100, 50))")); // MADV_DONTNEED
        Assert.Equal("0 True", run.Do("print(c.munmap(base + 200 * P, 50 * P), new(50, base + 200 * P) == base + 200 * P)"));
        Assert.Equal("True True", run.Do("print(new(50, base + 300 * P) == base + 300 * P, is_zero(300, 10))")); // MAP_FIXED over it
        run.Finish();
        Assert.Equal("True", run.Do("print(is_zero(100, 50) and is_zero(200, 50) and is_zero(300, 50))"));
        Assert.Equal("150", run.Do("print(len(wrong()))"));
    }

    [Fact]
    public void Memory_that_it_has_given_back_from_the_end_and_gets_again_by_growing_is_zero()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        // The mapping grows in place, over what was its end.
        Assert.Equal("True", run.Do("print(c.munmap(base + 3000 * P, 1096 * P) == 0 and c.mremap(base + 2000 * P, 1000 * P, 1500 * P, 0, 0) == base + 2000 * P)"));
        run.Finish();
        Assert.Equal("True []", run.Do("print(is_zero(3000, 500), wrong(0, 3000))"));
    }

    [Fact]
    public void The_heap_that_shrinks_and_grows_again_is_zero()
    {
        RequireRoot();
        using var run = LazyRun.Start("c.sbrk.restype, c.sbrk.argtypes = word, [ctypes.c_ssize_t]; top = c.sbrk(2000 * P); ctypes.memset(top, 7, 2000 * P); print('done')");
        Assert.Equal("True", run.Do("print(c.sbrk(-1000 * P) == top + 2000 * P and c.sbrk(1000 * P) == top + 1000 * P)"));
        run.Finish();
        Assert.Equal("True True", run.Do("print(is_zero(1000, 1000, top), ctypes.string_at(top, 1000 * P) == bytes([7]) * (1000 * P))"));
    }

    [Fact]
    public void Memory_that_it_moves_has_its_content_at_the_new_place()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        Assert.Equal("True", run.Do("there = new(64); to = c.mremap(base + 1024 * P, 64 * P, 64 * P, 3, there); print(to == there)"));
        Assert.Equal("True", run.Do("print(new(64, base + 1024 * P) == base + 1024 * P)"));
        run.Finish();
        Assert.Equal("True", run.Do("print(is_zero(1024, 64) and wrong(0, 1024) == [] and wrong(1088, N - 1088) == [] and wrong(1024, 64, there - 1024 * P) == [])"));
    }

    // The order in which a userfaultfd tells of such moves is not that in which they were made.
    [Fact]
    public void Threads_that_move_the_same_memory_back_and_forth_keep_its_content()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        run.Do("each(move, 4); print()");
        run.Open();
        run.Do("join(); print()");
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
    }

    [Fact]
    public void A_child_waits_to_be_born_until_all_is_there_and_has_it_too()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        Assert.Equal("0", run.Do("print(c.madvise(base + 100 * P, 50 * P, 4))"));
        Assert.Equal("0", run.Do("print(c.munmap(base + 200 * P, 50 * P))"));
        run.Run.Send("new(50, base + 200 * P); print(child(lambda: is_zero(100, 50) and is_zero(200, 50) and len(wrong()) == 100))");
        Thread.Sleep(100);
        Assert.Empty(TaskList.Children(run.Run.Pid));
        run.Open();
        Assert.Equal("0", run.Run.Expect(""));
        run.Finish();
        Assert.Equal("100", run.Do("print(len(wrong()))"));
    }

    [Fact]
    public void Every_process_of_a_tree_runs_before_its_memory_is_filled()
    {
        RequireRoot();
        using var run = LazyRun.Start("heard = []; signal.signal(signal.SIGUSR1, lambda *_: heard.append(print('child', wrong(0, 200)))); kid = os.fork(); kid or [time.sleep(0.02) for _ in iter(lambda: len(heard) < 2, False)]; kid or os._exit(3); print('done')", tree: true);
        var child = Assert.Single(TaskList.Children(run.Run.Pid));
        Signals.Kill(child, Signals.SIGUSR1);
        Assert.Equal(" []", run.Run.Expect("child"));
        Assert.NotEqual(0, TaskStatusFile.Read(child)!.TracerPid);
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
        Signals.Kill(child, Signals.SIGUSR1);
        Assert.Equal(" []", run.Run.Expect("child"));
        Assert.Equal("3", run.Do("print(os.waitstatus_to_exitcode(os.waitpid(kid, 0)[1]))"));
    }

    [Fact]
    public void A_daemon_that_forks_twice_runs_by_itself_with_all_memory()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        run.Open();
        run.Run.Send("os.fork() or (os.setsid(), os.fork() or (print('daemon', wrong(), flush=True), os._exit(0)), os._exit(0))");
        Assert.Equal(" []", run.Run.Expect("daemon"));
        run.Finish();
    }

    [Fact]
    public void Another_program_is_begun_and_waited_for()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        run.Open();
        Assert.Equal("hello", run.Do("os.system('echo hello')"));
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
    }

    [Fact]
    public void Memory_that_is_not_for_children_or_is_wiped_for_them_is_so()
    {
        RequireRoot();
        using var run = LazyRun.Start("c.madvise(base, 1000 * P, 10), c.madvise(base + 2000 * P, 1000 * P, 18); print('done')"); // MADV_DONTFORK, MADV_WIPEONFORK
        Assert.True(int.Parse(run.Do("print(rss())"), CultureInfo.InvariantCulture) < 24);
        run.Open();
        Assert.Equal("0", run.Do("print(child(lambda: not readable(base) and is_zero(2000, 1000) and wrong(1000, 1000) == [] and wrong(3000, N - 3000) == []))"));
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
    }

    [Fact]
    public void A_guard_region_stays_one()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        var installed = run.Do("print(c.madvise(base + 100 * P, 4 * P, 102) == 0)"); // MADV_GUARD_INSTALL, Linux 6.13
        if (installed != "True") Assert.Skip("this kernel has no guard regions");
        run.Finish();
        Assert.Equal("False False True", run.Do("print(readable(base + 100 * P), readable(base + 103 * P), readable(base + 104 * P))"));
    }

    [Fact]
    public void Protection_that_it_changes_meanwhile_is_kept()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        Assert.Equal("0 0", run.Do("print(c.mprotect(base + 100 * P, 10 * P, 0), c.mprotect(base + 200 * P, 10 * P, 1))"));
        run.Finish();
        Assert.Equal("False True False", run.Do("print(readable(base + 100 * P), readable(base + 200 * P), c.read(os.open('/dev/zero', 0), ctypes.c_void_p(base + 200 * P), 1) == 1)"));
        Assert.Equal("0 []", run.Do("print(c.mprotect(base, N * P, 3), wrong())"));
    }

    [Fact]
    public void It_starts_threads_while_it_is_filled()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        run.Do("each(look, 16); join(); print()");
        Assert.Equal("True", run.Do("print(all(more[k] == [] for k in range(16)) and len(more) == 17)"));
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
    }

    [Fact]
    public void It_can_be_stopped_and_goes_on_and_hears_its_signals()
    {
        RequireRoot();
        using var run = LazyRun.Start("signal.signal(signal.SIGUSR1, lambda *_: print('heard')); print('done')");
        Signals.Kill(run.Run.Pid, Signals.SIGSTOP);
        Until(() => TaskStat.Read(run.Run.Pid) is { State: 'T' or 't' });
        run.Run.Send("print('on')");
        Thread.Sleep(50);
        Signals.Kill(run.Run.Pid, Signals.SIGCONT);
        Assert.Equal("", run.Run.Expect("on"));
        Patience.UntilItIsIn(run.Run.Pid, 0); // read(2)
        Signals.Kill(run.Run.Pid, Signals.SIGUSR1);
        Assert.Equal("", run.Run.Expect("heard"));
        // Stopped, it is let go, and stays stopped.
        Signals.Kill(run.Run.Pid, Signals.SIGSTOP);
        Until(() => TaskStat.Read(run.Run.Pid) is { State: 'T' or 't' });
        run.Finish();
        Until(() => TaskStat.Read(run.Run.Pid) is { State: 'T' });
        run.Run.Send("print(wrong())");
        Signals.Kill(run.Run.Pid, Signals.SIGCONT);
        Assert.Equal("", run.Run.Expect("[]"));
    }

    [Theory]
    [InlineData("epoll_wait", 232)]
    [InlineData("futex", 202)]
    [InlineData("poll", 7)]
    [InlineData("nanosleep", 230)]
    [InlineData("recv", 45)]
    public void A_call_that_blocks_all_the_time_does_not_notice(string call, int number)
    {
        RequireRoot();
        using var run = LazyRun.Start($"each(lambda _: blocked('{call}'), 1); asleep('{number} '); print('done')");
        run.Finish();
        // A futex is woken once it is waited for again: who comes later finds that its value has changed (EAGAIN).
        var first = call == "futex" ? $"asleep('{number} '); " : "";
        Assert.Equal(call is "nanosleep" or "futex" ? "(0, 0)" : "(1, 0)", run.Do($"{first}more['wake'](); join(); print(more['result'])"));
    }

    [Fact]
    public void It_may_end_before_all_is_filled()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        run.Run.Send("os._exit(7)");
        Until(() => TaskStat.Read(run.Run.Pid) is null or { IsDead: true });
        run.Finish();
        Assert.Equal(new WaitReport(WaitKind.Dead, 7, false), run.Fill.Ended);
    }

    [Fact]
    public void A_capture_is_refused_until_all_is_filled()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        var error = Assert.Throws<TargetException>(() => run.Run.Capture());
        Assert.Contains("traced", error.Message);
        Assert.Contains("traced", Assert.Throws<TargetException>(() => run.Run.Capture(with: o => o with { Tracker = Model.Format.TrackerKind.Hash })).Message);
        run.Finish();
        var crid = run.Run.Capture();
        run.Run.Kill();
        run.Run.Restart(crid);
        Assert.Equal("[]", run.Do("print(wrong())"));
    }

    [Fact]
    public void Damage_that_is_met_before_it_runs_is_reported_and_nothing_is_left()
    {
        RequireRoot();
        using var run = LazyRun.Captured();
        Assert.Throws<StoreDamagedException>(() => run.Restart((thread, _) => thread is "ptrace" or "crstore faults"));
        Assert.False(Directory.Exists($"/proc/{run.Run.Pid}"));
    }

    [Theory]
    [InlineData("crstore rest")]
    [InlineData("crstore faults")]
    [InlineData("ptrace")]
    public void Damage_that_is_met_while_it_runs_kills_it_and_is_reported(string where)
    {
        RequireRoot();
        var damaged = false;
        using var run = LazyRun.Start("", (thread, _) => Volatile.Read(ref damaged) && thread == where);
        Volatile.Write(ref damaged, true);
        if (where == "crstore rest") run.Open();
        else run.Run.Send(where == "ptrace" ? "c.madvise(base + 1000 * P, 100 * P, 4); print('not killed')" : "print('not killed', wrong(3000, 1))");
        Until(() => TaskStat.Read(run.Run.Pid) is null or { IsDead: true });
        run.Open();
        Assert.Throws<StoreDamagedException>(run.Fill.Wait);
        Assert.False(Directory.Exists($"/proc/{run.Run.Pid}"));
        Assert.Equal(new WaitReport(WaitKind.Dead, Signals.SIGKILL, true), run.Fill.Ended);
    }

    // The kernel doesn't wait for their pages: without help they say EFAULT.
    [Fact]
    public void Futexes_that_the_kernel_changes_itself_are_there()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        // FUTEX_WAKE_OP, FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_CMP_REQUEUE_PI, all private: the last three find an owner who isn't there, or another value.
        Assert.Equal("[0, 0]", run.Do("print([c.syscall(202, ctypes.c_void_p(base + 1000 * P), 133, 1, 1, ctypes.c_void_p(base + 1100 * P), 0x01000000), ctypes.get_errno()])"));
        Assert.Equal("[-1, 3]", run.Do("print([c.syscall(202, ctypes.c_void_p(base + 1200 * P), 134, 0, 0, 0, 0), ctypes.get_errno()])"));
        Assert.Equal("[-1, 11]", run.Do("print([c.syscall(202, ctypes.c_void_p(base + 1300 * P), 140, 1, 1, ctypes.c_void_p(base + 1400 * P), 0), ctypes.get_errno()])"));
        run.Finish();
        Assert.Equal("[1100]", run.Do("print([i for i in wrong() if i != 1200])"));
    }

    [Fact]
    public void A_thread_that_is_not_to_be_traced_waits_until_all_is_there()
    {
        RequireRoot();
        using var run = LazyRun.Start();
        // CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM and UNTRACED, clone(2)
        run.Run.Send("c.clone.argtypes = [ctypes.c_void_p, word, ctypes.c_int, word]; print(c.clone(c.pause, new(16) + 16 * P, 0x00850f00, 0) > 0)");
        Thread.Sleep(100);
        Assert.Single(Directory.GetDirectories($"/proc/{run.Run.Pid}/task"));
        run.Open();
        Assert.Equal("", run.Run.Expect("True"));
        run.Finish();
        Assert.Equal("[]", run.Do("print(wrong())"));
    }

    // Its id is then the first thread's, which is gone without a word.
    [Theory]
    [InlineData(100)] // it waits until all is there
    [InlineData(0)] // it begins while the others are let go
    public async Task Another_thread_than_the_first_begins_another_program(int headStartMs)
    {
        RequireRoot();
        using var run = LazyRun.Start();
        run.Run.Send("each(lambda _: os.execv('/bin/sh', ['sh', '-c', 'echo begun; read x; exit 6']), 1)");
        Thread.Sleep(headStartMs);
        run.Open();
        Assert.Equal("", run.Run.Expect("begun"));
        await Soon(Task.Run(run.Fill.Wait)); // it must not wait for whom it no longer traces
        Assert.Null(run.Fill.Ended);
    }

    [Fact]
    public async Task Damage_where_the_timeout_of_a_call_is_that_goes_on_is_reported()
    {
        RequireRoot();
        using var run = LazyRun.Captured(
            "new(64, 0x600000000); ctypes.memset(0x600000000, 1, 64 * P); ctypes.memmove(0x600000000, (ctypes.c_long * 2)(1000, 0), 16); each(lambda _: c.nanosleep(ctypes.c_void_p(0x600000000), 0), 1); asleep('230 '); print('done')");
        await Soon(Task.Run(() => Assert.Throws<StoreDamagedException>(() =>
            run.Restart((thread, targets) => thread is "crstore faults" or "ptrace" && targets.Any(t => t.Range.Start.Address is >= 0x600000000 and < 0x600040000)))));
        Assert.False(Directory.Exists($"/proc/{run.Run.Pid}"));
    }

    [Fact]
    public void Without_its_guard_it_does_not_go_on()
    {
        RequireRoot();
        var earlier = Guards(); // those of other tests may be about to end
        using var run = LazyRun.Start();
        var guard = Guards().Except(earlier).Single();
        Signals.Kill(guard, Signals.SIGKILL);
        Until(() => TaskStat.Read(run.Run.Pid) is null or { IsDead: true });
        run.Open();
        var error = Assert.Throws<EnvironmentException>(run.Fill.Wait);
        Assert.Contains("guard", error.Message);
        Assert.False(Directory.Exists($"/proc/{run.Run.Pid}"));
    }

    private static List<int> Guards() => TaskList.Children(Environment.ProcessId).FindAll(p => TaskStat.Read(p) is { Name: "lazy-guard", IsDead: false });

    private static string VmFlags(int pid) => string.Join(' ', File.ReadLines($"/proc/{pid}/smaps").Where(l => l.StartsWith("VmFlags:", StringComparison.Ordinal)));

    // A test that fails is better than one that hangs.
    private static Task Soon(Task task) => task.WaitAsync(Patience.Limit, TestContext.Current.CancellationToken);

    private static void Until(Func<bool> condition) => Patience.Until(condition, "a process to come to that");
}
