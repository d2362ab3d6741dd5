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

    /// <inheritdoc/>
    public string Name => "pipe";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "both ends in the checkpoint, with what was not read yet, packet by packet (O_DIRECT), capacity and flags; ends whose other end was closed",
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
                // A read ends with a packet; without any it takes all.
                var n = RawFile.Read(read, content.AsSpan(done));
                if (n <= 0) throw new TargetException($"{file}: its content can't be read");
                done += n;
                end.ReadBytes.Add((uint)n);
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
        return OpenEnd(file, pipe[0]);
    }

    /// <summary>An end that has the file's flags, of a pipe or FIFO of which any end is open.</summary>
    internal static SafeFileHandle OpenEnd(FileObject file, SafeFileHandle pipe)
    {
        // Opened anew, so that each description has flags of its own. O_DIRECT can be set only later, and nobody waits for the other end.
        var handle = Descriptors.OpenAgain(pipe, (file.Info.Flags & ~Descriptors.Direct) | (int)RawOpen.NonBlock);
        Descriptors.SetFlags(handle, file.Info.Flags & Descriptors.SettableFlags);
        return handle;
    }

    /// <summary>Puts back what the ends of a checkpoint held.</summary>
    /// <param name="link">Of all ends.</param>
    /// <param name="scene">Of the restart.</param>
    /// <param name="write">One to write to.</param>
    internal static void Fill(string link, RestartScene scene, SafeFileHandle write)
    {
        var ends = scene.Files.Where(f => f.Link == link).ToList();
        if (ends.Find(f => f.Record.Pipe is { Content.IsEmpty: false }) is not { } end) return;
        var reads = end.Record.Pipe.ReadBytes;
        var content = end.Record.Pipe.Content.Span;
        if (reads.Sum(r => r) != content.Length) throw new StoreDamagedException($"{end}: its content is not what its reads say");
        if (reads.Count > 1 || ends.Exists(f => (f.Info.Flags & Descriptors.Direct) != 0)) Descriptors.SetFlags(write, Descriptors.Direct | (int)RawOpen.NonBlock);
        foreach (var bytes in reads)
        {
            RawFile.Write(write, content[..(int)bytes], end.ToString());
            content = content[(int)bytes..];
        }
    }

    private static FileObject? OtherEnd(FileObject file, RestartScene scene) =>
        scene.Files.FirstOrDefault(f => f.Link == file.Link && (f.Access != file.Access || f.Access == 2));

    private static List<SafeFileHandle> Make(FileObject file, RestartScene scene)
    {
        var (read, write) = Spawn.Pipe();
        Descriptors.SetPipeSize(write, (int)file.Record.Pipe.CapacityBytes);
        Fill(file.Link, scene, write);
        return [read, write];
    }
}
