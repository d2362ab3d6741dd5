using Crstore.Capture.Memory;
using Crstore.Capture.Tracking;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Moved memory is noticed by frame numbers.</summary>
public sealed class FrameWitnessTests
{
    [Fact]
    public void A_block_that_a_mapping_covers_in_part_is_read_when_it_is_not_known()
    {
        // 100 pages from the middle of a block on: no block lies wholly within.
        var runs = new RunList<PageRun> { new(new PageRange(new VirtualPage(0x100080), 100), PageCategories.Present) };
        var vma = new PlannedVma
        {
            Entry = new MapsEntry(0x100080000, 0x100080000 + 100 * 4096, MemoryProtection.Read | MemoryProtection.Write, false, 0, default, 0, ""),
            VmFlags = "",
            Content = VmaContent.Saved,
            Policy = ReadPolicy.Populated,
            Trackable = true,
        };
        using var witness = new FrameWitness(null);
        witness.Begin(Environment.ProcessId);
        witness.Check(vma, runs);
        Assert.All(runs, r => Assert.NotEqual(PageCategories.None, r.Flags & PageCategories.SoftDirty));
    }
}
