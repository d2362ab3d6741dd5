using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>Where the content of a page is that was not written since a round.</summary>
public enum KnownFrom : byte
{
    /// <summary>It is as in the parent checkpoint: no round has read it.</summary>
    Parent,

    /// <summary>All zero.</summary>
    Zero,

    /// <summary>The store has it already.</summary>
    Store,

    /// <summary>It waits in <see cref="HeldMemory"/>.</summary>
    Memory,
}

/// <summary>Consecutive pages whose content a round knows.</summary>
/// <param name="Range">Pages.</param>
/// <param name="From">Where their content is.</param>
/// <param name="Segment">With <see cref="KnownFrom.Memory"/>: the memory.</param>
/// <param name="Offset">With <see cref="KnownFrom.Memory"/>: bytes from its start.</param>
public readonly record struct KnownRun(PageRange Range, KnownFrom From, MappedMemory? Segment = null, int Offset = 0)
{
    /// <summary>What it says of a part of its range.</summary>
    public KnownRun Cut(PageRange part) =>
        new(part, From, Segment, From == KnownFrom.Memory ? Offset + (int)(part.Start.Number - Range.Start.Number) * VirtualPage.Size : 0);

    /// <summary>True if the other one only makes it longer.</summary>
    public bool ContinuesInto(in KnownRun next) =>
        Range.End == next.Range.Start && From == next.From
        && (From != KnownFrom.Memory || (ReferenceEquals(Segment, next.Segment) && Offset + (int)Range.Count * VirtualPage.Size == next.Offset));

    /// <summary>The content; with <see cref="KnownFrom.Memory"/>.</summary>
    public ReadOnlyMemory<byte> Content => Segment!.Memory.Slice(Offset, (int)Range.Count * VirtualPage.Size);
}
