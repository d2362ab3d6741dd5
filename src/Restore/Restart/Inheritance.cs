using System.Globalization;
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

    /// <summary>A number above all that the processes use, and above all that crstore itself has open.</summary>
    /// <param name="highest">Of the processes.</param>
    public static int FirstAbove(int highest) =>
        Math.Max(highest, Directory.GetFiles("/proc/self/fd").Max(f => int.Parse(Path.GetFileName(f), CultureInfo.InvariantCulture))) + 2048;
}
