namespace Crstore.Linux.Proc;

/// <summary>/proc/PID/ksm_stat, Documentation/admin-guide/mm/ksm.rst.</summary>
public static class KsmStat
{
    private const string Own = "/proc/self/ksm_stat";

    /// <summary>Whether this kernel says it there (since Linux 6.13).</summary>
    public static bool IsTold { get; } = File.Exists(Own) && MergesAny(TaskFile.ReadBytes(Own)) is not null;

    /// <summary>Whether all that can be merged is, PR_SET_MEMORY_MERGE(2const); null where the kernel does not say so there.</summary>
    public static bool? MergesAny(ReadOnlySpan<byte> file)
    {
        var name = "ksm_merge_any: "u8;
        var at = file.IndexOf(name);
        return at < 0 ? null : file[(at + name.Length)..].StartsWith("yes"u8);
    }
}
