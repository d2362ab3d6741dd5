using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using Crstore.Model;
using Crstore.Store.Frames;

namespace Crstore.Store.Writing;

/// <summary>
/// Compresses frames on all cores and hands them to the spool in order, from a thread of its own (which sits in fsync at
/// the end of each SST). A fixed number of frames is under way, so memory is bounded and the producer waits when it is ahead.
/// </summary>
internal sealed class FramePipeline : IDisposable
{
    private const int FramesUnderWay = 64; // 4 MiB of pages
    private readonly Crid crid;
    private readonly Compression compression;
    private readonly FrameSpool spool;
    private readonly BlockingCollection<Job> free = new(FramesUnderWay);
    private readonly BlockingCollection<Job> ordered = new(FramesUnderWay);
    private readonly Thread writer;
    private Job? open;
    private int made;
    private uint frames;
    private ulong next;
    private volatile ExceptionDispatchInfo? failure;
    private bool completed;

    public FramePipeline(Crid crid, Compression compression, FrameSpool spool)
    {
        (this.crid, this.compression, this.spool) = (crid, compression, spool);
        writer = new Thread(WriteAll) { IsBackground = true, Name = "crstore frames" };
        writer.Start();
    }

    /// <summary>Chunks taken so far; the next one's ordinal.</summary>
    public ulong Count => next;

    /// <summary>Takes a chunk; copies it.</summary>
    /// <returns>Its ordinal.</returns>
    public uint Add(in ContentHash hash, ReadOnlySpan<byte> page)
    {
        if (next > uint.MaxValue) throw new EnvironmentException($"CRID {crid} would have more than 2^32 new pages");
        var job = open ??= NewJob();
        job.Hashes[job.Count] = hash;
        page.CopyTo(job.Pages.AsSpan(job.Count * VirtualPage.Size, VirtualPage.Size));
        job.Count++;
        if (job.Count == ChunkLocation.SlotsPerFrame) Send();
        return (uint)next++;
    }

    /// <summary>Finishes the last frame and waits until the spool has everything.</summary>
    public void Complete()
    {
        if (completed) return;
        if (open is not null) Send();
        Finish();
        failure?.Throw();
        spool.Complete();
    }

    /// <summary>Ends the thread; what is under way is dropped.</summary>
    public void Dispose()
    {
        Finish();
        ordered.Dispose();
        free.Dispose();
    }

    private void Finish()
    {
        if (!completed)
        {
            completed = true;
            ordered.CompleteAdding();
        }

        writer.Join();
    }

    private Job NewJob()
    {
        failure?.Throw();
        if (!free.TryTake(out var job))
        {
            if (made < FramesUnderWay)
            {
                made++;
                job = new Job();
            }
            else
            {
                job = free.Take();
            }
        }

        job.Start(new FrameId(crid, frames++), compression);
        return job;
    }

    private void Send()
    {
        var job = open!;
        open = null;
        ThreadPool.UnsafeQueueUserWorkItem(job, preferLocal: false);
        ordered.Add(job);
    }

    private void WriteAll()
    {
        foreach (var job in ordered.GetConsumingEnumerable())
        {
            try
            {
                var frame = job.Wait();
                if (failure is null) spool.Add(job.Id, frame);
            }
            catch (Exception e) // shown to the producer, at its next page or at the end
            {
                failure ??= ExceptionDispatchInfo.Capture(e);
            }

            free.Add(job);
        }
    }

    /// <summary>A frame under way, with buffers that are used again.</summary>
    private sealed class Job : IThreadPoolWorkItem
    {
        private readonly ManualResetEventSlim done = new();
        private Compression compression = Compression.Default;
        private byte[]? frame;
        private Exception? error;

        public FrameId Id { get; private set; }

        public int Count { get; set; }

        public ContentHash[] Hashes { get; } = new ContentHash[ChunkLocation.SlotsPerFrame];

        public byte[] Pages { get; } = GC.AllocateUninitializedArray<byte>(ChunkLocation.SlotsPerFrame * VirtualPage.Size);

        public void Start(FrameId id, Compression how)
        {
            (Id, compression, Count, frame, error) = (id, how, 0, null, null);
            done.Reset();
        }

        public void Execute()
        {
            try
            {
                frame = FrameEncoder.Encode(Id, Hashes.AsSpan(0, Count), Pages.AsSpan(0, Count * VirtualPage.Size), compression);
            }
            catch (Exception e) // carried to the writer thread
            {
                error = e;
            }

            done.Set();
        }

        public byte[] Wait()
        {
            done.Wait();
            if (error is not null) ExceptionDispatchInfo.Throw(error);
            return frame!;
        }
    }
}
