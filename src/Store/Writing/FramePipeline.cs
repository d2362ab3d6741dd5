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
    private const int FirstFrames = 64, FramesPerFirstJob = 2; // of a few frames each processor is to have some
    private const int FramesPerJob = 8; // fewer hand-overs between threads: waking one costs what compressing a page does
    private static readonly int JobsUnderWay = Math.Clamp(2 * Environment.ProcessorCount, 16, 64); // at 512 KiB of pages, and as much for their frames
    private readonly Crid crid;
    private readonly Compression compression;
    private readonly RecordSpool spool;
    private readonly BlockingCollection<Job> free = new(JobsUnderWay);
    private readonly BlockingCollection<Job> ordered = new(JobsUnderWay);
    private readonly Thread writer;
    private Job? open;
    private int made;
    private uint frames;
    private ulong next;
    private volatile ExceptionDispatchInfo? failure;
    private bool completed;

    public FramePipeline(Crid crid, Compression compression, RecordSpool spool)
    {
        (this.crid, this.compression, this.spool) = (crid, compression, spool);
        writer = new Thread(WriteAll) { IsBackground = true, Name = "crstore frames" };
        writer.Start();
    }

    /// <summary>Chunks taken so far; the next one's ordinal.</summary>
    public ulong Count => next;

    /// <summary>Takes a chunk; copies it, unless it is lent.</summary>
    /// <param name="hash">Its content address.</param>
    /// <param name="memory">Where its page is.</param>
    /// <param name="offset">Bytes from the start of that.</param>
    /// <param name="loan">The memory is lent: <see cref="Settle"/> must follow before the caller returns to who has lent it.</param>
    /// <returns>Its ordinal.</returns>
    public uint Add(in ContentHash hash, ReadOnlyMemory<byte> memory, int offset, PageLoan? loan)
    {
        if (next >= ChunkLocation.FirstPatch) throw new EnvironmentException($"CRID {crid} would have more than 2^31 new pages");
        var job = open ??= NewJob();
        job.Add(hash, memory, offset, loan);
        if (job.IsFull) Send();
        return (uint)next++;
    }

    /// <summary>Lent memory is used from now on by frames that are being made, which end by themselves: those that wait for more pages have copies.</summary>
    public void Settle() => open?.Settle();

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
            if (made < JobsUnderWay)
            {
                made++;
                job = new Job();
            }
            else
            {
                job = free.Take();
            }
        }

        var frameCount = frames < FirstFrames ? FramesPerFirstJob : FramesPerJob;
        job.Start(new FrameId(crid, frames), frameCount, compression);
        frames += (uint)frameCount;
        return job;
    }

    private void Send()
    {
        var job = open!;
        ThreadPool.UnsafeQueueUserWorkItem(job, preferLocal: false);
        open = null; // from here on it gives back by itself what is lent to it
        ordered.Add(job);
    }

    private void WriteAll()
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        foreach (var job in ordered.GetConsumingEnumerable())
        {
            try
            {
                job.Wait();
                for (var i = 0; i < job.Frames && failure is null; i++)
                {
                    Keys.Frame(job.IdOf(i), key);
                    spool.Add(key, job.FrameOf(i));
                }
            }
            catch (Exception e) // shown to the producer, at its next page or at the end
            {
                failure ??= ExceptionDispatchInfo.Capture(e);
            }

            free.Add(job);
        }
    }

    /// <summary>Some frames under way, with buffers that are used again.</summary>
    private sealed class Job : IThreadPoolWorkItem
    {
        private const int MaxPages = FramesPerJob * ChunkLocation.SlotsPerFrame;
        private readonly ManualResetEventSlim done = new(false, spinCount: 0); // whoever waits leaves the processor to those that compress
        private readonly ContentHash[] hashes = new ContentHash[MaxPages];
        private readonly (ReadOnlyMemory<byte> Memory, int Offset)[] pages = new (ReadOnlyMemory<byte>, int)[MaxPages];
        private readonly List<PageLoan> loans = [];
        private readonly byte[] made = GC.AllocateUninitializedArray<byte>(FramesPerJob * FrameEncoder.WorkBytes);
        private readonly int[] lengths = new int[FramesPerJob];
        private byte[]? copies; // a place for each page
        private Compression compression = Compression.Default;
        private FrameId first;
        private int most;
        private int count;
        private Exception? error;

        public bool IsFull => count == most;

        public int Frames => (count + ChunkLocation.SlotsPerFrame - 1) / ChunkLocation.SlotsPerFrame;

        public void Start(FrameId id, int frames, Compression how)
        {
            (first, most, compression, count, error) = (id, frames * ChunkLocation.SlotsPerFrame, how, 0, null);
            done.Reset();
        }

        public void Add(in ContentHash hash, ReadOnlyMemory<byte> memory, int offset, PageLoan? loan)
        {
            hashes[count] = hash;
            pages[count] = (memory, offset);
            if (loan is null)
            {
                Copy(count, 1);
            }
            else if (loans.Count == 0 || loans[^1] != loan)
            {
                loans.Add(loan);
                loan.Take();
            }

            count++;
        }

        /// <summary>Copies what is lent, and gives it back.</summary>
        public void Settle()
        {
            if (loans.Count == 0) return;
            try
            {
                Copy(0, count);
            }
            finally
            {
                GiveBack(); // without a copy too, if there is no memory for one: the sink has failed then, and this job is never sent
            }
        }

        public FrameId IdOf(int frame) => first with { Number = first.Number + (uint)frame };

        public ReadOnlySpan<byte> FrameOf(int frame) => made.AsSpan(frame * FrameEncoder.WorkBytes, lengths[frame]);

        public void Execute()
        {
            try
            {
                for (var i = 0; i < Frames; i++)
                {
                    var start = i * ChunkLocation.SlotsPerFrame;
                    var slots = Math.Min(ChunkLocation.SlotsPerFrame, count - start);
                    lengths[i] = FrameEncoder.Encode(IdOf(i), hashes.AsSpan(start, slots), SideBySide(start, slots), compression, made.AsSpan(i * FrameEncoder.WorkBytes, FrameEncoder.WorkBytes));
                }
            }
            catch (Exception e) // carried to the writer thread
            {
                error = e;
            }

            GiveBack();
            done.Set();
        }

        public void Wait()
        {
            done.Wait();
            if (error is not null) ExceptionDispatchInfo.Throw(error);
        }

        // Pages that lie like that where they are, most of those that are lent, need no copy.
        private ReadOnlySpan<byte> SideBySide(int start, int slots)
        {
            var (memory, offset) = pages[start];
            for (var i = 1; i < slots; i++)
            {
                var (next, at) = pages[start + i];
                if (at == offset + i * VirtualPage.Size && next.Equals(memory)) continue;
                Copy(start, slots);
                (memory, offset) = pages[start];
                break;
            }

            return memory.Span.Slice(offset, slots * VirtualPage.Size);
        }

        private void Copy(int start, int slots)
        {
            copies ??= GC.AllocateUninitializedArray<byte>(MaxPages * VirtualPage.Size);
            for (var i = start; i < start + slots; i++)
            {
                var (memory, offset) = pages[i];
                var place = i * VirtualPage.Size;
                if (memory.Equals(copies)) continue;
                memory.Span.Slice(offset, VirtualPage.Size).CopyTo(copies.AsSpan(place));
                pages[i] = (copies, place);
            }
        }

        private void GiveBack()
        {
            foreach (var loan in loans) loan.Return();
            loans.Clear();
        }
    }
}
