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
        var (highest, mapped) = (Own(), 0);
        foreach (var process in body.Processes)
        {
            foreach (var fd in process.Fds) highest = Math.Max(highest, fd.Number);
            var inodes = new HashSet<ulong>();
            foreach (var vma in process.Vmas)
                if (vma.Inode != 0 && inodes.Add(vma.Inode)) mapped++;
        }

        return highest + others + perFile * (body.OpenFiles.Count + mapped);
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

    private static int Own()
    {
        var highest = 0;
        foreach (var file in Directory.GetFiles("/proc/self/fd")) highest = Math.Max(highest, int.Parse(Path.GetFileName(file), CultureInfo.InvariantCulture));
        return highest;
    }
}
