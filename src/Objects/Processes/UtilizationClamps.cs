using System.Buffers.Binary;
using Crstore.Linux;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Objects.Processes;

/// <summary>Utilization clamps, sched_setattr(2): how fast a processor should be at least and at most while a thread runs there. A hint.</summary>
public static class UtilizationClamps
{
    private const int Size = 8;
    private const uint Most = 1024;                              // SCHED_CAPACITY_SCALE
    private const ulong KeepPolicy = 0x08, KeepParameters = 0x10; // SCHED_FLAG_
    private const ulong Minimum = 0x20, Maximum = 0x40;           // SCHED_FLAG_UTIL_CLAMP_

    /// <summary>Those of attributes of <see cref="SchedulingAttributes"/>; empty if there are none.</summary>
    public static ReadOnlySpan<byte> Of(ReadOnlySpan<byte> attributes) =>
        attributes.Length >= SchedulingAttributes.SizeWithClamps && attributes.Slice(SchedulingAttributes.Size, Size).ContainsAnyExcept((byte)0) ? attributes.Slice(SchedulingAttributes.Size, Size) : [];

    /// <summary>What sets them and nothing else, for sched_setattr(2); null: they are what <paramref name="mine"/> has, or can't be set.</summary>
    public static byte[]? Setting(ReadOnlySpan<byte> theirs, ReadOnlySpan<byte> mine)
    {
        if (Of(theirs).IsEmpty || Of(mine).IsEmpty || Of(theirs).SequenceEqual(Of(mine))) return null;
        var attributes = new byte[SchedulingAttributes.SizeWithClamps];
        BinaryPrimitives.WriteInt32LittleEndian(attributes, attributes.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(attributes.AsSpan(8), KeepPolicy | KeepParameters | Minimum | Maximum);
        Of(theirs).CopyTo(attributes.AsSpan(SchedulingAttributes.Size));
        return attributes;
    }

    /// <summary>What a thread loses on this kernel; null: nothing.</summary>
    public static string? WhyNot(Thread thread)
    {
        ArgumentNullException.ThrowIfNull(thread);
        return WhyNot(thread.SchedAttributes.Span, SchedulingAttributes.Get(0));
    }

    /// <summary>The same of attributes.</summary>
    public static string? WhyNot(ReadOnlySpan<byte> theirs, ReadOnlySpan<byte> mine)
    {
        if (Of(theirs) is not { IsEmpty: false } clamps || !Of(mine).IsEmpty) return null;
        var least = BinaryPrimitives.ReadUInt32LittleEndian(clamps);
        var most = BinaryPrimitives.ReadUInt32LittleEndian(clamps[4..]);
        return least == 0 && most == Most ? null : $"it had utilization clamps ({least} to {most}), and this kernel has none";
    }
}
