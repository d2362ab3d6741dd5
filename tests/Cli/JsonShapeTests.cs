using System.Text.Json;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>The JSON that scripts rely on: one object or one array, names in snake_case that stay.</summary>
public sealed class JsonShapeTests : IDisposable
{
    private static readonly string[] HeaderNames =
        ["bytes_stored", "captured_at", "captured_unix_ns", "command", "crid", "frozen_ns", "in_memory", "incomplete", "kind", "pages", "parent_crid", "pid",
         "processes", "series", "threads", "total_ns", "tracker", "tree", "warning_count"];

    private readonly CliStore _store = new();
    private readonly TargetProcess _target = TargetProcess.Start("/bin/sleep", "1000");

    [Fact]
    public void Capture_prints_one_header_with_its_warnings()
    {
        var capture = _store.Json("capture", $"{_target.Pid}", "--series", "s");
        Assert.Equal([.. HeaderNames.Concat(["phases", "warnings", "committed"]).Order(StringComparer.Ordinal)], Names(capture));
        Assert.Equal("s", capture.GetProperty("series").GetString());
        Assert.Equal("sleep", capture.GetProperty("command").GetString());
        Assert.Equal(1, capture.GetProperty("processes").GetInt32());
        Assert.True(capture.GetProperty("frozen_ns").GetUInt64() > 0);
        Assert.True(capture.GetProperty("total_ns").GetUInt64() > capture.GetProperty("frozen_ns").GetUInt64());
        Assert.True(capture.GetProperty("bytes_stored").GetUInt64() > 0);
        Assert.InRange(DateTimeOffset.Parse(capture.GetProperty("captured_at").GetString()!), DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow);
    }

    [Fact]
    public void List_prints_an_array_of_headers_in_crid_order()
    {
        for (var i = 0; i < 3; i++) _store.Capture(_target.Pid, "--series", i == 1 ? "other" : "s");
        var list = _store.Json("list");
        Assert.Equal(JsonValueKind.Array, list.ValueKind);
        Assert.Equal(3, list.GetArrayLength());
        foreach (var header in list.EnumerateArray()) Assert.Equal(HeaderNames, Names(header));
        var crids = list.EnumerateArray().Select(header => header.GetProperty("crid").GetUInt64()).ToList();
        Assert.Equal(crids.Order(), crids);
        Assert.Equal(["changed", "dirty", "lies", "logical", "new", "sampled", "scanned", "zero"], Names(list[0].GetProperty("pages")));
        Assert.Single(_store.Json("list", "--series", "other").EnumerateArray());
    }

    [Fact]
    public void Show_prints_one_object_with_processes_threads_areas_and_fds()
    {
        var crid = _store.Capture(_target.Pid);
        var shown = _store.Json("show", crid);
        foreach (var name in HeaderNames.Concat(["host", "phases", "tracking", "exclusions", "warnings", "process_list"]))
            Assert.True(shown.TryGetProperty(name, out _), name);
        Assert.NotEmpty(shown.GetProperty("phases").EnumerateArray());
        Assert.Contains(shown.GetProperty("phases").EnumerateArray(), phase => phase.GetProperty("frozen").GetBoolean());
        Assert.NotEqual("", shown.GetProperty("tracking")[0].GetProperty("reason").GetString());
        var process = Assert.Single(shown.GetProperty("process_list").EnumerateArray());
        Assert.Equal(["/bin/sleep", "1000"], process.GetProperty("cmdline").EnumerateArray().Select(word => word.GetString()));
        Assert.Equal(_target.Pid, process.GetProperty("threads")[0].GetProperty("tid").GetInt32());
        Assert.Contains(process.GetProperty("vmas").EnumerateArray(), vma => vma.GetProperty("name").GetString() == "[stack]");
        Assert.Contains(process.GetProperty("vmas").EnumerateArray(), vma => vma.GetProperty("start").GetString()!.StartsWith("0x", StringComparison.Ordinal));
        Assert.Contains(process.GetProperty("fds").EnumerateArray(), fd => fd.GetProperty("fd").GetInt32() == 1);
    }

    [Fact]
    public void Series_stats_verify_diff_restore_forget_and_gc_have_their_names()
    {
        var crid = _store.Capture(_target.Pid, "--series", "s");
        Assert.Equal(["bytes_stored", "checkpoints", "distrusted_trackers", "first", "last", "latest_crid", "logical_bytes", "series"], Names(_store.Json("series")[0]));
        Assert.Equal(["checkpoints", "chunks", "compressed_bytes", "compression_ratio", "dedup_ratio", "directory_bytes", "in_memory", "index_bytes",
            "logical_bytes", "map_bytes", "series", "unique_bytes"], Names(_store.Json("stats")));
        Assert.Equal(_store.Json("stats").GetProperty("logical_bytes").GetUInt64(), _store.Json("series")[0].GetProperty("logical_bytes").GetUInt64());
        Assert.Equal(["broken", "frames_read", "pages_read", "problems", "store_problems", "whole"], Names(_store.Json("verify", crid, "--read-data")));
        Assert.Equal(["a", "b", "processes"], Names(_store.Json("diff", crid, crid)));
        Assert.Equal(["bytes", "crid", "files", "format", "warnings"], Names(_store.Json("restore", crid, "--to", _store.File("core"))));
        Assert.Equal(["dry_run", "forgotten"], Names(_store.Json("forget", crid)));
        Assert.Equal(["bytes_after", "bytes_before", "chunks_freed", "damaged_frames", "dry_run", "duration_ms", "frames_deleted", "frames_rewritten",
            "held_by", "orphan_files_freed", "segments_freed"], Names(_store.Json("gc")));
    }

    [Fact]
    public void Gc_recompress_says_what_it_saved_and_the_checkpoint_stays_whole()
    {
        _store.Capture(_target.Pid, "--series", "s");
        Expect.Failure(_store.Run("gc", "--recompress", "--dry-run"), ExitCode.Usage, "--recompress");
        var packed = _store.Json("gc", "--recompress").GetProperty("recompressed");
        Assert.Equal(["bytes_after", "bytes_before", "bytes_saved", "damaged", "duration_ms", "looked", "packed"], Names(packed));
        Assert.True(packed.GetProperty("packed").GetUInt64() > 0 && packed.GetProperty("bytes_saved").GetUInt64() > 0, $"{packed}");
        Assert.Contains("0 of 0 frames packed harder", _store.Do("gc", "--recompress"));
        Assert.Empty(_store.Json("verify", "s", "--read-data").GetProperty("broken").EnumerateArray());
    }

    [Fact]
    public void A_hostile_process_name_is_escaped_in_json_and_harmless_in_text()
    {
        const string name = "\u001b[31mred\"x";
        using var hostile = TargetProcess.Python("import ctypes,sys\nctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)\nprint('ready', flush=True)\nsys.stdin.read()", name);
        hostile.Expect("ready");
        var capture = _store.Json("capture", $"{hostile.Pid}", "--series", "s");
        Assert.Equal(name, capture.GetProperty("command").GetString());
        foreach (var output in new[] { _store.Do("list"), _store.Do("show", "s"), _store.Do("diff", "s", "s") })
            Assert.DoesNotContain('\u001b', output);
        Assert.DoesNotContain('\u001b', _store.Capture(hostile.Pid));
    }

    public void Dispose()
    {
        _target.Dispose();
        _store.Dispose();
    }

    private static List<string> Names(JsonElement element) => [.. element.EnumerateObject().Select(member => member.Name).Order(StringComparer.Ordinal)];
}
