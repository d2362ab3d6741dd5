namespace Crstore.Tests.Support;

/// <summary>A directory of one's own, mode 0700, gone at Dispose.</summary>
public sealed class TempDir : IDisposable
{
    /// <summary>Creates it, on a real disk unless CRSTORE_TMP says where.</summary>
    public TempDir(string prefix = "crstore-test-")
    {
        var parent = Environment.GetEnvironmentVariable("CRSTORE_TMP");
        Path = parent is null
            ? Directory.CreateTempSubdirectory(prefix).FullName
            : Directory.CreateDirectory(System.IO.Path.Combine(parent, prefix + Guid.NewGuid().ToString("N"))).FullName;
    }

    /// <summary>Its path.</summary>
    public string Path { get; }

    /// <summary>A path within it.</summary>
    public string File(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>Lets other users in (tests that run something as another uid).</summary>
    public TempDir OpenToAll()
    {
        System.IO.File.SetUnixFileMode(Path, (UnixFileMode)0b111_111_111);
        return this;
    }

    /// <inheritdoc/>
    public override string ToString() => Path;

    /// <inheritdoc/>
    public void Dispose()
    {
        // Whoever still writes here is being ended by the same test: try again for a moment.
        for (var attempt = 0; Directory.Exists(Path); attempt++)
        {
            try
            {
                Directory.Delete(Path, recursive: true);
            }
            catch (IOException) when (attempt < 200)
            {
                Thread.Sleep(50);
            }
        }
    }
}
