using Crstore.Model;
using Crstore.Objects.Memory;
using Crstore.Restore;
using Xunit;

namespace Crstore.Tests.Restore;

public sealed class RunCopierTests
{
    private const ulong Base = 0x10_0000;
    private const ulong P = VirtualPage.Size;

    [Fact]
    public void However_long_a_run_is_each_page_is_written_once_and_no_more_than_half_a_gigabyte_is_read_at_once()
    {
        const int count = 300_000;
        var process = Samples.Process(10, Samples.Anonymous(Base, count));
        using var image = new FakeImage(process);
        byte[][] contents = [Samples.Page("even"), Samples.Page("odd")];
        for (ulong i = 0; i < count; i++) image.SetShared(0, Base + (i * P), contents[i % 2]);
        var sink = new Sink(at => contents[at / P % 2]);
        using var copier = new RunCopier(null, CancellationToken.None);
        using var files = new FileBackings();
        var source = new ProcessImage(image, process, files);
        copier.Copy(source, process.Vmas[0], ProcessImage.RangeOf(process.Vmas[0]), sink, 0);
        copier.Complete();
        Assert.Equal(count, sink.Written.Count);
        Assert.Equal(count * P, copier.Bytes);
        Assert.InRange(image.LongestRead, 1UL, 131072UL);
    }

    [Fact]
    public async Task What_is_read_before_it_may_be_written_waits_and_nothing_is_lost()
    {
        const int count = 30_000; // more than the windows hold
        var process = Samples.Process(10, Samples.Anonymous(Base, count));
        using var image = new FakeImage(process);
        var content = Samples.Page("page");
        for (ulong i = 0; i < count; i++) image.SetShared(0, Base + (i * P), content);
        using var may = new ManualResetEventSlim();
        var sink = new Sink(_ => content);
        using var copier = new RunCopier(null, CancellationToken.None) { MayWrite = may };
        using var files = new FileBackings();
        var source = new ProcessImage(image, process, files);
        var copying = Task.Run(() =>
        {
            copier.Copy(source, process.Vmas[0], ProcessImage.RangeOf(process.Vmas[0]), sink, 0);
            copier.Complete();
        }, TestContext.Current.CancellationToken);
        Assert.True(SpinWait.SpinUntil(() => image.LongestRead > 0, TimeSpan.FromMinutes(5)));
        await Task.Delay(200, TestContext.Current.CancellationToken);
        Assert.False(copying.IsCompleted);
        Assert.Empty(sink.Written);
        may.Set();
        await copying.WaitAsync(TimeSpan.FromMinutes(5), TestContext.Current.CancellationToken);
        Assert.Equal(count, sink.Written.Count);
    }

    /// <summary>Notes pages; fails if one comes twice, or is another one.</summary>
    private sealed class Sink(Func<ulong, byte[]> expected) : IPageSink
    {
        public HashSet<ulong> Written { get; } = [];

        public void Write(ReadOnlySpan<byte> bytes, ulong at)
        {
            lock (Written)
            {
                for (var i = 0; i < bytes.Length; i += (int)P)
                {
                    if (!Written.Add(at + (ulong)i)) throw new InvalidOperationException($"{at + (ulong)i:x} is written twice");
                    if (!bytes.Slice(i, (int)P).SequenceEqual(expected(at + (ulong)i))) throw new InvalidOperationException($"{at + (ulong)i:x} is wrong");
                }
            }
        }
    }
}
