using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>/proc/PID/numa_maps, numa(7): on which nodes memory is to be, and is.</summary>
public static class NumaMaps
{
    private const string Online = "/sys/devices/system/node/online"; // "0", or "0-1", "0,2"

    /// <summary>Without several nodes a policy says nothing.</summary>
    public static bool SeveralNodes { get; } = File.Exists(Online) && File.ReadAllText(Online).Trim().AsSpan().ContainsAny('-', ',');

    /// <summary>The first policy that is not the default, of the program's memory (mbind(2)) or of its first thread (set_mempolicy(2)); empty: none.</summary>
    public static string FirstPolicy(ReadOnlySpan<byte> file)
    {
        foreach (var line in Encoding.UTF8.GetString(file).Split('\n'))
        {
            // ADDRESS POLICY DETAILS
            if (line.Split(' ') is [_, var policy, ..] && policy != "default") return policy;
        }

        return "";
    }
}
