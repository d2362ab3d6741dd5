using System.Buffers.Binary;
using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Tests.Crash.Driver;

/// <summary>
/// An address space that is told by one number per page: 0 absent, 1 zero, 2 excluded, else the seed of the content. Few
/// seeds are in use, so that content comes back after it was forgotten: the hard case for dedup beside gc. Seeds that differ in
/// their lowest bits alone make pages of which a few bytes differ: they are stored as patches.
/// </summary>
public sealed class SyntheticMemory(int[] seeds)
{
    /// <summary>Where it lies.</summary>
    public static readonly VirtualPage Base = VirtualPage.Of(0x5555_0000_0000);

    private const int Absent = 0, Zero = 1, Excluded = 2, FirstContent = 8;
    private const int Picked = -1, Touched = -2;
    private const int Variants = 8; // of a content: little changes from one to the other

    /// <summary>One per page.</summary>
    public int[] Seeds { get; } = seeds;

    /// <summary>As a line of the oracle has it.</summary>
    public static SyntheticMemory Parse(ReadOnlySpan<string> words)
    {
        var seeds = new int[words.Length];
        for (var i = 0; i < seeds.Length; i++) seeds[i] = int.Parse(words[i], CultureInfo.InvariantCulture);
        return new SyntheticMemory(seeds);
    }

    /// <summary>The next state of a memory: some pages changed, a stretch gone, a stretch zero, or all new.</summary>
    public static SyntheticMemory Mutate(SyntheticMemory? from, Random random, int maxPages, int contents)
    {
        var seeds = from is null || random.Next(8) == 0 ? new int[random.Next(1, maxPages)] : (int[])from.Seeds.Clone();
        if (from is null || seeds.Length != from.Seeds.Length)
            for (var i = 0; i < seeds.Length; i++) seeds[i] = Pick(random, contents);
        for (var n = random.Next(4); n >= 0; n--)
        {
            var start = random.Next(seeds.Length);
            var length = Math.Min(random.Next(1, 40), seeds.Length - start);
            var what = random.Next(12) switch { 0 => Absent, 1 => Zero, 2 => Excluded, < 7 => Touched, _ => Picked };
            for (var i = start; i < start + length; i++)
                seeds[i] = what switch { Picked => Pick(random, contents), Touched => Touch(seeds[i], random), _ => what };
        }

        return new SyntheticMemory(seeds);
    }

    /// <summary>So many contents that come one behind the other, in all variants but the last: what is in one frame comes in others again.</summary>
    public static SyntheticMemory Similar(int first, int contents) =>
        new([.. Enumerable.Range(0, contents * (Variants - 1)).Select(i => FirstContent + (first + i % contents) * Variants + i / contents)]);

    /// <summary>The last variant of each page's content.</summary>
    public SyntheticMemory LastVariants() => new([.. Seeds.Select(s => s < FirstContent ? s : s / Variants * Variants + Variants - 1)]);

    /// <summary>The content of a page.</summary>
    public static void Fill(int seed, Span<byte> page)
    {
        page.Clear();
        if (seed < FirstContent) return;
        var x = (ulong)(seed / Variants) * 0x9E3779B97F4A7C15;
        for (var i = 0; i < 64; i++)
        {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            BinaryPrimitives.WriteUInt64LittleEndian(page[(i * 8)..], x);
        }

        for (var i = 0; i < seed % Variants; i++) BinaryPrimitives.WriteUInt32LittleEndian(page[(i * 300)..], (uint)seed);
    }

    /// <summary>Captures it: keeps what is as in the parent, by chance re-reads some of it.</summary>
    public void Write(ISpaceWriter space, SyntheticMemory? parent, Random random)
    {
        var kept = new bool[Seeds.Length];
        if (parent is not null)
        {
            var known = new HashSet<ulong>();
            foreach (var span in space.ParentSpans)
                if (span.Kind is PageKind.Chunk or PageKind.Zero)
                    for (ulong i = 0; i < span.Range.Count; i++) known.Add(span.Range.Start.Number + i - Base.Number);
            for (var i = 0; i < kept.Length; i++)
                kept[i] = i < parent.Seeds.Length && Seeds[i] == parent.Seeds[i] && known.Contains((ulong)i) && random.Next(10) != 0;
        }

        Span<byte> page = stackalloc byte[VirtualPage.Size];
        for (var i = 0; i < Seeds.Length;)
        {
            var j = i + 1;
            while (j < Seeds.Length && kept[j] == kept[i] && Class(j) == Class(i)) j++;
            var range = new PageRange(Base + (ulong)i, (ulong)(j - i));
            if (kept[i]) space.Keep(range);
            else if (Seeds[i] == Zero && random.Next(2) == 0) space.SetZero(range);
            else if (Seeds[i] == Excluded) space.SetExcluded(range);
            else if (Seeds[i] != Absent)
            {
                var content = new byte[range.SizeBytes];
                for (var k = i; k < j; k++) Fill(Seeds[k], content.AsSpan((k - i) * VirtualPage.Size, VirtualPage.Size));
                space.SetContent(range.Start, content);
            }

            i = j;
        }

        int Class(int p) => Math.Min(Seeds[p], FirstContent);
    }

    /// <summary>The pages that have content, one by one.</summary>
    public IReadOnlyList<PageRange> Content() =>
        [.. Enumerable.Range(0, Seeds.Length).Where(i => Seeds[i] is not (Absent or Excluded)).Select(i => new PageRange(Base + (ulong)i, 1))];

    /// <summary>What is wrong with an image of it; null if nothing.</summary>
    public string? Compare(ICheckpointImage image)
    {
        var range = new PageRange(Base, (ulong)Seeds.Length + 8);
        var got = new byte[range.SizeBytes];
        image.Read(new SpaceId(0), range, got);
        Span<byte> want = stackalloc byte[VirtualPage.Size];
        for (var i = 0; i < (int)range.Count; i++)
        {
            Fill(i < Seeds.Length ? Seeds[i] : 0, want);
            if (!got.AsSpan(i * VirtualPage.Size, VirtualPage.Size).SequenceEqual(want))
                return $"CRID {image.Manifest.Crid}: page {i} (seed {(i < Seeds.Length ? Seeds[i] : 0)}) differs";
        }

        var kinds = new PageKind[Seeds.Length + 8];
        foreach (var span in image.Spans(new SpaceId(0), range))
            for (ulong i = 0; i < span.Range.Count; i++) kinds[span.Range.Start.Number + i - Base.Number] = span.Kind;
        for (var i = 0; i < kinds.Length; i++)
        {
            var kind = (i < Seeds.Length ? Seeds[i] : 0) switch { Absent => PageKind.Absent, Zero => PageKind.Zero, Excluded => PageKind.Excluded, _ => PageKind.Chunk };
            if (kinds[i] != kind) return $"CRID {image.Manifest.Crid}: page {i} is {kinds[i]}, not {kind}";
        }

        return null;
    }

    /// <summary>The seeds, space separated.</summary>
    public override string ToString() => string.Join(' ', Seeds.Select(s => s.ToString(CultureInfo.InvariantCulture)));

    /// <summary>A manifest for it.</summary>
    public static CheckpointManifest Manifest()
    {
        var body = new CheckpointBody();
        body.Processes.Add(new Process { Space = 0, Pid = 1, Comm = "driver", Vmas = { new Vma { Start = Base.Address, End = Base.Address + (1 << 30) } } });
        return new CheckpointManifest(new CheckpointHeader { Command = "driver", RootPid = 1, CapturedUnixNs = (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100 }, body);
    }

    private static int Pick(Random random, int contents) => random.Next(20) switch
    {
        0 => Absent,
        1 => Zero,
        _ => FirstContent + random.Next(contents) * Variants,
    };

    /// <summary>Another variant of the same content.</summary>
    private static int Touch(int seed, Random random) => seed < FirstContent ? seed : seed / Variants * Variants + random.Next(Variants);
}
