using System.Globalization;
using System.Text;
using Crstore.Linux.Files;
using Crstore.Model;

namespace Crstore.Store.Layout;

/// <summary>The file `format`: version and store id, as text, so that a person and any later version can read it.</summary>
internal sealed record FormatFile(int Version, Guid StoreId)
{
    /// <summary>What this program reads and writes.</summary>
    public const int CurrentVersion = 6;

    private const string Magic = "crstore";
    private const string WriteAnew = "remove that file, and the next `crstore capture` into the store writes it anew: the database knows the id";

    /// <summary>Reads it; null if there is none.</summary>
    /// <exception cref="EnvironmentException">A newer version made the store, or one of before the first release.</exception>
    public static FormatFile? Read(StorePaths paths)
    {
        if (File.Exists(paths.Root)) throw new UsageException($"{paths.Root} is not a directory", "--store must name a directory");
        var text = StoreErrors.Guard(() => FileCalls.ReadText(paths.Format));
        if (text is null) return null;
        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var first = lines.Length > 0 ? lines[0].Split(' ') : [];
        if (first.Length != 3 || first[0] != Magic || first[1] != "format" ||
            !int.TryParse(first[2], NumberStyles.None, CultureInfo.InvariantCulture, out var version) || version < 1)
            throw new StoreDamagedException($"{paths.Format} is not the format file of a crstore store",
                WriteAnew);
        if (version > CurrentVersion)
            throw new EnvironmentException($"the store {paths.Root} has format {version}; this crstore knows formats up to {CurrentVersion}",
                "use a newer crstore");
        if (version < CurrentVersion)
            throw new EnvironmentException($"the store {paths.Root} has format {version}, of before the first release; this crstore reads format {CurrentVersion}",
                "use the crstore that made it, or name another directory with --store");
        return lines.Length >= 2 && lines[1].StartsWith("id ", StringComparison.Ordinal) && Guid.TryParse(lines[1][3..], out var id)
            ? new FormatFile(version, id)
            : throw new StoreDamagedException($"{paths.Format} has no store id", WriteAnew);
    }

    /// <summary>Writes it beside and renames: it is there whole or not at all.</summary>
    public void Write(StorePaths paths)
    {
        var temporary = paths.Format + ".new";
        using (var file = FileCalls.Open(temporary, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.Truncate | OpenFlags.NoFollow))
        {
            FileCalls.WriteAt(file, Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{Magic} format {Version}\nid {StoreId}\n")), 0, temporary);
            FileCalls.Sync(file, temporary);
        }

        FileCalls.Rename(temporary, paths.Format);
        FileCalls.SyncDirectory(paths.Root);
    }
}
