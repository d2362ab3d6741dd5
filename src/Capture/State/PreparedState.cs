using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;

namespace Crstore.Capture.State;

/// <summary>
/// What changes seldom and may be read before the freeze. The exec is the exception: it changes all of it at once, so
/// auxv and exe are looked at again in the freeze (<see cref="IsStillThisProgram"/>).
/// </summary>
internal sealed class PreparedState
{
    private const int SmallFile = 64 * 1024;
    private const int ArgumentLimit = 16 * 1024 * 1024; // execve(2) allows a quarter of the stack limit, at most 6 MiB

    private readonly List<string> warnings = [];
    private byte[] auxv = [];
    private (ulong Dev, ulong Inode) exe;

    /// <summary>What could not be read, and why.</summary>
    internal IReadOnlyList<string> Warnings => warnings;

    /// <summary>Exe, arguments, environment, limits, namespaces and the like, to be merged into the message.</summary>
    internal Process Message { get; } = new();

    internal static PreparedState Read(int pid, ProcDirectory proc, FileRefs files)
    {
        var state = new PreparedState();
        var message = state.Message;
        state.auxv = proc.Read("auxv", SmallFile).ToArray();
        message.Auxv = ByteString.CopyFrom(state.auxv);
        message.Exe = state.Link(proc, "exe");
        state.exe = ExeIdentity(proc);
        message.ExeFile = files.Describe(message.Exe, $"/proc/{pid}/exe");
        message.Cmdline = state.Bytes(proc, "cmdline", ArgumentLimit);
        message.Environ = state.Bytes(proc, "environ", ArgumentLimit);
        message.Personality = (uint)state.Number(proc, "personality", hexadecimal: true);
        message.CoredumpFilter = (ulong)state.Number(proc, "coredump_filter", hexadecimal: true);
        message.OomScoreAdj = (int)state.Number(proc, "oom_score_adj", hexadecimal: false);
        foreach (var limit in ProcLimits.Parse(proc.Read("limits", SmallFile)))
            message.Rlimits.Add(new Rlimit { Resource = limit.Resource, Soft = limit.Soft, Hard = limit.Hard });
        foreach (var kind in NamespaceLink.Names)
        {
            // Older kernels lack some of them.
            if (proc.TryReadLink($"ns/{kind}", out var link) == 0)
                message.Namespaces.Add(new Namespace { Kind = kind, Inode = NamespaceLink.Inode(link) });
        }
        (message.MonotonicOffsetNs, message.BoottimeOffsetNs) = ClockOffsets.Of(proc);
        (message.SecurityLabel, message.ControlGroups) = Confinement.Of(proc);
        return state;
    }

    /// <summary>False if the process has called execve since. Cheap: for the freeze.</summary>
    internal bool IsStillThisProgram(ProcDirectory proc) =>
        proc.TryRead("auxv", SmallFile, out var now) == 0 && now.SequenceEqual(auxv) && ExeIdentity(proc) == exe;

    private static (ulong Dev, ulong Inode) ExeIdentity(ProcDirectory proc) =>
        proc.TryStat("exe", out var status) == 0 ? (status.Dev, status.Inode) : default;

    private string Link(ProcDirectory proc, string name)
    {
        var error = proc.TryReadLink(name, out var target);
        if (error != 0)
            warnings.Add($"{name} is not known: {Errno.Describe(error)}");
        return target;
    }

    private ByteString Bytes(ProcDirectory proc, string name, int limit)
    {
        var error = proc.TryRead(name, limit, out var content);
        if (error == 0)
            return ByteString.CopyFrom(content);
        warnings.Add($"{name} is not known: {Errno.Describe(error)}");
        return ByteString.Empty;
    }

    private long Number(ProcDirectory proc, string name, bool hexadecimal)
    {
        var text = System.Text.Encoding.ASCII.GetString(Bytes(proc, name, SmallFile).Span).Trim();
        if (text.Length == 0)
            return 0;
        var style = hexadecimal ? System.Globalization.NumberStyles.AllowHexSpecifier : System.Globalization.NumberStyles.AllowLeadingSign;
        return long.TryParse(text, style, System.Globalization.CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new TargetException($"/proc/PID/{name} says “{text}”, which is no number");
    }
}
