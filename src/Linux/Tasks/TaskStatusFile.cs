using System.Globalization;

namespace Crstore.Linux;

/// <summary>/proc/PID/status (or of a thread) by name, proc(5).</summary>
public sealed class TaskStatusFile
{
    private readonly Dictionary<string, string> _fields = [];

    private TaskStatusFile(string text)
    {
        foreach (var line in text.Split('\n'))
        {
            var colon = line.IndexOf(':');
            if (colon > 0) _fields[line[..colon]] = line[(colon + 1)..].Trim();
        }
    }

    /// <summary>Command name.</summary>
    public string Name => this["Name"] ?? "?";

    /// <summary>State letter.</summary>
    public char State => this["State"] is { Length: > 0 } s ? s[0] : '?';

    /// <summary>The process a thread belongs to.</summary>
    public int ThreadGroup => (int)Number("Tgid");

    /// <summary>Who traces it; 0 for nobody.</summary>
    public int TracerPid => (int)Number("TracerPid");

    /// <summary>Real, effective, saved and file system uid.</summary>
    public IReadOnlyList<uint> Uids => Ids("Uid");

    /// <summary>Real, effective, saved and file system gid.</summary>
    public IReadOnlyList<uint> Gids => Ids("Gid");

    /// <summary>0 none, 1 strict, 2 filter.</summary>
    public int Seccomp => (int)Number("Seccomp");

    /// <summary>A capability set (CapInh, CapPrm, CapEff, CapBnd, CapAmb), bit n for capability n.</summary>
    public ulong Capabilities(string set) =>
        this[set] is { } hex ? ulong.Parse(hex, NumberStyles.HexNumber, CultureInfo.InvariantCulture) : 0;

    /// <summary>A field's text, or null.</summary>
    public string? this[string name] => _fields.GetValueOrDefault(name);

    /// <summary>Of a process; null if it is gone.</summary>
    public static TaskStatusFile? Read(int pid) => TaskFile.TryReadText($"/proc/{pid}/status") is { } text ? new TaskStatusFile(text) : null;

    /// <summary>Of a thread; null if it is gone.</summary>
    public static TaskStatusFile? Read(int pid, int tid) => TaskFile.TryReadText($"/proc/{pid}/task/{tid}/status") is { } text ? new TaskStatusFile(text) : null;

    private long Number(string name) => this[name] is { } text ? long.Parse(text.Split(' ', '\t')[0], CultureInfo.InvariantCulture) : 0;

    private uint[] Ids(string name) => (this[name] ?? "").Split('\t', StringSplitOptions.RemoveEmptyEntries)
        .Select(t => uint.Parse(t, CultureInfo.InvariantCulture)).ToArray();
}
