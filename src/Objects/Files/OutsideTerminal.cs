using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>
/// The terminal outside of a session that is led in the checkpoint: a shell's, or a full-screen program's, in a window or a pane. A terminal has one
/// session, so crstore's own can't be it; a pseudo-terminal takes its place.
/// </summary>
public static class OutsideTerminal
{
    /// <summary>
    /// The leader of the session that gets a terminal; null: none needs one. There is one for the whole checkpoint, as crstore has one; it goes to who comes
    /// first in the tree, unless that is led from outside.
    /// </summary>
    public static Process? Leader(RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(scene);
        return scene.Body.Processes.FirstOrDefault(p => IsOf(p, scene)) is { } first && first.Sid == first.Pid ? first : null;
    }

    /// <summary>A process's controlling terminal is not one of the checkpoint.</summary>
    internal static bool IsOf(Process process, RestartScene scene) => !process.Zombie && DeviceOf(process) != 0 && !PseudoTerminal.IsOfCheckpoint(process, scene);

    /// <summary>A new pair, with what is known of the terminal that the leader had: under its number if that is free, with its settings, owner and mode.</summary>
    /// <param name="leader">Of the session.</param>
    /// <param name="scene">Of the restart.</param>
    /// <param name="like">Whose settings it gets if no process had it open, and whose size.</param>
    public static (SafeFileHandle Master, SafeFileHandle Slave) Create(Process leader, RestartScene scene, SafeFileHandle like)
    {
        ArgumentNullException.ThrowIfNull(leader);
        ArgumentNullException.ThrowIfNull(scene);
        const uint sameGroup = uint.MaxValue;
        var (master, slave) = Terminals.Create(PseudoTerminal.IndexOf(leader) ?? 0);
        var device = DeviceNumber.OfStat(DeviceOf(leader)).Encoded;
        var known = scene.Files.FirstOrDefault(f => f.Fd.Rdev == device && f.Record is { Kind: "terminal", Terminal.Termios.IsEmpty: false });
        if ((known?.Record.Terminal.Termios.ToByteArray() ?? Terminals.TryGetTermios(like)) is { } settings) Terminals.SetTermios(slave, settings);
        var (rows, columns) = Terminals.GetWindow(like);
        Terminals.SetWindow(slave, rows, columns);
        // As login(1) does it: who has the terminal may open it by its name.
        if (leader.Credentials.Uid[0] != ThisProcess.EffectiveUser()) Descriptors.SetOwner(slave, leader.Credentials.Uid[0], sameGroup);
        if (known is not null) Descriptors.SetMode(slave, known.Fd.Mode);
        return (master, slave);
    }

    private static uint DeviceOf(Process process) => process.Stat.IsEmpty ? 0 : StatLine.Parse(process.Stat.Span).Terminal;
}
