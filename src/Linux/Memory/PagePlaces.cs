namespace Crstore.Linux.Memory;

/// <summary>move_pages(2) without nodes to move pages to: only tells where they are, in a quarter of a microsecond each, anywhere in a process.</summary>
public static class PagePlaces
{
    /// <summary>
    /// Of each address the NUMA node that its page is on, or -errno if no page is in memory there (ENOENT: a hole, swapped out, on its way elsewhere; EFAULT: not mapped, or the zero page).
    /// Nothing is faulted in.
    /// </summary>
    /// <param name="pid">Process, to which the caller needs ptrace access for reading.</param>
    /// <param name="addresses">Anywhere in it.</param>
    /// <param name="places">As many.</param>
    /// <returns>0, or errno: gone, refused (seccomp(2) of a container), or not built in (CONFIG_NUMA). Then nothing is said.</returns>
    public static int TryFind(int pid, ReadOnlySpan<ulong> addresses, Span<int> places)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(places.Length, addresses.Length);
        unsafe
        {
            fixed (ulong* pages = addresses)
            fixed (int* status = places)
                return RawSyscall.Errno(RawSyscall.MovePages, pid, addresses.Length, (long)pages, 0, (long)status);
        }
    }
}
