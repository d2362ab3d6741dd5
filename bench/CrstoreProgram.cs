using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Tests.Support;

namespace Crstore.Bench;

/// <summary>What `crstore capture --json` printed, and how long the cold process took in all.</summary>
internal sealed record Captured(ulong Crid, string Kind, string Tracker, ulong Logical, ulong Dirty, ulong Fresh, ulong Sampled,
    double FrozenMs, double TotalMs, double WallMs, ulong BytesStored)
{
    public static readonly string[] Columns =
        ["CRID", "kind", "tracker", "logical MiB", "dirty pages", "new pages", "stored MiB", "frozen ms", "total ms", "wall ms"];

    public object[] Row() => [Crid, Kind, Tracker, Logical / 256.0, Dirty, Fresh, BytesStored / 1048576.0, FrozenMs, TotalMs, WallMs];
}

/// <summary>The published program on one store, each call a cold process.</summary>
internal sealed class CrstoreProgram(string program, string store)
{
    /// <summary>The store's directory.</summary>
    public string Store => store;

    /// <summary>Captures; extra arguments as on the command line.</summary>
    public Captured Capture(int pid, params string[] more)
    {
        var result = Call(["capture", pid.ToString(CultureInfo.InvariantCulture), "--json", .. more]);
        if (result.Error.Contains("warning", StringComparison.OrdinalIgnoreCase)) Console.Error.WriteLine(result.Error.Trim());
        using var json = JsonDocument.Parse(result.Output);
        var header = json.RootElement;
        var pages = header.GetProperty("pages");
        return new Captured(Number(header, "crid"), header.GetProperty("kind").GetString()!, header.GetProperty("tracker").GetString()!,
            Number(pages, "logical"), Number(pages, "dirty"), Number(pages, "new"), Number(pages, "sampled"),
            Number(header, "frozen_ns") / 1e6, Number(header, "total_ns") / 1e6, result.Elapsed.TotalMilliseconds, Number(header, "bytes_stored"));
    }

    /// <summary>Phases of a checkpoint: name, milliseconds, frozen or not.</summary>
    public IReadOnlyList<object[]> Phases(ulong crid)
    {
        using var json = JsonDocument.Parse(Call(["show", crid.ToString(CultureInfo.InvariantCulture), "--json"]).Output);
        return [.. json.RootElement.GetProperty("phases").EnumerateArray().Select(p => new object[]
        {
            p.GetProperty("name").GetString()!, Number(p, "duration_ns") / 1e6, p.GetProperty("frozen").GetBoolean() ? "frozen" : "",
        })];
    }

    /// <summary>How long the last of a checkpoint's freezes was: without those that its rounds begin with.</summary>
    public double LastFreezeMs(ulong crid) =>
        Phases(crid).Where(p => $"{p[2]}" == "frozen" && !$"{p[0]}".StartsWith("round ", StringComparison.Ordinal)).Sum(p => (double)p[1]);

    /// <summary>Any verb; must succeed.</summary>
    public CommandResult Call(params string[] arguments) =>
        Tests.Support.Run.Command(program, ["--store", store, .. arguments], timeout: TimeSpan.FromMinutes(30)).MustSucceed();

    /// <summary>The highest resident memory of a call (VmHWM of /proc/PID/status, asked for until it ends), in bytes.</summary>
    public long PeakMemory(params string[] arguments)
    {
        var start = new ProcessStartInfo(program, ["--store", store, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        long peak = 0;
        while (!process.WaitForExit(5))
            peak = Math.Max(peak, HighWater(process.Id));
        return process.ExitCode == 0 ? peak : throw new InvalidOperationException($"exit code {process.ExitCode}\n{output.Result}{error.Result}");
    }

    /// <summary>Size on disk of everything in the store.</summary>
    public long DiskBytes() => Directories.DiskBytes(store);

    /// <summary>Processor seconds of all children of this process that have ended (proc_pid_stat(5): cutime and cstime, in ticks of 10 ms).</summary>
    public static double EndedChildrenCpuSeconds()
    {
        var fields = File.ReadAllText("/proc/self/stat");
        var numbers = fields[(fields.LastIndexOf(')') + 2)..].Split(' '); // from the third one on
        return (long.Parse(numbers[13], CultureInfo.InvariantCulture) + long.Parse(numbers[14], CultureInfo.InvariantCulture)) / 100.0;
    }

    private static long HighWater(int pid)
    {
        try
        {
            var line = File.ReadLines($"/proc/{pid}/status").FirstOrDefault(l => l.StartsWith("VmHWM", StringComparison.Ordinal));
            return line is null ? 0 : long.Parse(line.Split(':')[1].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture) * 1024;
        }
        catch (IOException)
        {
            return 0;   // it has just ended
        }
    }

    private static ulong Number(JsonElement element, string name) => element.GetProperty(name).GetUInt64();
}

/// <summary>Sizes and caches.</summary>
internal static class Directories
{
    /// <summary>du.</summary>
    public static long DiskBytes(string path) =>
        long.Parse(Run.Command("du", ["-s", "-B1", path]).MustSucceed().Output.Split('\t')[0], CultureInfo.InvariantCulture);

    /// <summary>Removes a file, or a directory with all that is in it.</summary>
    public static void Remove(string path)
    {
        if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
        else File.Delete(path);
    }

    /// <summary>Writes everything out and, as root, empties the page cache, so that reads are from the disk.</summary>
    public static void DropCaches()
    {
        Run.Command("sync", []).MustSucceed();
        if (Environment.UserName == "root") File.WriteAllText("/proc/sys/vm/drop_caches", "3");
    }
}
