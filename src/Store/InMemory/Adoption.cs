using Crstore.Model;

namespace Crstore.Store.InMemory;

/// <summary>
/// A checkpoint that was captured into the memory store and is written into the main one, under the CRID that it has. Its pages go there under a CRID of
/// their own, a fresh one with each try: frames that a try leaves behind when it is killed are never written over (docs/FORMAT.md).
/// </summary>
/// <param name="Crid">Its CRID.</param>
internal sealed record Adoption(Crid Crid)
{
    /// <summary>What it is an increment to there: the last one of its series that was begun before it; none if there is none.</summary>
    public Crid ParentIn(StoreReader reader, string series)
    {
        var nearest = Crid.None;
        foreach (var header in reader.Headers(series, damaged: _ => { }))
            if (header.Crid < Crid.Value) nearest = new Crid(header.Crid);
        return nearest;
    }
}
