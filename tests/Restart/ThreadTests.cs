using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>What belongs to threads: registers, thread-local memory, names, masks, stacks, mutexes; and the system calls they were in.</summary>
public class ThreadTests
{
    [Fact]
    public void Threads_keep_vector_registers_thread_local_memory_names_masks_and_mutexes()
    {
        using var run = RestartRun.Start("restart_threads", "9");
        run.Expect("ready");
        Assert.Equal("ok 1", run.Ask("?"));
        for (var signals = 2; signals < 6; signals++)
        {
            run.Cycle();
            Assert.Equal($"ok {signals}", run.Ask("?"));
        }
    }

    [Fact]
    public void A_program_that_checks_registers_rseq_and_system_calls_all_the_time_notices_nothing()
    {
        using var run = RestartRun.Start("selfcheck");
        run.Expect("ready");
        for (var round = 0; round < 6; round++)
        {
            Rounds(run);
            run.Cycle();
        }

        Rounds(run);

        static void Rounds(RestartRun run)
        {
            run.Ask("status"); // counted from here
            string answer;
            var clock = System.Diagnostics.Stopwatch.StartNew();
            do
            {
                Assert.True(clock.Elapsed < TimeSpan.FromMinutes(1), "a thread stands still");
                Thread.Sleep(TimeSpan.FromMilliseconds(50) + clock.Elapsed);
                answer = run.Ask("status");
                Assert.StartsWith("ok rounds ", answer);
            }
            while (answer.Split(' ')[2] == "0");
        }
    }

    [Theory]
    [InlineData("time.sleep(3)", 3)]
    [InlineData("nanosleep(3)", 3)]
    [InlineData("select.select([], [], [], 3)", 3)]
    [InlineData("select.poll().poll(1500)", 1.5)]
    [InlineData("threading.Event().wait(3)", 3)]
    [InlineData("signal.sigtimedwait([signal.SIGUSR1], 1.5)", 1.5)]
    public void A_sleep_ends_neither_early_nor_with_an_error(string call, double seconds)
    {
        // On a busy machine the call may be over before the capture has begun: then again.
        for (var tries = 1; !Sleeps(call, seconds); tries++) Assert.True(tries < 5, "no capture came in time");
    }

    private static bool Sleeps(string call, double seconds)
    {
        using var run = RestartRun.Python($"""
            import time, select, threading, signal, sys, ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            def nanosleep(seconds):
                class timespec(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("n", ctypes.c_long)]
                rest = timespec()
                if libc.nanosleep(ctypes.byref(timespec(seconds, 0)), ctypes.byref(rest)) != 0: print("error", ctypes.get_errno())
            print("ready")
            began = time.monotonic()
            {call}
            print("slept", time.monotonic() - began)
            sys.stdin.read()
            """);
        run.Expect("ready");
        Thread.Sleep(300);
        run.Capture();
        var crid = run.Capture(); // interrupted twice
        var late = run.TryReadLine(TimeSpan.Zero) is not null;
        run.Kill();
        if (late) return false;
        run.Restart(crid);
        var line = run.ReadLine();
        Assert.StartsWith("slept ", line);
        Assert.InRange(double.Parse(line[6..], System.Globalization.CultureInfo.InvariantCulture), seconds - 0.001, seconds + 20);
        return true;
    }

    [Fact]
    public void A_blocked_read_of_the_main_thread_and_a_blocked_lock_of_another_go_on()
    {
        using var run = RestartRun.Python("""
            import sys, threading
            lock = threading.Lock(); lock.acquire()
            def other():
                with lock: print("locked")
            threading.Thread(target=other, daemon=True).start()
            print("ready")
            for line in sys.stdin:
                print("line", line.strip()); lock.release()
            """);
        run.Expect("ready");
        Thread.Sleep(100);
        run.Cycle();
        Assert.Equal("line one", run.Ask("one"));
        Assert.Equal("locked", run.ReadLine());
    }
}
