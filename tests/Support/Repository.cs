namespace Crstore.Tests.Support;

/// <summary>Where the sources lie.</summary>
public static class Repository
{
    /// <summary>The directory of Checkpoint.sln.</summary>
    public static string Root { get; } = Find();

    /// <summary>A path within it.</summary>
    public static string Path(params string[] parts) => System.IO.Path.Combine([Root, .. parts]);

    private static string Find()
    {
        for (var d = new DirectoryInfo(AppContext.BaseDirectory); d is not null; d = d.Parent)
            if (File.Exists(System.IO.Path.Combine(d.FullName, "Checkpoint.sln"))) return d.FullName;
        throw new DirectoryNotFoundException($"no Checkpoint.sln above {AppContext.BaseDirectory}");
    }
}
