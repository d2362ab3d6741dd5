namespace Crstore.Capture.Injection;

/// <summary>
/// System calls that one thread of the target makes in a row, up to four arguments each. They may be made twice: only such as ask for something belong here.
/// </summary>
public sealed class CallBatch
{
    /// <summary>Words of a call: its number and four arguments.</summary>
    internal const int Words = 5;

    private readonly List<ulong> _words = [];
    private readonly List<long> _results = [];

    /// <summary>So many calls.</summary>
    public int Count => _results.Count;

    /// <summary>One more.</summary>
    /// <returns>Its index.</returns>
    public int Add(long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0)
    {
        _words.Add((ulong)number);
        _words.Add((ulong)a0);
        _words.Add((ulong)a1);
        _words.Add((ulong)a2);
        _words.Add((ulong)a3);
        _results.Add(0);
        return Count - 1;
    }

    /// <summary>
    /// Of <see cref="IRemoteSyscalls.InvokeAll"/>: -errno on failure; else the result, which of other threads than the leader is not known and reads as 0.
    /// </summary>
    public long Result(int index) => _results[index];

    /// <summary>For the next ones.</summary>
    public void Clear()
    {
        _words.Clear();
        _results.Clear();
    }

    /// <summary>A call's number (0), or argument (1 to 4).</summary>
    internal ulong Word(int index, int word) => _words[index * Words + word];

    /// <summary>Takes a result.</summary>
    internal void SetResult(int index, long result) => _results[index] = result;
}
