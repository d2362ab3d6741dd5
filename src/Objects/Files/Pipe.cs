using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Ends of a pipe(2), with what is in it.</summary>
public sealed class Pipe : IFileKind
{
    private const int WriteOnly = 1;
    private const int LargestPacket = 4096; // PIPE_BUF, pipe(7)

    /// <inheritdoc/>
    public string Name => "pipe";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "both ends in the checkpoint, with what was not read yet, capacity and flags; ends whose other end was closed",
        "standard input, output and error to the outside: crstore's own, or /dev/null: --stdio; others: --map-fd",
        "other ends that lead outside");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link.StartsWith("pipe:[", StringComparison.Ordinal);

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open) => DumpEnd(file, open);

    /// <summary>Saves what a pipe holds, without taking it out.</summary>
    internal static void DumpEnd(FileObject file, Func<SafeFileHandle> open)
    {
        using var pipe = open();
        var end = new PipeEnd { CapacityBytes = (uint)Descriptors.GetPipeSize(pipe) };
        const int error = 8, hangUp = 0x10; // POLLERR: nobody reads; POLLHUP: nobody writes, poll(2)
        end.Alone = (Descriptors.Poll(pipe, 0) & (file.Access == WriteOnly ? error : hangUp)) != 0;
        file.Record.Pipe = end;
        if (file.Access == WriteOnly) return;
        var (read, write) = Spawn.Pipe();
        using (read)
        using (write)
        {
            Descriptors.SetPipeSize(write, (int)end.CapacityBytes);
            var held = Descriptors.CopyPipe(pipe, write, (int)end.CapacityBytes);
            if (held == 0) return;
            var content = new byte[held];
            for (var done = 0; done < held;)
            {
                var n = RawFile.Read(read, content.AsSpan(done));
                if (n <= 0) throw new TargetException($"{file}: its content can't be read");
                if (n < held) end.PacketBytes.Add((uint)n); // a read gives one packet, or all that is none
                done += n;
            }

            end.Content = UnsafeByteOperations.UnsafeWrap(content);
        }
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (file.Record.Pipe is null) return Verdict.Refused("what it holds is not known");
        if (file.Record.Pipe.Alone || OtherEnd(file, scene) is not null) return Verdict.Restarts;
        return OutsideStdio.Check(file, "its other end is not in the checkpoint");
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        if (!file.Record.Pipe.Alone && OtherEnd(file, scene) is null) return OutsideStdio.Open(file, scene);
        var pipe = scene.Share(file.Link, () => Make(file, scene));
        // Opened anew, so that each description has flags of its own.
        return OpenAgain(pipe[0], file.Info.Flags);
    }

    /// <summary>A description of its own of an open pipe or FIFO. Packets can't be asked for by open(2).</summary>
    internal static SafeFileHandle OpenAgain(SafeFileHandle pipe, int flags)
    {
        var handle = Descriptors.OpenAgain(pipe, flags & ~Descriptors.PacketMode);
        if ((flags & Descriptors.PacketMode) != 0) Descriptors.SetFlags(handle, flags & Descriptors.SettableFlags);
        return handle;
    }

    /// <summary>Puts back what it held: packet by packet if it was of packets, so that nothing is appended to one.</summary>
    internal static void Fill(SafeFileHandle writer, FileObject held, RestartScene scene)
    {
        var content = held.Record.Pipe.Content;
        IReadOnlyList<uint> packets = held.Record.Pipe.PacketBytes;
        if (packets.Count == 0 && content.Length <= LargestPacket && scene.Files.Any(f => f.Link == held.Link && (f.Info.Flags & Descriptors.PacketMode) != 0))
            packets = [(uint)content.Length];
        var flags = Descriptors.GetFlags(writer);
        if (packets.Count > 0) Descriptors.SetFlags(writer, flags | Descriptors.PacketMode);
        var done = 0;
        foreach (var bytes in packets)
        {
            RawFile.Write(writer, content.Span.Slice(done, (int)bytes), held.ToString());
            done += (int)bytes;
        }

        RawFile.Write(writer, content.Span[done..], held.ToString());
        Descriptors.SetFlags(writer, flags);
    }

    private static FileObject? OtherEnd(FileObject file, RestartScene scene) =>
        scene.Files.FirstOrDefault(f => f.Link == file.Link && (f.Access != file.Access || f.Access == 2));

    private static List<SafeFileHandle> Make(FileObject file, RestartScene scene)
    {
        var (read, write) = Spawn.Pipe();
        Descriptors.SetPipeSize(write, (int)file.Record.Pipe.CapacityBytes);
        foreach (var end in scene.Files.Where(f => f.Link == file.Link && f.Record.Pipe is { Content.IsEmpty: false }).Take(1))
            Fill(write, end, scene);
        return [read, write];
    }
}
