namespace Crstore.Capture.Injection;

/// <summary>
/// System calls that one thread of the target makes in a row, up to four arguments each. They may be made twice: only such as ask for something belong here.
/// </summary>
public sealed class CallBatch
{
    /// <summary>Words of a call: its number and four arguments.</summary>
    internal const int Words = 5;

    private ulong[] _words = new ulong[64 * Words];
    private long[] _results = new long[64];

    /// <summary>So many calls.</summary>
    public int Count { get; private set; }

    /// <summary>One more.</summary>
    /// <returns>Its index.</returns>
    public int Add(long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0)
    {
        if (Count == _results.Length)
        {
            Array.Resize(ref _words, 2 * _words.Length);
            Array.Resize(ref _results, 2 * _results.Length);
        }

        var call = _words.AsSpan(Count * Words, Words);
        call[0] = (ulong)number;
        call[1] = (ulong)a0;
        call[2] = (ulong)a1;
        call[3] = (ulong)a2;
        call[4] = (ulong)a3;
        return Count++;
    }

    /// <summary>
    /// Of <see cref="IRemoteSyscalls.InvokeAll"/>: -errno on failure; else the result, which of other threads than the leader is not known and reads as 0.
    /// </summary>
    public long Result(int index) => _results[index];

    /// <summary>For the next ones.</summary>
    public void Clear() => Count = 0;

    /// <summary>A call's number (0), or argument (1 to 4).</summary>
    internal ulong Word(int index, int word) => _words[index * Words + word];

    /// <summary>Takes a result.</summary>
    internal void SetResult(int index, long result) => _results[index] = result;
}
