using System.Globalization;
using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>/proc/PID/status, proc_pid_status(5): the lines that a process image needs.</summary>
public sealed record StatusLines
{
    /// <summary>Tracer, 0 for none.</summary>
    public int TracerPid { get; init; }

    /// <summary>umask(2); null before Linux 4.7.</summary>
    public uint? Umask { get; init; }

    /// <summary>Real, effective, saved, file system.</summary>
    public IReadOnlyList<uint> Uids { get; init; } = [];

    /// <summary>Real, effective, saved, file system.</summary>
    public IReadOnlyList<uint> Gids { get; init; } = [];

    /// <summary>Supplementary groups.</summary>
    public IReadOnlyList<uint> Groups { get; init; } = [];

    /// <summary>Signals ignored: bit n-1 for signal n.</summary>
    public ulong SignalsIgnored { get; init; }

    /// <summary>Signals with a handler.</summary>
    public ulong SignalsCaught { get; init; }

    /// <summary>Capabilities: inheritable, permitted, effective, bounding, ambient; capabilities(7).</summary>
    public (ulong Inheritable, ulong Permitted, ulong Effective, ulong Bounding, ulong Ambient) Capabilities { get; init; }

    /// <summary>prctl(PR_SET_NO_NEW_PRIVS).</summary>
    public bool NoNewPrivileges { get; init; }

    /// <summary>Transparent huge pages: false with prctl(PR_SET_THP_DISABLE); null before Linux 5.0.</summary>
    public bool? HugePages { get; init; }

    /// <summary>Speculation_Store_Bypass: "thread vulnerable" where PR_SET_SPECULATION_CTRL(2const) decides; empty before Linux 4.17.</summary>
    public string StoreBypass { get; init; } = "";

    /// <summary>SpeculationIndirectBranch: "conditional enabled" where it decides; empty before Linux 5.12.</summary>
    public string IndirectBranch { get; init; } = "";

    /// <summary>0 none, 1 strict, 2 filter; seccomp(2).</summary>
    public uint Seccomp { get; init; }

    /// <summary>The pid in each nested pid namespace, outermost first.</summary>
    public IReadOnlyList<int> NamespacePids { get; init; } = [];

    /// <summary>The process group's id in each; 0 where its leader is outside.</summary>
    public IReadOnlyList<int> NamespaceGroups { get; init; } = [];

    /// <summary>The session's id in each; 0 where its leader is outside.</summary>
    public IReadOnlyList<int> NamespaceSessions { get; init; } = [];

    /// <summary>Parses the whole file.</summary>
    /// <exception cref="InvalidDataException">A line that must be there is missing or malformed, or the file is cut short.</exception>
    public static StatusLines Parse(ReadOnlySpan<byte> file)
    {
        if (file.IsEmpty || file[^1] != '\n')
            throw new InvalidDataException("/proc/PID/status is cut short");
        // The name's newlines and backslashes are escaped by the kernel, so lines are lines; the first of a key counts.
        var lines = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in Encoding.UTF8.GetString(file).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon > 0)
                lines.TryAdd(line[..colon], line[(colon + 1)..].Trim());
        }
        return new StatusLines
        {
            TracerPid = (int)Number(Required(lines, "TracerPid"), "TracerPid"),
            Umask = lines.TryGetValue("Umask", out var umask) ? ParseOctal(umask) : null,
            Uids = Ids(lines, "Uid", 4),
            Gids = Ids(lines, "Gid", 4),
            Groups = Ids(lines, "Groups", 0),
            SignalsIgnored = Mask(lines, "SigIgn"),
            SignalsCaught = Mask(lines, "SigCgt"),
            Capabilities = (Mask(lines, "CapInh"), Mask(lines, "CapPrm"), Mask(lines, "CapEff"), Mask(lines, "CapBnd"), Mask(lines, "CapAmb")),
            NoNewPrivileges = lines.TryGetValue("NoNewPrivs", out var privileges) && privileges == "1",
            HugePages = lines.TryGetValue("THP_enabled", out var huge) ? huge == "1" : null,
            StoreBypass = lines.GetValueOrDefault("Speculation_Store_Bypass", ""),
            IndirectBranch = lines.GetValueOrDefault("SpeculationIndirectBranch", ""),
            Seccomp = lines.TryGetValue("Seccomp", out var seccomp) ? Number(seccomp, "Seccomp") : 0,
            NamespacePids = Pids(lines, "NSpid"),
            NamespaceGroups = Pids(lines, "NSpgid"),
            NamespaceSessions = Pids(lines, "NSsid"),
        };
    }

    private static string Required(Dictionary<string, string> lines, string key) =>
        lines.TryGetValue(key, out var value) ? value : throw new InvalidDataException($"/proc/PID/status has no line {key}");

    private static string[] Words(string text) => text.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);

    private static uint[] Ids(Dictionary<string, string> lines, string key, int atLeast)
    {
        var ids = Array.ConvertAll(Words(Required(lines, key)), w => Number(w, key));
        return ids.Length >= atLeast ? ids : throw new InvalidDataException($"/proc/PID/status: {key} has {ids.Length} numbers");
    }

    private static int[] Pids(Dictionary<string, string> lines, string key) =>
        lines.TryGetValue(key, out var pids) ? Array.ConvertAll(Words(pids), w => (int)Number(w, key)) : [];

    private static ulong Mask(Dictionary<string, string> lines, string key) =>
        ulong.TryParse(Required(lines, key), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var mask)
            ? mask
            : throw new InvalidDataException($"/proc/PID/status: {key} is no hexadecimal number");

    private static uint Number(string text, string key) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new InvalidDataException($"/proc/PID/status: {key} is “{text}”, not a number");

    private static uint ParseOctal(string text)
    {
        uint value = 0;
        foreach (var c in text)
        {
            if (c is < '0' or > '7' || value > 0x1FFFFFFF)
                throw new InvalidDataException($"/proc/PID/status: Umask is “{text}”, not an octal number");
            value = (value << 3) + (uint)(c - '0');
        }
        return value;
    }
}
