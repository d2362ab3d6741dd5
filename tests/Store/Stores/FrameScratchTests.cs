using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Reading;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>Frames are read where RocksDB has them: what is given back, or another one's, must not be read any more.</summary>
public sealed class FrameScratchTests
{
    [Theory]
    [InlineData(5000)] // in the commit's batch
    [InlineData(0)]    // through SST files
    public void A_frame_that_was_given_back_can_not_be_read(int smallCapturePages)
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = smallCapturePages };
        var crid = new Crid(temp.Capture(Memory.Random(1, 40)).Crid);
        using var store = temp.Open();
        using var db = RocksDb.Open(store.Paths.Database, RocksMode.ReadOnly);
        var whole = ChunkLookup.LoadFrame(db, new FrameId(crid, 1)); // of its own memory
        FrameReader frame;
        using (var scratch = FrameScratch.OfThisThread)
        {
            scratch.Frame(db, new FrameId(crid, 0));
            frame = scratch.Frame(db, new FrameId(crid, 1)); // in place of the one before
            for (var slot = 0; slot < whole.Slots; slot++) Assert.Equal(whole.Page(slot), frame.Page(slot));
            Assert.Throws<StoreDamagedException>(() => scratch.Frame(db, new FrameId(crid, 99))); // there is none
            frame = scratch.Frame(db, new FrameId(crid, 2));
            Assert.Equal(8, frame.Slots);
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => frame.Hash(0));
    }
}
