using Crstore.Tests.Support;

namespace Crstore.Tests.Cli;

/// <summary>
/// The program run as another user, by root. That user may not be able to enter the directory of the sources (a clone in /root, say), so
/// it is a copy in a directory that is open to all.
/// </summary>
internal static class OtherUser
{
    /// <summary>A user whom every machine has.</summary>
    public const int Nobody = 65534;

    private static readonly Lazy<TempDir> Copies = new(Copy);

    /// <summary>tools/demo_target.py where everybody can read it.</summary>
    public static string DemoTargetScript => Copies.Value.File("demo_target.py");

    /// <summary>Runs crstore as a user, with nothing in the environment but PATH, where .NET is, and what is given as NAME=VALUE.</summary>
    public static CommandResult Run(int uid, IEnumerable<string> environment, params string[] arguments) =>
        As(uid, ["env", "-i", "PATH=/usr/bin:/bin", .. Dotnet("DOTNET_ROOT="), .. environment, Path.Combine(Copies.Value.Path, "crstore", "crstore"), .. arguments]);

    private static CommandResult As(int uid, params string[] command) =>
        Support.Run.Command(Requires.Program("setpriv", "util-linux"), [$"--reuid={uid}", $"--regid={uid}", "--clear-groups", .. command], directory: "/");

    private static TempDir Copy()
    {
        Requires.Root();
        foreach (var root in Dotnet(""))
            Requires.That(As(Nobody, "test", "-x", $"{root}/dotnet").ExitCode == 0, $"a .NET that other users may run ({root})");
        var directory = new TempDir("crstore-for-all-").OpenToAll();
        AppDomain.CurrentDomain.ProcessExit += (_, _) => directory.Dispose();
        Support.Run.Command("cp", ["-r", Path.GetDirectoryName(CrstoreProgram.Path)!, directory.File("crstore")]).MustSucceed();
        File.Copy(Repository.Path("tools", "demo_target.py"), directory.File("demo_target.py"));
        Support.Run.Command("chmod", ["-R", "a+rX", directory.Path]).MustSucceed();
        return directory;
    }

    private static string[] Dotnet(string prefix) => Environment.GetEnvironmentVariable("DOTNET_ROOT") is { Length: > 0 } root ? [prefix + root] : [];
}
