using System.Globalization;
using System.Text;
using Crstore.Linux.Files;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Tests.Crash.Driver;

/// <summary>
/// What drivers meant to do and what they were told is done, one append-only file per driver, one write(2) per line: it
/// outlives a SIGKILL at any instant. Kept outside the store.
/// </summary>
public sealed class Oracle : IDisposable
{
    private readonly string path;
    private readonly SafeFileHandle file;
    private long end;

    /// <summary>Opens a driver's own file.</summary>
    public Oracle(string path)
    {
        this.path = path;
        file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create);
        end = new FileInfo(path).Length;
        Append("start"); // ends a line that a kill cut
    }

    /// <summary>A CRID was given out, and this is what it will hold.</summary>
    public void Meant(Crid crid, string series, SyntheticMemory memory) => Append($"I {crid} {series} {memory}");

    /// <summary>The commit returned.</summary>
    public void Committed(Crid crid) => Append($"A {crid}");

    /// <summary>The commit into memory returned.</summary>
    public void Kept(Crid crid) => Append($"K {crid}");

    /// <summary>About to forget.</summary>
    public void Forgetting(Crid crid) => Append($"F {crid}");

    /// <summary>Forget returned.</summary>
    public void Forgotten(Crid crid) => Append($"f {crid}");

    /// <summary>Something else that was done, counted by its word.</summary>
    public void Note(string word) => Append($"N {word}");

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    private void Append(string line)
    {
        var bytes = Encoding.ASCII.GetBytes("\n" + line + " .");
        FileCalls.WriteAt(file, bytes, end, path);
        end += bytes.Length;
    }

    /// <summary>What all the files of a directory say together.</summary>
    public static OracleState ReadAll(string directory)
    {
        var state = new OracleState();
        foreach (var path in Directory.GetFiles(directory, "oracle-*"))
            foreach (var line in File.ReadAllText(path).Split('\n'))
            {
                var words = line.Split(' ');
                if (words[^1] != ".") continue; // cut by a kill: what it announces has not begun
                if (words[0] == "N") state.Notes[words[1]] = state.Notes.GetValueOrDefault(words[1]) + 1;
                if (words[0] is "start" or "N" || !ulong.TryParse(words[1], CultureInfo.InvariantCulture, out var number)) continue;
                var crid = new Crid(number);
                switch (words[0])
                {
                    case "I":
                        if (!state.Meant.TryAdd(crid, (words[2], SyntheticMemory.Parse(words.AsSpan(3, words.Length - 4))))) state.Reused.Add(crid);
                        break;
                    case "K": state.Kept.Add(crid); break;
                    case "A": state.Committed.Add(crid); break;
                    case "F": state.Forgetting.Add(crid); break;
                    case "f": state.Forgotten.Add(crid); break;
                }
            }

        return state;
    }
}

/// <summary>The oracle's knowledge.</summary>
public sealed class OracleState
{
    /// <summary>Series and content per CRID that was given out.</summary>
    public Dictionary<Crid, (string Series, SyntheticMemory Memory)> Meant { get; } = [];

    /// <summary>Given out twice.</summary>
    public List<Crid> Reused { get; } = [];

    /// <summary>Acknowledged.</summary>
    public HashSet<Crid> Committed { get; } = [];

    /// <summary>Acknowledged as kept in memory.</summary>
    public HashSet<Crid> Kept { get; } = [];

    /// <summary>Somebody began to forget them.</summary>
    public HashSet<Crid> Forgetting { get; } = [];

    /// <summary>Acknowledged as forgotten.</summary>
    public HashSet<Crid> Forgotten { get; } = [];

    /// <summary>How often other things were done.</summary>
    public Dictionary<string, int> Notes { get; } = [];
}
