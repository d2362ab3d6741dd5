using System.Globalization;
using System.Text;

namespace Crstore.Objects.Files;

/// <summary>/proc/PID/fdinfo/N, proc(5): lines of “name: value”.</summary>
public sealed class FdInfo
{
    private const int CloseOnExecFlag = 0x80000, PathOnlyFlag = 0x200000, AsyncFlag = 0x2000; // O_CLOEXEC, O_ASYNC, open(2)
    private readonly List<Line> lines = [];

    private FdInfo(ReadOnlySpan<byte> text)
    {
        foreach (var line in Encoding.UTF8.GetString(text).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon > 0) lines.Add(new Line(line[..colon].Trim(), line[(colon + 1)..].Trim()));
        }
    }

    /// <summary>Takes it apart.</summary>
    public static FdInfo Parse(ReadOnlySpan<byte> text) => new(text);

    /// <summary>Offset.</summary>
    public long Position => Value("pos") is { } text ? long.Parse(text, CultureInfo.InvariantCulture) : 0;

    /// <summary>Flags of open(2), without O_CLOEXEC, and without O_ASYNC, which comes last (<see cref="FileSignals"/>).</summary>
    public int Flags => RawFlags & ~(CloseOnExecFlag | AsyncFlag);

    /// <summary>O_ASYNC: it sends signals.</summary>
    public bool IsAsync => (RawFlags & AsyncFlag) != 0;

    /// <summary>O_PATH: fcntl(2) knows little of it.</summary>
    public bool IsPathOnly => (RawFlags & PathOnlyFlag) != 0;

    /// <summary>The fd is close-on-exec.</summary>
    public bool CloseOnExec => (RawFlags & CloseOnExecFlag) != 0;

    private int RawFlags => Value("flags") is { } text ? Convert.ToInt32(text, 8) : 0;

    /// <summary>The first line of that name; null if there is none.</summary>
    public string? Value(string name) => lines.Find(l => l.Name == name)?.Value;

    /// <summary>All lines of that name, in order.</summary>
    public IEnumerable<string> Values(string name) => lines.Where(l => l.Name == name).Select(l => l.Value);

    // A class, as FdUse is.
    private sealed record Line(string Name, string Value);
}
