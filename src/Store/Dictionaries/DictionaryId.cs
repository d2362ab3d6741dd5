namespace Crstore.Store.Dictionaries;

/// <summary>A dictionary of a store. Numbers are given once, from 1 on.</summary>
public readonly record struct DictionaryId(ulong Value)
{
    /// <summary>For messages.</summary>
    public override string ToString() => $"dictionary {Value}";
}
