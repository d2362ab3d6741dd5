using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Threads that notice everything, and how long a sleep takes.</summary>
public class ThreadTests
{
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
                Assert.True(clock.Elapsed < Support.Patience.Limit, "a thread stands still");
                Thread.Sleep(TimeSpan.FromMilliseconds(50) + clock.Elapsed);
                answer = run.Ask("status");
                Assert.StartsWith("ok rounds ", answer);
            }
            while (answer.Split(' ')[2] == "0");
        }
    }

    [Theory]
    [InlineData("time.sleep(seconds)", 3)]
    [InlineData("nanosleep(seconds)", 3)]
    [InlineData("select.select([], [], [], seconds)", 3)]
    [InlineData("select.poll().poll(seconds * 1000)", 1.5)]
    [InlineData("threading.Event().wait(seconds)", 3)]
    [InlineData("signal.sigtimedwait([signal.SIGUSR1], seconds)", 1.5)]
    public void A_sleep_ends_neither_early_nor_with_an_error(string call, double seconds)
    {
        // On a busy machine the call may be over before the capture has begun: then again, with more time.
        for (; !Sleeps(call, seconds); seconds *= 4) Assert.True(seconds < 200, "no capture came in time");
    }

    /// <summary>crstore lets go of one thread after the other, and the first may take the processor from it.</summary>
    [Fact]
    public void A_program_that_ends_before_the_last_of_its_threads_was_let_go_has_been_restarted()
    {
        using var run = RestartRun.Python("""
            import sys, threading
            for _ in range(100): threading.Thread(target=threading.Event().wait, daemon=True).start()
            print("ready")
            sys.stdin.read()
            """);
        run.Expect("ready");
        var crid = run.Capture();
        // As if it had been sent SIGTERM while it was frozen.
        var end = new byte[Linux.Ptrace.SigInfoSize];
        end[0] = 15;
        run.Kill();
        var result = run.Restart(crid, edit: manifest => manifest.Body.Processes[0].SharedPending = Google.Protobuf.ByteString.CopyFrom(end));
        Assert.Equal(128 + 15, run.WaitForExit(result));
    }

    private static bool Sleeps(string call, double seconds)
    {
        using var run = RestartRun.Python($"""
            import time, select, threading, signal, sys, ctypes
            seconds = {seconds.ToString(System.Globalization.CultureInfo.InvariantCulture)}
            libc = ctypes.CDLL(None, use_errno=True)
            def nanosleep(seconds):
                class timespec(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("n", ctypes.c_long)]
                rest = timespec()
                if libc.nanosleep(ctypes.byref(timespec(int(seconds), 0)), ctypes.byref(rest)) != 0: print("error", ctypes.get_errno())
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
        Assert.InRange(double.Parse(line[6..], System.Globalization.CultureInfo.InvariantCulture), seconds - 0.001, seconds + 100);
        return true;
    }
}
