using System.Diagnostics;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Two captures of one process at once, into different stores: the second waits for the first, says so, and can be ended.</summary>
public class BusyTargetTests
{
    private const int SigInt = 2;
    private const int SigTerm = 15;
    private const int SigCont = 18;
    private const int SigStop = 19;

    [Theory]
    [InlineData("capture", SigInt)]
    [InlineData("capture", SigTerm)]
    [InlineData("untrack", SigInt)]
    [InlineData("doctor", SigInt)]
    [InlineData("check", SigInt)]
    public void Who_waits_for_a_capture_of_the_same_process_says_for_whom_and_ends_when_it_is_asked_to(string verb, int signal)
    {
        using var target = TargetProcess.Start("pattern_writer", "96", $"{Seeds.Next()}");
        target.Expect("ready ");
        using var first = new CliStore();
        using var second = new CliStore();
        using var longOne = LongCapture(first, target.Pid);
        try
        {
            var name = $"crstore capture of process {target.Pid} (pid {longOne.Id}, since ";
            using var waiting = second.Begin(verb, $"{target.Pid}", "--lock-timeout", "1h");
            var said = waiting.StandardError.ReadLine();
            if (verb == "capture") said = waiting.StandardError.ReadLine(); // after "created store"
            Assert.StartsWith($"crstore: waiting for {name}", said);
            Run.Signal(waiting.Id, signal);
            Assert.True(waiting.WaitForExit(Patience.Limit), "it does not end when it is asked to");
            Assert.Equal("crstore: interrupted\n", waiting.StandardError.ReadToEnd());
            Assert.Equal((int)ExitCode.Interrupted, waiting.ExitCode);
            Expect.Failure(second.Run(verb, $"{target.Pid}", "--lock-timeout", "100ms"), ExitCode.Busy, $"process {target.Pid} is busy: {name}", "did not finish within 0.1 s", "--lock-timeout");
            Assert.False(longOne.HasExited, "the first capture was done before the second had waited");
        }
        finally
        {
            if (!longOne.HasExited)
            {
                Run.Signal(longOne.Id, SigInt);
                Run.Signal(longOne.Id, SigCont);
            }
        }

        Assert.True(longOne.WaitForExit(Patience.Limit), "the first capture does not end");
        if (verb == "capture") second.Capture(target.Pid); // and nobody waits for who is gone
    }

    // The record of the target is locked while its pages are saved from the running process; compressed hard, that takes a minute. It stands still before that is over.
    private static Process LongCapture(CliStore store, int pid)
    {
        var capture = store.Begin("capture", $"{pid}", "--pre-copy", "always", "--compression", "zstd:19");
        try
        {
            Patience.Until(() =>
            {
                Requires.That(!capture.HasExited, "a kernel with userfaultfd write-protect in async mode");
                return Holds() && IsStopped();
            }, "the first capture to begin", pauseMs: 20);
            return capture;
        }
        catch
        {
            capture.Kill();
            throw;
        }

        // It has the lock once it has written into the file that it does.
        bool Holds() => FdLinks.Of(capture.Id).Find(link => link.Contains($"/targets/{pid}-", StringComparison.Ordinal)) is { } record
            && TaskFile.TryReadText(record)?.Contains($"{capture.Id} capture of process {pid} ", StringComparison.Ordinal) == true; // .NET's own reading would want a lock

        // Not in the middle of a freeze, which nobody would end then.
        bool IsStopped()
        {
            Run.Signal(capture.Id, SigStop);
            Patience.Until(() => capture.HasExited || TaskList.Threads(capture.Id).All(tid => TaskStatusFile.Read(tid) is not { State: not 'T' }), "the first capture to stop");
            if (TaskStatusFile.Read(pid) is { TracerPid: 0 } && Holds()) return true;
            Run.Signal(capture.Id, SigCont);
            return false;
        }
    }
}
