using Crstore.Model.Format;
using Crstore.Objects.Files.Sockets;

namespace Crstore.Objects.Files;

/// <summary>All kinds of open files: a new one is one file and one line here.</summary>
public static class FileKinds
{
    /// <summary>The first one that knows an fd has it.</summary>
    public static IReadOnlyList<IFileKind> All { get; } =
    [
        new Pipe(),
        new NamedPipe(),
        new CharacterDevice(),
        new PseudoTerminal(),
        new TerminalFile(),
        new MemoryFile(),
        new RegularFile(),
        new EventFile(),
        new TimerFile(),
        new SignalFile(),
        new ProcessFile(),
        new EpollFile(),
        new InotifyFile(),
        new ParkedTracker(),
        new AnySocket(),
        new UnixSocketFile(),
        new TcpSocketFile(),
        new UdpSocketFile(),
        new NetlinkSocketFile(),
        new UnknownFile(),
    ];

    /// <summary>The kind of an fd.</summary>
    public static IFileKind Of(Fd fd) => All.First(k => k.Is(fd));

    /// <summary>The kind of a saved file.</summary>
    public static IFileKind Of(FileObject file) => All.FirstOrDefault(k => k.Name == file.Record.Kind) ?? All[^1];
}
