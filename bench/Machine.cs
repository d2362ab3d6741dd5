using System.Globalization;
using System.Runtime.InteropServices;
using Crstore.Store.Native;
using Crstore.Tests.Support;

namespace Crstore.Bench;

/// <summary>What the figures were measured on.</summary>
internal static class Machine
{
    public static void Describe(BenchContext context)
    {
        var report = context.Report;
        report.Line();
        report.Line($"- date: {DateTime.UtcNow:yyyy-MM-dd HH:mm} UTC; command: tools/bench.sh {string.Join(' ', Environment.GetCommandLineArgs()[1..])}; seed: CRSTORE_SEED={context.Seed}");
        report.Line($"- commit: {Output("git", "-C", Repository.Root, "describe", "--always", "--dirty")}");
        report.Line($"- processor: {Field("/proc/cpuinfo", "model name")}, {Environment.ProcessorCount} cores; memory: {Field("/proc/meminfo", "MemTotal")}");
        report.Line($"- kernel: {Output("uname", "-srv")}; load before: {File.ReadAllText("/proc/loadavg").Trim()}");
        report.Line($"- transparent huge pages: {File.ReadAllText("/sys/kernel/mm/transparent_hugepage/enabled").Trim()}");
        report.Line($"- .NET {RuntimeInformation.FrameworkDescription}; zstd {ZstdCompressor.LibraryVersion}; crstore: {context.Program} (published, Native AOT), a cold process each time");
        report.Line($"- store on: {Output("stat", "-f", "-c", "%T", Path.GetTempPath())}");
    }

    /// <summary>Seconds that the hypervisor has kept from all processors since the start, proc_stat(5); counted by 10 ms.</summary>
    public static double StolenSeconds() =>
        double.Parse(File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[8], CultureInfo.InvariantCulture) / 100;

    private static string Field(string file, string name) =>
        File.ReadLines(file).FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "unknown";

    private static string Output(string program, params string[] arguments) => Run.Command(program, arguments).Output.Trim();
}
