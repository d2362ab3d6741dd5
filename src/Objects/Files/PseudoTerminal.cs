using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>The master of a pseudo-terminal, pty(7): the pair is made anew, with the settings that it had. Its slave is a <see cref="TerminalFile"/>.</summary>
public sealed class PseudoTerminal : IFileKind
{
    private const uint FirstSlaveMajor = 136, SlavesPerMajor = 256; // linux/major.h: UNIX98_PTY_SLAVE_MAJOR
    private const string Slaves = "/dev/pts/";

    /// <inheritdoc/>
    public string Name => "pty";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "pseudo-terminals whose master is in the checkpoint: settings, size, foreground group; under the old number if that is free",
        "what was not read from them yet is lost: --files",
        "");

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) == 0x2000 && fd.Link is "/dev/ptmx" or "/dev/pts/ptmx"; // S_IFCHR

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        using var master = open();
        var terminal = file.Record.Terminal = Describe(master);
        terminal.Index = Terminals.NumberOf(master);
        terminal.Locked = Terminals.IsLocked(master);
        terminal.PacketMode = Terminals.IsPacketMode(master);
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => file.Record.Terminal is not { Termios.IsEmpty: false } terminal
        ? Verdict.Refused("its settings are not known")
        : CheckUnread(terminal, scene);

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var index = file.Record.Terminal.Index;
        var master = Pair(scene, index)[0];
        if (Terminals.NumberOf(master) is var number && number != index) scene.Warnings.Add($"{file}: /dev/pts/{index} is taken; it is /dev/pts/{number} now");
        Descriptors.SetFlags(master, file.Info.Flags & Descriptors.SettableFlags);
        // Opened again it would be another one. The scene closes it.
        return new SafeFileHandle(master.DangerousGetHandle(), ownsHandle: false);
    }

    /// <inheritdoc/>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        // When all have opened the slave.
        if (file.Record.Terminal.Locked) Terminals.Lock(Pair(scene, file.Record.Terminal.Index)[0]);
    }

    /// <summary>What is the same for all terminals.</summary>
    internal static Terminal Describe(SafeFileHandle handle)
    {
        var (rows, columns) = Terminals.GetWindow(handle);
        return new Terminal
        {
            Termios = UnsafeByteOperations.UnsafeWrap(Terminals.TryGetTermios(handle) ?? []),
            Rows = rows,
            Columns = columns,
            UnreadBytes = InotifyCalls.Readable(handle),
        };
    }

    /// <summary>Bytes on their way through a terminal can't be put back.</summary>
    internal static Verdict CheckUnread(Terminal terminal, RestartScene scene)
    {
        if (terminal.UnreadBytes == 0) return Verdict.Restarts;
        var why = $"{terminal.UnreadBytes} bytes that were not read from it yet are lost";
        return scene.ChangedFiles == FilesPolicy.MustMatch && !scene.JustCaptured ? Verdict.Refused(why + "; --files warn takes that") : Verdict.Policy(RestartScene.FilesFlag, why);
    }

    /// <summary>The number of a terminal whose master is in the checkpoint; null: it is none.</summary>
    internal static uint? InsideIndex(string link, RestartScene scene) =>
        link.StartsWith(Slaves, StringComparison.Ordinal) && uint.TryParse(link.AsSpan(Slaves.Length), CultureInfo.InvariantCulture, out var index) && HasMaster(scene, index) ? index : null;

    /// <summary>
    /// The terminal of a session that its leader leads in the checkpoint, and which is a pseudo-terminal of the checkpoint, or one that stands in for
    /// another: its slave, of crstore. And the group in its foreground, 0 if there is none. Null: it has no such terminal.
    /// </summary>
    public static (SafeFileHandle Slave, int Foreground)? ControllingOf(Process leader, RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(leader);
        ArgumentNullException.ThrowIfNull(scene);
        if (leader.Sid != leader.Pid || leader.Stat.IsEmpty) return null;
        var slave = IsOfCheckpoint(leader, scene) ? Pair(scene, IndexOf(leader)!.Value)[1] : leader == OutsideTerminal.Leader(scene) ? scene.StandIn : null;
        if (slave is null) return null;
        var foreground = scene.Ids.Of(StatLine.Parse(leader.Stat.Span).ForegroundGroup);
        return (slave, scene.Body.Processes.Any(p => p.Pgid == foreground) ? foreground : 0);
    }

    /// <summary>A process's controlling terminal is a pseudo-terminal of the checkpoint.</summary>
    internal static bool IsOfCheckpoint(Process process, RestartScene scene) => IndexOf(process) is { } index && HasMaster(scene, index);

    /// <summary>The number of a process's controlling terminal; null: none, or another kind.</summary>
    internal static uint? IndexOf(Process process)
    {
        var (major, minor) = DeviceNumber.OfStat(StatLine.Parse(process.Stat.Span).Terminal);
        return major is >= FirstSlaveMajor and < FirstSlaveMajor + 8 ? (major - FirstSlaveMajor) * SlavesPerMajor + minor : null;
    }

    /// <summary>Master and slave, made by the first that asks.</summary>
    internal static IReadOnlyList<SafeFileHandle> Pair(RestartScene scene, uint index) => scene.Share(string.Create(CultureInfo.InvariantCulture, $"pty {index}"), () =>
    {
        var terminal = scene.Files.First(f => IsMaster(f, index)).Record.Terminal;
        var (master, slave) = Terminals.Create(index);
        if (scene.Files.FirstOrDefault(f => f.Link == Slaves + index.ToString(CultureInfo.InvariantCulture)) is { } any) Descriptors.SetMode(slave, any.Fd.Mode);
        Terminals.SetTermios(slave, terminal.Termios.Span);
        Terminals.SetWindow(slave, terminal.Rows, terminal.Columns);
        if (terminal.PacketMode) Terminals.SetPacketModeOf(master);
        return [master, slave];
    });

    private static bool HasMaster(RestartScene scene, uint index) => scene.Files.Any(f => IsMaster(f, index));

    private static bool IsMaster(FileObject file, uint index) => file.Record is { Kind: "pty", Terminal: { } terminal } && terminal.Index == index;
}
