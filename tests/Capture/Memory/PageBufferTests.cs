using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>The page buffer: what goes in comes out, in order, and it stays within its budget however it is filled.</summary>
public class PageBufferTests
{
    private const int Megabyte = 1 << 20;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Everything_put_in_is_handed_over_in_order(bool release)
    {
        using var buffer = new PageBuffer(200 * Megabyte);
        buffer.Anticipate(40 * Megabyte);
        buffer.Prepare(50 * Megabyte);
        var space = new Collector();
        for (var round = 0; round < 2; round++)
        {
            space.Numbers.Clear();
            ulong expected = 0;
            foreach (var pages in new ulong[] { 1, 3, 9000, 1, 12000, 700 }) // beyond what was prepared
                for (ulong done = 0; done < pages;)
                {
                    var granted = buffer.Reserve(space, new PageRange(new VirtualPage(expected * 2 + done), pages - done), out var place);
                    Assert.True(granted > 0);
                    for (var i = 0; i < granted; i++) BitConverter.TryWriteBytes(place.Segment.GetSpan()[(place.Offset + i * VirtualPage.Size)..], expected * 2 + done + (ulong)i);
                    done += (ulong)granted;
                    if (done == pages) expected += pages;
                }

            if (release) buffer.DrainAndRelease();
            else buffer.Drain();
            Assert.True(buffer.IsEmpty);
            Assert.Equal((int)expected, space.Numbers.Count);
            Assert.Equal(space.Numbers.Order(), space.Numbers);
            if (release) Assert.Equal(0, buffer.CapacityBytes);
        }
    }

    [Fact]
    public void It_never_takes_more_than_its_budget()
    {
        using var buffer = new PageBuffer(8 * Megabyte);
        buffer.Anticipate(100 * Megabyte);
        buffer.Prepare(200 * Megabyte);
        Assert.Equal(8 * Megabyte, buffer.CapacityBytes);
        var range = new PageRange(new VirtualPage(1), 10000);
        Assert.Equal(8 * Megabyte / VirtualPage.Size, buffer.Reserve(new Collector(), range, out _));
        Assert.Equal(0, buffer.Reserve(new Collector(), range, out _));
    }

    [Fact]
    public void What_was_prepared_is_resident()
    {
        using var buffer = new PageBuffer(64 * Megabyte);
        buffer.Anticipate(30 * Megabyte);
        buffer.Prepare(64 * Megabyte);
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        var entry = new ulong[1];
        var resident = 0;
        while (buffer.Reserve(new Collector(), new PageRange(new VirtualPage(1), 1), out var place) == 1)
        {
            pagemap.Read(VirtualPage.Of(place.Segment.Address + (ulong)place.Offset), entry);
            if (entry[0] >> 63 != 0) resident++; // proc_pid_pagemap(5)
        }

        Assert.InRange(resident, 48 * Megabyte / VirtualPage.Size, 64 * Megabyte / VirtualPage.Size);
    }

    [Fact]
    public void What_gets_no_huge_page_is_faulted_in_all_the_same()
    {
        Requires.That(Environment.ProcessorCount > 1, "two processors: nothing is filled ahead on one");
        using var segment = new MappedMemory(1 * Megabyte, huge: true); // half of a huge page
        using (var filler = new BufferFiller())
        {
            filler.Add(segment);
            filler.Begin();
            Patience.Until(() => segment.IsResident(0, VirtualPage.Size), "the filler to begin");
        }

        Assert.True(segment.IsResident(0, segment.SizeBytes));
    }

    [Fact]
    public void It_can_be_dropped_while_it_is_being_filled()
    {
        using var buffer = new PageBuffer(200 * Megabyte);
        buffer.Anticipate(200 * Megabyte);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_a_round_has_used_is_faulted_in_already_for_the_next_capture_of_a_watch(bool watches)
    {
        using var buffer = new PageBuffer(128 * Megabyte) { KeptBytes = watches ? 64 * Megabyte : 0 };
        using (var held = new HeldMemory(buffer))
        {
            held.Prepare(16 * Megabyte);
            Assert.True(held.TryTake(16 * Megabyte, out var place));
            place.Segment.GetSpan().Fill(1);
        }

        buffer.SetBudget(128 * Megabyte);
        using (var held = new HeldMemory(buffer))
        {
            Assert.True(held.TryTake(16 * Megabyte, out var place));
            Assert.Equal(watches, place.Segment.IsResident(0, 16 * Megabyte));
        }
    }

    [Fact]
    public void What_is_kept_of_a_round_counts_in_the_budget()
    {
        using var buffer = new PageBuffer(128 * Megabyte) { KeptBytes = 64 * Megabyte };
        using (var held = new HeldMemory(buffer))
        {
            Assert.True(held.TryTake(16 * Megabyte, out var place));
            place.Segment.GetSpan().Fill(1);
        }

        buffer.Prepare(113 * Megabyte); // together they would be more than it may have
        using (var held = new HeldMemory(buffer))
        {
            Assert.True(held.TryTake(16 * Megabyte, out var place));
            Assert.False(place.Segment.IsResident(0, 16 * Megabyte));
        }
    }

    /// <summary>Takes down the number that stands at the start of each page, which is the page's.</summary>
    private sealed class Collector : ISpaceWriter
    {
        public List<ulong> Numbers { get; } = [];

        public IReadOnlyList<PageSpan> ParentSpans => [];

        public void Keep(PageRange range)
        {
        }

        public void SetZero(PageRange range)
        {
        }

        public void SetExcluded(PageRange range)
        {
        }

        public void SetAbsent(PageRange range)
        {
        }

        public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages)
        {
            for (var at = 0; at < pages.Length; at += VirtualPage.Size)
            {
                var number = BitConverter.ToUInt64(pages.Span[at..]);
                Assert.Equal(first.Number + (ulong)(at / VirtualPage.Size), number);
                Numbers.Add(number);
            }
        }

        public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => false;

        public void Clear() => Numbers.Clear();
    }
}
