using System.Globalization;

namespace Crstore.Model;

/// <summary>
/// 64-bit checkpoint id. Unique and increasing per store for ever; 0 means "none". Gaps are normal.
/// </summary>
public readonly record struct Crid(ulong Value) : IComparable<Crid>
{
    /// <summary>No checkpoint (the parent of a base).</summary>
    public static readonly Crid None = new(0);

    /// <summary>True for every id but <see cref="None"/>.</summary>
    public bool IsSome => Value != 0;

    /// <inheritdoc/>
    public int CompareTo(Crid other) => Value.CompareTo(other.Value);

    /// <summary>Parses a decimal CRID; false for 0, signs, blanks and anything that is not a number.</summary>
    public static bool TryParse(string text, out Crid crid)
    {
        var ok = ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value != 0;
        crid = new Crid(ok ? value : 0);
        return ok;
    }

    /// <summary>Decimal, without grouping.</summary>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
