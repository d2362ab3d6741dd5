using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Objects.Files;
using Crstore.Objects.Processes;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>
/// The terminal that crstore is run from, lent to a program that was in the foreground of another one when it was captured: with the settings
/// that it had given to that, and its process group in the foreground. As a shell does it with its jobs.
/// </summary>
public sealed class TerminalHandover
{
    private static readonly TimeSpan TimeToLook = TimeSpan.FromMilliseconds(100);
    private readonly SafeFileHandle terminal;
    private readonly byte[] mine;
    private readonly IReadOnlyList<int> foreground;
    private readonly int group;
    private byte[] theirs;

    private TerminalHandover(SafeFileHandle terminal, byte[] theirs, int group, IReadOnlyList<int> foreground)
    {
        (this.terminal, this.theirs, this.group, this.foreground) = (terminal, theirs, group, foreground);
        mine = Terminals.TryGetTermios(terminal) ?? [];
    }

    /// <summary>Lends it, if there is something to lend and somebody who had the like.</summary>
    internal static TerminalHandover? Prepare(RestartScene scene, RestartOptions options, IReadOnlyList<Restarted> processes)
    {
        if (options.Detach || options.Stdio != StdioPolicy.Inherit || scene.StandIn is not null || OutsideStdio.Terminal() is not { } terminal) return null;
        if (Terminals.GroupOf(terminal) != ThisProcess.GroupOf(0)) return null; // crstore is in the background itself
        // Whose foreground it was is told by any process that had the terminal; one of the checkpoint has not led that session.
        var had = processes.Where(p => !p.Message.Stat.IsEmpty && PseudoTerminal.ControllingOf(p.Message, scene) is null)
            .Select(p => (Process: p, Stat: StatLine.Parse(p.Message.Stat.Span))).Where(p => p.Stat.Terminal != 0).ToList();
        var members = had.Where(p => p.Stat.IsInForeground).Select(p => p.Process).ToList();
        var settings = scene.Files.FirstOrDefault(f => members.Exists(m => f.Uses.Any(u => u.Process.Pid == m.Message.Pid))
            && f.Record is { Kind: "terminal", Terminal.Termios.IsEmpty: false } && f.Fd.Rdev == DeviceNumber.OfStat(had[0].Stat.Terminal).Encoded);
        if (settings is null) return null;
        // A group that leads outside has become crstore's. One in another session can't be in the foreground here.
        var plan = scene.Derive(() => TreePlan.Of(scene.Body.Processes));
        var own = ThisProcess.GroupOf(0);
        var group = members.Where(m => plan.IsInOuterSession(m.Message)).Select(m => ThisProcess.GroupOf(m.Leader.Tid)).FirstOrDefault(g => g != own);
        var handover = new TerminalHandover(terminal, settings.Record.Terminal.Termios.ToByteArray(), group, [.. members.Select(m => m.Leader.Tid)]);
        handover.Lend();
        return handover;
    }

    /// <summary>
    /// Full-screen programs draw everything again when the window has changed, many of them only if its size has: it is a row less for a moment
    /// (what DMTCP does).
    /// </summary>
    internal void Redraw()
    {
        if (foreground.Count == 0) return;
        var (rows, columns) = Terminals.GetWindow(terminal);
        if (rows > 1)
        {
            Attention.Await(foreground);
            Resize(rows - 1u);
            Thread.Sleep(TimeToLook);
            Attention.Await(foreground);
            // Its user may have given the window another size meanwhile.
            if (Terminals.GetWindow(terminal) is var now && now != (rows - 1, columns)) (rows, columns) = now;
        }

        Resize(rows);

        void Resize(uint number)
        {
            Terminals.SetWindow(terminal, number, columns);
            foreach (var pid in foreground) Signals.TryKill(pid, Signals.SIGWINCH);
        }
    }

    /// <summary>Takes it back, when they are gone.</summary>
    public void TakeBack()
    {
        if (group != 0) Terminals.SetGroupOf(terminal, ThisProcess.GroupOf(0));
        Terminals.SetTermios(terminal, mine);
    }

    /// <summary>Takes it back and stops, for the shell to go on; lends it again when that continues crstore in the foreground.</summary>
    /// <param name="root">Of the processes that were stopped.</param>
    public void Suspend(int root)
    {
        theirs = Terminals.TryGetTermios(terminal) ?? theirs;
        TakeBack();
        // To this very thread: it stops before it comes back from the call, and goes on from here when the shell continues it.
        Signals.TryKillThread(Environment.ProcessId, ThisProcess.ThreadId(), Signals.SIGSTOP);
        if (Terminals.GroupOf(terminal) == ThisProcess.GroupOf(0)) Lend();
        Signals.TryKill(group != 0 ? -group : root, Signals.SIGCONT);
    }

    private void Lend()
    {
        Terminals.SetTermios(terminal, theirs);
        if (group != 0) Terminals.SetGroupOf(terminal, group);
    }
}
