namespace Crstore.Model;

/// <summary>A page of an address space: its address divided by <see cref="Size"/>.</summary>
public readonly record struct VirtualPage(ulong Number) : IComparable<VirtualPage>
{
    /// <summary>Bytes in a page, the unit of dirty tracking and of dedup.</summary>
    public const int Size = 4096;

    /// <summary>Binary logarithm of <see cref="Size"/>.</summary>
    public const int Shift = 12;

    /// <summary>First byte's address.</summary>
    public ulong Address => Number << Shift;

    /// <summary>The page that holds an address.</summary>
    public static VirtualPage Of(ulong address) => new(address >> Shift);

    /// <inheritdoc/>
    public int CompareTo(VirtualPage other) => Number.CompareTo(other.Number);

    /// <summary>The page that many further on.</summary>
    public static VirtualPage operator +(VirtualPage page, ulong pages) => new(page.Number + pages);

    /// <summary>Hexadecimal address.</summary>
    public override string ToString() => $"0x{Address:x}";
}

/// <summary><paramref name="Count"/> pages from <paramref name="Start"/> on.</summary>
public readonly record struct PageRange(VirtualPage Start, ulong Count)
{
    /// <summary>First page behind the range.</summary>
    public VirtualPage End => new(Start.Number + Count);

    /// <summary>Size in bytes.</summary>
    public ulong SizeBytes => Count << VirtualPage.Shift;

    /// <summary>True if it holds no page.</summary>
    public bool IsEmpty => Count == 0;

    /// <summary>The pages that cover the addresses from <paramref name="start"/> up to <paramref name="end"/>, both page aligned.</summary>
    public static PageRange OfAddresses(ulong start, ulong end) =>
        new(VirtualPage.Of(start), (end - start) >> VirtualPage.Shift);

    /// <summary>The range between two pages, the second one exclusive.</summary>
    public static PageRange Between(VirtualPage start, VirtualPage end) =>
        new(start, end.Number > start.Number ? end.Number - start.Number : 0);

    /// <summary>What both have; empty if nothing.</summary>
    public PageRange Intersect(PageRange other) => Between(
        Start.Number > other.Start.Number ? Start : other.Start,
        End.Number < other.End.Number ? End : other.End);

    /// <summary>True if the page lies in the range.</summary>
    public bool Contains(VirtualPage page) => page.Number - Start.Number < Count;

    /// <summary>Hexadecimal addresses, the second one exclusive.</summary>
    public override string ToString() => $"0x{Start.Address:x}-0x{End.Address:x}";
}

/// <summary>What a page map says of a page.</summary>
public enum PageKind : byte
{
    /// <summary>No content of its own: it reads as its VMA's backing says, zeros or the mapped file.</summary>
    Absent = 0,

    /// <summary>All zero.</summary>
    Zero = 1,

    /// <summary>A chunk in the store.</summary>
    Chunk = 2,

    /// <summary>Content existed and was not saved (excluded by the user, or unreadable).</summary>
    Excluded = 3,
}

/// <summary>A run of pages of one kind.</summary>
public readonly record struct PageSpan(PageRange Range, PageKind Kind);

/// <summary>An address space within a checkpoint: one per process, numbered from 0, root process first.</summary>
public readonly record struct SpaceId(uint Value)
{
    /// <summary>Decimal.</summary>
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}
