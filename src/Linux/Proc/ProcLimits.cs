using System.Globalization;
using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>One resource limit, getrlimit(2). <see cref="Unlimited"/> for none.</summary>
public readonly record struct ResourceLimit(uint Resource, ulong Soft, ulong Hard)
{
    /// <summary>RLIM_INFINITY.</summary>
    public const ulong Unlimited = ulong.MaxValue;
}

/// <summary>
/// /proc/PID/limits, proc_pid_limits(5). Unlike prlimit(2) it asks for no privilege over the process.
/// </summary>
public static class ProcLimits
{
    /// <summary>RLIMIT_NOFILE.</summary>
    public const uint OpenFiles = 7;

    // The kernel's names (fs/proc/base.c, lnames) in the order of RLIMIT_* of x86-64: the index is the resource.
    private static readonly string[] Names =
    [
        "Max cpu time", "Max file size", "Max data size", "Max stack size", "Max core file size", "Max resident set",
        "Max processes", "Max open files", "Max locked memory", "Max address space", "Max file locks",
        "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
    ];

    /// <summary>Parses the whole file; limits of a newer kernel that we don't know are left out.</summary>
    /// <exception cref="InvalidDataException">A known limit is missing or malformed, or the file is cut short.</exception>
    public static IReadOnlyList<ResourceLimit> Parse(ReadOnlySpan<byte> file)
    {
        if (file.IsEmpty || file[^1] != '\n')
            throw new InvalidDataException("/proc/PID/limits is cut short");
        var lines = Encoding.ASCII.GetString(file).Split('\n');
        var limits = new List<ResourceLimit>(Names.Length);
        for (uint resource = 0; resource < Names.Length; resource++)
        {
            var name = Names[resource];
            var line = lines.FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))
                ?? throw new InvalidDataException($"/proc/PID/limits has no line “{name}”");
            var values = line[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (values.Length < 2)
                throw new InvalidDataException($"/proc/PID/limits: “{line}” lacks its values");
            limits.Add(new ResourceLimit(resource, Value(values[0], line), Value(values[1], line)));
        }
        return limits;
    }

    private static ulong Value(string text, string line) =>
        text == "unlimited" ? ResourceLimit.Unlimited
        : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value
        : throw new InvalidDataException($"/proc/PID/limits: “{line}” has no number or “unlimited”");
}
