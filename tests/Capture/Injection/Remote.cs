using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Tests.Capture.Freezing;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

/// <summary>System call numbers and short ways to inject them.</summary>
internal static class Remote
{
    public const long Getpid = 39, Brk = 12, RtSigaction = 13, Sigaltstack = 131, Prctl = 157, Gettid = 186, MemfdCreate = 319, Close = 3;
    public const long PrGetTidAddress = 40;

    /// <summary>Freezes a process, injects, gives everything back, thaws.</summary>
    public static T During<T>(int pid, Func<FrozenProcess, RemoteSyscalls, T> work) => Frozen.During(pid, frozen =>
    {
        using var remote = RemoteSyscalls.TryBegin(frozen.Processes[0], out var whyNot);
        Assert.True(remote is not null, whyNot);
        return work(frozen.Processes[0], remote);
    });

    /// <summary>The same without a result.</summary>
    public static void During(int pid, Action<FrozenProcess, RemoteSyscalls> work) => During<object?>(pid, (process, remote) =>
    {
        work(process, remote);
        return null;
    });

    /// <summary>A round of everything that a capture injects, in every thread.</summary>
    public static void Everything(FrozenProcess process, RemoteSyscalls remote)
    {
        var scratch = remote.ScratchAddress;
        Assert.True(remote.Invoke(process.Leader.Tid, Brk) > 0);
        for (var signal = 1; signal <= 64; signal += 7)
            if (signal is not (9 or 19)) Assert.Equal(0, remote.Invoke(process.Leader.Tid, RtSigaction, signal, 0, (long)scratch, 8));
        var fd = remote.AcquireFd(process.Leader.Tid, MemfdCreate, (long)scratch, 1);
        Assert.True(fd >= 0);
        var batch = new CallBatch();
        foreach (var thread in process.Threads)
        {
            AskInRow(remote, thread.Tid, batch);
            Assert.Equal(thread.Tid, remote.Invoke(thread.Tid, Gettid));
            Assert.Equal(0, remote.Invoke(thread.Tid, Prctl, PrGetTidAddress, (long)scratch));
            Assert.Equal(0, remote.Invoke(thread.Tid, Sigaltstack, 0, (long)scratch));
        }
    }

    /// <summary>Questions in a row, whose answers must be right.</summary>
    private static void AskInRow(RemoteSyscalls remote, int tid, CallBatch batch)
    {
        const long at = 2048;
        var answers = (long)remote.ScratchAddress + at;
        batch.Clear();
        for (var i = 0; i < 5; i++) batch.Add(Sigaltstack, 0, answers + 8 + i * 24);
        batch.Add(Prctl, PrGetTidAddress, answers);
        remote.InvokeAll(tid, batch);
        for (var i = 0; i < batch.Count; i++) Assert.Equal(0, batch.Result(i));
        Span<byte> inRow = stackalloc byte[128], alone = stackalloc byte[8 + 24];
        remote.Read((ulong)answers, inRow);
        Assert.Equal(0, remote.Invoke(tid, Prctl, PrGetTidAddress, answers));
        Assert.Equal(0, remote.Invoke(tid, Sigaltstack, 0, answers + 8));
        remote.Read((ulong)answers, alone);
        Assert.Equal(alone, inRow[..alone.Length]);
        for (var i = 0; i < 5; i++) Assert.Equal(alone[8..], inRow.Slice(8 + i * 24, 24));
    }

    /// <summary>What must be the same before and after: number of fds and the memory map.</summary>
    public static (int Fds, string[] Maps) Footprint(int pid) =>
        (Directory.GetFileSystemEntries($"/proc/{pid}/fd").Length, File.ReadAllLines($"/proc/{pid}/maps"));
}
