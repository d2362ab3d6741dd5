namespace Crstore.Tests.Support;

/// <summary>The C programs of tests/Targets, compiled on first use.</summary>
public static class Targets
{
    private static readonly Lazy<string> OutputDirectory = new(Build);

    /// <summary>The compiled program of tests/Targets/NAME.c. Skips the test if there is no C compiler.</summary>
    public static string Path(string name)
    {
        var path = System.IO.Path.Combine(OutputDirectory.Value, name);
        return File.Exists(path) ? path : throw new FileNotFoundException($"no tests/Targets/{name}.c", path);
    }

    /// <summary>Runs make once per process, one process at a time.</summary>
    private static string Build()
    {
        var directory = Repository.Path("tests", "Targets");
        var output = System.IO.Path.Combine(directory, "out");
        Directory.CreateDirectory(output);
        using (FileLock.Take(System.IO.Path.Combine(output, ".lock"), Patience.Limit))
        {
            if (!Requires.Has("make") || !Requires.Has("cc"))
                return Directory.EnumerateFiles(output).Skip(1).Any() ? output : Requires.Missing("make and a C compiler");
            var make = Run.Command("make", ["-s", "-C", directory]);
            if (make.ExitCode != 0) throw new InvalidOperationException($"tests/Targets does not compile:\n{make.Error}{make.Output}");
        }
        return output;
    }
}
