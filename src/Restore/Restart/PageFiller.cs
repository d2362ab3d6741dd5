using System.Runtime.ExceptionServices;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Processes;
using Crstore.Restore.Restart.Lazy;
using Thread = System.Threading.Thread;

namespace Crstore.Restore.Restart;

/// <summary>
/// Puts the saved pages into the processes, each checked against its content address on the way. Pages that were never touched
/// stay so; unmodified pages of mapped files come from the files. The first pages are read and checked on a thread of its own while the
/// processes are being made, which mostly is waiting; none is written before all of them have their mappings.
/// </summary>
internal sealed class PageFiller : IDisposable
{
    private static readonly byte[] Zeros = new byte[1 << 20];
    private readonly ICheckpointImage image;
    private readonly MappedFiles mapped;
    private readonly LazyMemory? lazy;
    private readonly IProgress<ulong>? progress;
    private readonly List<(ProcessImage Source, ProcessSink Sink)> spaces = [];
    private readonly CancellationTokenSource cancel;
    private readonly ManualResetEventSlim mappingsAreThere = new();
    private readonly Thread thread;
    private ExceptionDispatchInfo? failure;
    private ulong bytes;

    /// <summary>Begins to read.</summary>
    /// <param name="image">The checkpoint.</param>
    /// <param name="body">Its processes, as they are restarted.</param>
    /// <param name="mapped">Its mapped files and shared memory.</param>
    /// <param name="lazy">What is left out.</param>
    /// <param name="progress">Told of bytes.</param>
    /// <param name="cancel">Ends it.</param>
    public PageFiller(ICheckpointImage image, CheckpointBody body, MappedFiles mapped, LazyMemory? lazy, IProgress<ulong>? progress, CancellationToken cancel)
    {
        (this.image, this.mapped, this.lazy, this.progress) = (image, mapped, lazy, progress);
        this.cancel = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var files = mapped.Backings;
        foreach (var process in body.Processes)
            if (!process.Zombie) spaces.Add((new ProcessImage(image, process, files), new ProcessSink()));
        thread = new Thread(Run) { IsBackground = true, Name = "crstore fill" };
        thread.Start();
    }

    /// <summary>Fills all of them, once they have their mappings.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="StoreDamagedException">A page is not what its address says.</exception>
    public ulong Complete(IReadOnlyList<Restarted> processes)
    {
        var leaders = processes.ToDictionary(p => p.Message.Pid, p => p.Leader);
        foreach (var (source, sink) in spaces)
        {
            var leader = leaders[source.Process.Pid];
            sink.Open(leader, Private(source).Where(v => mapped.FdOf(v) is null));
            CompareVdso(source, leader);
        }

        // What was zero then, or a hole, may hold something by now.
        foreach (var memory in mapped.Shared)
            foreach (var (_, vma) in memory.Mappings) Descriptors.PunchHole(memory.Handle, vma.OffsetBytes, vma.End - vma.Start);
        mappingsAreThere.Set();
        foreach (var (source, sink) in spaces)
            foreach (var vma in Private(source).Where(v => v.Content == VmaContent.FileBacked)) WriteZeros(source, vma, sink);
        thread.Join();
        foreach (var (_, sink) in spaces) sink.Close();
        failure?.Throw();
        return bytes;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        cancel.Cancel();
        thread.Join();
        foreach (var (_, sink) in spaces) sink.Dispose();
        mappingsAreThere.Dispose();
        cancel.Dispose();
    }

    private IEnumerable<Vma> Private(ProcessImage source) => source.Process.Vmas.Where(v => !Mappings.IsKernels(v) && !v.Shared && lazy?.Has(v) != true);

    private void Run()
    {
        try
        {
            using var copier = new RunCopier(progress, cancel.Token) { FilePages = false, MayWrite = mappingsAreThere };
            foreach (var (source, sink) in spaces)
                foreach (var vma in Private(source)) copier.Copy(source, vma, ProcessImage.RangeOf(vma), sink, vma.Start);
            foreach (var memory in mapped.Shared)
            {
                var sink = new SharedMemorySink(memory.Handle);
                foreach (var (process, vma) in memory.Mappings)
                    copier.Copy(new ProcessImage(image, process, mapped.Backings), vma, ProcessImage.RangeOf(vma), sink, vma.OffsetBytes);
            }

            copier.Complete();
            bytes = copier.Bytes;
        }
        catch (Exception e) // shown to who waits for it
        {
            failure = ExceptionDispatchInfo.Capture(e);
        }
    }

    // The same size need not be the same code: libc has addresses within it, and a thread may be inside.
    private static void CompareVdso(ProcessImage source, Puppet puppet)
    {
        if (source.Process.Vmas.FirstOrDefault(v => v.Name == "[vdso]") is not { } vdso) return;
        foreach (var run in source.Runs(vdso).Where(r => r.Content == ImageContent.Saved))
        {
            byte[] then = new byte[run.Range.SizeBytes], now = new byte[run.Range.SizeBytes];
            source.ReadSaved([new PageTarget(run.Range, then)]);
            puppet.Read(run.Range.Start.Address, now);
            if (!then.AsSpan().SequenceEqual(now))
                throw new EnvironmentException($"process {source.Process.Pid}: this kernel's vDSO is another one than that of the capture", "restart it on the kernel that it was captured on");
        }
    }

    // Over a file's page a page of zeros has to be written.
    private static void WriteZeros(ProcessImage source, Vma vma, ProcessSink sink)
    {
        var inFile = VirtualPage.Of(vma.Start + (vma.Backing.SizeBytes - Math.Min(vma.Backing.SizeBytes, vma.OffsetBytes) + VirtualPage.Size - 1));
        foreach (var run in source.Runs(vma).Where(r => r.Content == ImageContent.Zero))
        {
            var range = PageRange.Between(run.Range.Start, run.Range.End.Number < inFile.Number ? run.Range.End : inFile);
            for (ulong done = 0; done < range.SizeBytes; done += (ulong)Zeros.Length)
                sink.Write(Zeros.AsSpan(0, (int)Math.Min((ulong)Zeros.Length, range.SizeBytes - done)), range.Start.Address + done);
        }
    }
}
