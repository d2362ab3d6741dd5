using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>A mount of one's own; skips the test where mounting is not allowed.</summary>
internal sealed class Mount : IDisposable
{
    private Mount(string path, params string[] arguments)
    {
        Path = path;
        var result = Run.Command("mount", [.. arguments, path]);
        if (result.ExitCode == 0) return;
        Directory.Delete(path);
        Assert.Skip($"mount is not allowed here: {result.Error.Trim()}");
    }

    public string Path { get; }

    public static Mount Tmpfs(string size) => new(Directory.CreateTempSubdirectory("crstore-mount-").FullName, "-t", "tmpfs", "-o", $"size={size},mode=700", "tmpfs");

    public static Mount ReadOnlyBind(string source)
    {
        var mount = new Mount(Directory.CreateTempSubdirectory("crstore-mount-").FullName, "--bind", source);
        Run.Command("mount", ["-o", "remount,ro,bind", mount.Path]).MustSucceed();
        return mount;
    }

    public void Dispose()
    {
        Run.Command("umount", ["--lazy", Path]).MustSucceed(); // a child of another test may have our files for a moment, until its exec
        Directory.Delete(Path);
    }
}
