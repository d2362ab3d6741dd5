using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>
/// A terminal. The slave of a pseudo-terminal whose master is in the checkpoint is made anew with it; for any other the one that crstore is
/// run from takes its place, or what stands in for that (<see cref="RestartScene.StandIn"/>), wherever a process had it open.
/// </summary>
public sealed class TerminalFile : IFileKind
{
    private const int NoControllingTerminal = 0x100; // O_NOCTTY, open(2)
    private const string Own = "/dev/tty";           // everybody's controlling terminal, tty(4)

    /// <inheritdoc/>
    public string Name => "terminal";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "slaves of pseudo-terminals whose master is in the checkpoint",
        "others: crstore's own terminal takes their place, or a pseudo-terminal that is copied to and from it, with the settings that they had if the program was in the foreground: --stdio",
        "");

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) == 0x2000 && // S_IFCHR
        (fd.Link.StartsWith("/dev/pts/", StringComparison.Ordinal) || fd.Link.StartsWith("/dev/tty", StringComparison.Ordinal) || fd.Link == "/dev/console");

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        using var terminal = open();
        // One that was hung up has no settings any more.
        if (Terminals.TryGetTermios(terminal) is not null) file.Record.Terminal = PseudoTerminal.Describe(terminal);
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (Inside(file, scene) is not null) return file.Record.Terminal is { } terminal ? PseudoTerminal.CheckUnread(terminal, scene) : Verdict.Refused("its settings are not known");
        return Verdict.Policy(OutsideStdio.Flag, scene.HasTerminal && OutsideTerminal.Leader(scene) is not null
            ? "a pseudo-terminal that crstore restart copies to and from its own terminal takes its place"
            : "the terminal that crstore restart is run from takes its place");
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var flags = file.Info.Flags | NoControllingTerminal;
        if (Inside(file, scene) is { } index) return Descriptors.OpenAgain(PseudoTerminal.Pair(scene, index)[1], flags);
        if (scene.StandIn is { } slave && !OutsideStdio.IsRedirected(file)) return Descriptors.OpenAgain(slave, flags);
        if (scene.Stdio == StdioPolicy.Files && file.Link != Own) return RawFile.Open(file.Link, (RawOpen)flags);
        if (scene.Stdio != StdioPolicy.Inherit || OutsideStdio.IsStandard(file)) return OutsideStdio.Open(file, scene);
        // Others that it has of it, such as a shell's 255.
        if (file.Link == Own && RawFile.TryOpen(Own, (RawOpen)flags, 0, out var own) == 0) return own;
        return OutsideStdio.Terminal() is { } terminal ? Descriptors.OpenAgain(terminal, flags) : OutsideStdio.Open(file, scene);
    }

    // /dev/tty is what the process had as controlling terminal.
    private static uint? Inside(FileObject file, RestartScene scene)
    {
        if (file.Link != Own) return PseudoTerminal.InsideIndex(file.Link, scene);
        return PseudoTerminal.IndexOf(file.Uses[0].Process) is { } index ? PseudoTerminal.InsideIndex($"/dev/pts/{index}", scene) : null;
    }
}
