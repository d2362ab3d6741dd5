using System.Diagnostics;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Store.Layout;
using Crstore.Store.Reading;
using Crstore.Store.Writing;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store;

/// <summary>
/// Keeps a store open for writing from one commit to the next, for a process that captures often: opening RocksDB twice and closing it takes longer than
/// all the rest of a small increment. What it keeps, the write lock above all, it gives away when somebody knocks (<see cref="TurnBell"/>): at once while
/// it is idle, whatever its owner does then, else at the end of the capture. Its owner may wait for no lock while it <see cref="IsOpen"/>.
/// One thread uses it.
/// </summary>
public sealed class StoreKeeper : IDisposable
{
    /// <summary>So long it stays open unused: who stops the process meanwhile (SIGSTOP) keeps others out.</summary>
    public static readonly TimeSpan IdleLimit = TimeSpan.FromSeconds(1);

    /// <summary>
    /// So long it stays open at most: for those whose knocks are not heard (a network file system), and so that a file of the store that was removed
    /// meanwhile is missed soon.
    /// </summary>
    private static readonly TimeSpan OpenLimit = TimeSpan.FromSeconds(10);

    private readonly Lock gate = new();
    private readonly SafeFileHandle wake = EventFiles.CreateEvent(0, semaphore: false);
    private readonly Thread listener;
    private WriteAccess? access;
    private long idleSince;
    private bool used;
    private bool ended;

    private StoreKeeper(TurnBell bell)
    {
        Bell = bell;
        listener = new Thread(Listen) { IsBackground = true, Name = "store keeper" };
        listener.Start();
    }

    /// <summary>The store is open, and nobody else can write to it.</summary>
    public bool IsOpen
    {
        get
        {
            lock (gate) return access is not null;
        }
    }

    /// <summary>
    /// Its owner captures now and then only: what a capture reads beyond what it wants itself is not kept for the next one. Never said where captures take much of the time: without it they would take
    /// more, each would find more changed, and that would not end.
    /// </summary>
    public bool CapturesAreRare
    {
        get => !Known.Anchors.TakesNeighbours;
        set => Known.Anchors.TakesNeighbours = !value;
    }

    /// <summary>How long this one stays open unused, and at most: tests choose, for which no machine may be too slow.</summary>
    internal TimeSpan IdleTime { get; set; } = IdleLimit;

    /// <inheritdoc cref="IdleTime"/>
    internal TimeSpan OpenTime { get; set; } = OpenLimit;

    internal TurnBell Bell { get; }

    /// <summary>What the captures of its owner have read of the store, and may use again.</summary>
    internal KeptKnowledge Known { get; } = new(OpenLimit);

    /// <summary>Of the one capture of its owner that is under way.</summary>
    internal SinkBuffers Buffers { get; } = new();

    /// <summary>Closes the store and lets others have it. Not while it is in use.</summary>
    public void GiveAway()
    {
        lock (gate)
        {
            if (used) throw new InvalidOperationException("the store is in use");
            access?.Close();
            access = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (ended) return;
        GiveAway();
        ended = true;
        Wake();
        listener.Join();
        Bell.Dispose();
        wake.Dispose();
    }

    /// <summary>One for a store; null if it could not hear anybody knock.</summary>
    internal static StoreKeeper? TryMake(StorePaths paths) => TurnBell.TryHang(paths) is { } bell ? new StoreKeeper(bell) : null;

    /// <summary>What is open, which comes back by <see cref="TryKeep"/>; null if nothing is, or the store isn't in its place any more.</summary>
    internal WriteAccess? Use()
    {
        lock (gate)
        {
            if (access is { IsInPlace: false }) GiveAway();
            used = access is not null;
            return access?.Again();
        }
    }

    /// <summary>Takes it, or takes it back; false, and it has none, if that was no success, somebody waits for it, or it has been open for long.</summary>
    internal bool TryKeep(WriteAccess opened, bool success)
    {
        lock (gate)
        {
            used = false;
            var keeps = success && !Bell.HasRung && Stopwatch.GetElapsedTime(opened.OpenedAt) < OpenTime;
            access = keeps ? opened : null;
            if (!keeps) return false;
            idleSince = Stopwatch.GetTimestamp();
        }

        Wake();
        return true;
    }

    private void Wake() => RawFile.Write(wake, BitConverter.GetBytes(1UL), "an eventfd");

    private void Listen()
    {
        var poll = new PollSet(wake, Bell.Handle);
        poll.Watch(0, PollBits.In);
        Span<byte> count = stackalloc byte[8];
        while (!ended)
        {
            int left;
            lock (gate)
            {
                if (access is not null && !used && (Bell.HasRung || Stopwatch.GetElapsedTime(idleSince) >= IdleTime)) GiveAway();
                var idle = access is not null && !used;
                poll.Watch(1, idle ? PollBits.In : null);
                left = idle ? Math.Max(0, (int)Math.Ceiling((IdleTime - Stopwatch.GetElapsedTime(idleSince)).TotalMilliseconds)) : -1;
            }

            poll.Wait(left);
            if ((poll.Found(0) & PollBits.In) != 0) RawFile.Read(wake, count);
        }
    }
}
