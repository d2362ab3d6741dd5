using Crstore.Model;

namespace Crstore.Store.Frames;

/// <summary>A frame: the CRID that first stored its chunks, and its number there, in capture order.</summary>
public readonly record struct FrameId(Crid Crid, uint Number)
{
    /// <summary>The frame that holds a chunk.</summary>
    public static FrameId Of(ChunkLocation location) => new(location.Crid, location.Frame);

    /// <summary>Where the chunk in one of its slots is.</summary>
    public ChunkLocation Location(int slot) => new(Crid, checked(Number * ChunkLocation.SlotsPerFrame + (uint)slot));

    /// <summary>For messages.</summary>
    public override string ToString() => $"frame {Crid}/{Number}";
}
