using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Processes;

namespace Crstore.Restore.Restart;

/// <summary>
/// Puts the saved pages into the processes, each checked against its content address on the way. Pages that were never touched
/// stay so; unmodified pages of mapped files come from the files.
/// </summary>
internal static class PageFiller
{
    private static readonly byte[] Zeros = new byte[1 << 20];

    /// <summary>Fills all of them.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="StoreDamagedException">A page is not what its address says.</exception>
    public static ulong Fill(ICheckpointImage image, IReadOnlyList<Restarted> processes, MappedFiles mapped, IProgress<ulong>? progress, CancellationToken cancel)
    {
        var files = mapped.Backings;
        var sinks = new List<ProcessSink>();
        try
        {
            using var copier = new RunCopier(progress, cancel) { FilePages = false };
            foreach (var process in processes)
            {
                var source = new ProcessImage(image, process.Message, files);
                var sink = new ProcessSink(process.Leader.Tid);
                sinks.Add(sink);
                CompareVdso(source, process.Leader);
                foreach (var vma in process.Message.Vmas.Where(v => !Mappings.IsKernels(v) && !v.Shared))
                {
                    copier.Copy(source, vma, ProcessImage.RangeOf(vma), sink, vma.Start);
                    if (vma.Content == VmaContent.FileBacked) WriteZeros(source, vma, sink);
                }
            }

            foreach (var memory in mapped.Shared)
            {
                var sink = new SharedMemorySink(memory.Handle);
                // What was zero then, or a hole, may hold something by now.
                foreach (var (_, vma) in memory.Mappings) Descriptors.PunchHole(memory.Handle, vma.OffsetBytes, vma.End - vma.Start);
                foreach (var (process, vma) in memory.Mappings)
                    copier.Copy(new ProcessImage(image, process, files), vma, ProcessImage.RangeOf(vma), sink, vma.OffsetBytes);
            }

            copier.Complete();
            return copier.Bytes;
        }
        finally
        {
            foreach (var sink in sinks) sink.Dispose();
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
