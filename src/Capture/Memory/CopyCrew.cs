using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Copies pages of a frozen process on several processors: those of the target have nothing else to do. The freezing thread
/// adds runs of pages and takes a part in the copying; the threads of the crew begin as soon as there is something to copy.
/// Results are seen after <see cref="Complete"/>. Nothing is allocated between <see cref="Begin"/> and <see cref="End"/>.
/// </summary>
public sealed class CopyCrew : IDisposable
{
    /// <summary>Most threads besides the freezing one: beyond that the memory bus is the limit.</summary>
    public const int MaxThreads = 3;

    private const int MaxBatches = 2048;
    private const int SpansPerBatch = 128;
    private const int BytesPerBatch = 1 << 20;

    private readonly RemoteSpan[] _spans = new RemoteSpan[MaxBatches / 4 * SpansPerBatch];
    private readonly CopyBatch[] _batches = new CopyBatch[MaxBatches];
    private readonly SemaphoreSlim _go = new(0);
    private readonly Thread[] _threads;
    private int _pid;
    private int _spansUsed;
    private int _open;      // batches begun; the last one may still grow
    private int _published; // batches that may be taken
    private int _next;      // the next one to take
    private int _done;      // batches finished
    private int _active;    // threads between Begin and End
    private volatile bool _working;
    private volatile bool _disposed;

    /// <summary>Starts the threads, as far as there are processors; they wait for <see cref="Begin"/>.</summary>
    /// <param name="threads">Besides the caller's own; null: one per further processor, up to <see cref="MaxThreads"/>.</param>
    public CopyCrew(int? threads = null)
    {
        _threads = new Thread[threads ?? Math.Clamp(Environment.ProcessorCount - 1, 0, MaxThreads)];
        Array.Clear(_spans); // touched now, so that they aren't faulted in during the freeze
        Array.Clear(_batches);
        for (var i = 0; i < _threads.Length; i++)
        {
            _threads[i] = new Thread(Work) { IsBackground = true, Name = "copy" };
            _threads[i].Start();
        }
    }

    /// <summary>The batches of this round; complete after <see cref="Complete"/>.</summary>
    public ReadOnlySpan<CopyBatch> Batches => _batches.AsSpan(0, _open);

    /// <summary>The pages of a batch, in order.</summary>
    public ReadOnlySpan<RemoteSpan> SpansOf(in CopyBatch batch) => _spans.AsSpan(batch.FirstSpan, batch.Spans);

    /// <summary>Wakes the threads for a process. They spin until <see cref="End"/>: milliseconds.</summary>
    public void Begin(int pid)
    {
        _pid = pid;
        Reset();
        _working = true;
        Interlocked.Add(ref _active, _threads.Length);
        if (_threads.Length > 0) _go.Release(_threads.Length);
    }

    /// <summary>Adds consecutive pages. May take fewer than given, or none: <see cref="Complete"/> and <see cref="Reset"/> first.</summary>
    /// <param name="first">First page.</param>
    /// <param name="pages">How many.</param>
    /// <param name="place">Where to.</param>
    /// <returns>Pages taken.</returns>
    public int Add(VirtualPage first, int pages, in BufferPlace place)
    {
        var taken = 0;
        while (taken < pages)
        {
            var offset = place.Offset + taken * VirtualPage.Size;
            ref var batch = ref _batches[Math.Max(0, _open - 1)];
            var fits = _open > _published && ReferenceEquals(batch.Segment, place.Segment) && batch.Offset + batch.Bytes == offset
                && batch.Bytes < BytesPerBatch && batch.Spans < SpansPerBatch;
            if (!fits)
            {
                Volatile.Write(ref _published, _open);
                if (_open == MaxBatches || _spansUsed == _spans.Length) return taken;
                batch = ref _batches[_open++];
                batch = new CopyBatch { FirstSpan = _spansUsed, Segment = place.Segment, Offset = offset };
            }
            else if (_spansUsed == _spans.Length)
            {
                return taken;
            }

            var now = Math.Min(pages - taken, (BytesPerBatch - batch.Bytes) / VirtualPage.Size);
            _spans[_spansUsed++] = new RemoteSpan((first + (ulong)taken).Address, (ulong)now * VirtualPage.Size);
            batch.Spans++;
            batch.Bytes += now * VirtualPage.Size;
            taken += now;
        }

        return taken;
    }

    /// <summary>Copies with the others until all is done.</summary>
    /// <param name="ask">Asked before every batch of our own; may throw.</param>
    public void Complete(Action? ask)
    {
        Volatile.Write(ref _published, _open);
        while (true)
        {
            ask?.Invoke();
            if (!TryWork()) break;
        }

        var spin = new SpinWait();
        while (Volatile.Read(ref _done) < _open) spin.SpinOnce(sleep1Threshold: -1);
    }

    /// <summary>Forgets the batches, all of which are done.</summary>
    public void Reset()
    {
        _published = 0;
        _open = 0;
        _spansUsed = 0;
        _done = 0;
        Volatile.Write(ref _next, 0);
    }

    /// <summary>The threads go back to waiting. On every path, before any memory that they may write to is given back.</summary>
    public void End()
    {
        _working = false;
        var spin = new SpinWait();
        while (Volatile.Read(ref _active) > 0) spin.SpinOnce();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        End();
        _disposed = true;
        if (_threads.Length > 0) _go.Release(_threads.Length);
        foreach (var thread in _threads) thread.Join();
        _go.Dispose();
    }

    private void Work()
    {
        while (true)
        {
            _go.Wait();
            if (_disposed) return;
            var spin = new SpinWait();
            while (_working)
            {
                if (TryWork()) spin.Reset();
                else spin.SpinOnce(sleep1Threshold: -1);
            }

            Interlocked.Decrement(ref _active);
        }
    }

    private bool TryWork()
    {
        while (true)
        {
            var mine = Volatile.Read(ref _next);
            if (mine >= Volatile.Read(ref _published)) return false;
            if (Interlocked.CompareExchange(ref _next, mine + 1, mine) != mine) continue;
            ref var batch = ref _batches[mine];
            batch.Result = RemoteMemory.TryRead(_pid, SpansOf(batch), batch.Segment.GetSpan().Slice(batch.Offset, batch.Bytes));
            Interlocked.Increment(ref _done);
            return true;
        }
    }
}

/// <summary>A place for pages in native memory.</summary>
/// <param name="Segment">The memory.</param>
/// <param name="Offset">Bytes from its start.</param>
public readonly record struct BufferPlace(MappedMemory Segment, int Offset);

/// <summary>Pages that are copied by one call.</summary>
public struct CopyBatch
{
    /// <summary>Where its pages are listed, and how many runs of them.</summary>
    internal int FirstSpan, Spans;

    /// <summary>Where to.</summary>
    public MappedMemory Segment;

    /// <summary>Bytes from the start of the segment.</summary>
    public int Offset;

    /// <summary>Bytes wanted.</summary>
    public int Bytes;

    /// <summary>Bytes copied, or -errno.</summary>
    public long Result;
}
