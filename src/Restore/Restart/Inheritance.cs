using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>
/// The files that crstore opens for the processes. All puppets inherit all of them, under numbers that no process uses, and
/// duplicate what is theirs to its place: what they share is shared again.
/// </summary>
/// <param name="first">The first number; none of the processes has it or one above.</param>
internal sealed class Inheritance(int first)
{
    private readonly List<(SafeFileHandle Handle, int Number)> files = [];

    /// <summary>What is inherited, and under which numbers.</summary>
    public IReadOnlyList<(SafeFileHandle Handle, int Number)> Files => files;

    /// <summary>The lowest number.</summary>
    public int First => first;

    /// <summary>The number in the puppets. The handle stays the caller's, and must stay open until the stub is started.</summary>
    public int Add(SafeFileHandle handle)
    {
        files.Add((handle, first + files.Count));
        return files[^1].Number;
    }

    /// <summary>A number above all that the processes use, and above all that crstore itself will have open when the stub is started.</summary>
    /// <param name="body">Of the checkpoint.</param>
    public static int FirstAbove(CheckpointBody body)
    {
        const int others = 1024, perFile = 3; // an end of a pair, and what both are opened again from
        var highest = Math.Max(Own(), body.Processes.SelectMany(p => p.Fds).Select(f => f.Number).DefaultIfEmpty(0).Max());
        return highest + others + perFile * (body.OpenFiles.Count + body.Processes.Sum(p => p.Vmas.Where(v => v.Inode != 0).DistinctBy(v => v.Inode).Count()));
    }

    /// <summary>A number above all that crstore has open.</summary>
    public static int FirstAboveOwn() => Own() + 256;

    /// <summary>Before the stub is started: in the child each fd gets its number in turn, and must not fall on one that is still to be copied.</summary>
    /// <exception cref="EnvironmentException">crstore may not have so many.</exception>
    public void Check()
    {
        if (Own() >= first) throw new EnvironmentException($"crstore has more than {first} files open");
        var limit = DescriptorLimit.Current;
        if ((ulong)(first + files.Count) >= limit) throw new EnvironmentException($"{first + files.Count} file descriptors are needed, and crstore may have {limit}", "raise the hard limit: ulimit -Hn");
    }

    private static int Own() => Directory.GetFiles("/proc/self/fd").Max(f => int.Parse(Path.GetFileName(f), CultureInfo.InvariantCulture));
}
