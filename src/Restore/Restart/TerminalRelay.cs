using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Objects.Files;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>
/// A pseudo-terminal of crstore's own for a session that is led in the checkpoint, and crstore's terminal copied to and from it: as script(1) does it.
/// What its user types goes through as bytes, so Ctrl-C and Ctrl-Z mean what they mean in the session.
/// </summary>
public sealed class TerminalRelay : IDisposable
{
    private const RawOpen OfOneself = RawOpen.ReadWrite | RawOpen.NonBlock | (RawOpen)0x100; // O_NOCTTY, open(2)
    private static readonly TimeSpan TimeToLook = TimeSpan.FromMilliseconds(100);
    private readonly Lock gate = new();
    private readonly SafeFileHandle terminal;
    private readonly SafeFileHandle master;
    private readonly SafeFileHandle slave;
    private readonly SafeFileHandle wake = EventFiles.CreateEvent(0, semaphore: false);
    private readonly Thread copier;
    private byte[] mine = [];
    private byte[] raw = [];
    private volatile bool ended;

    private TerminalRelay(SafeFileHandle terminal, SafeFileHandle master, SafeFileHandle slave)
    {
        (this.terminal, this.master, this.slave) = (terminal, master, slave);
        copier = new Thread(Copy) { Name = "terminal", IsBackground = true };
    }

    /// <summary>crstore has a terminal, and with these options it may be used.</summary>
    internal static bool IsPossible(RestartOptions options)
    {
        if (options.Detach || options.Stdio != StdioPolicy.Inherit || OutsideStdio.Terminal() is not { } own || Terminals.GroupOf(own) == 0) return false;
        if (RawFile.TryOpen("/dev/tty", OfOneself, 0, out var terminal) != 0) return false;
        terminal!.Dispose();
        return true;
    }

    /// <summary>Makes the pseudo-terminal and tells the scene of it, if a session needs one.</summary>
    internal static TerminalRelay? Prepare(RestartScene scene)
    {
        if (!scene.HasTerminal || OutsideTerminal.Leader(scene) is not { } leader) return null;
        // Opened anew: that it does not block is to be so for nobody else.
        var terminal = RawFile.Open("/dev/tty", OfOneself);
        var (master, slave) = OutsideTerminal.Create(leader, scene, terminal);
        Descriptors.SetFlags(master, (int)RawOpen.NonBlock);
        scene.StandIn = slave;
        return new TerminalRelay(terminal, master, slave);
    }

    /// <summary>
    /// The processes go: from now on the other end is theirs alone. Full-screen programs draw everything again when the window has changed, many of
    /// them only if its size has: it is a row less for a moment (what DMTCP does).
    /// </summary>
    /// <param name="pids">All of them.</param>
    internal void Redraw(IEnumerable<int> pids)
    {
        slave.Dispose();
        var (rows, columns) = Terminals.GetWindow(terminal);
        if (rows > 1)
        {
            var foreground = pids.Where(p => ThisProcess.GroupOf(p) == Terminals.GroupOf(master)).ToList();
            Attention.Await(foreground);
            Terminals.SetWindow(master, rows - 1u, columns);
            Thread.Sleep(TimeToLook);
            Attention.Await(foreground);
            Resize();
        }
        else if (Terminals.GroupOf(master) is var group and > 0)
        {
            Signals.TryKill(-group, Signals.SIGWINCH);
        }
    }

    /// <summary>Begins to copy, with crstore's terminal in raw mode.</summary>
    internal void Start() => copier.Start();

    /// <summary>crstore's window may have got another size, or crstore its terminal's foreground.</summary>
    internal void Adapt() => Wake();

    /// <summary>crstore was asked to stop, by a signal: nobody else is to find its terminal in raw mode. Comes back when it goes on.</summary>
    internal void Suspend()
    {
        lock (gate)
        {
            Leave();
            // To this very thread: it stops before it comes back from the call.
            Signals.TryKillThread(Environment.ProcessId, ThisProcess.ThreadId(), Signals.SIGSTOP);
        }
    }

    /// <summary>The program has ended: shows what it wrote last, and gives crstore's terminal back as it was.</summary>
    public void Dispose()
    {
        ended = true;
        if (copier.ThreadState.HasFlag(ThreadState.Unstarted))
        {
            master.Dispose();
        }
        else
        {
            Wake();
            copier.Join();
        }

        slave.Dispose();
        terminal.Dispose();
        // Not the event: a signal may come at any time.
    }

    private void Copy()
    {
        try
        {
            var copy = new TerminalCopy(terminal, master, wake);
            var woken = new byte[sizeof(ulong)];
            while (!ended)
            {
                var listen = Enter();
                Resize();
                if (!copy.Run(listen)) return;
                if (Descriptors.Poll(wake, (int)PollBits.In) != 0) RawFile.TryRead(wake, woken);
            }

            copy.Drain();
        }
        catch (LinuxException)
        {
            // Its terminal is gone, as when reading says so; what becomes of the program is its own matter.
        }
        finally
        {
            // If it has not ended: its terminal hangs up, as crstore's has.
            master.Dispose();
            Leave();
        }
    }

    // False: another group has the foreground (crstore was started in the background), and nothing typed is for this one.
    private bool Enter()
    {
        lock (gate)
        {
            if (Terminals.GroupOf(terminal) != ThisProcess.GroupOf(0))
            {
                mine = [];
                return false;
            }

            // Whoever had the foreground meanwhile may have set something else.
            if (Terminals.TryGetTermios(terminal) is { } now && (mine.Length == 0 || !now.AsSpan().SequenceEqual(raw)))
            {
                mine = now;
                Terminals.SetTermios(terminal, Terminals.Raw(now));
                raw = Terminals.TryGetTermios(terminal) ?? [];
            }

            return true;
        }
    }

    private void Leave()
    {
        lock (gate)
        {
            // One that has hung up takes none.
            if (mine.Length > 0 && Terminals.TryGetTermios(terminal) is not null) Terminals.SetTermios(terminal, mine);
            mine = [];
        }
    }

    private void Resize()
    {
        var (rows, columns) = Terminals.GetWindow(terminal);
        Terminals.SetWindow(master, rows, columns);
    }

    private void Wake() => RawFile.TryWrite(wake, BitConverter.GetBytes(1UL));
}
