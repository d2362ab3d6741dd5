using System.Diagnostics.CodeAnalysis;
using Xunit;

namespace Crstore.Tests.Support;

/// <summary>What a test can't do without. Each call skips the test, with the reason, if the machine lacks it.</summary>
public static class Requires
{
    /// <summary>True if a program of that name is on the PATH.</summary>
    public static bool Has(string program) => Find(program) is not null;

    /// <summary>The full path of a program on the PATH, or null.</summary>
    public static string? Find(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin").Split(':')
        .Select(d => Path.Combine(d, program)).FirstOrDefault(File.Exists);

    /// <summary>A program on the PATH; returns its full path.</summary>
    public static string Program(string program, string? package = null) =>
        Find(program) ?? Missing($"the program {program}{(package is null ? "" : $" (Debian package {package})")}");

    /// <summary>uid 0.</summary>
    public static void Root()
    {
        if (Environment.UserName != "root") Missing("root");
    }

    /// <summary>gdb.</summary>
    public static string Gdb() => Program("gdb", "gdb");

    /// <summary>python3 itself, not a version manager's shim (which is a shell script that execs).</summary>
    public static string Python() =>
        File.Exists("/usr/bin/python3") ? "/usr/bin/python3" : Program("python3", "python3");

    /// <summary>redis-server.</summary>
    public static string Redis() => Program("redis-server", "redis-server");

    /// <summary>Any other condition.</summary>
    public static void That(bool condition, string what)
    {
        if (!condition) Missing(what);
    }

    /// <summary>Skips.</summary>
    [DoesNotReturn]
    public static string Missing(string what)
    {
        Assert.Skip($"this machine lacks {what}");
        return what;
    }
}
