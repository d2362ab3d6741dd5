using System.Numerics;
using Crstore.Store.Frames;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Finds what comes again and again in the pages of many frames, wherever in a page it lies: those parts of 1 KiB are a dictionary. A hash of the last 44 bytes rolls over
/// each frame (Gear, of FastCDC); one place of 64, chosen by the hash itself, so the same ones wherever the bytes lie, is a feature; in how many frames each comes is counted.
/// </summary>
internal sealed class Repetitions
{
    /// <summary>Bytes of a part.</summary>
    public const int PartBytes = 1024;

    private const int FeatureShift = 6;                      // one place of 64
    private const ulong FeatureMask = ((1UL << FeatureShift) - 1) << 38;
    private const ulong WindowMask = (1UL << 44) - 1;        // of 44 bytes: an older one has left these bits
    private const ulong CountMask = 0xff, FrameMask = 0xffff_ffff; // an entry: 24 bits of the feature, 32 of the frame that had it last, 8 of the count
    private const int FrameShift = 8, TagShift = 40;
    private const int MostPerPart = 64;                      // 16 are usual; who makes pages up could have one at each place
    private const int Longest = 32;                          // entries looked at: where more are taken, a feature is lost
    private static readonly ulong[] Gear = MakeGear();
    private readonly ulong[] table;
    private readonly List<(FrameId Frame, int FirstPart, byte Weight)> frames = [];
    private readonly List<int> partEnds = [];                // in features
    private readonly List<uint> features;                    // places in the table

    /// <summary>Room for so many bytes of pages.</summary>
    public Repetitions(long bytes)
    {
        var usual = Math.Max(bytes >> FeatureShift, 1024);
        table = new ulong[BitOperations.RoundUpToPowerOf2((ulong)usual * 2)];
        features = new List<uint>((int)usual); // one that grows leaves as much again behind
    }

    /// <summary>The features of a frame's pages, part by part. Thread safe.</summary>
    public static ulong[][] Of(ReadOnlySpan<byte> pages)
    {
        var parts = new ulong[pages.Length / PartBytes][];
        Span<ulong> found = stackalloc ulong[MostPerPart];
        ulong hash = 0, last = 0;
        for (var part = 0; part < parts.Length; part++)
        {
            var count = 0;
            foreach (var b in pages.Slice(part * PartBytes, PartBytes))
            {
                hash = (hash << 1) + Gear[b];
                if ((hash & FeatureMask) != 0) continue;
                var feature = (hash & WindowMask) * 0x9E3779B97F4A7C15;
                if (feature != last && count < MostPerPart) found[count++] = feature; // a run of one byte is one feature
                last = feature;
            }

            parts[part] = found[..count].ToArray();
        }

        return parts;
    }

    /// <summary>Counts a frame's.</summary>
    /// <param name="frame">Which.</param>
    /// <param name="parts">The features of its pages.</param>
    /// <param name="weight">What a byte of them takes as it is stored, in 255ths, not 0: so much is saved where it comes again.</param>
    public void Add(FrameId frame, ulong[][] parts, byte weight)
    {
        var number = (ulong)frames.Count + 1;
        frames.Add((frame, partEnds.Count, weight));
        foreach (var part in parts)
        {
            foreach (var feature in part)
                if (PlaceOf(feature) is { } place)
                {
                    Count(ref table[place], feature, number);
                    features.Add(place);
                }

            partEnds.Add(features.Count);
        }
    }

    /// <summary>The parts that save most, in stored order: what lies together stays together.</summary>
    /// <param name="most">So many at most; fewer if not as many come twice.</param>
    public List<(FrameId Frame, int Part)> Best(int most)
    {
        var (scores, saved, order) = (new int[partEnds.Count], new int[partEnds.Count], new int[partEnds.Count]);
        for (var f = 0; f < frames.Count; f++)
            for (int part = frames[f].FirstPart, end = f + 1 < frames.Count ? frames[f + 1].FirstPart : scores.Length; part < end; part++)
                (scores[part], saved[part], order[part]) = (Score(part), -Score(part) * frames[f].Weight, part);
        Array.Sort(saved, order);
        var chosen = new List<int>();
        foreach (var part in order)
        {
            if (chosen.Count == most || scores[part] == 0) break;
            if (Score(part) * 10 < scores[part] * 9) continue; // a part of it was chosen with others
            chosen.Add(part);
            foreach (var place in FeaturesOf(part)) table[place] &= ~CountMask;
        }

        chosen.Sort();
        var best = new List<(FrameId, int)>();
        var frame = 0;
        foreach (var part in chosen)
        {
            while (frame + 1 < frames.Count && frames[frame + 1].FirstPart <= part) frame++;
            best.Add((frames[frame].Frame, part - frames[frame].FirstPart));
        }

        return best;
    }

    private static void Count(ref ulong entry, ulong feature, ulong frame)
    {
        var count = entry & CountMask;
        if (count != 0 && (entry >> FrameShift & FrameMask) == frame) return; // the frame alone finds it
        entry = Tag(feature) << TagShift | frame << FrameShift | Math.Min(count + 1, CountMask);
    }

    private static ulong Tag(ulong feature) => feature & 0xff_ffff;

    private uint? PlaceOf(ulong feature)
    {
        var mask = (ulong)table.Length - 1;
        var place = feature >> 32 & mask;
        for (var i = 0; i < Longest; i++, place = (place + 1) & mask)
            if (table[place] == 0 || table[place] >> TagShift == Tag(feature)) return (uint)place;
        return null;
    }

    private ReadOnlySpan<uint> FeaturesOf(int part) => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(features)[(part == 0 ? 0 : partEnds[part - 1])..partEnds[part]];

    private int Score(int part)
    {
        var score = 0;
        foreach (var place in FeaturesOf(part)) score += Math.Max((int)(table[place] & CountMask) - 1, 0);
        return score;
    }

    private static ulong[] MakeGear()
    {
        var gear = new ulong[256];
        var state = 0x9E3779B97F4A7C15UL;
        for (var i = 0; i < gear.Length; i++)
        {
            state ^= state << 13; // xorshift64 (Marsaglia)
            state ^= state >> 7;
            state ^= state << 17;
            gear[i] = state;
        }

        return gear;
    }
}
