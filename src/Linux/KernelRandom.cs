namespace Crstore.Linux;

/// <summary>Random bytes from the kernel, getrandom(2), that nobody can foretell. .NET's generator gets OpenSSL ready for them, which takes a cold start some milliseconds.</summary>
public static unsafe class KernelRandom
{
    private const long GetRandom = 318; // syscall_64.tbl

    /// <summary>Fills the memory.</summary>
    public static void Fill(Span<byte> bytes)
    {
        fixed (byte* to = bytes)
            for (var done = 0L; done < bytes.Length;) done += RawSyscall.Checked("getrandom", null, GetRandom, (long)to + done, bytes.Length - done);
    }
}
