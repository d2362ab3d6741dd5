using System.Diagnostics;
using Crstore.Capture;
using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Flags of mappings that were read a moment ago: of whom, for how long, and for what they will do.</summary>
public sealed class RecentFlagsTests
{
    private static readonly long NoTimeAgo = Stopwatch.GetTimestamp() + 3600 * Stopwatch.Frequency; // however slow this machine is

    [Fact]
    public void They_count_for_just_those_mappings_of_that_process_and_for_a_moment()
    {
        using var target = TrapTests.Started();
        using var other = TrapTests.Started();
        var (parser, entries, flags, found) = (new MapsParser(), new List<MapsEntry>(), new List<string>(), new List<string>());
        parser.ReadSmaps(target.Pid, entries, flags);
        var recent = new RecentFlags();
        Assert.False(recent.TryGet(target.Pid, entries, found));

        recent.Remember(target.Pid, Stopwatch.GetTimestamp() - (long)(RecentFlags.Limit.TotalSeconds * Stopwatch.Frequency), entries, flags);
        Assert.False(recent.TryGet(target.Pid, entries, found));

        recent.Remember(target.Pid, NoTimeAgo, entries, flags);
        Assert.False(recent.TryGet(other.Pid, entries, found));
        Assert.True(recent.TryGet(target.Pid, entries, found));
        Assert.Equal(flags, found);

        target.Ask("map a 50");
        parser.ReadMaps(target.Pid, entries);
        Assert.False(recent.TryGet(target.Pid, entries, found));
    }

    [Fact]
    public void Only_what_neither_what_is_left_out_nor_a_proof_depends_on_is_taken_from_them()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 50"));
        var (parser, entries, flags) = (new MapsParser(), new List<MapsEntry>(), new List<string>());
        parser.ReadSmaps(target.Pid, entries, flags);
        var recent = new RecentFlags();
        recent.Remember(target.Pid, NoTimeAgo, entries, flags);
        target.Ask("nodump a 0 50"); // maps says the same
        var options = new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Uffd };
        Assert.False(HasNew(options));
        Assert.True(HasNew(options with { HonourDontDump = true }));
        Assert.True(HasNew(options with { Snapshot = SnapshotPolicy.Auto }));
        Assert.True(HasNew(options with { Tracker = TrackerKind.Hash }));

        bool HasNew(CaptureOptions how)
        {
            using var crew = new FreezeCrew();
            using var capture = MemoryCapture.Prepare(new MemoryRequest { Pid = target.Pid, Options = how, Space = new MemorySpace(null), Rehearsal = true, Crew = crew, RecentFlags = recent });
            return capture.Vmas.Single(v => v.Entry.Start <= area && area < v.Entry.End).VmFlags.Split(' ').Contains("dd");
        }
    }
}
