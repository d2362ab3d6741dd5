using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>What a process is confined by that its children inherit: its security label and its control groups.</summary>
/// <param name="Label">/proc/PID/attr/current: of AppArmor, SELinux or Smack; empty without such a module.</param>
/// <param name="ControlGroups">/proc/PID/cgroup, cgroups(7): a line per hierarchy, in order; empty if they can't be read.</param>
public readonly record struct Confinement(string Label, string ControlGroups)
{
    private const int SmallFile = 64 * 1024;

    /// <summary>A process's.</summary>
    public static Confinement Of(ProcDirectory proc)
    {
        ArgumentNullException.ThrowIfNull(proc);
        return new Confinement(Text(proc, "attr/current"), string.Join('\n', Text(proc, "cgroup").Split('\n').Order(StringComparer.Ordinal)));
    }

    /// <summary>This process's.</summary>
    public static Confinement OfSelf()
    {
        using var proc = ProcDirectory.Open(Environment.ProcessId);
        return Of(proc);
    }

    // attr/current gives EINVAL where no module has labels.
    private static string Text(ProcDirectory proc, string name) => proc.TryRead(name, SmallFile, out var text) == 0 ? Encoding.UTF8.GetString(text).TrimEnd('\n', '\0') : "";
}
