using Crstore.Linux;

namespace Crstore.Cli;

/// <summary>What a base of a process takes in memory, by estimate.</summary>
internal static class MemoryEstimate
{
    private const ulong Packed = 2; // most memory takes a third; what takes more is noticed while it is stored

    /// <summary>Half of what is its own: anonymous, shared and swapped out (RssAnon, RssShmem and VmSwap of proc_pid_status(5)). 0 if it is gone, or can't be told.</summary>
    public static ulong Of(int pid) => TaskStatusFile.Read(pid) is { } status
        ? (Kibibytes(status["RssAnon"]) + Kibibytes(status["RssShmem"]) + Kibibytes(status["VmSwap"])) * 1024 / Packed : 0;

    private static ulong Kibibytes(string? field) => ulong.TryParse(field?.Split(' ')[0], out var kibibytes) ? kibibytes : 0;
}
