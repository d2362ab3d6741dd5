using System.Runtime.InteropServices;
using Crstore.Linux;

namespace Crstore.Restore.Restart;

/// <summary>Waits for a restarted process as a shell would: signals are passed on, its exit code is crstore's.</summary>
public static class Foreground
{
    private const int SignalledBase = 128; // what shells add to the signal's number
    private static readonly (PosixSignal Signal, int Number)[] PassedOn =
    [
        (PosixSignal.SIGHUP, Signals.SIGHUP), (PosixSignal.SIGQUIT, Signals.SIGQUIT), (PosixSignal.SIGWINCH, Signals.SIGWINCH),
        ((PosixSignal)Signals.SIGUSR1, Signals.SIGUSR1), ((PosixSignal)Signals.SIGUSR2, Signals.SIGUSR2),
    ];

    // The first process of a pid namespace never stops: what is looked at then is the root.
    private static WaitReport Await(int pid, int root, TerminalHandover? terminal)
    {
        if (terminal is null) return ChildWait.AwaitDeath(pid);
        if (pid == root) return ChildWait.AwaitDeathOrStop(pid);
        for (; ; Thread.Sleep(50))
        {
            var report = ChildWait.Poll(pid, reap: true);
            if (report.Kind != WaitKind.Nothing) return report;
            if (TaskStat.Read(root) is { State: 'T' }) return new WaitReport(WaitKind.Stopped, Signals.SIGTSTP, false);
        }
    }

    /// <summary>Waits for a child's end.</summary>
    /// <param name="pid">The child.</param>
    /// <param name="root">Who gets the signals: itself, or what it waits for.</param>
    /// <param name="interruption">Of crstore: the process gets them, one that came before included.</param>
    /// <param name="terminal">What was lent to them; taken back when they end, or are stopped.</param>
    /// <param name="relay">What is copied to and from theirs, until they end.</param>
    /// <param name="fill">Returns when their memory is filled, with how the child has ended if it has.</param>
    /// <returns>Its exit code, or 128 and the number of the signal that ended it.</returns>
    public static int Wait(int pid, int root, Interruption interruption, TerminalHandover? terminal = null, TerminalRelay? relay = null, Func<WaitReport?>? fill = null)
    {
        // Ctrl-C reaches everybody in the terminal's foreground group by itself.
        var sameGroup = ThisProcess.GroupOf(root) == ThisProcess.GroupOf(0);
        var ended = false;
        var registrations = PassedOn.Select(p => PosixSignalRegistration.Create(p.Signal, context =>
        {
            context.Cancel = true;
            PassOn(p.Number);
        })).ToList();
        // The runtime would set the terminal as crstore has it once more: by then it is lent again, and who does that from the background is stopped.
        registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGCONT, context =>
        {
            context.Cancel = true;
            relay?.Adapt();
        }));
        if (relay is not null)
        {
            registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGTSTP, context =>
            {
                context.Cancel = true;
                relay.Suspend();
            }));
        }

        try
        {
            interruption.TakeOver(PassOn);
            relay?.Start();
            // The window may have got another size before anybody heard of it.
            if (terminal is not null) Signals.TryKill(root, Signals.SIGWINCH);
            if (fill?.Invoke() is not { } report)
            {
                // Stopped by its user, it is to look so to the shell that crstore was started from.
                while ((report = Await(pid, root, terminal)).Kind == WaitKind.Stopped) terminal!.Suspend(root);
            }

            return report.Killed ? SignalledBase + report.Status : report.Status;
        }
        finally
        {
            ended = true;
            foreach (var registration in registrations) registration.Dispose();
            terminal?.TakeBack();
            relay?.Dispose();
        }

        void PassOn(int signal)
        {
            if (ended) return;
            // A window's size goes through the pseudo-terminal, which tells those in its foreground.
            if (signal == Signals.SIGWINCH && relay is not null) relay.Adapt();
            else if (!sameGroup || signal is not (Signals.SIGINT or Signals.SIGQUIT or Signals.SIGWINCH)) Signals.TryKill(root, signal);
        }
    }
}
