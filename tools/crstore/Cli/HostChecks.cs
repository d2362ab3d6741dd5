namespace Crstore.Cli;

/// <summary>One line of `doctor`.</summary>
/// <param name="Name">What was looked at.</param>
/// <param name="Verdict">"works", "no", or a value.</param>
/// <param name="Detail">Why, and what to do.</param>
internal sealed record HostCheck(string Name, string Verdict, string Detail);

/// <summary>What `doctor` says of the machine and the user.</summary>
internal static class HostChecks
{
    /// <summary>All checks, in the order they are shown.</summary>
    public static IEnumerable<HostCheck> All(string storeDirectory)
    {
        yield return new HostCheck("crstore", ProductVersion.Text, "");
        yield return new HostCheck("kernel", File.ReadAllText("/proc/sys/kernel/osrelease").Trim(), "");
        yield return new HostCheck("user", Environment.IsPrivilegedProcess ? "root" : Environment.UserName, "");
        yield return new HostCheck("store", Directory.Exists(storeDirectory) ? "there" : "not yet", storeDirectory);
    }
}
